// What a plugin is: one value. It registers nothing, patches nothing, and sees a request only through its Context.
import type { Accounts } from './budgets/touched.ts'
import type { Context } from './context.ts'
import type { Endpoints } from './endpoints.ts'
import type { Sandbox } from './javascript/sandbox.ts'
import type { Infer, Schema } from './json-schema.ts'
import type { Ledgers } from './ledger/ledgers.ts'
import type { EventFilter } from './llm/answer-event.ts'
import type { GcpTokens } from './llm/auth/gcp-tokens.ts'
import type { Exchange } from './llm/exchange.ts'
import type { Logger } from './observe/log.ts'
import type { Metrics } from './observe/metrics.ts'
import type { BalancerState } from './proxy/balancer/state.ts'
import type { CheckedEndpoint, ProbedEndpoint } from './proxy/probed-endpoint.ts'
import type { Transport } from './proxy/transport.ts'
import type { Filter, Reply } from './reply.ts'

export type Awaitable<T> = T | Promise<T>

export type { Infer, Schema }

/** A hook that may end the turn by returning a Reply. */
export type TurnHook = (ctx: Context) => Awaitable<Reply | void>

/**
 * What a plugin does with a request, one optional function per phase, in the order in which they run.
 * Response hooks (`header_filter`, `body_filter`, `log`) also run when a turn hook of this plugin never did
 * (facts core 1.4): read slots with that in mind.
 */
export interface Hooks {
  /** Who is asking, and for what. Authentication lives here. */
  rewrite?: TurnHook
  /** May they, and who will answer. */
  access?: TurnHook
  /** Last look before the upstream; `ctx.upstream` may be wrapped here. */
  before_proxy?: TurnHook
  /**
   * Returns the filter for the events of an LLM's answer, in the client's protocol, or nothing to leave it alone. It runs
   * before any other response hook, and what it throws ends the answer: it may have been there to guard it.
   */
  event_filter?(ctx: Context, exchange: Exchange): EventFilter | void
  /** Status and headers may be changed; the body may not. */
  header_filter?(ctx: Context, reply: Reply): Awaitable<void>
  /** Returns the filter for this response's body, or nothing to leave it alone. */
  body_filter?(ctx: Context, reply: Reply): Filter | void
  /** Always, once, after the last byte or the break; every hold has ended by then. */
  log?(ctx: Context): Awaitable<void>
  /** The config is gone and no request uses it any more. */
  close?(): Awaitable<void>
  /** Something of it goes on between requests: whoever takes its place is set up at once, not with its first request. */
  lasting?: boolean
}

/** Who a plugin instance belongs to: the resource its config is written on. */
export interface Owner {
  kind: 'route' | 'service' | 'plugin_config' | 'consumer' | 'consumer_group' | 'global_rule'
  id: string
}

/** What an instance may use besides the request. */
export interface Env<M = unknown> {
  /** Milliseconds since the epoch. */
  now(): number
  /** Uniform in [0, 1). */
  random(): number
  log: Logger
  metrics: Metrics
  /** Where limits are counted: in memory that all workers share, or in Redis. */
  ledger: Pick<Ledgers, 'own' | 'redis'>
  /** Where it is told what was spent of budgets. */
  accounts: Accounts
  transport: Transport
  /** What balancers remember, by name: of all workers together. */
  balancing: BalancerState
  /** Has all addresses of an endpoint probed until it is closed; undefined where health is not checked. */
  probe?: ((endpoint: CheckedEndpoint) => ProbedEndpoint) | undefined
  /** Of Google's service accounts, the gateway's own included. */
  gcpTokens: GcpTokens
  owner: Owner
  /** The plugin's metadata with its defaults; undefined while there is none. Other metadata means another instance. */
  metadata: M | undefined
  /**
   * The metadata of another plugin with its defaults, undefined where there is none. To be called in `setup`: when it changes,
   * another instance is made.
   */
  metadataOf(plugin: string): unknown
  /** Runs functions of configs; undefined where there may be none. */
  sandbox?: Sandbox | undefined
  /** What plugins answer themselves, for the one that exposes it. */
  endpoints?: Endpoints | undefined
  /**
   * The hooks of another plugin with a config of its own, as if a resource named it: its defaults are filled, its `_meta` holds.
   * They are this plugin's to call, and are closed with it. To be called in `setup`; throws for what cannot be used.
   */
  use(plugin: string, config: Record<string, unknown>): Hooks
}

/** What a plugin answers itself, on whatever route `public-api` exposes it; nowhere without one. */
export interface Endpoint {
  readonly methods: readonly string[]
  readonly path: string
  answer(ctx: Context, env: EndpointEnv): Awaitable<Reply>
}
export type EndpointEnv = Pick<Env, 'now' | 'random' | 'log' | 'metrics' | 'transport' | 'accounts'>

export interface PluginSpec<S extends Schema, C extends Schema, M extends Schema> {
  name: string
  /** Higher runs earlier, in every phase. */
  priority: number
  version: number
  /** `auth`: identifies a consumer; its consumer config is what `consumer` describes. */
  type?: 'auth'
  /** `prefer_route`: skipped in global rules where the matched route has it too. */
  runPolicy?: 'prefer_route'
  schema: S
  /** Schema of what stands in a consumer's `plugins` under this name (auth plugins only). */
  consumer?: C
  /** Schema of the settings that all uses of the plugin share (facts core 3.9); any object without it. */
  metadata?: M
  /** Attributes that a config must have, or the metadata there is when the config is written. */
  orMetadata?: readonly string[]
  /** Auth plugins: which value of a consumer's config identifies it in a request. */
  credential?(config: Infer<C>): string
  /** Auth plugins: names of header fields and arguments in which a config looks for credentials. */
  carriers?(config: Infer<S>): readonly string[]
  /** Paths of config values that are encrypted at rest (facts core 4.10). */
  encrypt?: readonly string[]
  /** Attributes that APISIX knows and we accept without effect: each is reported once per config. */
  inert?: readonly string[]
  /** APIs of the plugin's own, whatever its configs. */
  endpoints?: readonly Endpoint[]
  /** What the schema cannot say. Returns what is wrong, or nothing. Must not have side effects. */
  check?(config: Infer<S>): string | undefined
  /** The same for the metadata. */
  checkMetadata?(metadata: Infer<M>): string | undefined
  /** Called once per config, not once per request. */
  setup(config: Infer<S>, env: Env<Infer<M>>): Hooks
}

/** A plugin whose config types have been forgotten; configs were validated against its schema before they get here. */
export interface Plugin
  extends Omit<PluginSpec<Schema, Schema, Schema>, 'check' | 'checkMetadata' | 'setup' | 'credential' | 'carriers'> {
  check?(config: unknown): string | undefined
  checkMetadata?(metadata: unknown): string | undefined
  setup(config: unknown, env: Env): Hooks
  credential?(config: unknown): string
  carriers?(config: unknown): readonly string[]
}

/** Makes a plugin. The schema is the source of the type of `config` in `setup` and `check`. */
export function plugin<
  const S extends Schema,
  const C extends Schema = { readonly type: 'object' },
  const M extends Schema = { readonly type: 'object' },
>(spec: PluginSpec<S, C, M>): Plugin {
  // The cast forgets the config's type; schema validation at load is what it stands on.
  return spec as unknown as Plugin
}
