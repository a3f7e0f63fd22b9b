// Resources -> one immutable snapshot: routes, plans, upstreams, consumers; what did not change is carried over with its state.
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Consumer, ConsumerIndex, Context, RouteFacts, Upstream } from './context.ts'
import { UpstreamError } from './errors.ts'
import { Parts } from './parts.ts'
import { type Attached, Instance, type Meta, type Plan, plan } from './pipeline.ts'
import type { Env, Owner, Plugin } from './plugin.ts'
import type { BalancerState } from './proxy/balancer/state.ts'
import { HttpUpstream } from './proxy/http-upstream.ts'
import {
  fillPlugin,
  prepareResource,
  type Resources,
  type Route,
  type ServedKind,
  type Service,
  type Upstream as UpstreamResource,
} from './resource.ts'
import { HostRouter } from './router/host-router.ts'
import { conditions, ServedRoute, type Surroundings } from './served-route.ts'
import type { Item, Revision } from './store/store.ts'

/** What the snapshots of a worker are built with. */
export interface SnapshotEnv extends Omit<Env, 'owner'> {
  plugins: ReadonlyMap<string, Plugin>
  balancing: BalancerState
}

/** A route together with what led to it. */
export interface Match {
  route: ServedRoute
  facts: RouteFacts
}

/** A plugin config and the resource it is written on. */
interface Use {
  owner: Owner
  config: Readonly<Record<string, unknown>>
}

/** What routes refer to, by id. */
interface Named {
  services: ReadonlyMap<string, Item>
  upstreams: ReadonlyMap<string, Item>
}

// Plans of (route, consumer) pairs that are kept; a pair that fell out is merged again.
const MAX_CONSUMER_PLANS = 10_000
const noPlugins: Attached = new Map()

/** One configuration, whole. A request that began on it ends on it. */
export class Snapshot implements ConsumerIndex, Surroundings {
  readonly revision: Revision
  readonly globalRules: readonly Instance[]
  /** The plan of a request that matches no route. */
  readonly globalOnly: Plan
  readonly consumerPlans = new LRUCache<string, Plan>({ max: MAX_CONSUMER_PLANS })
  readonly #env: SnapshotEnv
  readonly #parts: Parts
  readonly #router = new HostRouter<ServedRoute>()
  readonly #consumers = new Map<string, { consumer: Consumer; plugins: Attached }>()
  /** By plugin and digest of the credential: a look-up by digest tells nothing of a secret by the time it takes. */
  readonly #credentials = new Map<string, Consumer>()
  /** Names of the routes that are served, by id. */
  readonly routes = new Map<string, string | undefined>()
  #users = 0
  #retired: (() => void) | undefined

  /** `items` have passed `checkResource`. What `previous` made from equal configuration is carried over. */
  constructor(items: Iterable<Item>, revision: Revision, env: SnapshotEnv, previous?: Snapshot) {
    this.revision = revision
    this.#env = env
    this.#parts = new Parts(previous === undefined ? undefined : previous.#parts)
    const byKind = Map.groupBy(items, item => item.kind)
    const byId = (kind: 'services' | 'upstreams') => new Map((byKind.get(kind) ?? []).map(item => [item.id, item]))
    for (const item of byKind.get('consumers') ?? []) this.#addConsumer(item)
    const rules = this.#instances(this.#globalUses(byKind.get('global_rules') ?? []))
    this.globalRules = [...rules.values()].filter(rule => rule !== undefined)
    this.globalOnly = plan(this.globalRules, noPlugins)
    const named = { services: byId('services'), upstreams: byId('upstreams') }
    for (const item of byKind.get('routes') ?? []) this.#addRoute(item, named)
    this.#parts.seal()
  }

  match(ctx: Context): Match | undefined {
    const { host, path } = ctx.request
    const found = this.#router.find(host, path, route => route.accepts(ctx))
    if (found === undefined) return undefined
    const { id, name, service } = found.value
    return { route: found.value, facts: { id, name, service, matchedUri: found.uri, matchedHost: found.host } }
  }

  find(plugin: string, credential: string): Consumer | undefined {
    return this.#credentials.get(credentialKey(plugin, credential))
  }

  named(username: string): Consumer | undefined {
    return this.#consumers.get(username)?.consumer
  }

  pluginsOf(consumer: Consumer): Attached {
    return this.#consumers.get(consumer.username)?.plugins ?? noPlugins
  }

  /** A request begins on this snapshot. */
  enter(): void {
    this.#users++
  }

  /** It has logged. */
  leave(): void {
    this.#users--
    if (this.#users === 0) this.#retired?.()
  }

  /**
   * Another snapshot has taken its place: when the last request has left, what no other snapshot has is closed. Call it
   * once. Resolves with the errors of that.
   */
  async retire(): Promise<unknown[]> {
    if (this.#users > 0) {
      await new Promise<void>(resolve => {
        this.#retired = resolve
      })
    }
    return this.#parts.release()
  }

  #addConsumer(item: Item): void {
    const { id } = item
    const { username, labels = {}, plugins = {} } = this.#prepared('consumers', item)
    const uses = new Map<string, Use>()
    for (const [name, config] of Object.entries(plugins)) {
      const known = this.#env.plugins.get(name)
      if (known?.type !== 'auth') uses.set(name, { owner: { kind: 'consumer', id }, config })
      else if (known.credential !== undefined && (config as { _meta?: Meta })._meta?.disable !== true) {
        const auth = fillPlugin(known, config, 'consumer')
        this.#credentials.set(credentialKey(name, known.credential(auth)), { username, labels, auth })
      }
    }
    this.#consumers.set(username, {
      consumer: { username, labels, auth: undefined },
      plugins: this.#instances(uses),
    })
  }

  /** Of all rules together; a plugin that two of them name is run by neither (facts core 1.3). */
  #globalUses(rules: readonly Item[]): Map<string, Use> {
    const uses = new Map<string, Use>()
    const repeated = new Set<string>()
    for (const rule of rules) {
      const { id } = rule
      for (const [name, config] of Object.entries(this.#prepared('global_rules', rule).plugins)) {
        if (uses.has(name)) repeated.add(name)
        uses.set(name, { owner: { kind: 'global_rule', id }, config })
      }
    }
    for (const name of repeated) {
      uses.delete(name)
      this.#env.log.error({ plugin: name }, 'plugin is in more than one global rule and is run in none')
    }
    return uses
  }

  #addRoute(item: Item, named: Named): void {
    const { service_id, upstream_id, upstream } = item.value
    const serviceItem = service_id === undefined ? undefined : named.services.get(String(service_id))
    const at = upstream === undefined ? (upstream_id ?? serviceItem?.value.upstream_id) : upstream_id
    const upstreamItem = at === undefined ? undefined : named.upstreams.get(String(at))
    const made = this.#parts.carryGroup(`route ${item.id}`, [item, serviceItem, upstreamItem], () =>
      this.#makeRoute(item, serviceItem, named.upstreams),
    )
    if (made === undefined) return
    this.routes.set(item.id, made.identity.name)
    this.#router.add(made.pattern, new ServedRoute(this, made.identity, made))
  }

  /** What of a route depends on nothing but itself, its service and its upstream; undefined for one that is off. */
  #makeRoute(item: Item, serviceItem: Item | undefined, upstreams: ReadonlyMap<string, Item>) {
    const { id } = item
    const route = this.#prepared('routes', item)
    if (route.status === 0) return undefined
    const serviceId = route.service_id
    const service = serviceItem && this.#prepared('services', serviceItem)
    const orphan = serviceId !== undefined && service === undefined
    const uses = new Map<string, Use>()
    // A route whose service is missing answers 404 and runs none of its plugins: the service's may have guarded it.
    if (!orphan) {
      for (const [name, config] of Object.entries(service?.plugins ?? {}))
        uses.set(name, { owner: { kind: 'service', id: serviceId! }, config })
      for (const [name, config] of Object.entries(route.plugins ?? {}))
        uses.set(name, { owner: { kind: 'route', id }, config })
    }
    const hosts = route.hosts ?? (route.host === undefined ? (service?.hosts ?? []) : [route.host])
    return {
      pattern: { uris: route.uris ?? [route.uri!], hosts, priority: route.priority ?? 0 },
      identity: { id, name: route.name, service: service && { id: serviceId!, name: service.name } },
      plugins: this.#instances(uses),
      upstream: orphan
        ? refuse(404, `service ${serviceId} of the route does not exist`)
        : this.#upstream(id, route, { id: serviceId ?? '', service }, upstreams),
      accepts: conditions(route),
    }
  }

  /** Whole-object precedence: the route's before the service's, an id before an inline object (facts core 1.5). */
  #upstream(
    routeId: string,
    route: Route,
    { id: serviceId, service }: { id: string; service: Service | undefined },
    upstreams: ReadonlyMap<string, Item>,
  ): Upstream {
    const of = route.upstream_id !== undefined || route.upstream !== undefined ? route : service
    if (of?.upstream_id !== undefined) {
      const id = String(of.upstream_id)
      const item = upstreams.get(id)
      if (item === undefined) return refuse(502, `upstream ${id} does not exist`)
      return this.#httpUpstream(`upstreams/${id}`, this.#prepared('upstreams', item), route.timeout)
    }
    if (of?.upstream === undefined) return refuse(503, 'missing upstream configuration in Route or Service')
    const owner = of === route ? `routes/${routeId}` : `services/${serviceId}`
    return this.#httpUpstream(owner, of.upstream, route.timeout)
  }

  /** An item that has not changed is not completed and copied again. */
  #prepared<K extends ServedKind>(kind: K, item: Item): Resources[K] {
    return this.#parts.carry(item, () => prepareResource(kind, item.value))
  }

  #httpUpstream(owner: string, upstream: UpstreamResource, routeTimeout: Route['timeout']): Upstream {
    const config = {
      scheme: upstream.scheme,
      nodes: upstream.nodes.map(node => ({ ...node, address: node.host })),
      retries: upstream.retries,
      retryTimeout: upstream.retry_timeout ?? 0,
      timeout: routeTimeout ?? upstream.timeout ?? { connect: 60, send: 60, read: 60 },
      passHost: upstream.pass_host,
      upstreamHost: upstream.upstream_host,
    }
    return this.#parts.carry(
      `upstream ${owner} ${JSON.stringify(config)}`,
      () =>
        new HttpUpstream(config, this.#env.transport, priority => this.#env.balancing.cursor(`${owner} ${priority}`)),
    )
  }

  #instances(uses: ReadonlyMap<string, Use>): Attached {
    if (uses.size === 0) return noPlugins
    const instances = new Map<string, Instance | undefined>()
    for (const [name, { owner, config }] of uses) {
      const known = this.#env.plugins.get(name)
      const { _meta: meta = {} } = config as { _meta?: Meta }
      if (known === undefined) continue
      if (meta.disable === true) {
        instances.set(name, undefined)
        continue
      }
      instances.set(
        name,
        this.#parts.carry(
          `plugin ${owner.kind}/${owner.id} ${name} ${JSON.stringify(config)}`,
          () => {
            const { _meta: _, ...own } = fillPlugin(known, config)
            return new Instance(known, own, meta, { ...this.#env, owner })
          },
          instance => instance.close(),
        ),
      )
    }
    return instances
  }
}

/** An upstream that answers with an error, for routes that cannot have another. */
function refuse(status: number, message: string): Upstream {
  return {
    send: () => {
      throw new UpstreamError('no_node', message, { status })
    },
  }
}

function credentialKey(plugin: string, credential: string): string {
  return `${plugin}\0${hash('sha256', credential, 'base64')}`
}
