// Three gateways on one etcd cluster, under load and under edits, when one of each dies: what their clients see.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { startEtcd } from './helpers/etcd.ts'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { randomness } from './helpers/randomness.ts'
import { until } from './helpers/until.ts'

export interface FleetReport {
  /** Of the gateways that live. */
  requests: number
  failed: string[]
  edits: number
  refusedEdits: string[]
  /** Milliseconds that an edit took to be acknowledged. */
  editMs: { p50: number; p99: number; max: number }
  /** Milliseconds after the last acknowledgement until every route is served as it was written last, everywhere. */
  convergedMs: number
}

export interface FleetOptions {
  seconds: number
  editsPerSecond: number
  workers: number
}

const ROUTES = 40

/** `seed` says which gateway and which node of etcd die, and which routes are edited. */
export async function fleetRound(
  seed: number,
  { seconds, editsPerSecond, workers }: FleetOptions,
): Promise<FleetReport> {
  const random = randomness(seed)
  const upstream = createServer((message, response) => response.end(String(message.headers['x-version'] ?? '')))
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const { port } = upstream.address() as AddressInfo
  const cluster = await startEtcd({ members: 3 })
  const gateways: GatewayProcess[] = []
  const agent = new Agent()
  const report = { requests: 0, failed: [] as string[], edits: 0, refusedEdits: [] as string[] }
  const times: number[] = []
  const written = new Map<number, number>()
  let over = false

  const start = async () => {
    const place = configFolder('', {
      apisix: 'data_encryption: {keyring: [a-key-of-thirty-two-characters-!]}',
      nginx_config: `worker_processes: ${workers}`,
      deployment: `role_traditional: {config_provider: etcd}\n  etcd: {host: ${JSON.stringify(cluster.hosts)}}`,
    })
    gateways.push(await startProcess(place))
  }
  const edit = async (gateway: GatewayProcess, route: number, version: number) => {
    const began = performance.now()
    const { status, body } = await gateway.admin('PUT', `/routes/${route}`, {
      uri: `/${route}`,
      plugins: { 'proxy-rewrite': { headers: { 'x-version': String(version) } } },
      upstream: { type: 'roundrobin', nodes: { [`127.0.0.1:${port}`]: 1 } },
    })
    times.push(performance.now() - began)
    report.edits++
    if (status >= 300) report.refusedEdits.push(`${status} ${JSON.stringify(body)}`)
    else written.set(route, version)
  }
  const ask = async (gateway: GatewayProcess, route: number) => {
    const { statusCode, body } = await request(`${gateway.urls.requests}/${route}`, { dispatcher: agent })
    return { status: statusCode, text: await body.text() }
  }
  const load = async (gateway: GatewayProcess, lives: () => boolean) => {
    for (let n = 0; !over && lives(); n++) {
      const answer = await ask(gateway, n % ROUTES).catch((error: Error) => ({ status: 0, text: error.message }))
      if (!lives()) return
      report.requests++
      if (answer.status !== 200) report.failed.push(`${answer.status} ${answer.text}`)
      await delay(2)
    }
  }

  try {
    await Promise.all([start(), start(), start()])
    for (let route = 0; route < ROUTES; route++) await edit(gateways[0]!, route, 0)
    const served = async (gateway: GatewayProcess) => {
      for (const [route, version] of written) {
        // Each worker has a connection of its own among several.
        for (let n = 0; n < 2 * workers; n++) if ((await ask(gateway, route)).text !== String(version)) return false
      }
      return true
    }
    for (const gateway of gateways) await until(() => served(gateway), 'everything is served before it begins', 30_000)
    times.length = 0
    report.edits = 0
    let dead: GatewayProcess | undefined
    const loads = gateways.flatMap(gateway => [0, 1].map(() => load(gateway, () => gateway !== dead)))
    const doomed = gateways[random(gateways.length)]!
    const editors = gateways.filter(gateway => gateway !== doomed)
    const began = performance.now()
    const strikes = (async () => {
      await delay(seconds * 300)
      dead = doomed
      await doomed.stop('SIGKILL')
      await delay(seconds * 300)
      await cluster.members[random(cluster.members.length)]!.kill()
    })()
    // Edits come when they are due, whether those before have been answered or not; of one route one at a time.
    const busy = new Map<number, Promise<void>>()
    for (let version = 1; version <= seconds * editsPerSecond; version++) {
      await delay(Math.max(0, began + (version * 1_000) / editsPerSecond - performance.now()))
      const route = random(ROUTES)
      const before = busy.get(route)
      const editor = editors[version % editors.length]!
      busy.set(
        route,
        (before ?? Promise.resolve()).then(() => edit(editor, route, version)),
      )
    }
    await Promise.all([...busy.values(), strikes])
    const last = performance.now()
    for (const gateway of editors) await until(() => served(gateway), 'the last edits are served everywhere', 30_000)
    const convergedMs = Math.round(performance.now() - last)
    over = true
    await Promise.all(loads)
    times.sort((a, b) => a - b)
    const at = (share: number) => Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))]!)
    return { ...report, editMs: { p50: at(0.5), p99: at(0.99), max: at(1) }, convergedMs }
  } finally {
    over = true
    for (const gateway of gateways) await gateway.dispose()
    await agent.destroy()
    await cluster.close()
    await new Promise(resolve => upstream.close(resolve).closeAllConnections())
  }
}

/** Throws when a client of a gateway that lives has seen anything of it, or an edit was refused. */
export function assertUnharmed({ failed, refusedEdits, requests, edits }: FleetReport): void {
  assert.deepEqual({ failed, refusedEdits }, { failed: [], refusedEdits: [] })
  assert.ok(requests > 0 && edits > 0)
}
