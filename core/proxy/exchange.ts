// One request to one upstream node and its answer: clocks, abort, back-pressure; knows no other and no connection.
import type { Dispatcher } from 'undici'
import type { Attempt } from '../context.ts'
import { ClientGone, GatewayError, UpstreamError, type UpstreamFault } from '../errors.ts'
import { HeaderList, type Sink } from '../reply.ts'
import { DENIED } from './dns/lookup.ts'
import type { Answer, AnswerBody, Call, Caller, Clocks } from './transport.ts'

// When so much of a body has come before anybody reads it, the upstream waits.
const MAX_AHEAD = 16 * 1024

type Phase = 'connect' | 'send' | 'headers' | 'firstContent' | 'idle'

export class Exchange implements Dispatcher.DispatchHandler, AnswerBody {
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
