// A route together with what it names, service, plugin config and upstream: its plugins, its upstream, its plan.
import type { RouteFacts, Upstream } from './context.ts'
import type { Edition, EditionEnv } from './edition.ts'
import { UpstreamError } from './errors.ts'
import { type Attached, type Instance, type Plan, plan } from './pipeline.ts'
import type { HttpUpstream } from './proxy/http-upstream.ts'
import type { Upstream as UpstreamResource } from './resource.ts'
import { clientCertOf } from './upstream-config.ts'
import { markOf } from './workers/breadcrumb.ts'

/** What a route refers to, as some snapshots have it; undefined for what does not exist. */
export interface Named {
  service: Edition<'services'> | undefined
  pluginConfig: Edition<'plugin_configs'> | undefined
  upstream: Edition<'upstreams'> | undefined
  /** That the upstream shows, if it names one. */
  clientCert: Edition<'ssls'> | undefined
}

const nothing: Attached = new Map()

export class Assembly {
  readonly id: string
  /** The id as breadcrumbs have it. */
  readonly mark: number
  readonly named: Named
  readonly upstream: Upstream
  /** The service's, above them the plugin config's, and above all the route's own: by name (facts core 1.5). */
  readonly plugins: Attached
  readonly #name: string | undefined
  readonly #service: RouteFacts['service']
  #planned: { rules: readonly Instance[]; plan: Plan } | undefined
  #facts: RouteFacts | undefined

  constructor(route: Edition<'routes'>, named: Named, env: EditionEnv) {
    const { name, timeout } = route.resource
    const { service } = named
    this.id = route.id
    this.mark = markOf(route.id)
    this.named = named
    this.#name = name
    this.#service = service && { id: service.id, name: service.resource.name }
    // A route that lacks what it names runs none of its plugins: those that are missing may have guarded it.
    const lack = lackOf(route, named)
    this.plugins = nothing
    if (lack === undefined)
      for (const part of partsOf(route, named)) this.plugins = merged(this.plugins, part.plugins(env))
    this.upstream =
      lack === undefined
        ? upstreamOf(route, named, upstream => upstream.upstream(env, timeout))
        : refuse(lack.status, lack.message)
  }

  /** The plan under these global rules. */
  planUnder(rules: readonly Instance[]): Plan {
    if (this.#planned?.rules !== rules) this.#planned = { rules, plan: plan(rules, this.plugins) }
    return this.#planned.plan
  }

  /** What plugins may know of the route when `uri` and `host` are what matched; most routes have one of each. */
  factsOf(uri: string, host: string): RouteFacts {
    if (this.#facts?.matchedUri !== uri || this.#facts.matchedHost !== host) {
      this.#facts = { id: this.id, name: this.#name, service: this.#service, matchedUri: uri, matchedHost: host }
    }
    return this.#facts
  }
}

/** What a route names and there is not, and how its requests are refused for that. */
export function lackOf(
  { resource }: Edition<'routes'>,
  { service, pluginConfig }: Named,
): { status: number; message: string } | undefined {
  const { service_id: serviceId, plugin_config_id: pluginConfigId } = resource
  if (pluginConfigId !== undefined && pluginConfig === undefined)
    return { status: 503, message: `plugin config ${pluginConfigId} of the route does not exist` }
  if (serviceId !== undefined && service === undefined)
    return { status: 404, message: `service ${serviceId} of the route does not exist` }
  return undefined
}

/** Whose plugins a route has, the lower ones first (facts core 1.5). */
export function partsOf(route: Edition<'routes'>, { service, pluginConfig }: Named): Edition[] {
  return [service, pluginConfig, route].filter(part => part !== undefined)
}

/** The resource in which the upstream of a route stands; or, where there is none, how its requests are refused. */
export function upstreamOwner(
  route: Edition<'routes'>,
  { service, upstream }: Named,
): Edition | { status: number; message: string } {
  const id = upstreamId(route.resource, service?.resource)
  if (id !== undefined) return upstream ?? { status: 502, message: `upstream ${id} does not exist` }
  if (route.resource.upstream !== undefined) return route
  if (service?.resource.upstream !== undefined) return service
  return { status: 503, message: 'missing upstream configuration in Route or Service' }
}

/** Where the upstream of a route stands: an id wins over an inline object, the route over the service (facts core 1.5). */
export function upstreamId(
  route: { upstream?: unknown; upstream_id?: unknown },
  service: { upstream_id?: unknown } | undefined,
): string | undefined {
  const id = route.upstream_id ?? (route.upstream === undefined ? service?.upstream_id : undefined)
  return id === undefined ? undefined : String(id)
}

function upstreamOf(
  route: Edition<'routes'>,
  named: Named,
  made: (owner: Edition) => HttpUpstream | undefined,
): Upstream {
  const { service, upstream } = named
  const owner = upstreamOwner(route, named)
  if (!('kind' in owner)) return refuse(owner.status, owner.message)
  const own = made(owner)!
  const certId = clientCertId(route.resource, service?.resource, upstream?.resource)
  if (certId === undefined) return own
  const cert = named.clientCert && clientCertOf(named.clientCert.resource)
  if (cert === undefined) return refuse(502, `ssl ${certId} does not exist or is not of type client`)
  return { send: ctx => own.send(ctx, cert) }
}

/** The SSL object whose certificate the upstream of a route shows. */
export function clientCertId(
  route: { upstream?: UpstreamResource; upstream_id?: unknown },
  service: { upstream?: UpstreamResource; upstream_id?: unknown } | undefined,
  upstream: UpstreamResource | undefined,
): string | undefined {
  const own = upstreamId(route, service) === undefined ? (route.upstream ?? service?.upstream) : upstream
  const id = own?.tls?.client_cert_id
  return id === undefined ? undefined : String(id)
}

/** Plugins by name, those of `above` in the place of others. */
export function merged(below: Attached, above: Attached): Attached {
  if (below.size === 0) return above
  return above.size === 0 ? below : new Map([...below, ...above])
}

/** An upstream that answers with an error, for routes that cannot have another. */
function refuse(status: number, message: string): Upstream {
  return {
    send: () => {
      throw new UpstreamError('no_node', message, { status })
    },
  }
}
