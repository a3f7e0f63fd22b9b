// Reloads of a plugin under load, for the soak and for its short form: what fails, how long the new code takes, what is kept.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
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
   * What resident memory, and main's heap, grow by per reload in the second half of the run, when everything is warm; looked
   * at when nobody asks.
   */
  keptKb: number | undefined
  mainHeapKb: number | undefined
  /** Resident memory in KB at each quarter of the run. */
  residentKb: number[]
}

const CLIENTS = 8
const QUARTERS = [0.25, 0.5, 0.75]

const versioned = (version: number) => `
import { plugin, reply } from 'sluice'
const ballast = ${JSON.stringify('x'.repeat(10_000))}
export default plugin({
  name: 'versioned', priority: 100, version: 1,
  schema: { type: 'object', properties: { a: { type: 'string', pattern: '^[a-z]+$', default: 'a' } } },
  setup: () => ({ access: () => reply(200, '${version} ' + ballast.length) }),
})
`

/**
 * Saves a plugin `rounds` times, each when the one before is served, while clients keep asking on kept connections. `looks` is
 * how many reloads more memory is looked at for each number; 0: it is not.
 */
export async function reloadUnderLoad(rounds: number, { looks: each = 0 } = {}): Promise<ReloadReport> {
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
      const seen = await memory(gateway, each)
      going = true
      clients = Array.from({ length: CLIENTS }, client)
      return seen
    }
    const looks: { resident: number; heap: number }[] = []
    for (let round = 0; round < rounds; round++) {
      if (each > 0 && QUARTERS.some(part => round === Math.floor(rounds * part))) looks.push(await restful())
      const saved = performance.now()
      version++
      // Half are noticed, half are asked for.
      save(version)
      if (round % 2 === 1) await gateway.admin('PUT', '/plugins/reload')
      const isFresh = async () => (await ask(gateway.urls.requests, undefined))?.version === version
      await until(isFresh, `version ${version} is served`, 60_000)
      times.push(performance.now() - saved)
      // Workers take turns: so many connections in a row find each of them.
      let row = 0
      const everywhere = async () => {
        row = (await isFresh()) ? row + 1 : 0
        return row === 50
      }
      await until(everywhere, `version ${version} is served by all workers`, 60_000)
    }
    if (each > 0) looks.push(await restful())
    going = false
    await Promise.all(clients)
    const [middle, end] = [looks.at(-3), looks.at(-1)]
    const reloads = Math.ceil(rounds / 2) + 2 * each
    const kept = (of: 'resident' | 'heap') => middle && end && Math.round((end[of] - middle[of]) / 1024 / reloads)
    times.sort((a, b) => a - b)
    return {
      ...report,
      tookMs: { median: Math.round(times[times.length >> 1] ?? 0), max: Math.round(times.at(-1) ?? 0) },
      keptKb: kept('resident'),
      mainHeapKb: kept('heap'),
      residentKb: looks.map(({ resident }) => Math.round(resident / 1024)),
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

/** Bytes: the least of several looks, each with workers that have just begun; garbage comes and goes. */
async function memory(gateway: GatewayProcess, looks: number): Promise<{ resident: number; heap: number }> {
  const least = { resident: Number.POSITIVE_INFINITY, heap: Number.POSITIVE_INFINITY }
  for (let look = 0; look < looks; look++) {
    await gateway.admin('PUT', '/plugins/reload')
    await fetch(`${gateway.urls.control}/v1/gc`, { method: 'POST' })
    const page = await (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()
    const value = (name: string) =>
      Number(new RegExp(`^sluice_main_${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(page)?.[1])
    least.resident = Math.min(least.resident, value('process_resident_memory_bytes'))
    least.heap = Math.min(least.heap, value('nodejs_heap_size_used_bytes'))
  }
  return least
}
