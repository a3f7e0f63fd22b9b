// The configuration at one moment, as a request sees it from its beginning to its end. Knows not how it came about.

import type { ConsumerPlans, Joining } from './consumer-plans.ts'
import type { Consumer, ConsumerIndex, Context } from './context.ts'
import type { Edition, EditionEnv } from './edition.ts'
import type { Editions } from './editions.ts'
import { GatewayError } from './errors.ts'
import type { KnownPlugins } from './known-plugins.ts'
import { type Attached, type Instance, type Plan, plan } from './pipeline.ts'
import type { Awaitable, Env } from './plugin.ts'
import type { UpstreamEnv } from './proxy/upstream-env.ts'
import type { ServedKind } from './resource.ts'
import { readFields } from './router/post-arg.ts'
import type { Found, Seen } from './router/router.ts'
import type { RouterName } from './router/routers.ts'
import { type Match, type RouteEdition, ServedRoute } from './served-route.ts'
import type { Revision } from './store/store.ts'

/** What the configuration of a worker is made with. */
export interface SnapshotEnv extends Omit<Env, 'owner' | 'metadata' | 'metadataOf' | 'use' | 'balancing' | 'probe'> {
  plugins: KnownPlugins
  upstreams: UpstreamEnv
  /** `radixtree_host_uri` without it. */
  router?: RouterName
  /** Bytes of a body that routes may look into; 8 MiB without it. */
  maxPostArgs?: number
}

const DEFAULT_MAX_POST_ARGS = 8 * 2 ** 20

const noPlugins: Attached = new Map()

/** A number and a few lists: resources stand among the editions, each with the numbers of the snapshots that have it. */
export class Snapshot implements ConsumerIndex {
  readonly number: number
  readonly revision: Revision
  readonly globalRules: readonly Instance[]
  /** The plan of a request that matches no route. */
  readonly globalOnly: Plan
  /** The first snapshot whose services and upstreams, or what else routes name, are those of this one. */
  readonly namedSince: number
  readonly #editions: Editions
  #users = 0
  #over: (() => void) | undefined

  constructor(
    editions: Editions,
    made: { number: number; revision: Revision; globalRules: readonly Instance[]; namedSince: number },
  ) {
    this.#editions = editions
    this.number = made.number
    this.revision = made.revision
    this.globalRules = made.globalRules
    this.globalOnly = plan(made.globalRules, noPlugins)
    this.namedSince = made.namedSince
  }

  /** As `match`; a promise when a route that may match asks for the body, or has a function that must be asked. */
  matchWhenKnown(ctx: Context): Awaitable<Match | undefined> {
    const found = this.findWhenKnown(ctx)
    if (found instanceof Promise) return found.then(each => each && this.#matched(each))
    return found && this.#matched(found)
  }

  /** The same route as it stands, of which nothing is made. */
  findWhenKnown(ctx: Context): Awaitable<Found<RouteEdition> | undefined> {
    const { router, env } = this.#editions
    let waits = false
    const found = router.find(ctx.request, route => {
      if (!route.seenBy(this.number)) return false
      waits = route.waitsForBody(ctx)
      return waits || route.accepts(ctx)
    })
    if (found === undefined) return undefined
    if (!waits && !found.value.isUndecided(ctx)) return found
    const known = waits ? this.#readFields(ctx) : found.value.decide(ctx, env)
    return known.then(() => this.findWhenKnown(ctx))
  }

  /** Shows every route whose path fits a request, in order of precedence; behind them those that are off. */
  visit(ctx: Context, see: (seen: Seen<RouteEdition>) => void): void {
    this.#editions.router.visit(ctx.request, seen => {
      if (seen.value.seenBy(this.number)) see(seen)
    })
    this.#editions.routesOff(this.number).visit(ctx.request, see)
  }

  /** What its resources are made with. */
  get env(): EditionEnv {
    return this.#editions.env
  }

  async #readFields(ctx: Context): Promise<void> {
    const { env } = this.#editions
    const max = env.maxPostArgs ?? DEFAULT_MAX_POST_ARGS
    if (await readFields(ctx, max)) return
    env.log.warn({ request_id: ctx.id, max }, 'a body is too large for routes to look into')
  }

  /** The route that serves a request; a body that has not come yet has no fields, and functions say yes. */
  match(ctx: Context): Match | undefined {
    const { router } = this.#editions
    const found = router.find(ctx.request, route => route.seenBy(this.number) && route.accepts(ctx))
    return found && this.#matched(found)
  }

  get carriers(): ReadonlySet<string> {
    return this.#editions.carriers
  }

  find(plugin: string, credential: string): Consumer | undefined {
    return this.#editions.credentials.find(plugin, credential, this)
  }

  named(username: string): Consumer | undefined {
    const consumer = this.get('consumers', username)?.resource
    return consumer && { username, labels: consumer.labels ?? {}, groupId: consumer.group_id, auth: undefined }
  }

  /**
   * What a consumer brings along: its group's plugins, and its own, which win by name (facts core 1.5). Throws GatewayError
   * 503 when the group is missing: its plugins may have guarded something.
   */
  pluginsOf({ username, groupId }: Consumer): Joining {
    const { env } = this.#editions
    const own = this.get('consumers', username)?.plugins(env) ?? noPlugins
    if (groupId === undefined) return { group: noPlugins, own }
    const group = this.get('consumer_groups', groupId)?.plugins(env)
    if (group !== undefined) return { group, own }
    throw new GatewayError(503, 'consumer_group_missing', `consumer group ${groupId} of the consumer does not exist`)
  }

  get consumerPlans(): ConsumerPlans {
    return this.#editions.consumerPlans
  }

  get<K extends ServedKind>(kind: K, id: string): Edition<K> | undefined {
    return this.#editions.find(kind, id, this.number)
  }

  #matched({ value, uri, host }: Found<RouteEdition>): Match {
    const assembly = value.assembled(this, this.#editions.env)
    return { route: new ServedRoute(assembly, this), facts: assembly.factsOf(uri, host) }
  }

  /** A request begins on this snapshot. */
  enter(): void {
    this.#users++
  }

  /** It has logged. */
  leave(): void {
    this.#users--
    if (this.#users === 0) this.#over?.()
  }

  /** Another snapshot has taken its place: calls `over` when the last request has left. Call it once. */
  retire(over: () => void): void {
    if (this.#users === 0) over()
    else this.#over = over
  }
}
