// Reloads of a plugin under load, for the soak and for its short form: what fails, how long the new code takes, what is kept.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configFolder, type GatewayProcess, startProcess } from '../../helpers/process.ts'
import { until } from '../../helpers/until.ts'

export interface ReloadReport {
  requests: number
  /** Answers other than 200, by status. */
  refused: Record<string, number>
  /** Answers of a version older than the one before that which was there when the request began. */
  stale: number
  /** Connections that were cut. */
  broken: number
  /** Milliseconds from the save to the first answer of the new code: the median and the longest. */
  tookMs: { median: number; max: number }
  /**
   * What resident memory, and main's heap, grow by per reload in the second half of the run, when everything is warm; seen
   * when nobody asks and all workers have just begun.
   */
  keptKb: number
  mainHeapKb: number
}

const CLIENTS = 8

const versioned = (version: number) => `
import { plugin, reply } from 'sluice'
const ballast = ${JSON.stringify('x'.repeat(10_000))}
export default plugin({
  name: 'versioned', priority: 100, version: 1,
  schema: { type: 'object', properties: { a: { type: 'string', pattern: '^[a-z]+$', default: 'a' } } },
  setup: () => ({ access: () => reply(200, '${version} ' + ballast.length) }),
})
`

/** Saves a plugin `rounds` times, each when the one before is served, while clients keep asking on kept connections. */
export async function reloadUnderLoad(rounds: number): Promise<ReloadReport> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-reload-'))
  const save = (version: number) => writeFileSync(join(folder, 'versioned.ts'), versioned(version))
  save(0)
  const gateway = await startProcess(
    configFolder(`sluice:
  plugin_dirs: ["${folder}"]
  # A busy machine is not what is looked at here.
  max_loop_lag_ms: 60000
`),
  )
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
  const report = { requests: 0, refused: {} as Record<string, number>, stale: 0, broken: 0 }
  const times: number[] = []
  let version = 0
  let going = true
  try {
    await gateway.admin('PUT', '/routes/1', { uri: '/*', plugins: { versioned: {} } })
    const client = async (): Promise<void> => {
      while (going) {
        const before = version
        const answer = await ask(gateway.urls.requests, agent)
        report.requests++
        if (answer === undefined) report.broken++
        else if (answer.status !== 200) report.refused[answer.status] = (report.refused[answer.status] ?? 0) + 1
        else if (answer.version < before - 1) report.stale++
      }
    }
    let clients = Array.from({ length: CLIENTS }, client)
    const restful = async () => {
      going = false
      await Promise.all(clients)
      const seen = await memory(gateway)
      going = true
      clients = Array.from({ length: CLIENTS }, client)
      return seen
    }
    let middle = { resident: 0, heap: 0 }
    let reloaded = 0
    for (let round = 0; round < rounds; round++) {
      if (round === Math.floor(rounds / 2)) {
        middle = await restful()
        reloaded++
      }
      const saved = performance.now()
      version++
      // Half are noticed, half are asked for.
      save(version)
      if (round % 2 === 1) await gateway.admin('PUT', '/plugins/reload')
      const fresh = async () => (await ask(gateway.urls.requests, undefined))?.version === version
      await until(fresh, `version ${version} is served`, 60_000)
      times.push(performance.now() - saved)
      await until(async () => (await reloads(gateway)) > reloaded, 'the reload is over', 60_000)
      reloaded++
    }
    const end = await restful()
    going = false
    await Promise.all(clients)
    const kept = (of: 'resident' | 'heap') => Math.round((end[of] - middle[of]) / 1024 / Math.ceil(rounds / 2))
    times.sort((a, b) => a - b)
    return {
      ...report,
      tookMs: { median: Math.round(times[times.length >> 1] ?? 0), max: Math.round(times.at(-1) ?? 0) },
      keptKb: kept('resident'),
      mainHeapKb: kept('heap'),
    }
  } finally {
    going = false
    agent.destroy()
    await gateway.dispose()
    rmSync(folder, { recursive: true })
  }
}

/** Undefined when the connection was cut. */
function ask(url: string, agent: Agent | undefined): Promise<{ status: number; version: number } | undefined> {
  return new Promise(resolve => {
    const sent = request(url, { agent: agent ?? false }, answer => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, version: Number.parseInt(text, 10) }))
      answer.on('error', () => resolve(undefined))
    })
    sent.on('error', () => resolve(undefined))
    sent.end()
  })
}

async function reloads(gateway: GatewayProcess): Promise<number> {
  const answer = await fetch(`${gateway.urls.control}/v1/config/status`)
  return ((await answer.json()) as { plugins: { reloads: number } }).plugins.reloads
}

/** Bytes, with workers that have just begun and the threads of the others gone. */
async function memory(gateway: GatewayProcess): Promise<{ resident: number; heap: number }> {
  const status = () => readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8')
  const threads = () => Number(/Threads:\s+(\d+)/.exec(status())?.[1])
  await gateway.admin('PUT', '/plugins/reload')
  let [fewest, looks] = [threads(), 0]
  await until(() => {
    const now = threads()
    looks = now < fewest ? 0 : looks + 1
    fewest = Math.min(fewest, now)
    return looks > 1_000
  }, 'threads have ended')
  const page = await (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()
  const heap = Number(/^sluice_main_nodejs_heap_size_used_bytes(?:\{[^}]*\})? (\S+)$/m.exec(page)?.[1])
  return { resident: Number(/VmRSS:\s+(\d+)/.exec(status())?.[1]) * 1024, heap }
}
