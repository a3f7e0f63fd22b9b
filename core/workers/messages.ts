// What main and a worker thread say to each other; everything here survives structured cloning.
import type { Touched } from '../budgets/touched.ts'
import type { AccountView } from '../budgets/view.ts'
import type { Decision } from '../explain/decision.ts'
import type { AskedRequest, Rehearsed } from '../explain/rehearsal.ts'
import type { ForwardingOptions } from '../forwarding.ts'
import type { GatewayOptions } from '../gateway.ts'
import type { SandboxLimits } from '../javascript/sandbox.ts'
import type { Address, ListenerLimits } from '../listener.ts'
import type { MinRevisionLimits } from '../min-revision.ts'
import type { AccessLogSettings } from '../observe/access-log.ts'
import type { MetricSettings } from '../observe/family-traits.ts'
import type { SeriesDefinition, WithdrawnSeries } from '../observe/metrics.ts'
import type { OverloadLimits } from '../overload.ts'
import type { PluginCode } from '../plugin-code/code.ts'
import type { KeepAlive } from '../proxy/connections.ts'
import type { ResolverOptions } from '../proxy/dns/resolver.ts'
import type { Watch } from '../proxy/health/board.ts'
import type { RouterName } from '../router/routers.ts'
import type { Change, Item, Revision } from '../store/store.ts'
import type { Rejected } from '../sync.ts'
import type { OnUnknown } from '../unknown-plugins.ts'
import type { PageAnswer, PageRequest } from './metrics-page.ts'
import type { SharedMemory } from './shared-memory.ts'

/** What a worker is started with: the part of the configuration that concerns the data plane. */
export interface WorkerSettings {
  listen: readonly Address[]
  limits: ListenerLimits & GatewayOptions['limits']
  overload: OverloadLimits
  forwarding: ForwardingOptions
  /** Undefined where no request may ask for a revision. */
  minRevision: MinRevisionLimits | undefined
  names: NameSettings
  /** Where names may not lead. */
  deniedAddresses: readonly string[]
  /** JSON, for configurations that name no service account of Google's. */
  gcpServiceAccount: string | undefined
  keepAlive: KeepAlive
  /** Whether upstreams that say how are checked. */
  healthChecks: boolean
  serverName: string
  showUpstreamStatus: boolean
  /** MiB of JavaScript heap; a worker that needs more is ended and replaced. */
  heapMb: number
  /** How routes are found. */
  router: RouterName
  /** Bytes of a body that routes may look into. */
  maxPostArgs: number
  /** Names of the plugins that are enabled. */
  plugins: readonly string[]
  /** The user's own plugins. */
  code: PluginCode
  onUnknownPlugin: OnUnknown
  /** Undefined where configs may hold no functions. */
  javascript: SandboxLimits | undefined
  metrics: MetricSettings
  /** Where public-api may expose the Prometheus page; undefined where it has a server of its own. */
  metricsPage: string | undefined
  /** Bytes of decision records that each worker keeps; 0 for none. */
  explain: number
  debugKey: string | undefined
  debugMode: boolean
  log: { level: string; file: string | undefined }
  accessLog: AccessLogSettings | undefined
}

/** How names are resolved: those of nodes by `servers`, or the system's; those of services by `serviceServers`, or the same. */
export interface NameSettings extends Pick<ResolverOptions, 'servers' | 'validMs' | 'timeoutMs' | 'search' | 'ipv6'> {
  serviceServers: readonly string[]
}

/** What a worker is born with. */
export interface Birth {
  /** Never given twice. */
  id: number
  /** From 0 on; the worker that takes its place has the same. */
  seat: number
  settings: WorkerSettings
  /** Shared by all workers. */
  shared: SharedMemory
  /** This worker's own, read by main. */
  breadcrumb: SharedArrayBuffer
}

export interface DrainOrder {
  /** Milliseconds that requests may take to end. */
  graceMs: number
  /** Another worker has taken over: connections that are idle may bring one more request, whose answer closes them. */
  gently: boolean
}

/** A worker's call of a ConfigSource, or that a piece of the answer has come, so that the next may. */
export type FeedRequest = { type: 'list' } | { type: 'watch'; since: Revision } | { type: 'arrived' }

/** `more`: the rest of the list, or of the changes of one write, follows. */
export type FeedAnswer =
  | { type: 'listed'; items: readonly Item[]; revision: Revision; more: boolean }
  | { type: 'list_failed'; message: string }
  | { type: 'changed'; changes: readonly Change[]; more: boolean }
  | { type: 'lost'; message: string }

/** What operators ask a worker, and what it says. */
export interface Questions {
  /** By the id of a request. */
  decision: { asked: string; answer: Decision | undefined }
  rehearsal: { asked: AskedRequest; answer: Rehearsed }
}

/** One of them. */
export type Question = { [Q in keyof Questions]: { about: Q; asked: Questions[Q]['asked'] } }[keyof Questions]

export type ToWorker =
  | FeedAnswer
  | ({ type: 'drain' } & DrainOrder)
  | { type: 'reopen_log' }
  /** The answer to that question of this worker's. */
  | { type: 'standings'; question: number; views: readonly AccountView[] }
  /** Series that have not moved for long, by the worker's numbers. */
  | { type: 'expire'; series: readonly number[] }
  | { type: 'ask'; number: number; question: Question }
  | PageAnswer

export type ToMain =
  | FeedRequest
  | { type: 'listening' }
  /** `rejected` is undefined when it is what it was before. */
  | { type: 'applied'; revision: Revision; rejected: readonly Rejected[] | undefined }
  | { type: 'series'; series: SeriesDefinition }
  | { type: 'no_series'; series: WithdrawnSeries }
  | { type: 'watch_health'; watch: Watch }
  | { type: 'unwatch_health'; key: string }
  | { type: 'touched'; accounts: readonly Touched[] }
  | { type: 'ask_standings'; question: number; principals: readonly string[] }
  | { type: 'answered'; number: number; answer: Questions[keyof Questions]['answer'] }
  | PageRequest
  | { type: 'failing'; message: string; stack: string | undefined }
  | { type: 'drained' }
