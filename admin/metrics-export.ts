// The Prometheus page: what the workers counted, and what main knows of itself. Reading it touches no worker.
import { hostname } from 'node:os'
import type Koa from 'koa'
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { Logger } from '../core/observe/log.ts'
import { type MetricsReader, PROMETHEUS_TEXT } from '../core/observe/metrics-reader.ts'
import { openApp, refuse } from './answer.ts'

export interface MetricsExportDeps {
  reader: MetricsReader
  own: OwnMetrics
  /** Path of the page. */
  uri: string
  /** The revision that every worker serves; undefined before the first. */
  revision(): number | undefined
  log: Logger
  serverName: string
}

export function metricsExport({ reader, own, uri, revision, log, serverName }: MetricsExportDeps): Koa {
  const app = openApp({ log, serverName })
  app.use(async ctx => {
    if (ctx.path !== uri) throw refuse(404, 'not found')
    if (ctx.method !== 'GET' && ctx.method !== 'HEAD') throw refuse(405, 'only GET is supported')
    ctx.type = PROMETHEUS_TEXT
    ctx.body = `${await own.print(revision() ?? 0)}${reader.print()}`
  })
  return app
}

/** The small families of the main thread. */
export interface OwnMetrics {
  /** A worker was replaced. */
  replaced(reason: string, plugin: string | undefined): void
  print(revision: number): Promise<string>
}

/** `prefix` stands before the names of APISIX's families. */
export function ownMetrics({ prefix, version }: { prefix: string; version: string }): OwnMetrics {
  const register = new Registry()
  const registers = [register]
  collectDefaultMetrics({ register, prefix: 'sluice_main_' })
  new Gauge({
    name: `${prefix}node_info`,
    help: 'Info of this node',
    labelNames: ['hostname', 'version'],
    registers,
  }).set({ hostname: hostname(), version }, 1)
  const served = new Gauge({
    name: 'sluice_config_revision',
    help: 'Revision of the configuration that every worker serves',
    registers,
  })
  const replacements = new Counter({
    name: 'sluice_worker_replacements_total',
    help: 'Workers that were replaced, by reason and by the plugin that held them up',
    labelNames: ['reason', 'plugin'],
    registers,
  })
  return {
    replaced: (reason, plugin = '') => replacements.inc({ reason, plugin }),
    print(revision) {
      served.set(revision)
      return register.metrics()
    },
  }
}
