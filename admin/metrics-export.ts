// The Prometheus page: what the workers counted, and what main knows of itself. Reading it touches no worker.
import { hostname } from 'node:os'
import { Readable } from 'node:stream'
import { setImmediate as turnOfLoop } from 'node:timers/promises'
import type Koa from 'koa'
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { LedgerMemory, Totals } from '../core/ledger/ledger-memory.ts'
import type { Logger } from '../core/observe/log.ts'
import type { Metrics } from '../core/observe/metrics.ts'
import type { MetricsReader } from '../core/observe/metrics-reader.ts'
import { errorCounter } from '../core/observe/metrics-writer.ts'
import { PROMETHEUS_TEXT } from '../core/observe/prometheus-text.ts'
import { openApp, refuse } from './answer.ts'

export interface MetricsExportDeps {
  reader: MetricsReader
  own: OwnMetrics
  /** Path of the page. */
  uri: string
  log: Logger
  serverName: string
}

/** The whole page, with a turn of the loop between its slices, and not faster than it is read. */
export async function* printedPage({ reader, own }: Pick<MetricsExportDeps, 'reader' | 'own'>): AsyncIterable<string> {
  yield await own.process()
  for (const slice of reader.slices()) {
    yield slice
    await turnOfLoop()
  }
}

export function metricsExport({ reader, own, uri, log, serverName }: MetricsExportDeps): Koa {
  const app = openApp({ log, serverName })
  app.use(ctx => {
    if (ctx.path !== uri) throw refuse(404, 'not found')
    if (ctx.method !== 'GET' && ctx.method !== 'HEAD') throw refuse(405, 'only GET is supported')
    ctx.type = PROMETHEUS_TEXT
    ctx.body = ctx.method === 'HEAD' ? '' : Readable.from(printedPage({ reader, own }), { objectMode: false })
  })
  return app
}

/** What main counts itself, in series of its own. */
export interface OwnMetrics {
  /** A worker was replaced. */
  replaced(reason: string, plugin: string | undefined): void
  /** The text of what is measured of main's thread and of the process. */
  process(): Promise<string>
}

const PROCESS = 'sluice_main_'
/** Gauges of prom-client's whose names end like a counter's, and the same by type. */
const MISNAMED = ['resources', 'handles', 'requests'].flatMap(what => [
  `nodejs_active_${what}`,
  `nodejs_active_${what}_total`,
])

export interface OwnMetricsDeps {
  reader: MetricsReader
  metrics: Metrics
  version: string
  /** The revision that every worker serves; undefined before the first. */
  revision(): number | undefined
  /** Every target whose health is checked, and whether it is used. */
  targets(): Iterable<{ name: string; ip: string; port: number; usable: boolean }>
  ledger(): Pick<LedgerMemory, 'totals' | 'full'>
  /** The memory that workers share, in bytes. */
  room(): Iterable<{ name: string; capacity: number; free: number }>
  log: Logger
}

export function ownMetrics(deps: OwnMetricsDeps): OwnMetrics {
  const { reader, metrics, version, revision, targets, ledger, room, log } = deps
  const register = new Registry()
  collectDefaultMetrics({ register, prefix: PROCESS })
  for (const name of MISNAMED) register.removeSingleMetric(PROCESS + name)
  reader.measure({
    name: 'node_info',
    help: 'Which gateway this is',
    labels: ['hostname', 'version'],
    read: () => [[[hostname(), version], 1]],
  })
  reader.measure({
    name: 'sluice_config_revision',
    help: 'Revision of the configuration that every worker serves',
    labels: [],
    read: () => [[[], revision() ?? 0]],
  })
  reader.measure({
    name: 'upstream_status',
    help: 'Whether requests are sent to a node whose health is checked',
    labels: ['name', 'ip', 'port'],
    read: () => [...targets()].map(({ name, ip, port, usable }) => [[name, ip, String(port)], usable ? 1 : 0]),
  })
  reader.measure({
    name: 'sluice_ledger_tickets',
    help: 'Tickets of limits by what became of them: opened is the sum of all others',
    labels: ['kind', 'backing', 'state'],
    read: () => ticketRows(ledger().totals() ?? [], log),
  })
  reader.measure({
    name: 'sluice_ledger_full_total',
    help: 'Takes for whose key or ticket there was no place',
    labels: [],
    type: 'counter',
    read: () => [[[], ledger().full]],
  })
  // What nginx has shared dictionaries for: named as APISIX's, so that its dashboards show how full ours are.
  reader.measure({
    name: 'shared_dict_capacity_bytes',
    help: 'Memory that workers share',
    labels: ['name'],
    read: () => [...room()].map(({ name, capacity }) => [[name], capacity]),
  })
  reader.measure({
    name: 'shared_dict_free_space_bytes',
    help: 'How much of the memory that workers share is free',
    labels: ['name'],
    read: () => [...room()].map(({ name, free }) => [[name], free]),
  })
  errorCounter(metrics).add([], 0)
  const replacements = metrics.counter(
    'sluice_worker_replacements_total',
    'Workers that were replaced, by reason and by the plugin that held them up',
    ['reason', 'plugin'],
  )
  return {
    replaced: (reason, plugin = '') => replacements.add([reason, plugin]),
    process: () => register.metrics(),
  }
}

/** All of one moment, so that they must add up; that they do not is a bug of ours that somebody has to hear of. */
function* ticketRows(totals: readonly Totals[], log: Logger): Iterable<readonly [string[], number]> {
  for (const { kind, backing, ...states } of totals) {
    const { opened, settled, released, lapsed, live } = states
    if (opened !== settled + released + lapsed + live)
      log.error({ kind, backing, ...states }, 'the books of the ledger do not balance')
    for (const [state, count] of Object.entries(states)) yield [[kind, backing, state], count]
  }
}
