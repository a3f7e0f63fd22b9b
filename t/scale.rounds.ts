// A gateway process with many routes: how long loading takes, how late its loops come, also under edits and lists, when an edit is in effect.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { silent } from '../core/observe/log.ts'
import { openEmbedded } from '../core/store/embedded.ts'
import { itemOf, pathOf, uriOf } from './bench/routes/population.ts'
import { percentile } from './bench/statistics.ts'
import type { LoopReport } from './helpers/loop-samples.ts'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'

interface Spread {
  p50: number
  p99: number
  max: number
}

/** With whatever else the machine did, and without. */
interface Late {
  all: Spread
  own: Spread
}

export interface ScaleReport {
  routes: number
  workers: number
  /** Milliseconds from the start of the process until it serves. */
  readyMs: number
  /** How late the loops came while it loaded, while nothing was asked of it, while it was edited, and while it was listed; milliseconds. */
  loading: { main: Late; workers: Late }
  quiet: { main: Late; workers: Late }
  editing: { main: Late; workers: Late }
  listing: { main: Late; workers: Late }
  /** Lists that were read meanwhile, of everything, by filters and by pages; milliseconds that each took. */
  lists: Record<string, { count: number; took: Spread }>
  /** Bytes of JavaScript heap per route, with whatever else there is. */
  heapPerRoute: { main: number; worker: number }
  edits: number
  /** Milliseconds from an edit's request until it is acknowledged, and from there until every connection was served by it. */
  acknowledgedMs: Spread
  effectiveMs: Spread
  /** Requests that began after the acknowledgement and were served by what was before. */
  stale: number
}

const WORKERS = 2
/** How long nothing is asked, and how long lists are, one after the other. */
const QUIET_MS = 2_000
const LIST_MS = 6_000
const EDITED = 40
/** The first edits compile what checks them. */
const WARM_UP = 20
/** Among so many connections every worker has some: the kernel spreads them. */
const CONNECTIONS = 24

export async function scaleRound(routes: number, { edits }: { edits: number }): Promise<ScaleReport> {
  const upstream = createServer((message, response) => {
    const text = String(message.headers['x-version'] ?? '')
    response.writeHead(200, { 'content-length': text.length }).end(text)
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const { port } = upstream.address() as AddressInfo
  const bare = await measured(10, async () => undefined)
  const full = await measured(routes, async gateway => {
    const quietFrom = Date.now()
    await delay(QUIET_MS)
    const edited = await edit(gateway, { routes, edits, port })
    const listed = await list(gateway, LIST_MS)
    return { quietFrom, edited, listed }
  })
  upstream.close()
  const perRoute = (main: boolean) => (full.heap(main) - bare.heap(main)) / routes
  const { quietFrom, edited, listed } = full.result
  const during = (from: number, to: number) => ({
    main: full.late(true, from, to),
    workers: full.late(false, from, to),
  })
  return {
    routes,
    workers: WORKERS,
    readyMs: full.ready - full.began,
    loading: during(0, full.ready),
    quiet: during(quietFrom, quietFrom + QUIET_MS),
    editing: during(edited.from, listed.from),
    listing: during(listed.from, listed.to),
    lists: listed.lists,
    heapPerRoute: { main: Math.round(perRoute(true)), worker: Math.round(perRoute(false)) },
    ...edited.edited,
  }
}

/** A gateway from start to end, with `use` in between, and what its threads wrote down. */
async function measured<T>(routes: number, use: (gateway: GatewayProcess) => Promise<T>) {
  const place = configFolder('', { nginx_config: `worker_processes: ${WORKERS}` })
  await fill(join(place.folder, 'data'), routes)
  const samples = join(place.folder, 'loop-samples')
  const preload = fileURLToPath(new URL('./helpers/loop-samples.ts', import.meta.url))
  const began = Date.now()
  const env = { NODE_OPTIONS: `--import ${preload}`, LOOP_SAMPLES: samples }
  const gateway = await startProcess(place, undefined, env)
  const ready = Date.now()
  const result = await use(gateway)
  await until(() => reportsIn(samples).some(({ at }) => at > ready + 1_000), 'they have written since')
  await gateway.stop()
  const reports = reportsIn(samples)
  await gateway.dispose()
  return {
    began,
    ready,
    result,
    late(main: boolean, from: number, to = Number.POSITIVE_INFINITY): Late {
      const during = reports
        .filter(report => report.main === main && report.talking !== undefined)
        .flatMap(({ samples, talking }) => samples.filter(({ at }) => at >= Math.max(talking!, from) && at < to))
      return { all: spread(during.map(({ late }) => late)), own: spread(during.map(({ own }) => own)) }
    },
    /** When garbage was collected last, of the largest thread. */
    heap(main: boolean): number {
      const later = reports.filter(report => report.main === main && report.at > ready)
      const least = [...Map.groupBy(later, report => report.thread).values()].map(all =>
        Math.min(...all.map(({ heap }) => heap)),
      )
      return Math.max(...least)
    },
  }
}

function reportsIn(file: string): (LoopReport & { at: number })[] {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : []
  return lines.slice(0, -1).map(line => {
    const report = JSON.parse(line) as LoopReport
    return { ...report, at: report.samples.at(-1)?.at ?? 0 }
  })
}

/** Throws when it is not as it is promised. Times are those of a machine that has nothing else to do. */
export function assertScales(report: ScaleReport): void {
  assert.equal(report.stale, 0, 'an acknowledged edit is in effect')
  const within = report.routes <= 10_000 ? 20 : 50
  assert.ok(report.effectiveMs.p99 < within, `an edit is in effect within ${within} ms`)
  const { loading, editing, listing } = report
  for (const { own } of [loading.main, loading.workers, editing.main, editing.workers, listing.workers])
    assert.ok(own.p99 < 50, 'no loop is late by 50 ms')
  // A list of everything is one text: at 100,000 routes 100 MB of it.
  if (report.routes <= 10_000) assert.ok(listing.main.own.p99 < 50, 'main is not late by 50 ms')
  assert.ok(report.listing.workers.own.p99 < report.quiet.workers.own.p99 + 5, 'lists are no business of workers')
}

async function fill(path: string, routes: number): Promise<void> {
  const store = openEmbedded({ path, log: silent })
  for (let from = 0; from < routes; from += 1_000) {
    const items = Array.from({ length: Math.min(1_000, routes - from) }, (_, at) => itemOf(from + at))
    await store.write(items)
  }
  await store.close()
}

async function edit(gateway: GatewayProcess, { routes, edits, port }: { routes: number; edits: number; port: number }) {
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => Client.open(gateway.urls.requests)))
  const acknowledged: number[] = []
  const effective: number[] = []
  let stale = 0
  let from = 0
  for (let version = -WARM_UP; version < edits; version++) {
    if (version === 0) from = Date.now()
    const at = (((version + WARM_UP) % EDITED) * 7_919) % routes
    const began = performance.now()
    const { status, body } = await gateway.admin('PUT', `/routes/route-${at}`, {
      uri: uriOf(at),
      plugins: { 'proxy-rewrite': { headers: { set: { 'x-version': String(version) } } } },
      upstream: { type: 'roundrobin', nodes: { [`127.0.0.1:${port}`]: 1 } },
    })
    assert.ok(status === 200 || status === 201, JSON.stringify(body))
    const acknowledgedAt = performance.now()
    for (;;) {
      const served = await Promise.all(clients.map(client => client.ask(pathOf(at))))
      const old = served.filter(text => text !== String(version))
      stale += old.length
      if (old.length === 0) break
    }
    if (version < 0) continue
    acknowledged.push(acknowledgedAt - began)
    effective.push(performance.now() - acknowledgedAt)
  }
  for (const client of clients) client.close()
  return { from, edited: { edits, acknowledgedMs: spread(acknowledged), effectiveMs: spread(effective), stale } }
}

/** Every kind of list again and again, until so many milliseconds are over. */
async function list(gateway: GatewayProcess, forMs: number) {
  const paths = { everything: '/routes', filtered: '/routes?uri=/9&label=team', page: '/routes?page=3&page_size=500' }
  const took: Record<string, number[]> = { everything: [], filtered: [], page: [] }
  const from = Date.now()
  while (Date.now() < from + forMs) {
    for (const [name, path] of Object.entries(paths)) {
      const began = performance.now()
      // As text: this process and the gateway share the machine.
      const answer = await fetch(`${gateway.urls.admin}/apisix/admin${path}`, {
        headers: { 'x-api-key': gateway.adminKey },
      })
      assert.equal(answer.status, 200)
      await answer.arrayBuffer()
      took[name]!.push(performance.now() - began)
    }
  }
  const lists = Object.entries(took).map(
    ([name, times]) => [name, { count: times.length, took: spread(times) }] as const,
  )
  return { from, to: Date.now(), lists: Object.fromEntries(lists) }
}

function spread(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort()
  const round = (value: number | undefined) => Math.round((value ?? Number.NaN) * 100) / 100
  return { p50: round(percentile(sorted, 0.5)), p99: round(percentile(sorted, 0.99)), max: round(sorted.at(-1)) }
}

/** One connection that is kept, and so one worker. */
class Client {
  readonly #socket: Socket
  #waiting: PromiseWithResolvers<string> | undefined
  #received = ''

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true).setEncoding('latin1')
    socket.on('data', (text: string) => this.#receive(text))
    socket.on('close', () => this.#waiting?.reject(new Error('the gateway closed a connection')))
  }

  static async open(url: string): Promise<Client> {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    return new Client(socket)
  }

  /** The body of the answer, which has a length. */
  ask(path: string): Promise<string> {
    this.#waiting = Promise.withResolvers()
    this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n`)
    return this.#waiting.promise
  }

  close(): void {
    this.#waiting = undefined
    this.#socket.destroy()
  }

  #receive(text: string): void {
    this.#received += text
    const [head = '', body] = this.#received.split('\r\n\r\n')
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
    if (body === undefined || body.length < length) return
    this.#received = ''
    this.#waiting?.resolve(body)
  }
}
