// Composition root of a gateway within somebody's process: resources are given, not stored. Sees everything but admin and threads.
import { builtins } from '../plugins/index.ts'
import type { Books } from './budgets/books.ts'
import { openBooks } from './budgets/open-books.ts'
import { DebugKey } from './debug-key.ts'
import { endpointsOf } from './endpoints.ts'
import { Decisions } from './explain/decisions.ts'
import { Forwarding, type ForwardingOptions } from './forwarding.ts'
import { Gateway, type GatewayOptions } from './gateway.ts'
import { HoldBook } from './holds.ts'
import { Sandbox, type SandboxLimits } from './javascript/sandbox.ts'
import { available, type KnownPlugins, PluginMap } from './known-plugins.ts'
import { LedgerMemory, ledgerMemory } from './ledger/ledger-memory.ts'
import { Ledgers } from './ledger/ledgers.ts'
import { GcpTokens } from './llm/auth/gcp-tokens.ts'
import { type LocalUpstreams, localUpstreams } from './local-upstreams.ts'
import type { MetricSettings } from './observe/family-traits.ts'
import { type Logger, silent } from './observe/log.ts'
import type { Metrics } from './observe/metrics.ts'
import { MetricsReader } from './observe/metrics-reader.ts'
import { MetricsWriter } from './observe/metrics-writer.ts'
import { pageEndpoint } from './observe/page-endpoint.ts'
import { PluginFailures } from './observe/plugin-failures.ts'
import { expireSeries } from './observe/series-expiry.ts'
import { Overload, type OverloadLimits } from './overload.ts'
import type { Plugin } from './plugin.ts'
import type { RouterName } from './router/routers.ts'
import { type ResolvedOptions, ResolvedSource } from './secrets/resolved.ts'
import { Secrets, type SecretsOptions } from './secrets/secrets.ts'
import { inSlices, steps } from './slices.ts'
import type { Change, ConfigSource, Item, Kind, Revision } from './store/store.ts'
import { type Rejected, Sync } from './sync.ts'

/** Resources by kind and id: `{ routes: { 1: { uri: '/*', ... } } }`. */
export type Resources = { [K in Kind]?: Record<string, Record<string, unknown>> }

export interface InProcessOptions {
  resources?: Resources
  /** In the place of resources; `put` does nothing then. */
  source?: ConfigSource
  /** Told every revision that is served from now on. */
  applied?: (revision: Revision) => void
  /** Beside the built-in ones. */
  plugins?: readonly Plugin[]
  /** In the place of all. */
  allPlugins?: KnownPlugins
  /** Configs may hold functions, and these are their limits. */
  javascript?: SandboxLimits
  log?: Logger
  /** Where `$env://` leads; without it to nothing. */
  env?: Readonly<Record<string, string | undefined>>
  /** How long secrets are kept, and how often it is looked for others. */
  secrets?: Pick<SecretsOptions, 'times'> & Pick<ResolvedOptions, 'lookEvery'>
  /** Milliseconds since the epoch, for plugins. */
  now?: () => number
  /** How routes are found; `radixtree_host_uri` by default. */
  router?: RouterName
  /** Bytes of a body that routes may look into; 8 MiB by default. */
  maxPostArgs?: number
  limits?: Partial<GatewayOptions['limits']>
  overload?: Partial<OverloadLimits>
  forwarding?: Partial<ForwardingOptions>
  showUpstreamStatus?: boolean
  /** JSON, for configurations that name no service account of Google's. */
  gcpServiceAccount?: string
  minRevision?: GatewayOptions['minRevision']
  /** Labels and buckets of metrics. */
  metrics?: MetricSettings
  /** Bytes of decision records; none by default. */
  explain?: number
  /** Whoever shows it sees what a request went through; nobody without it. */
  debugKey?: string
  /** Every response says which plugins the request went through. */
  debugMode?: boolean
  /** Closed with the gateway. */
  upstreams?: LocalUpstreams
  /** Where it is written what is spent of budgets; without it they begin anew with the gateway. */
  dataFolder?: string
}

export interface InProcess {
  readonly gateway: Gateway
  readonly book: HoldBook
  readonly upstreams: LocalUpstreams
  readonly metrics: Metrics
  /** Of budgets. */
  readonly books: Books
  /** Resources that are not served, and why. */
  readonly rejected: readonly Rejected[]
  /** Writes resources as the store would; null deletes. Resolves when they are served. */
  put(resources: { [K in Kind]?: Record<string, Record<string, unknown> | null> }): Promise<void>
  /** The Prometheus text. */
  scrape(): string
  /** Resolves when the requests in flight have ended; after `graceMs` they are given up. */
  drain(graceMs: number): Promise<void>
  /** Ends what is left. Call it when no request is in flight any more. */
  close(): Promise<void>
}

/** As APISIX has it (facts ai-plugins 19.1); there is no server of its own here. */
const METRICS_PAGE = '/apisix/prometheus/metrics'
const NOBODY = { header: 'X-Real-IP', from: [], recursive: false }

const LIMITS = { maxBodySize: 0, bodyTimeout: 60_000, sendTimeout: 60_000, hookTimeout: 60_000, turnGrace: 5_000 }
const OVERLOAD = { maxRequestsInFlight: 10_000, maxBufferedBytes: 512 * 2 ** 20, maxLoopLag: 60_000 }

/** Resolves when the resources are served. */
export async function openInProcess(options: InProcessOptions): Promise<InProcess> {
  const log = options.log ?? silent
  const reader = new MetricsReader({ expiry: family => options.metrics?.[family]?.expireMs ?? 0 })
  const metrics = new MetricsWriter({
    publish: series => reader.add('process', series),
    withdraw: series => reader.remove('process', series),
    ...(options.metrics && { settings: options.metrics }),
  })
  async function* printed() {
    yield* reader.slices()
  }
  const keepSeries = expireSeries({
    reader,
    settings: options.metrics ?? {},
    withdraw: (_, all) => void inSlices(steps(all, series => metrics.expire(series))),
    now: () => performance.now(),
  })
  const upstreams = options.upstreams ?? localUpstreams({ log })
  const book = new HoldBook(metrics)
  const now = options.now ?? Date.now
  const ledger = new Ledgers({ books: new LedgerMemory(ledgerMemory(), 0), now, log, metrics })
  let revision = 1
  let rejected: readonly Rejected[] = []
  const watchers = new Set<(changes: readonly Change[]) => void>()
  const waiting: { revision: number; resolve: () => void }[] = []
  const itemOf = (kind: Kind, id: string, value: Record<string, unknown>): Item => ({
    kind,
    id,
    value: { id, ...value },
    createRevision: revision,
    modRevision: revision,
  })
  const sandbox = options.javascript && new Sandbox(options.javascript)
  const javascript = sandbox !== undefined
  const all = [...available(builtins, javascript), ...(options.plugins ?? [])]
  const named = all.map((plugin): [string, Plugin] => [plugin.name, plugin])
  const plugins = options.allPlugins ?? new PluginMap(named, javascript)
  const source = options.source ?? {
    list: async () => ({
      items: Object.entries(options.resources ?? {}).flatMap(([kind, items]) =>
        Object.entries(items).map(([id, value]) => itemOf(kind as Kind, id, value)),
      ),
      revision,
    }),
    watch: (_since, listener) => {
      watchers.add(listener)
      return () => watchers.delete(listener)
    },
  }
  const secrets = new Secrets({ env: options.env ?? {}, log, now: () => performance.now(), ...options.secrets })
  const resolved = new ResolvedSource({ source, secrets, plugins, log, ...options.secrets })
  const budgets = await openBooks({
    source: resolved,
    plugins,
    ledgers: ledger,
    folder: options.dataFolder,
    lookup: upstreams.transport.lookup,
    metrics,
    now,
    random: Math.random,
    log,
  })
  const { books } = budgets
  const sync = new Sync({
    source: resolved,
    env: {
      now,
      random: Math.random,
      upstreams,
      log,
      metrics,
      ledger,
      accounts: {
        touched: touched => books.touched([touched]),
        standings: principals => books.standings(principals),
      },
      transport: upstreams.transport,
      ...(options.router && { router: options.router }),
      ...(options.maxPostArgs !== undefined && { maxPostArgs: options.maxPostArgs }),
      plugins,
      gcpTokens: new GcpTokens({
        transport: upstreams.transport,
        account: options.gcpServiceAccount,
        now: options.now ?? Date.now,
      }),
      sandbox,
      endpoints: endpointsOf(plugins.values(), [pageEndpoint(METRICS_PAGE, printed)]),
    },
    applied: (applied, bad) => {
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
    overload: new Overload({ ...OVERLOAD, ...options.overload }, metrics),
    log,
    failures: new PluginFailures(metrics),
    decisions: new Decisions(options.explain ?? 0, () => plugins.keys()),
    debugKey: new DebugKey(options.debugKey),
    debugMode: options.debugMode ?? false,
    limits: { ...LIMITS, ...options.limits },
    forwarding: new Forwarding({ trusted: undefined, realIp: NOBODY, ...options.forwarding }),
    serverName: 'APISIX/3.18.0',
    minRevision: options.minRevision,
    breadcrumb: { at() {}, beat() {} },
    showUpstreamStatus: options.showUpstreamStatus ?? false,
  })
  return {
    gateway,
    book,
    upstreams,
    metrics,
    books,
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
      for (const changed of watchers) changed(changes)
      await served
    },
    scrape: () => reader.print(),
    drain: graceMs => gateway.drain(graceMs),
    async close() {
      keepSeries()
      await sync.close()
      await budgets.close()
      await resolved.close()
      await Promise.all([upstreams.close(), sandbox?.close()])
    },
  }
}
