// An edition of a route, ready to be matched and assembled; and a route as the gateway meets it, on one snapshot.
import { Assembly, clientCertId, type Named, upstreamId } from './assembly.ts'
import { type Consumer, type Context, type RouteFacts, slot, type Upstream } from './context.ts'
import { Edition, type EditionEnv } from './edition.ts'
import { ConfigFunction } from './javascript/config-function.ts'
import { namesIn } from './javascript/source.ts'
import type { Plan } from './pipeline.ts'
import type { Route } from './resource.ts'
import { addressSet } from './router/addresses.ts'
import { compileExpr } from './router/expr.ts'
import { bodyValue, fieldsAreKnown } from './router/post-arg.ts'
import type { Pattern } from './router/router.ts'
import { variable } from './router/vars.ts'
import type { Snapshot } from './snapshot.ts'
import type { Item } from './store/store.ts'

type Check = (ctx: Context) => boolean

/** What a route asks of a request beside host and path. */
interface Conditions {
  readonly methods: Check
  readonly addresses: Check
  /** Both of them. */
  readonly plain: Check
  readonly vars: Check
  /** Whether `vars`, or the function's, are of the body. */
  readonly readsBody: boolean
  /** Whether there is a function that is asked when all else fits. */
  readonly asks: boolean
}

/** What the functions of routes (`filter_func`) have said of a request. */
const verdicts = slot<Map<RouteEdition, boolean>>()

export class RouteEdition extends Edition<'routes'> {
  /** Hosts of the service, which a route without its own has. */
  readonly serviceHosts: readonly string[]
  #conditions: Conditions | undefined = undefined
  #filter: ConfigFunction | undefined = undefined
  #assembly: Assembly | undefined = undefined
  /** The snapshot since which nothing that a route could name has changed, when the assembly was last looked at. */
  #assembledAt = -1
  #succeedsMatched = false

  constructor(item: Item, since: number, serviceHosts: readonly string[]) {
    super('routes', item, since)
    this.serviceHosts = serviceHosts
  }

  /** As written: the router has every route's, so nothing is made for it. */
  get #route(): Route {
    return this.item.value as unknown as Route
  }

  /** Whether a request has ever been served by it or one before it. */
  get matched(): boolean {
    return this.#assembly !== undefined || this.#succeedsMatched
  }

  override succeed(older: Edition, env: EditionEnv): void {
    super.succeed(older, env)
    this.#succeedsMatched = older instanceof RouteEdition && older.matched
  }

  get enabled(): boolean {
    return this.#route.status !== 0
  }

  get pattern(): Pattern {
    const { uri, uris, host, hosts, priority = 0 } = this.#route
    const own = hosts ?? (host === undefined ? this.serviceHosts : [host])
    return { uris: uris ?? [uri!], hosts: own, priority }
  }

  /** Whether a request that matches host and path also fulfils the other conditions (facts core 2.5). */
  accepts(ctx: Context): boolean {
    this.#conditions ??= conditions(this.#route)
    return this.#conditions.plain(ctx) && this.#conditions.vars(ctx) && !(this.#conditions.asks && this.#declines(ctx))
  }

  /** The first condition that a request does not fulfil, of those that `accepts` asks; undefined when it takes it. */
  refusedBy(ctx: Context): 'methods' | 'remote_addrs' | 'vars' | 'filter_func' | undefined {
    this.#conditions ??= conditions(this.#route)
    const { methods, addresses, vars, asks } = this.#conditions
    if (!methods(ctx)) return 'methods'
    if (!addresses(ctx)) return 'remote_addrs'
    if (!vars(ctx)) return 'vars'
    return asks && this.#declines(ctx) ? 'filter_func' : undefined
  }

  /** Whether that cannot be said before the body is here. */
  waitsForBody(ctx: Context): boolean {
    this.#conditions ??= conditions(this.#route)
    return this.#conditions.readsBody && this.#conditions.plain(ctx) && !fieldsAreKnown(ctx)
  }

  /** It is accepted only if its function says so, which has not been asked. */
  isUndecided(ctx: Context): boolean {
    return this.#conditions?.asks === true && verdicts.get(ctx)?.has(this) !== true
  }

  /** Its function has said so. */
  #declines(ctx: Context): boolean {
    return verdicts.get(ctx)?.get(this) === false
  }

  /** Asks the function. Rejects with GatewayError: nobody knows then whose request it is. */
  async decide(ctx: Context, { sandbox, log }: EditionEnv): Promise<void> {
    if (sandbox === undefined) throw new Error('JavaScript in configs is off')
    const place = { route: this.id, at: 'filter_func' }
    this.#filter ??= new ConfigFunction(this.#route.filter_func!, { sandbox, log, place })
    const verdict = await this.#filter.test(ctx)
    const known = verdicts.get(ctx) ?? new Map<RouteEdition, boolean>()
    verdicts.set(ctx, known.set(this, verdict))
  }

  /** With what it names as `snapshot` has it. */
  assembled(snapshot: Snapshot, env: EditionEnv): Assembly {
    if (this.#assembly !== undefined && this.#assembledAt === snapshot.namedSince) return this.#assembly
    const named = this.named(snapshot)
    const known = this.#assembly?.named
    const same = known !== undefined && (Object.keys(named) as (keyof Named)[]).every(key => known[key] === named[key])
    if (!same) this.#assembly = new Assembly(this, named, env)
    this.#assembledAt = snapshot.namedSince
    return this.#assembly!
  }

  /** What it names as `snapshot` has it. */
  named(snapshot: Snapshot): Named {
    const { service_id: serviceId, plugin_config_id: pluginConfigId } = this.resource
    const service = serviceId === undefined ? undefined : snapshot.get('services', serviceId)
    const pluginConfig = pluginConfigId === undefined ? undefined : snapshot.get('plugin_configs', pluginConfigId)
    const id = upstreamId(this.resource, service?.resource)
    const upstream = id === undefined ? undefined : snapshot.get('upstreams', id)
    const certId = clientCertId(this.resource, service?.resource, upstream?.resource)
    const clientCert = certId === undefined ? undefined : snapshot.get('ssls', certId)
    return { service, pluginConfig, upstream, clientCert }
  }
}

/** What the gateway needs of the route that a request has matched. */
export class ServedRoute {
  readonly #assembly: Assembly
  readonly #snapshot: Snapshot

  constructor(assembly: Assembly, snapshot: Snapshot) {
    this.#assembly = assembly
    this.#snapshot = snapshot
  }

  /** The id as breadcrumbs have it. */
  get mark(): number {
    return this.#assembly.mark
  }

  get upstream(): Upstream {
    return this.#assembly.upstream
  }

  /** The global rules' and the route's plugins. */
  get plan(): Plan {
    return this.#assembly.planUnder(this.#snapshot.globalRules)
  }

  /** The same with what a consumer brings along, which wins by name (facts core 1.5); the route's own when that is nothing. */
  planFor(consumer: Consumer): Plan {
    const joining = this.#snapshot.pluginsOf(consumer)
    if (joining.own.size === 0 && joining.group.size === 0) return this.plan
    const { globalRules, consumerPlans } = this.#snapshot
    return consumerPlans.of(consumer.username, { assembly: this.#assembly, joining, rules: globalRules })
  }
}

/** A route together with what led to it. */
export interface Match {
  route: ServedRoute
  facts: RouteFacts
}

function conditions(route: Route): Conditions {
  const methods = methodsCheck(route)
  const addresses = addressesCheck(route)
  const [first = always, second] = [methods, addresses].filter(check => check !== always)
  const plain = second === undefined ? first : (ctx: Context) => first(ctx) && second(ctx)
  const asks = route.filter_func !== undefined
  const named = asks ? namesIn(route.filter_func!) : []
  const readsField = (name: string) => /^post_arg[_.]/.test(name)
  const known = { methods, addresses, plain, asks }
  if (route.vars === undefined) return { ...known, vars: always, readsBody: named.some(readsField) }
  const expr = compileExpr(route.vars)
  const readsBody = [...expr.names, ...named].some(readsField)
  return { ...known, vars: ctx => expr.test(name => lookUp(ctx, name)), readsBody }
}

function methodsCheck({ methods = [] }: Route): Check {
  if (methods.length === 0) return always
  const named = new Set<string>(methods)
  return ctx => named.has(ctx.request.method)
}

function addressesCheck({ remote_addrs: several, remote_addr: one }: Route): Check {
  if (several === undefined && one === undefined) return always
  const addresses = addressSet(several ?? [one!])
  return ctx => addresses.has(ctx.request.remoteAddress)
}

function lookUp(ctx: Context, name: string): unknown {
  return name.startsWith('post_arg.') ? bodyValue(ctx, name.slice('post_arg.'.length)) : variable(ctx, name)
}

const always: Check = () => true
