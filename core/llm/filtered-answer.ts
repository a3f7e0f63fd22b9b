// An LLM's answer on its way through filters of events; without filters an answer never comes here. Knows no plugin.
import { asError, GatewayError } from '../errors.ts'
import type { Reply, Sink, Source } from '../reply.ts'
import { AnswerEvent, Denied, EndsHere, Refused } from './answer-event.ts'
import { failureOf } from './failure.ts'
import { type Chain, Way } from './filter-chain.ts'
import type { Splitter } from './framing/framing.ts'
import { sse } from './framing/sse.ts'
import type { BegunStream, Protocol, ProtocolError } from './protocols/protocol.ts'

/**
 * While filters hold an answer back its client hears something at least so often, in milliseconds: there are proxies that
 * close what is silent for a minute.
 */
const KEEP_ALIVE_MS = 5_000

export interface Filtering extends Chain {
  readonly protocol: Protocol
  /** Another time than KEEP_ALIVE_MS. */
  readonly keepAliveMs?: number | undefined
}

/**
 * The answer as it is after its filters: a stream when there is something of it to send. Where a filter refuses before that,
 * an error of the protocol.
 */
export async function filteredAnswer(answer: Reply, filtering: Filtering): Promise<Reply> {
  const { protocol } = filtering
  try {
    const { mediaType } = protocol.framing ?? sse
    if (!Buffer.isBuffer(answer.body) && !answer.headers.get('content-type')?.includes(mediaType)) {
      throw new GatewayError(501, 'texts_unknown', `the events of ${protocol.name} are not known to this version`)
    }
    if (Buffer.isBuffer(answer.body)) return { ...answer, body: await filteredWhole(answer.body, filtering) }
    const stream = new FilteredStream(answer.body as Source, filtering)
    await stream.opened
    return { ...answer, body: stream }
  } catch (thrown) {
    const error = asError(thrown)
    if (!(error instanceof Refused)) throw error
    const headers = answer.headers.clone()
    for (const name of ['content-length', 'content-encoding', 'etag']) headers.delete(name)
    const streamed = error instanceof Denied && !Buffer.isBuffer(answer.body)
    headers.set('Content-Type', streamed ? (protocol.framing ?? sse).mediaType : 'application/json')
    const body =
      error instanceof Denied
        ? protocol.refusal(error.said, streamed)
        : Buffer.from(JSON.stringify(protocol.errorBody(error)))
    return { status: error.status, headers, body, source: 'gateway' }
  }
}

async function filteredWhole(body: Buffer, filtering: Filtering): Promise<Buffer> {
  const events = await new Way(filtering).through([AnswerEvent.ofWhole(body, filtering.protocol)], true)
  if (events.length !== 1) throw new Error('filters of events have left nothing of a whole answer')
  return events[0]!.bytes
}

/**
 * Reads go through one after the other; meanwhile nothing more is read. Who waits long for what is held back gets a comment,
 * in framings that have one, and with the first of them the head.
 */
class FilteredStream implements Source, Sink {
  /** Resolves when there is something to send, or nothing will come; rejects when it was refused before that. */
  readonly opened: Promise<void>
  readonly #opening = Promise.withResolvers<void>()
  readonly #source: Source
  readonly #filtering: Filtering
  readonly #way: Way
  readonly #splitter: Splitter
  readonly #begun: BegunStream | undefined
  #silence: NodeJS.Timeout | undefined
  #sink: Sink | undefined
  #waiting: Buffer[] = []
  /** What has passed and leaves in one write. */
  readonly #out: Buffer[] = []
  #soon: NodeJS.Immediate | undefined
  #sent = false
  #paused = false
  #busy = 0
  #turn: Promise<void> = Promise.resolve()
  #over = false
  #failure: Error | undefined

  constructor(source: Source, filtering: Filtering) {
    this.#source = source
    this.#filtering = filtering
    this.#way = new Way(filtering)
    this.#splitter = (filtering.protocol.framing ?? sse).open()
    this.#begun = filtering.protocol.openBegun?.()
    this.opened = this.#opening.promise
    source.pipe(this)
  }

  // --- the provider's side -------------------------------------------------------------------------------------------

  write(chunk: Buffer): void {
    const frames = this.#splitter.feed(chunk)
    if (frames === undefined) return
    const { bytes, ends } = frames
    const events: (AnswerEvent | Buffer)[] = []
    let from = 0
    for (const end of ends) {
      events.push(this.#eventOf(bytes.subarray(from, end)))
      from = end
    }
    this.#next(() => this.#pass(events, false))
  }

  end(): void {
    const rest = this.#splitter.rest()
    const events = rest === undefined ? [] : [this.#eventOf(rest.bytes)]
    this.#next(async () => {
      await this.#pass(events, true)
      if (this.#over) return
      this.#close()
      this.#opening.resolve()
      this.#sink?.end()
    })
  }

  fail(error: Error): void {
    this.#next(async () => this.#broken(error))
  }

  // --- the client's side ---------------------------------------------------------------------------------------------

  pipe(sink: Sink): void {
    this.#sink = sink
    for (const bytes of this.#waiting.splice(0)) sink.write(bytes)
    if (this.#failure !== undefined) sink.fail(this.#failure)
    else if (this.#over) sink.end()
    else this.#flow()
  }

  pause(): void {
    this.#paused = true
    this.#source.pause()
  }

  resume(): void {
    this.#paused = false
    this.#flow()
  }

  cancel(reason: Error): void {
    if (this.#over) return
    this.#close()
    this.#source.cancel(reason)
  }

  // -------------------------------------------------------------------------------------------------------------------

  #eventOf(bytes: Buffer): AnswerEvent | Buffer {
    // The splitter's bytes are good until it is fed again.
    return AnswerEvent.ofStream(bytes, this.#filtering.protocol) ?? Buffer.from(bytes)
  }

  #next(step: () => Promise<void>): void {
    this.#busy++
    if (this.#silence === undefined && !this.#over) this.#listen()
    this.#source.pause()
    this.#turn = this.#turn.then(step).then(
      () => this.#done(),
      (error: unknown) => {
        this.#refuse(asError(error))
        this.#done()
      },
    )
  }

  #done(): void {
    this.#busy--
    this.#flow()
  }

  #flow(): void {
    if (this.#busy === 0 && !this.#paused && !this.#over && (this.#sink !== undefined || !this.#sent)) {
      this.#source.resume()
    }
  }

  #listen(): void {
    const { protocol, keepAliveMs = KEEP_ALIVE_MS } = this.#filtering
    const { comment } = protocol.framing ?? sse
    if (comment === undefined) return
    this.#silence = setTimeout(() => {
      // Who does not read what there is needs no more, and where nothing is held back it is the provider who is silent.
      if (!this.#paused && (this.#busy > 0 || this.#way.holds)) this.#emit(comment)
      else this.#silence!.refresh()
    }, keepAliveMs)
  }

  #emit(bytes: Buffer): void {
    this.#silence?.refresh()
    this.#sent = true
    if (this.#sink === undefined) this.#waiting.push(bytes)
    else this.#sink.write(bytes)
    this.#opening.resolve()
  }

  #close(): void {
    this.#over = true
    clearTimeout(this.#silence)
  }

  /** What has no data is for no filter, and goes on at once: it may be there to keep a connection alive. */
  async #pass(events: readonly (AnswerEvent | Buffer)[], last: boolean): Promise<void> {
    try {
      for (const event of events) {
        if (this.#over) return
        if (Buffer.isBuffer(event)) this.#leave(event)
        else for (const passed of await this.#way.through([event], false)) this.#leave(passed)
      }
      if (last && !this.#over) for (const passed of await this.#way.through([], true)) this.#leave(passed)
    } finally {
      // What has passed before somebody refuses what follows it leaves, wherever a read has ended.
      this.#flush()
    }
  }

  /** With the rest of its read, or before it where a verdict on that takes its time. */
  #leave(passed: AnswerEvent | Buffer): void {
    if (Buffer.isBuffer(passed)) this.#out.push(passed)
    else {
      this.#out.push(passed.bytes)
      if (passed.json !== undefined) this.#begun?.took(passed.json)
    }
    this.#soon ??= setImmediate(() => this.#flush())
  }

  #flush(): void {
    clearImmediate(this.#soon)
    this.#soon = undefined
    const out = this.#out.splice(0)
    if (!this.#over && out.length > 0) this.#emit(out.length === 1 ? out[0]! : Buffer.concat(out))
  }

  #refuse(error: Error): void {
    if (this.#over) return
    this.#close()
    this.#source.cancel(
      error instanceof GatewayError ? error : new GatewayError(500, 'internal_error', 'internal error'),
    )
    if (!this.#sent) return this.#opening.reject(error)
    const event = this.#lastFor(error)
    if (this.#sink === undefined) {
      this.#waiting.push(event)
      return
    }
    this.#sink.write(event)
    this.#sink.end()
  }

  #lastFor(error: Error): Buffer {
    const begun = this.#begun
    if (begun !== undefined && error instanceof Denied) return begun.refusal(error.said)
    if (begun !== undefined && error instanceof EndsHere) return begun.cutOff(error.outputTokens)
    return this.#filtering.protocol.errorEvent(told(error))
  }

  #broken(error: Error): void {
    if (this.#over) return
    this.#close()
    if (!this.#sent) return this.#opening.reject(error)
    this.#failure = error
    this.#sink?.fail(error)
  }
}

function told(error: Error): ProtocolError {
  return failureOf(error, undefined)
}
