// Reloads of a plugin under load, for the soak and for its short form: what fails, how long the new code takes, what is kept.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configFolder, type GatewayProcess, startProcess } from '../../helpers/process.ts'
import { until } from '../../helpers/until.ts'

export interface ReloadReport {
  requests: number
  /** Answers other than 200, or of no version that was there when the request ended. */
  wrong: number
  /** Connections that were cut. */
  broken: number
  /** Milliseconds from the save to the first answer of the new code: the median and the longest. */
  tookMs: { median: number; max: number }
  /** Resident memory per reload between the middle of the run and its end: what it grows by once everything is warm. */
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
  const gateway = await startProcess(configFolder(`sluice:\n  plugin_dirs: ["${folder}"]\n`))
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
  const report = { requests: 0, wrong: 0, broken: 0 }
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
        else if (answer.status !== 200 || answer.version < before - 1 || answer.version > version) report.wrong++
      }
    }
    const clients = Array.from({ length: CLIENTS }, client)
    let middle = { resident: 0, heap: 0 }
    for (let round = 0; round < rounds; round++) {
      if (round === Math.floor(rounds / 2)) middle = await memory(gateway)
      const saved = performance.now()
      version++
      // Half are noticed, half are asked for.
      save(version)
      if (round % 2 === 1) await gateway.admin('PUT', '/plugins/reload')
      const fresh = async () => (await ask(gateway.urls.requests, undefined))?.version === version
      await until(fresh, `version ${version} is served`, 60_000)
      times.push(performance.now() - saved)
      await until(async () => (await reloads(gateway)) > round, 'the reload is over', 60_000)
    }
    going = false
    await Promise.all(clients)
    const end = await memory(gateway)
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

/** Bytes, once the threads that are ending have ended. */
async function memory(gateway: GatewayProcess): Promise<{ resident: number; heap: number }> {
  const threads = () => Number(/Threads:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8'))?.[1])
  let least = Number.POSITIVE_INFINITY
  let looks = 0
  await until(() => {
    least = Math.min(least, threads())
    return ++looks > 2_000
  }, 'threads have ended')
  const page = await (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()
  const heap = Number(/^sluice_main_nodejs_heap_size_used_bytes(?:\{[^}]*\})? (\S+)$/m.exec(page)?.[1])
  const status = readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8')
  return { resident: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024, heap }
}
