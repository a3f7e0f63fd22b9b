// A plain HTTP upstream: picks a node, sends the request there, tries the next one where that is safe (facts core 6).

import { isIP } from 'node:net'
import type { Context, Upstream } from '../context.ts'
import { UpstreamError } from '../errors.ts'
import type { Hold } from '../holds.ts'
import { requestTrace } from '../observe/trace.ts'
import type { Reply } from '../reply.ts'
import { type BalancerMaker, type Balancing, balancerMaker } from './balancer/balancing.ts'
import { addressOf, authorityOf, hostOf, type Node } from './balancer/node.ts'
import type { ClientCert, KeepAlive } from './connections.ts'
import { discoveredNodes, listedNodes, type NodeSource, type WrittenNode } from './dns/node-source.ts'
import { endToEnd, upstreamHeaders } from './headers.ts'
import type { HealthChecks } from './health/checks.ts'
import { UpstreamHealth } from './health/upstream-health.ts'
import { NodePool } from './node-pool.ts'
import type { Answer, Call, Clocks } from './transport.ts'
import { nodeSourceEnv, type UpstreamEnv } from './upstream-env.ts'

/** Plain data: equal configuration is the same upstream. */
export interface HttpUpstreamConfig {
  scheme: 'http' | 'https'
  /** Listed, or those of a service that is discovered by DNS. */
  nodes: readonly WrittenNode[] | { readonly service: string }
  balancing: Balancing
  /** Further attempts after the first; undefined means one for every other node. */
  retries: number | undefined
  /** Seconds after the first attempt's start in which another may begin; 0 means no limit. */
  retryTimeout: number
  /** Seconds. */
  timeout: { connect: number; send: number; read: number }
  passHost: 'pass' | 'node' | 'rewrite'
  upstreamHost: string | undefined
  /** Undefined: as all others. */
  keepAlive: KeepAlive | undefined
  /** https: refuse a certificate that does not verify. */
  verify: boolean
  /** https: `named` is given with each request. */
  clientCert: ClientCert | 'named' | undefined
  checks: HealthChecks | undefined
}

// RFC 9110 9.2.2 has more safe methods than these are unsafe; the list is nginx's (facts core 6.2).
const NOT_REPEATABLE = new Set(['POST', 'LOCK', 'PATCH'])

/** Bytes of a body that is read whole first: a stream costs half a request more, and cannot be sent again. */
const SMALL_BODY = 64 * 1024

const none: ReadonlySet<Node> = new Set()

/** Where requests to a node go, in the words of the transport. */
interface Place {
  readonly origin: string
  readonly address: string
}

export class HttpUpstream implements Upstream {
  readonly #config: HttpUpstreamConfig
  readonly #env: UpstreamEnv
  readonly #clocks: Clocks
  readonly #source: NodeSource
  readonly #maker: BalancerMaker
  readonly #health: UpstreamHealth | undefined
  /** Of the nodes as they were last found. */
  #nodes: readonly Node[] = []
  /** What was shown with them. */
  #certId: string | undefined
  #pool: NodePool
  #places: ReadonlyMap<Node, Place> = new Map()

  /** `name` is the resource it stands in (`upstreams/1`), by which its state is found again. */
  constructor(name: string, config: HttpUpstreamConfig, env: UpstreamEnv) {
    const { nodes, scheme, timeout, balancing } = config
    this.#config = config
    this.#env = env
    const { connect, send, read } = timeout
    this.#clocks = {
      connect: connect * 1000,
      send: send * 1000,
      headers: read * 1000,
      firstContent: read * 1000,
      idle: read * 1000,
      total: 0,
    }
    this.#source =
      'service' in nodes
        ? discoveredNodes(nodes.service, standardPort(scheme), nodeSourceEnv(env, env.services))
        : listedNodes(nodes, nodeSourceEnv(env, env.names))
    this.#maker = balancerMaker(name, balancing, { state: env.balancing, random: env.random })
    this.#health = healthOf(name, config, env)
    this.#certId = config.clientCert === 'named' ? undefined : config.clientCert?.id
    this.#pool = this.#poolOf([])
    // Checks go on when an edit does not concern them; others begin with the first request, which may bring a certificate.
    if (this.#health?.watched && config.clientCert !== 'named') void this.#found(config.clientCert)
  }

  /**
   * Throws UpstreamError: 503 without nodes, 502 or 504 as the last attempt failed. `named` is the certificate that the
   * configuration names.
   */
  async send(ctx: Context, named?: ClientCert): Promise<Reply> {
    const { retries, retryTimeout, clientCert: own } = this.#config
    const clientCert = own === 'named' ? named : own
    const located = this.#source.nodes()
    const { nodes, denied } = located instanceof Promise ? await located : located
    if (nodes !== this.#nodes || clientCert?.id !== this.#certId) this.#use(nodes, clientCert)
    if (denied) throw new UpstreamError('denied', 'the upstream has an address to which nothing may be sent')
    if (nodes.length === 0) throw new UpstreamError('no_node', 'no valid upstream node', { status: 503 })
    const pool = this.#pool
    const places = this.#places
    const { declaredLength } = ctx.body
    if (declaredLength !== undefined && declaredLength <= SMALL_BODY) await ctx.body.bytes(SMALL_BODY)
    const attempts = 1 + (retries ?? nodes.length - 1)
    const deadline = retryTimeout === 0 ? Number.POSITIVE_INFINITY : performance.now() + retryTimeout * 1000
    const tried = new Set<Node>()
    let failure: unknown
    for (let attempt = 0; attempt < attempts; attempt++) {
      if (attempt > 0 && performance.now() > deadline)
        throw new UpstreamError('refused', 'no upstream answered within retry_timeout', { cause: failure })
      // A node is not tried twice within a request, except the only one (facts core 6.1).
      const node = pool.pick(nodes.length === 1 ? none : tried, ctx)
      if (node === undefined) throw new UpstreamError('no_node', 'no upstream node is left to try', { cause: failure })
      tried.add(node)
      const trial = holdTrial(ctx, pool, node)
      try {
        const answer = await this.#env.transport.exchange(ctx, this.#call(ctx, node, places.get(node)!, clientCert))
        this.#health?.answered(node, answer.status)
        return this.#reply(answer)
      } catch (error) {
        trial?.release()
        if (error instanceof UpstreamError) this.#health?.failed(node, error.fault, error.status)
        if (!this.#mayRepeat(ctx, error)) throw error
        failure = error
      }
    }
    throw failure
  }

  /** Nobody will send anything here any more. */
  async close(): Promise<void> {
    this.#health?.close()
  }

  async #found(clientCert: ClientCert | undefined): Promise<void> {
    const { nodes } = await this.#source.nodes()
    if (nodes !== this.#nodes) this.#use(nodes, clientCert)
  }

  /** These are the nodes from now on. Requests under way go on with those they began with. */
  #use(nodes: readonly Node[], clientCert: ClientCert | undefined): void {
    const { scheme } = this.#config
    this.#nodes = nodes
    this.#certId = clientCert?.id
    this.#health?.watch(nodes, clientCert)
    this.#places = new Map(
      nodes.map(node => [node, { origin: `${scheme}://${addressOf(node)}`, address: addressOf(node) }]),
    )
    this.#pool = this.#poolOf(nodes)
  }

  #poolOf(nodes: readonly Node[]): NodePool {
    return new NodePool(nodes, { maker: this.#maker, health: this.#health, random: this.#env.random })
  }

  /** Nothing of the request has left, or it may be repeated and can be sent again whole. Never after a status. */
  #mayRepeat(ctx: Context, error: unknown): boolean {
    if (!(error instanceof UpstreamError)) return false
    if (!ctx.body.replayable && !ctx.body.untouched) return false
    if (error.fault === 'refused' || error.fault === 'connect_timeout') return true
    const method = ctx.outbound.method ?? ctx.request.method
    return !NOT_REPEATABLE.has(method) && error.fault !== 'total_timeout'
  }

  #call(ctx: Context, node: Node, { origin, address }: Place, clientCert: ClientCert | undefined): Call {
    const { scheme, keepAlive, verify } = this.#config
    const { request, outbound, body } = ctx
    const host = this.#host(ctx, node)
    const outgoing = body.outgoing()
    outbound.sent = { scheme, host }
    requestTrace.get(ctx)?.beginAttempt(ctx, 'upstream')
    const declared = outgoing !== null && !Buffer.isBuffer(outgoing) ? body.declaredLength : undefined
    const call: Call = {
      origin,
      address,
      method: outbound.method ?? request.method,
      target: outbound.target ?? request.target,
      headers: upstreamHeaders(request, host, declared),
      body: outgoing,
      clocks: this.#clocks,
    }
    if (keepAlive !== undefined) call.keepAlive = keepAlive
    if (scheme === 'http') return call
    return { ...call, verify, ...serverName(host), ...(clientCert && { clientCert }) }
  }

  /** facts core 6.4 */
  #host(ctx: Context, node: Node): string {
    const { passHost, upstreamHost, scheme } = this.#config
    if (passHost === 'rewrite') return upstreamHost!
    if (passHost === 'node') return node.port === standardPort(scheme) ? hostOf(node) : authorityOf(node)
    return ctx.outbound.host ?? ctx.request.headers.get('host') ?? authorityOf(node)
  }

  #reply({ status, headers, body }: Answer): Reply {
    return { status, headers: endToEnd(headers), body: body.whole() ?? body, source: 'upstream' }
  }
}

function healthOf(name: string, config: HttpUpstreamConfig, env: UpstreamEnv): UpstreamHealth | undefined {
  const { checks, passHost, upstreamHost } = config
  if (checks === undefined || env.health === undefined) return undefined
  return new UpstreamHealth({
    name: `/apisix/${name}`,
    checks,
    host: passHost === 'rewrite' ? upstreamHost : undefined,
    board: env.health,
    log: env.log,
  })
}

/** The balancer learns how an attempt went when the request ends or goes on to another node. */
function holdTrial(ctx: Context, pool: NodePool, node: Node): Hold | undefined {
  const trial = pool.begin(node)
  if (trial === undefined) return undefined
  const at = ctx.attempts.length
  return ctx.hold('upstream_node', () => trial(ctx.attempts[at]))
}

function standardPort(scheme: 'http' | 'https'): number {
  return scheme === 'https' ? 443 : 80
}

/** The name for SNI, which an IP cannot be (RFC 6066 3). */
function serverName(host: string): { serverName?: string } {
  const name = host.replace(/:\d+$/, '')
  return name.startsWith('[') || isIP(name) !== 0 ? {} : { serverName: name }
}
