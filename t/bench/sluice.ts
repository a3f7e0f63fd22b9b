// Sluice for a bench run: the real program with one worker, a plain route and an AI route, set up through its admin API.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { configFolder, type GatewayProcess, startProcess } from '../helpers/process.ts'
import type { Contender, Started } from './contender.ts'
import { onCores } from './cores.ts'
import { KEY, targetOf } from './workload.ts'

const main = fileURLToPath(new URL('../../core/main.ts', import.meta.url))

/** Starts it in front of the mock at that port. Its contenders are its two routes, the AI route last. */
export async function startSluice(mock: number, cores: string | undefined): Promise<Started> {
  // The floor writes no line for a request: what one costs stands in docs/logging.md.
  const place = configFolder('', { nginx_config: 'http: {enable_access_log: false}' })
  await using undone = new AsyncDisposableStack()
  undone.defer(() => rmSync(place.folder, { recursive: true, force: true }))
  const command = onCores(cores, [process.execPath, main])
  const gateway = await startProcess(place, ['env', 'APISIX_WORKER_PROCESSES=1', ...command])
  undone.defer(() => gateway.dispose())
  await putRoutes(gateway, mock)
  const contender = (name: string, path: string): Contender => ({
    name,
    target: targetOf(gateway.urls.requests + path),
    pid: gateway.child.pid,
  })
  const kept = undone.move()
  return {
    contenders: [contender('sluice, plain', '/plain'), contender('sluice, ai', '/v1/chat/completions')],
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

async function putRoutes(gateway: GatewayProcess, mock: number): Promise<void> {
  const put = async (path: string, body: unknown) => {
    const answer = await gateway.admin('PUT', path, body)
    if (answer.status >= 300) throw new Error(`PUT ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
  }
  await put('/consumers', { username: 'bench', plugins: { 'key-auth': { key: KEY } } })
  await put('/routes/plain', {
    uris: ['/plain', '/plain/*'],
    upstream: { type: 'roundrobin', nodes: { [`127.0.0.1:${mock}`]: 1 } },
  })
  await put('/routes/ai', {
    uri: '/v1/chat/completions',
    plugins: {
      'key-auth': {},
      'ai-prompt-guard': { deny_patterns: ['(?i)ignore all previous', 'system prompt'] },
      'ai-proxy': {
        provider: 'openai-compatible',
        auth: { header: { Authorization: 'Bearer of-the-bench' } },
        override: { endpoint: `http://127.0.0.1:${mock}/v1/chat/completions` },
      },
      prometheus: {},
      'file-logger': { path: join(gateway.folder, 'access.log') },
    },
  })
}
