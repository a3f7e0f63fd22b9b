// A route that is ready to serve: its conditions, its plans, its upstream.
import type { Consumer, Context, RouteFacts, Upstream } from './context.ts'
import type { Attached, Instance, Plan } from './pipeline.ts'
import { plan } from './pipeline.ts'
import type { Route } from './resource.ts'
import { addressSet } from './router/addresses.ts'
import { compileExpr } from './router/expr.ts'
import { variable } from './router/vars.ts'
import { markOf } from './workers/breadcrumb.ts'

/** What a route needs of the snapshot it is in. */
export interface Surroundings {
  readonly globalRules: readonly Instance[]
  /** The plugins a consumer brings along, by name. */
  pluginsOf(consumer: Consumer): Attached
  /** Plans of (route, consumer) pairs, bounded. */
  readonly consumerPlans: { get(key: string): Plan | undefined; set(key: string, merged: Plan): unknown }
}

export class ServedRoute {
  readonly id: string
  /** The id as breadcrumbs have it. */
  readonly mark: number
  readonly name: string | undefined
  readonly service: RouteFacts['service']
  readonly upstream: Upstream
  /** Whether a request that matches host and path also fulfils the route's other conditions (facts core 2.5). */
  readonly accepts: (ctx: Context) => boolean
  readonly #plugins: Attached
  readonly #surroundings: Surroundings
  #plan: Plan | undefined

  constructor(
    surroundings: Surroundings,
    identity: { id: string; name: string | undefined; service: RouteFacts['service'] },
    made: { plugins: Attached; upstream: Upstream; accepts: (ctx: Context) => boolean },
  ) {
    this.#surroundings = surroundings
    this.id = identity.id
    this.mark = markOf(identity.id)
    this.name = identity.name
    this.service = identity.service
    this.#plugins = made.plugins
    this.upstream = made.upstream
    this.accepts = made.accepts
  }

  /** The global rules' and the route's plugins. Made on first use: most routes of a large configuration are idle. */
  get plan(): Plan {
    this.#plan ??= plan(this.#surroundings.globalRules, this.#plugins)
    return this.#plan
  }

  /** The same with a consumer's plugins, which win by name (facts core 1.5); the route's own when there are none. */
  planFor(consumer: Consumer): Plan {
    const joining = this.#surroundings.pluginsOf(consumer)
    if (joining.size === 0) return this.plan
    const { consumerPlans, globalRules } = this.#surroundings
    const key = `${this.id}\0${consumer.username}`
    const merged = consumerPlans.get(key) ?? plan(globalRules, this.#plugins, joining)
    consumerPlans.set(key, merged)
    return merged
  }
}

/** Methods, client addresses and `vars`, in that order. Host and path are the router's. */
export function conditions(route: Route): (ctx: Context) => boolean {
  const checks: ((ctx: Context) => boolean)[] = []
  if (route.methods !== undefined && route.methods.length > 0) {
    const methods = new Set<string>(route.methods)
    checks.push(ctx => methods.has(ctx.request.method))
  }
  const remote = route.remote_addrs ?? (route.remote_addr === undefined ? undefined : [route.remote_addr])
  if (remote !== undefined) {
    const addresses = addressSet(remote)
    checks.push(ctx => addresses.has(ctx.request.remoteAddress))
  }
  if (route.vars !== undefined) {
    const expr = compileExpr(route.vars)
    checks.push(ctx => expr.test(name => variable(ctx, name)))
  }
  return ctx => checks.every(check => check(ctx))
}
