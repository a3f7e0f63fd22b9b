// What would become of a request: told by the router and the plans that serve requests; nothing is sent, no hook is called.
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { lackOf, merged, type Named, partsOf, upstreamOwner } from '../assembly.ts'
import { RequestBody } from '../body.ts'
import { type Consumer, Context } from '../context.ts'
import type { Edition } from '../edition.ts'
import { GatewayError } from '../errors.ts'
import type { GatewayOptions } from '../gateway.ts'
import { type Attached, type Instance, type Plan, plan } from '../pipeline.ts'
import { Request } from '../request.ts'
import type { ServedKind, Upstream } from '../resource.ts'
import type { RouteEdition } from '../served-route.ts'
import type { Snapshot } from '../snapshot.ts'
import type { Revision } from '../store/store.ts'
import { type Candidate, candidatesOf } from './candidates.ts'
import { STEPS } from './trail.ts'

/** A request that nobody has sent. */
export interface AskedRequest {
  method: string
  /** Path and query. */
  uri: string
  /** Name and value, in turn. */
  headers: readonly string[]
  /** Of the connection; `real_ip_header` counts as it does for others. */
  remote_addr: string
  body: string | undefined
  /** Who would be recognised: authentication is not run. */
  consumer: string | undefined
}

/** A resource by the kind and id that the store has it under. */
export interface Place {
  kind: ServedKind
  id: string
}

export interface PlacedPlugin {
  name: string
  priority: number
  /** Whose config it is, and whose it takes the place of. */
  from: Place
  overrides: Place[]
  /** `_meta.disable`: it is not run, nor is what it takes the place of. */
  disabled: boolean
  phases: string[]
}

export interface PlacedUpstream extends Pick<Upstream, 'type' | 'scheme'> {
  from: Place
  nodes: Upstream['nodes'] | undefined
  /** Whose nodes are discovered. */
  service_name: string | undefined
}

interface Failure {
  status: number
  message: string
}

export interface Rehearsal {
  /** The configuration that was asked. */
  revision: Revision
  /** Why no route would even be looked for, or why it could not be told which. */
  refused: Failure | undefined
  route: { id: string; uri: string; host: string; priority: number; name: string | undefined } | undefined
  /** Every route whose path fits, in order of precedence, as far as they are shown. */
  candidates: Candidate[]
  more_candidates: number
  /** What the route names and there is not: with it none of its plugins runs, and its requests are refused. */
  lack: Failure | undefined
  consumer: { username: string | undefined; not_evaluated: string[] }
  global_plugins: PlacedPlugin[]
  plugins: PlacedPlugin[]
  /** Whose hooks run in each phase, global rules first. */
  order: Record<string, string[]>
  /** Who is asked if no plugin answers or asks somebody else. */
  upstream: PlacedUpstream | Failure | undefined
}

/** Or why nothing can be said. */
export type Rehearsed = Rehearsal | { problem: string }

export type RehearsalEnv = Pick<GatewayOptions, 'snapshot' | 'book' | 'overload' | 'limits' | 'forwarding' | 'debugKey'>

const PHASES = STEPS.slice(0, STEPS.indexOf('upstream'))

/** Functions of routes (`filter_func`) are asked as they are for requests, in their sandbox. */
export async function rehearse(asked: AskedRequest, env: RehearsalEnv): Promise<Rehearsed> {
  const snapshot = env.snapshot()
  snapshot.enter()
  const { ctx, refused } = contextOf(asked, snapshot, env)
  try {
    const consumer = asked.consumer === undefined ? undefined : snapshot.named(asked.consumer)
    if (asked.consumer !== undefined && consumer === undefined)
      return { problem: `there is no consumer ${asked.consumer}` }
    const nowhere = unmatched(snapshot, consumer)
    if (refused !== undefined) return { ...nowhere, refused: failureOf(refused) }
    const found = await snapshot.findWhenKnown(ctx)
    const { shown, more } = candidatesOf(ctx, snapshot, found)
    const candidates = { candidates: shown, more_candidates: more }
    if (found === undefined) return { ...nowhere, ...candidates }
    const { value: route, uri, host } = found
    const { name, priority } = route.resource
    return {
      ...nowhere,
      ...candidates,
      route: { id: route.id, uri, host, priority, name },
      ...served(route, consumer, snapshot),
    }
  } catch (error) {
    // A function that nobody can ask, or a body that cannot be read: the request would be answered so.
    if (error instanceof GatewayError) return { ...unmatched(snapshot, undefined), refused: failureOf(error) }
    throw error
  } finally {
    ctx.releaseHolds()
    snapshot.leave()
  }
}

/** As the listener would have got it: what frames the body is ours to say. */
function contextOf(
  { method, uri, headers, remote_addr: address, body }: AskedRequest,
  snapshot: Snapshot,
  { book, overload, limits, forwarding, debugKey }: RehearsalEnv,
): { ctx: Context; refused: GatewayError | undefined } {
  const socket = new Socket()
  Object.defineProperty(socket, 'remoteAddress', { value: address })
  const message = new IncomingMessage(socket)
  const bytes = Buffer.from(body ?? '')
  message.method = method
  message.url = uri
  message.httpVersion = '1.1'
  const framing = new Set(['content-length', 'transfer-encoding'])
  message.rawHeaders = headers.filter((_, at) => !framing.has(headers[at - (at % 2)]!.toLowerCase()))
  if (body !== undefined) message.rawHeaders.push('Content-Length', String(bytes.length))
  if (bytes.length > 0) message.push(bytes)
  message.push(null)
  const request = new Request(message, forwarding)
  debugKey.takenFrom(request.headers)
  const read = new RequestBody(message, request.headers, limits, size => ctx.buffer(size))
  const now = { now: Date.now(), tick: performance.now() }
  const ctx = new Context(request, read, { consumers: snapshot, book, overload, ...now })
  return { ctx, refused: request.refused ?? read.refused }
}

function unmatched(snapshot: Snapshot, consumer: Consumer | undefined): Rehearsal {
  const global = globalPlugins(snapshot)
  return {
    revision: snapshot.revision,
    refused: undefined,
    route: undefined,
    candidates: [],
    more_candidates: 0,
    lack: undefined,
    consumer: {
      username: consumer?.username,
      not_evaluated: consumer === undefined ? authIn(snapshot.globalRules) : [],
    },
    global_plugins: global,
    plugins: [],
    order: orderOf(snapshot.globalOnly),
    upstream: undefined,
  }
}

type Served = Pick<Rehearsal, 'lack' | 'consumer' | 'plugins' | 'order' | 'upstream'>

/** What is known of a request that this route serves. */
function served(route: RouteEdition, consumer: Consumer | undefined, snapshot: Snapshot): Served {
  const named: Named = route.named(snapshot)
  const lack = lackOf(route, named)
  const own = lack === undefined ? partsOf(route, named).map(part => layerOf(part, snapshot)) : []
  const joining = consumer === undefined ? [] : consumerLayers(consumer, snapshot)
  const together = (layers: readonly Layer[]) =>
    layers.reduce<Attached>((below, { plugins }) => merged(below, plugins), new Map())
  const walked = plan(snapshot.globalRules, together(own), together(joining))
  const plugins = placed([...own, ...joining])
  const runs = [...together([...own, ...joining]).values(), ...snapshot.globalRules]
  return {
    lack,
    consumer: { username: consumer?.username, not_evaluated: consumer === undefined ? authIn(runs) : [] },
    plugins,
    order: orderOf(walked),
    upstream: lack ?? upstreamOf(route, named),
  }
}

/** The plugins of one resource, a consumer's without credentials. */
interface Layer {
  readonly place: Place
  readonly plugins: Attached
}

function layerOf(edition: Edition, { env }: Snapshot): Layer {
  return { place: { kind: edition.kind, id: edition.id }, plugins: edition.plugins(env) }
}

function consumerLayers(consumer: Consumer, snapshot: Snapshot): Layer[] {
  const { group, own } = snapshot.pluginsOf(consumer)
  return [
    { place: { kind: 'consumer_groups', id: consumer.groupId ?? '' }, plugins: group },
    { place: { kind: 'consumers', id: consumer.username }, plugins: own },
  ]
}

/** Each plugin once, from the highest layer that has it; those that run first come first. */
function placed(layers: readonly Layer[]): PlacedPlugin[] {
  const found = new Map<string, PlacedPlugin>()
  for (const { place, plugins } of layers) {
    for (const [name, instance] of plugins) {
      const below = found.get(name)
      const overrides = below === undefined ? [] : [below.from, ...below.overrides]
      found.set(name, { name, from: place, overrides, ...use(instance) })
    }
  }
  return [...found.values()].sort((a, b) => b.priority - a.priority)
}

function globalPlugins({ globalRules }: Snapshot): PlacedPlugin[] {
  return globalRules
    .map(rule => ({
      name: rule.plugin.name,
      from: { kind: 'global_rules' as const, id: rule.owner.id },
      overrides: [],
      ...use(rule),
    }))
    .sort((a, b) => b.priority - a.priority)
}

function use(instance: Instance | undefined): Pick<PlacedPlugin, 'priority' | 'disabled' | 'phases'> {
  if (instance === undefined) return { priority: 0, disabled: true, phases: [] }
  const { hooks, priority } = instance
  return { priority, disabled: false, phases: PHASES.filter(phase => Object.hasOwn(hooks, phase)) }
}

function authIn(instances: Iterable<Instance | undefined>): string[] {
  const auth = [...instances].filter(instance => instance?.plugin.type === 'auth')
  return [...new Set(auth.map(instance => instance!.plugin.name))]
}

function orderOf(walked: Plan): Record<string, string[]> {
  const phases = {
    rewrite: [...walked.globalRewrite, ...walked.rewrite, ...walked.consumerRewrite],
    access: walked.access,
    before_proxy: walked.beforeProxy,
    event_filter: walked.eventFilter,
    header_filter: walked.headerFilter,
    body_filter: walked.bodyFilter,
    log: walked.log,
  }
  return Object.fromEntries(Object.entries(phases).map(([phase, steps]) => [phase, steps.map(({ plugin }) => plugin)]))
}

/** Nothing is made of it: a first request would have its nodes probed. */
function upstreamOf(route: RouteEdition, named: Named): Rehearsal['upstream'] {
  const owner = upstreamOwner(route, named)
  if (!('kind' in owner)) return owner
  const resource = owner.resource as Upstream & { upstream?: Upstream }
  const { type, scheme, nodes, service_name } = owner.kind === 'upstreams' ? resource : resource.upstream!
  return { from: { kind: owner.kind, id: owner.id }, type, scheme, nodes, service_name }
}

function failureOf({ status, message }: GatewayError): Failure {
  return { status, message }
}
