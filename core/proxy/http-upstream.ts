// A plain HTTP upstream: picks a node, sends the request there, tries the next one where that is safe (facts core 6).

import { isIP } from 'node:net'
import type { Context, Upstream } from '../context.ts'
import { UpstreamError } from '../errors.ts'
import type { Reply } from '../reply.ts'
import type { Cursor } from './balancer/cursor.ts'
import { addressOf, hostOf, type Node } from './balancer/node.ts'
import { RoundRobin } from './balancer/round-robin.ts'
import { endToEnd, upstreamHeaders } from './headers.ts'
import type { Answer, Call, Clocks, Transport } from './transport.ts'

export interface HttpUpstreamConfig {
  scheme: 'http' | 'https'
  nodes: readonly Node[]
  /** Further attempts after the first; undefined means one for every other node. */
  retries: number | undefined
  /** Seconds after the first attempt's start in which another may begin; 0 means no limit. */
  retryTimeout: number
  /** Seconds. */
  timeout: { connect: number; send: number; read: number }
  passHost: 'pass' | 'node' | 'rewrite'
  upstreamHost: string | undefined
}

// RFC 9110 9.2.2 has more safe methods than these are unsafe; the list is nginx's (facts core 6.2).
const NOT_REPEATABLE = new Set(['POST', 'LOCK', 'PATCH'])

/** Bytes of a body that is read whole first: a stream costs half a request more, and cannot be sent again. */
const SMALL_BODY = 64 * 1024

export class HttpUpstream implements Upstream {
  readonly #config: HttpUpstreamConfig
  readonly #transport: Transport
  /** Highest priority first. */
  readonly #tiers: readonly RoundRobin[]
  readonly #clocks: Clocks

  /** `cursor` gives the position of the round robin over the nodes of one priority. */
  constructor(config: HttpUpstreamConfig, transport: Transport, cursor: (priority: number) => Cursor) {
    this.#config = config
    this.#transport = transport
    const priorities = [...new Set(config.nodes.map(node => node.priority))].sort((a, b) => b - a)
    this.#tiers = priorities.map(
      priority =>
        new RoundRobin(
          config.nodes.filter(node => node.priority === priority),
          cursor(priority),
        ),
    )
    const read = config.timeout.read * 1000
    this.#clocks = { connect: config.timeout.connect * 1000, headers: read, firstContent: read, idle: read, total: 0 }
  }

  /** Throws UpstreamError: 503 without nodes, 502 or 504 as the last attempt failed. */
  async send(ctx: Context): Promise<Reply> {
    const { nodes, retries, retryTimeout } = this.#config
    if (nodes.length === 0) throw new UpstreamError('no_node', 'no valid upstream node', { status: 503 })
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
      if (nodes.length === 1) tried.clear()
      const node = this.#pick(tried)
      if (node === undefined) throw new UpstreamError('no_node', 'no upstream node is left to try', { cause: failure })
      tried.add(node)
      try {
        return this.#reply(await this.#transport.exchange(ctx, this.#call(ctx, node)))
      } catch (error) {
        if (!this.#mayRepeat(ctx, error)) throw error
        failure = error
      }
    }
    throw failure
  }

  #pick(tried: ReadonlySet<Node>): Node | undefined {
    for (const tier of this.#tiers) {
      const node = tier.pick(tried)
      if (node !== undefined) return node
    }
    return undefined
  }

  /** Nothing of the request has left, or it may be repeated and can be sent again whole. Never after a status. */
  #mayRepeat(ctx: Context, error: unknown): boolean {
    if (!(error instanceof UpstreamError)) return false
    if (!ctx.body.replayable && !ctx.body.untouched) return false
    if (error.fault === 'refused' || error.fault === 'connect_timeout') return true
    const method = ctx.outbound.method ?? ctx.request.method
    return !NOT_REPEATABLE.has(method) && error.fault !== 'total_timeout'
  }

  #call(ctx: Context, node: Node): Call {
    const { scheme } = this.#config
    const { request, outbound, body } = ctx
    const host = this.#host(ctx, node)
    const outgoing = body.outgoing()
    const declared = outgoing !== null && !Buffer.isBuffer(outgoing) ? body.declaredLength : undefined
    return {
      origin: `${scheme}://${addressOf(node)}`,
      address: addressOf(node),
      method: outbound.method ?? request.method,
      target: outbound.target ?? request.target,
      headers: upstreamHeaders(request, host, declared),
      body: outgoing,
      clocks: this.#clocks,
      ...(scheme === 'https' ? { verify: false, ...serverName(host) } : {}),
    }
  }

  /** facts core 6.4 */
  #host(ctx: Context, node: Node): string {
    const { passHost, upstreamHost, scheme } = this.#config
    if (passHost === 'rewrite') return upstreamHost!
    if (passHost === 'node') return node.port === (scheme === 'https' ? 443 : 80) ? hostOf(node) : addressOf(node)
    return ctx.outbound.host ?? ctx.request.headers.get('host') ?? addressOf(node)
  }

  #reply({ status, headers, body }: Answer): Reply {
    return { status, headers: endToEnd(headers), body: body.whole() ?? body, source: 'upstream' }
  }
}

/** The name for SNI, which an IP cannot be (RFC 6066 3). */
function serverName(host: string): { serverName?: string } {
  const name = host.replace(/:\d+$/, '')
  return name.startsWith('[') || isIP(name) !== 0 ? {} : { serverName: name }
}
