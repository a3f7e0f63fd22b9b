// A gateway in this process on a real socket, with resources given directly; every test makes its own.

import { Forwarding, type ForwardingOptions } from '../../core/forwarding.ts'
import { Gateway, type GatewayOptions } from '../../core/gateway.ts'
import { HoldBook } from '../../core/holds.ts'
import { listen } from '../../core/listener.ts'
import { MinRevision, type MinRevisionLimits } from '../../core/min-revision.ts'
import { type Logger, silent } from '../../core/observe/log.ts'
import { MetricsReader } from '../../core/observe/metrics-reader.ts'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'
import { PluginFailures } from '../../core/observe/plugin-failures.ts'
import { Traffic } from '../../core/observe/traffic.ts'
import { Overload, type OverloadLimits } from '../../core/overload.ts'
import type { Plugin } from '../../core/plugin.ts'
import { localState } from '../../core/proxy/balancer/state.ts'
import { Transport } from '../../core/proxy/transport.ts'
import type { Change, ConfigSource, Item, Kind, Revision } from '../../core/store/store.ts'
import { type Rejected, Sync } from '../../core/sync.ts'
import { builtins } from '../../plugins/index.ts'

/** Resources by kind and id: `{ routes: { 1: { uri: '/*', ... } } }`. */
export type Resources = { [K in Kind]?: Record<string, Record<string, unknown>> }

export interface GatewayOptionsForTest {
  resources?: Resources
  /** In the place of resources; `put` does nothing then. */
  source?: ConfigSource
  /** Told every revision that is served from now on. */
  applied?: (revision: Revision) => void
  /** Beside the built-in ones. */
  plugins?: readonly Plugin[]
  /** In the place of all. */
  allPlugins?: ReadonlyMap<string, Plugin>
  log?: Logger
  now?: () => number
  limits?: Partial<GatewayOptions['limits']>
  showUpstreamStatus?: boolean
  overload?: Partial<OverloadLimits>
  maxConnections?: number
  forwarding?: Partial<ForwardingOptions>
  minRevision?: MinRevisionLimits
}

const NOBODY = { header: 'X-Real-IP', from: [], recursive: false }

export interface TestGateway {
  /** http://127.0.0.1:port */
  readonly url: string
  readonly port: number
  readonly gateway: Gateway
  readonly book: HoldBook
  readonly rejected: readonly Rejected[]
  /** Writes resources as the store would; null deletes. Resolves when they are served. */
  put(resources: { [K in Kind]?: Record<string, Record<string, unknown> | null> }): Promise<void>
  /** The Prometheus text. */
  scrape(): string
  close(): Promise<void>
}

export async function startGateway(options: GatewayOptionsForTest = {}): Promise<TestGateway> {
  const log = options.log ?? silent
  const reader = new MetricsReader()
  const metrics = new MetricsWriter({
    publish: series => reader.add('test', series),
    withdraw: series => reader.remove('test', series),
  })
  const transport = new Transport()
  const book = new HoldBook(metrics)
  const minRevision = options.minRevision && new MinRevision(options.minRevision)
  let revision = 1
  let rejected: readonly Rejected[] = []
  let changed: (changes: readonly Change[]) => void = () => {}
  const waiting: { revision: number; resolve: () => void }[] = []
  const itemOf = (kind: Kind, id: string, value: Record<string, unknown>): Item => ({
    kind,
    id,
    value: { id, ...value },
    createRevision: revision,
    modRevision: revision,
  })
  const all = [...builtins, ...(options.plugins ?? [])]
  const sync = new Sync({
    source: options.source ?? {
      list: async () => ({
        items: Object.entries(options.resources ?? {}).flatMap(([kind, items]) =>
          Object.entries(items).map(([id, value]) => itemOf(kind as Kind, id, value)),
        ),
        revision,
      }),
      watch: (_since, listener) => {
        changed = listener
        return () => {}
      },
    },
    env: {
      now: options.now ?? Date.now,
      random: Math.random,
      balancing: localState({ now: Date.now, random: Math.random }),
      log,
      metrics,
      transport,
      plugins: options.allPlugins ?? new Map(all.map(plugin => [plugin.name, plugin])),
    },
    applied: (applied, bad) => {
      minRevision?.applied(applied)
      rejected = bad
      options.applied?.(applied)
      for (const waiter of waiting.splice(0)) {
        if (waiter.revision <= applied) waiter.resolve()
        else waiting.push(waiter)
      }
    },
  })
  await sync.start()
  const gateway = new Gateway({
    snapshot: () => sync.current,
    book,
    overload: new Overload(
      { maxRequestsInFlight: 10_000, maxBufferedBytes: 2 ** 30, maxLoopLag: 60_000, ...options.overload },
      metrics,
    ),
    log,
    failures: new PluginFailures(metrics),
    limits: {
      maxBodySize: 0,
      bodyTimeout: 60_000,
      sendTimeout: 60_000,
      hookTimeout: 60_000,
      turnGrace: 2_000,
      ...options.limits,
    },
    minRevision,
    forwarding: new Forwarding({ trusted: undefined, realIp: NOBODY, ...options.forwarding }),
    serverName: 'APISIX/3.18.0',
    breadcrumb: { at() {}, beat() {} },
    showUpstreamStatus: options.showUpstreamStatus ?? false,
  })
  const listener = await listen({
    address: { host: '127.0.0.1', port: 0 },
    gateway,
    serve: minRevision?.before(gateway.handle),
    limits: {
      headerTimeout: 60_000,
      requestTimeout: 0,
      keepAliveTimeout: 60_000,
      maxHeaderSize: 65_536,
      maxConnections: options.maxConnections ?? 10_000,
    },
    log,
    traffic: new Traffic(metrics),
    refused: metrics.counter('sluice_requests_refused_total', 'Requests that could not be parsed', ['status']),
  })
  return {
    url: `http://127.0.0.1:${listener.address.port}`,
    port: listener.address.port,
    gateway,
    book,
    get rejected() {
      return rejected
    },
    async put(resources) {
      revision++
      const changes = Object.entries(resources).flatMap(([kind, items]) =>
        Object.entries(items).map(
          ([id, value]): Change => ({
            kind: kind as Kind,
            id,
            revision,
            item: value === null ? undefined : itemOf(kind as Kind, id, value),
          }),
        ),
      )
      const served = new Promise<void>(resolve => waiting.push({ revision, resolve }))
      changed(changes)
      await served
    },
    scrape: () => reader.print(),
    async close() {
      gateway.endKeepAlive()
      await gateway.drain(0)
      await listener.stop({ graceMs: 0, gently: false })
      await sync.close()
      await transport.close()
    },
  }
}
