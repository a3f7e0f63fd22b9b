// Sockets to upstreams: which connections a request goes by, and what becomes of them; knows no route and no provider.
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Upload } from '../body.ts'
import type { Attempt, Context } from '../context.ts'
import type { HeaderList, Source } from '../reply.ts'
import { type ClientCert, Connections, type KeepAlive } from './connections.ts'
import type { Lookup } from './dns/lookup.ts'
import { Exchange } from './exchange.ts'
import { inPieces } from './pieces.ts'

export type { KeepAlive } from './connections.ts'

/** Limits in milliseconds; 0 means none. Each ends an exchange with an error of its own (design.md 6). */
export interface Clocks {
  /** Until the connection is there and the request begins. */
  connect: number
  /** Between two pieces of a body that the upstream takes. A client that sends slowly is none of its business. */
  send: number
  /** From the request sent to the response's status line. */
  headers: number
  /** From there to the first content (`contentSeen`); a provider's ping is none. */
  firstContent: number
  /** Between two reads of the body, whatever they bring, from the headers on. */
  idle: number
  /** The whole exchange. */
  total: number
}

/** Who asks: a request, which may be given up, and keeps the records of its attempts. */
export type Caller = Pick<Context, 'attempts' | 'aborted' | 'onAbort' | 'offAbort'>

/** One request to one upstream node. */
export interface Call {
  /** scheme://host:port */
  origin: string
  /** `host:port` as configured, for logs. */
  address: string
  method: string
  /** Path and query as they go on the wire. */
  target: string
  /** Flat name, value list, hop-by-hop fields removed. */
  headers: string[]
  body: Buffer | Readable | Upload | null
  clocks: Clocks
  /** https: name for SNI and verification. */
  serverName?: string
  /** https: refuse a certificate that does not verify. */
  verify?: boolean
  /** https: what to show a server that asks who it is. */
  clientCert?: ClientCert
  /** Another than the transport's own. */
  keepAlive?: KeepAlive
  /** The caller says when content has come (`contentSeen`); otherwise the first byte of the body is content. */
  marksContent?: boolean
}

/** The body of an answer as it comes from the socket. */
export interface AnswerBody extends Source {
  /**
   * The whole body, if all of it has come already, as most answers do that come with their head: for a good part of a
   * request's cost less than as a stream. Nothing is left to be piped then. Undefined when it must be piped.
   */
  whole(): Buffer | undefined
  /** Stops the first-content clock; from here on idle counts. */
  contentSeen(): void
}

export interface Answer {
  status: number
  headers: HeaderList
  body: AnswerBody
  attempt: Attempt
}

// Below the 5 s after which node:http servers close idle connections, so that a request rarely meets a closing socket.
const KEEP_ALIVE: KeepAlive = { size: 320, idleMs: 4_000, requests: 1_000 }
// An upstream that asks for more, and for which nothing else is configured, gets this.
const KEEP_ALIVE_MAX_MS = 25_000
const DEFAULT_CONNECT_MS = 60_000
// Connections to origins that are no longer asked for are closed when there are more origins than this.
const MAX_ORIGINS = 4_096

export interface TransportOptions {
  keepAlive?: KeepAlive
  /** Finds the addresses of names; the operating system does without it. */
  lookup?: Lookup
}

/** Keeps the connections. One per worker. */
export class Transport {
  readonly #options: TransportOptions
  readonly #connections = new Map<string, Connections>()

  constructor(options: TransportOptions = {}) {
    this.#options = options
  }

  /** How names become addresses, for those who open sockets of their own; as the operating system does without it. */
  get lookup(): Lookup | undefined {
    return this.#options.lookup
  }

  /**
   * Sends one request. Resolves with status and headers as soon as they are there; the body follows through the Source.
   * Rejects with UpstreamError, or with ClientGone when the request was given up meanwhile. Everything the exchange took
   * is let go on every path, and the attempt's record says how it went.
   */
  exchange(ctx: Caller, asked: Call): Promise<Answer> {
    const call = inPieces(asked)
    const attempt: Attempt = {
      address: call.address,
      status: undefined,
      connectMs: undefined,
      headerMs: undefined,
      responseMs: undefined,
      bytesReceived: 0,
      fault: undefined,
    }
    ctx.attempts.push(attempt)
    return new Promise((resolve, reject) => {
      const exchange = new Exchange(ctx, call, attempt, { resolve, reject })
      if (exchange.ended) return
      try {
        this.#to(call).dispatch(
          {
            origin: call.origin,
            path: call.target,
            method: call.method as Dispatcher.HttpMethod,
            headers: call.headers,
            // Of a stream undici needs no more than an upload has.
            body: call.body as Buffer | Readable | null,
            headersTimeout: 0,
            bodyTimeout: 0,
          },
          exchange,
        )
      } catch (error) {
        exchange.onResponseError(null, error as Error)
      }
    })
  }

  /** Closes every connection. Exchanges that are still under way fail. */
  async close(): Promise<void> {
    const all = [...this.#connections.values()]
    this.#connections.clear()
    await Promise.all(all.map(connections => connections.destroy()))
  }

  #to(call: Call): Connections {
    const { origin, keepAlive, serverName, verify = false, clientCert } = call
    const { connect } = call.clocks
    let key = `${origin}#${connect}`
    if (origin.startsWith('https:')) key += `#${serverName ?? ''}#${verify}#${clientCert?.id ?? ''}`
    if (keepAlive !== undefined) key += `#${keepAlive.size}#${keepAlive.idleMs}#${keepAlive.requests}`
    const known = this.#connections.get(key)
    if (known !== undefined) return known
    if (this.#connections.size >= MAX_ORIGINS) this.#forgetOne()
    const connections = new Connections({
      origin,
      // Our own connect clock is what counts (undici's rings up to a second late); this lets go of the socket.
      connectMs: connect || DEFAULT_CONNECT_MS,
      keepAlive: keepAlive ?? this.#options.keepAlive ?? KEEP_ALIVE,
      maxIdleMs: keepAlive === undefined ? KEEP_ALIVE_MAX_MS : 0,
      lookup: this.#options.lookup,
      serverName,
      verify,
      clientCert,
    })
    this.#connections.set(key, connections)
    return connections
  }

  #forgetOne(): void {
    for (const [key, connections] of this.#connections) {
      if (!connections.resting) continue
      this.#connections.delete(key)
      void connections.destroy()
      return
    }
  }
}
