// The gateway as its users start it: a process of its own, with a folder and ports of its own.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from './until.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Output {
  stdout: string
  stderr: string
  code: number | null
}

/** Runs a command of the gateway to its end. */
export async function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Output> {
  const child = spawn('node', [join(root, 'core/main.ts'), ...args], { cwd: root, env: { ...process.env, ...env } })
  const output = collect(child)
  const [code] = (await once(child, 'close')) as [number | null]
  return { ...output, code }
}

export interface GatewayProcess {
  readonly child: ChildProcess
  readonly output: { stdout: string; stderr: string }
  readonly folder: string
  /** http://127.0.0.1:port of each server. */
  readonly urls: Record<'requests' | 'admin' | 'control' | 'status' | 'prometheus', string>
  readonly adminKey: string
  /** An admin call, by default with the key; the body is sent as JSON. */
  admin(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown; revision: number }>
  /** Ends the process and resolves with its exit code; the folder stays. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
  /** Ends it if it lives and removes its folder. */
  dispose(): Promise<void>
}

/** A folder with a configuration on free ports. `more` is YAML that is added to it, `within` what is added to its groups. */
export function configFolder(
  more = '',
  within: { apisix?: string; nginx_config?: string; deployment?: string } = {},
): { folder: string; file: string } {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-'))
  const file = join(folder, 'config.yaml')
  const line = (text: string | undefined) => (text === undefined ? '' : `\n  ${text}`)
  // A test that has keys of this group itself says where its access log is, if it matters.
  const own = within.nginx_config?.includes('http:')
  const requestsLog = own ? '' : line(`http: {access_log: ${join(folder, 'requests.log')}}`)
  writeFileSync(
    file,
    `apisix:
  node_listen: [{ip: 127.0.0.1, port: 0}]
  control: {ip: 127.0.0.1, port: 0}
  status: {ip: 127.0.0.1, port: 0}${line(within.apisix)}
nginx_config:
  error_log: ${join(folder, 'error.log')}${line(within.nginx_config)}${requestsLog}
deployment:
  admin:
    admin_listen: {ip: 127.0.0.1, port: 0}
  embedded:
    path: ${join(folder, 'data')}${line(within.deployment)}
plugin_attr:
  prometheus:
    export_addr: {ip: 127.0.0.1, port: 0}
${more}`,
  )
  return { folder, file }
}

/** Starts the gateway and waits until it says `ready`. `command` replaces `node core/main.ts`. */
export async function startProcess(
  { folder, file } = configFolder(),
  command: readonly [string, ...string[]] = ['node', join(root, 'core/main.ts')],
  env: NodeJS.ProcessEnv = {},
  ready = 'error log',
): Promise<GatewayProcess> {
  const [program, ...args] = command
  const child = spawn(program, [...args, '--config', file], { cwd: root, env: { ...process.env, ...env } })
  const output = collect(child)
  // Whatever becomes of the test: a gateway does not outlive it.
  const orphaned = () => void child.kill('SIGKILL')
  process.once('exit', orphaned)
  child.once('close', () => process.off('exit', orphaned))
  const ended = () => child.exitCode !== null || child.signalCode !== null
  const said = () => output.stdout.includes(ready) || ended()
  await until(said, 'the gateway is ready', 90_000).catch((error: Error) => {
    child.kill('SIGKILL')
    const log = join(folder, 'error.log')
    const lines = existsSync(log) ? readFileSync(log, 'utf8') : ''
    throw new Error(`${error.message}: ${output.stdout}${output.stderr}${lines}`)
  })
  if (ended()) throw new Error(`the gateway ended by ${child.signalCode ?? child.exitCode}: ${output.stderr}`)
  const url = (name: string) => `http://${new RegExp(`${name} +(\\S+:\\d+)`).exec(output.stdout)?.[1]}`
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
    if (ended()) return child.exitCode
    const gone = once(child, 'close')
    child.kill(signal)
    await gone
    return child.exitCode
  }
  const keyFile = join(folder, 'data/admin.key')
  const gateway: GatewayProcess = {
    child,
    output,
    folder,
    get urls() {
      const names = ['requests', 'admin', 'control', 'status', 'prometheus'] as const
      return Object.fromEntries(names.map(name => [name, url(name)])) as GatewayProcess['urls']
    },
    get adminKey() {
      return readFileSync(keyFile, 'utf8').trim()
    },
    async admin(method, path, body) {
      const response = await fetch(`${gateway.urls.admin}/apisix/admin${path}`, {
        method,
        headers: { 'x-api-key': gateway.adminKey, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await response.text()
      const revision = Number(response.headers.get('x-sluice-revision') ?? 0)
      const parsed = text === '' || text === 'done' ? text : (JSON.parse(text) as unknown)
      return { status: response.status, body: text === '' ? undefined : parsed, revision }
    },
    stop,
    async dispose() {
      await stop('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return gateway
}

function collect(child: ChildProcess): { stdout: string; stderr: string } {
  const output = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  return output
}
