// The Prometheus page: what the workers counted, and what main knows of itself. Reading it touches no worker.
import { hostname } from 'node:os'
import type Koa from 'koa'
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { Logger } from '../core/observe/log.ts'
import { type MetricsReader, PROMETHEUS_TEXT } from '../core/observe/metrics-reader.ts'
import { openApp, refuse } from './answer.ts'

export interface MetricsExportDeps {
  reader: MetricsReader
  /** Path of the page. */
  uri: string
  /** Before the names of APISIX's families. */
  prefix: string
  version: string
  /** The revision that every worker serves; undefined before the first. */
  revision(): number | undefined
  log: Logger
  serverName: string
}

export function metricsExport(deps: MetricsExportDeps): Koa {
  const { reader, uri, log, serverName } = deps
  const own = ownMetrics(deps)
  const app = openApp({ log, serverName })
  app.use(async ctx => {
    if (ctx.path !== uri) throw refuse(404, 'not found')
    if (ctx.method !== 'GET' && ctx.method !== 'HEAD') throw refuse(405, 'only GET is supported')
    ctx.type = PROMETHEUS_TEXT
    ctx.body = `${await own.metrics()}${reader.print()}`
  })
  return app
}

/** The small families of the main thread. */
function ownMetrics({ prefix, version, revision }: MetricsExportDeps): Registry {
  const registers = [new Registry()]
  collectDefaultMetrics({ register: registers[0]!, prefix: 'sluice_main_' })
  new Gauge({
    name: `${prefix}node_info`,
    help: 'Info of this node',
    labelNames: ['hostname', 'version'],
    registers,
  }).set({ hostname: hostname(), version }, 1)
  new Gauge({
    name: 'sluice_config_revision',
    help: 'Revision of the configuration that every worker serves',
    registers,
    collect() {
      this.set(revision() ?? 0)
    },
  })
  return registers[0]!
}
