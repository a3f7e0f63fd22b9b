// Sockets to upstreams: one exchange per attempt with its clocks, abort and back-pressure; knows no route and no provider.
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Attempt, Context } from '../context.ts'
import { ClientGone, GatewayError, UpstreamError, type UpstreamFault } from '../errors.ts'
import { HeaderList, type Sink, type Source } from '../reply.ts'
import { type ClientCert, Connections, type KeepAlive } from './connections.ts'
import { DENIED, type Lookup } from './dns/lookup.ts'
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
  body: Buffer | Readable | null
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
// When so much of a body has come before anybody reads it, the upstream waits.
const MAX_AHEAD = 16 * 1024
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
            body: call.body,
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

type Phase = 'connect' | 'send' | 'headers' | 'firstContent' | 'idle'

class Exchange implements Dispatcher.DispatchHandler, AnswerBody {
  readonly #ctx: Caller
  readonly #call: Call
  readonly #attempt: Attempt
  readonly #outcome: { resolve: (answer: Answer) => void; reject: (error: Error) => void }
  readonly #started = performance.now()
  readonly #onAbort = (reason: Error): void => this.#fail(reason)
  #controller: Dispatcher.DispatchController | null = null
  #phase: Phase = 'connect'
  #phaseSince = this.#started
  /** Of the upstream, or of our sending to it. */
  #activeAt = this.#started
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #answered = false
  #ended = false
  #error: Error | undefined
  #sink: Sink | undefined
  #queue: Buffer[] = []
  #queued = 0
  #queueDone = false

  constructor(
    ctx: Caller,
    call: Call,
    attempt: Attempt,
    outcome: { resolve: (answer: Answer) => void; reject: (error: Error) => void },
  ) {
    this.#ctx = ctx
    this.#call = call
    this.#attempt = attempt
    this.#outcome = outcome
    ctx.onAbort(this.#onAbort)
    if (!this.#ended) this.#arm()
  }

  get ended(): boolean {
    return this.#ended
  }

  // --- undici's side -------------------------------------------------------------------------------------------------

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#ended) {
      // Given up while connecting: undici hands over its controller only now.
      controller.abort(this.#error ?? new ClientGone())
      return
    }
    this.#attempt.connectMs = performance.now() - this.#started
    this.#enter('send')
  }

  onBodySent(): void {
    this.#activeAt = performance.now()
  }

  onRequestSent(): void {
    if (this.#phase === 'send' && !this.#ended) this.#enter('headers')
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (this.#ended || status < 200) return
    const attempt = this.#attempt
    attempt.status = status
    attempt.headerMs = performance.now() - this.#started
    this.#answered = true
    this.#enter('firstContent')
    this.#outcome.resolve({ status, headers: headerList(controller.rawHeaders), body: this, attempt })
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    // undici answers a `resume` with an empty chunk when nothing has come yet: a sink that pauses for each would spin.
    if (this.#ended || chunk.length === 0) return
    this.#attempt.bytesReceived += chunk.length
    if (this.#phase === 'idle' || this.#call.marksContent) this.#activeAt = performance.now()
    else this.#enter('idle')
    if (this.#sink !== undefined) {
      this.#sink.write(chunk)
      return
    }
    this.#queue.push(chunk)
    this.#queued += chunk.length
    if (this.#queued >= MAX_AHEAD) this.pause()
  }

  onResponseEnd(): void {
    if (!this.#finish(undefined, undefined)) return
    if (this.#sink === undefined) this.#queueDone = true
    else this.#sink.end()
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#fail(this.#ctx.aborted ?? this.#classify(error))
  }

  // --- the reader's side ---------------------------------------------------------------------------------------------

  whole(): Buffer | undefined {
    if (!this.#queueDone) return undefined
    const [first] = this.#queue
    return this.#queue.length === 1 ? first : Buffer.concat(this.#queue)
  }

  pipe(sink: Sink): void {
    this.#sink = sink
    const queued = this.#queue
    const waited = this.#paused
    this.#queue = []
    this.#paused = false
    for (const chunk of queued) sink.write(chunk)
    if (this.#queueDone) sink.end()
    else if (this.#error !== undefined) sink.fail(this.#error)
    else if (waited && !this.#paused) this.resume()
  }

  #paused = false

  pause(): void {
    this.#paused = true
    this.#controller?.pause()
  }

  resume(): void {
    this.#paused = false
    // The upstream was not allowed to send meanwhile: its clocks start anew.
    this.#phaseSince = performance.now()
    this.#activeAt = this.#phaseSince
    this.#controller?.resume()
  }

  cancel(reason: Error): void {
    this.#sink = undefined
    this.#queue = []
    this.#fail(reason)
  }

  contentSeen(): void {
    if (this.#phase === 'firstContent' && !this.#ended) this.#enter('idle')
  }

  // --- ends ----------------------------------------------------------------------------------------------------------

  #fail(error: Error): void {
    const fault =
      error instanceof UpstreamError ? error.fault : error instanceof ClientGone ? 'client_gone' : 'cancelled'
    if (!this.#finish(error, fault)) return
    this.#controller?.abort(error)
    if (!this.#answered) this.#outcome.reject(error)
    else this.#sink?.fail(error)
  }

  #finish(error: Error | undefined, fault: string | undefined): boolean {
    if (this.#ended) return false
    this.#ended = true
    this.#error = error
    this.#attempt.fault = fault
    this.#attempt.responseMs = performance.now() - this.#started
    if (this.#attempt.status === undefined && error instanceof UpstreamError) this.#attempt.status = error.status
    clearTimeout(this.#timer)
    this.#ctx.offAbort(this.#onAbort)
    return true
  }

  #classify(error: Error): Error {
    // The client's upload broke, or was too large: that is not the upstream's fault.
    if (error instanceof GatewayError) return error
    const code = (error as NodeJS.ErrnoException).code ?? ''
    // undici sends no such request: the fault is with whoever made it, and no other upstream would take it either.
    if (code === 'UND_ERR_INVALID_ARG') return error
    if (this.#phase === 'connect') {
      if (code === DENIED)
        return new UpstreamError('denied', 'the upstream has an address to which nothing may be sent')
      if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT')
        return new UpstreamError('connect_timeout', 'timeout while connecting to the upstream', { cause: error })
      return new UpstreamError('refused', 'could not connect to the upstream', { cause: error })
    }
    // A connection that closes within a response is undici's parse error too, unless it was to be kept alive.
    const unparsable = error.name === 'HTTPParserError' && !error.message.includes('EOF')
    const misframed = code.includes('CONTENT_LENGTH_MISMATCH') && !this.#answered
    if (unparsable || misframed || code.includes('HEADERS_OVERFLOW'))
      return new UpstreamError('malformed', 'the upstream sent a malformed response', { cause: error })
    return new UpstreamError('reset', 'the upstream closed the connection', { cause: error })
  }

  // --- clocks: one timer, armed for the nearest deadline and moved only when it must ring earlier ------------------------

  #enter(phase: Phase): void {
    this.#phase = phase
    this.#phaseSince = performance.now()
    this.#activeAt = this.#phaseSince
    this.#arm()
  }

  /** When the given clock runs out; Infinity when it has no limit or is not running in this phase. */
  #endOf(clock: keyof Clocks): number {
    const limit = this.#call.clocks[clock]
    if (limit === 0) return Number.POSITIVE_INFINITY
    const phase = this.#phase
    switch (clock) {
      case 'total':
        return this.#started + limit
      case 'idle':
        return phase === 'idle' || phase === 'firstContent' ? this.#activeAt + limit : Number.POSITIVE_INFINITY
      case 'send':
        return phase === clock ? this.#activeAt + limit : Number.POSITIVE_INFINITY
      default:
        return phase === clock ? this.#phaseSince + limit : Number.POSITIVE_INFINITY
    }
  }

  #arm(): void {
    let at = Math.min(this.#endOf('total'), this.#endOf(this.#phase))
    if (this.#phase === 'firstContent') at = Math.min(at, this.#endOf('idle'))
    if (at >= this.#timerAt || at === Number.POSITIVE_INFINITY) return
    clearTimeout(this.#timer)
    this.#timerAt = at
    this.#timer = setTimeout(this.#ring, Math.max(1, Math.ceil(at - performance.now())))
  }

  /** undici stops reading a body that the upstream does not take: one that flows has nothing for it now. */
  #waitsForUpload(): boolean {
    const { body } = this.#call
    return this.#phase === 'send' && body !== null && !Buffer.isBuffer(body) && !body.isPaused()
  }

  readonly #ring = (): void => {
    this.#timerAt = Number.POSITIVE_INFINITY
    if (this.#ended) return
    const now = performance.now()
    // It is we who do not let the upstream send, or have nothing for it: only the whole is still limited.
    if (this.#paused || this.#waitsForUpload()) {
      this.#phaseSince = now
      this.#activeAt = now
    }
    for (const clock of CLOCKS) {
      if (now < this.#endOf(clock)) continue
      const { fault, said } = RUN_OUT[clock]
      this.#fail(new UpstreamError(fault, `the upstream ${said} within ${this.#call.clocks[clock]} ms`))
      return
    }
    this.#arm()
  }
}

const CLOCKS = ['total', 'connect', 'send', 'headers', 'firstContent', 'idle'] as const

/** What it means that a clock has run out. */
const RUN_OUT: Readonly<Record<keyof Clocks, { fault: UpstreamFault; said: string }>> = {
  total: { fault: 'total_timeout', said: 'did not finish' },
  connect: { fault: 'connect_timeout', said: 'could not be connected to' },
  send: { fault: 'send_timeout', said: 'took nothing more of the request' },
  headers: { fault: 'headers_timeout', said: 'did not answer' },
  firstContent: { fault: 'first_content_timeout', said: 'sent no content' },
  idle: { fault: 'idle_timeout', said: 'sent nothing more' },
}

function headerList(raw: Dispatcher.DispatchController['rawHeaders']): HeaderList {
  const list: string[] = []
  if (Array.isArray(raw)) for (const part of raw) list.push(typeof part === 'string' ? part : part.toString('latin1'))
  return new HeaderList(list)
}
