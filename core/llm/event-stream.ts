// A provider's stream on its way to the client: bytes pass as they come, a reader follows them; knows no provider and no JSON.
import { asError, ClientGone, UpstreamError } from '../errors.ts'
import type { AnswerBody } from '../proxy/transport.ts'
import type { Sink, Source } from '../reply.ts'
import type { Aborted } from './exchange.ts'
import type { Cut, Framing, Splitter } from './framing/framing.ts'
import { sse } from './framing/sse.ts'
import type { EventReader } from './protocols/protocol.ts'

export interface StreamOptions {
  reader: EventReader
  /** SSE without it. */
  framing?: Framing | undefined
  /** The client speaks another protocol: it gets what this makes of the provider's events, and none of the bytes. */
  translation?: { read(frames: Cut): Buffer; end(): Buffer } | undefined
  /** Nothing is sent before the first content has come: until then, somebody else may still be asked. */
  holdsStart?: boolean
  /** The client has not asked for the events that carry only usage: they are taken out on the way. */
  hidesUsage: boolean
  /** Bytes from the provider. */
  maxBytes: number
  /** What the client is told, as an event, when a stream that it has seen the beginning of breaks. */
  errorEvent(error: Error): Buffer
  /** What is left of bytes of a stream that has failed when what is no client's to see is taken out. */
  hidden?(bytes: Buffer): Buffer
  /** Once, when the first event with data has come. */
  firstData(): void
  /** Once, when the stream is over: why it was cut short, if it was, and whether anything of it reaches the client. */
  over(error: Error | undefined, aborted: Aborted | undefined, delivered: boolean): void
}

const notUnderstood = () => new UpstreamError('malformed', 'the provider sent an event that cannot be understood')

const LF = 0x0a

/** What comes before the first content is held in memory; more than this is none that anybody waits with. */
const MAX_HELD = 256 * 1024

/**
 * Every read leaves in one write, at once. Bytes are untouched, except that usage-only events are taken out when the client
 * has not asked for them, or that all are translated. Only then, or where a framing has no way out of half a frame, does an
 * incomplete one wait for its end. A stream that breaks ends with an error event and without the protocol's own end.
 */
export class EventStream implements Source, Sink {
  /** Resolves when there is something to send, rejects with the reason when there never will be. */
  readonly opened: Promise<void>
  readonly #opening: { resolve: () => void; reject: (error: Error) => void }
  readonly #body: AnswerBody
  readonly #options: StreamOptions
  readonly #splitter: Splitter
  readonly #patch: Buffer | undefined
  /** An event waits for its end. */
  readonly #whole: boolean
  #sink: Sink | undefined
  /** What there is to send before there is a sink. */
  #waiting: Buffer[] = []
  #sent = false
  #paused = false
  #over = false
  #failure: Error | undefined
  #bytes = 0
  #lastHidden = false

  constructor(body: AnswerBody, options: StreamOptions) {
    this.#body = body
    this.#options = options
    const framing = options.framing ?? sse
    this.#splitter = framing.open()
    this.#patch = framing.patch
    this.#whole = options.hidesUsage || framing.patch === undefined || options.translation !== undefined
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.opened = promise
    this.#opening = { resolve, reject }
    body.pipe(this)
  }

  // --- the provider's side -------------------------------------------------------------------------------------------

  write(chunk: Buffer): void {
    if (this.#over) return
    const { maxBytes, translation } = this.#options
    this.#bytes += chunk.length
    if (this.#bytes > maxBytes) {
      return this.#break(new UpstreamError('too_large', 'max_response_bytes exceeded'), 'max_response_bytes')
    }
    const within = this.#splitter.partial && !this.#whole
    const frames = this.#splitter.feed(chunk)
    if (frames !== undefined) this.#follow(frames)
    if (this.#over) return
    // Passed on, and a terminator behind it, it would look as if nothing were missing.
    if (this.#options.reader.malformed) return this.#break(notUnderstood(), 'read_error', within)
    if (!this.#whole) return this.#send(chunk)
    if (frames !== undefined && translation === undefined) this.#send(this.#shown(frames))
    if (this.#splitter.lost) {
      this.#break(
        new UpstreamError('malformed', 'the provider sent what is no event, or too large for one'),
        'read_error',
      )
    }
  }

  end(): void {
    if (this.#over || this.#finishIfComplete(this.#options.reader.endsWithBody)) return
    this.#break(new UpstreamError('malformed', 'the stream ended before it was complete'), 'incomplete')
  }

  fail(error: Error): void {
    if (this.#over) return
    if (error instanceof ClientGone) {
      this.#close(error, 'client_disconnect')
      if (!this.#sent) this.#opening.reject(error)
      else if (this.#sink === undefined) this.#failure = error
      else this.#sink.fail(error)
      return
    }
    // What breaks behind the end takes nothing from the client.
    if (this.#finishIfComplete()) return
    this.#break(error, 'read_error')
  }

  // --- the client's side ---------------------------------------------------------------------------------------------

  pipe(sink: Sink): void {
    this.#sink = sink
    const waiting = this.#waiting
    this.#waiting = []
    if (waiting.length > 0) sink.write(waiting.length === 1 ? waiting[0]! : Buffer.concat(waiting))
    if (this.#failure !== undefined) sink.fail(this.#failure)
    else if (this.#over) sink.end()
    else if (!this.#paused) this.#body.resume()
  }

  pause(): void {
    this.#paused = true
    this.#body.pause()
  }

  resume(): void {
    this.#paused = false
    if (!this.#over) this.#body.resume()
  }

  cancel(reason: Error): void {
    if (this.#over) return
    this.#close(reason, reason instanceof ClientGone ? 'client_disconnect' : 'filtered')
    this.#body.cancel(reason)
  }

  // -------------------------------------------------------------------------------------------------------------------

  #follow(frames: Cut): void {
    const { reader, firstData, translation } = this.#options
    const { dataSeen, contentSeen } = reader
    if (translation === undefined) reader.read(frames)
    else this.#translate(() => translation.read(frames))
    if (!dataSeen && reader.dataSeen) firstData()
    if (!contentSeen && reader.contentSeen) this.#body.contentSeen()
  }

  /** What cannot be translated breaks the stream. */
  #translate(translated: () => Buffer): void {
    try {
      this.#send(translated())
    } catch (error) {
      this.#break(asError(error), 'read_error')
    }
  }

  #send(told: Buffer): void {
    const { reader, hidden } = this.#options
    const bytes = reader.failed && hidden !== undefined ? hidden(told) : told
    if (this.#sink !== undefined) {
      if (bytes.length === 0) return
      this.#sink.write(bytes)
    } else {
      if (bytes.length > 0) this.#waiting.push(bytes)
      if (this.#waiting.length === 0 || this.#holds) return
      // Nobody reads on before the reply is on its way.
      if (!this.#over) this.#body.pause()
    }
    this.#sent = true
    this.#opening.resolve()
  }

  get #holds(): boolean {
    const { holdsStart = false, reader } = this.#options
    return holdsStart && !this.#over && !reader.contentSeen && !reader.complete && this.#bytes <= MAX_HELD
  }

  /** The complete events of a read without those that are hidden, in one piece. */
  #shown({ bytes, ends }: Cut): Buffer {
    const hidden = this.#options.reader.usageOnly
    const all = ends.at(-1)!
    if (hidden.length === 0 && !this.#lastHidden) return all === bytes.length ? bytes : bytes.subarray(0, all)
    const shown: Buffer[] = []
    let from = 0
    let next = 0
    for (let index = 0; index < ends.length; index++) {
      const to = ends[index]!
      const isHidden = hidden[next] === index
      if (isHidden) next++
      // The last byte of a hidden event's end comes by itself when a read ends within CRLF.
      const isRest = this.#lastHidden && to - from === 1 && bytes[from] === LF
      if (!isRest) this.#lastHidden = isHidden
      if (!isHidden && !isRest) shown.push(bytes.subarray(from, to))
      from = to
    }
    return shown.length === 1 ? shown[0]! : Buffer.concat(shown)
  }

  #finishIfComplete(ended = false): boolean {
    const { reader, translation } = this.#options
    const last = this.#splitter.rest()
    if (last !== undefined) this.#follow(last)
    if (this.#over) return true
    if (!reader.complete && !ended) return false
    if (translation !== undefined) {
      this.#translate(() => translation.end())
      // Complete, but without anything to tell the client: it would wait for a message that never comes.
      if (this.#waiting.length === 0 && !this.#sent)
        this.#break(new UpstreamError('malformed', 'the stream says nothing'), 'incomplete')
      if (this.#over) return true
    } else if (last !== undefined && this.#whole) this.#send(this.#shown(last))
    this.#close(undefined, reader.failed ? 'upstream_error' : undefined)
    if (!this.#sent) this.#opening.resolve()
    this.#sink?.end()
    return true
  }

  /** The end of an answer that is not whole: `within` an event. Before anything was sent, somebody else tells the client. */
  #break(error: Error, aborted: Aborted, within = this.#splitter.partial && !this.#whole): void {
    const { errorEvent } = this.#options
    this.#close(error, aborted)
    this.#body.cancel(error)
    if (!this.#sent) return this.#opening.reject(error)
    const event = errorEvent(error)
    this.#send(within ? Buffer.concat([this.#patch!, event]) : event)
    this.#sink?.end()
  }

  #close(error: Error | undefined, aborted: Aborted | undefined): void {
    this.#over = true
    this.#options.over(error, aborted, error === undefined || this.#sent)
  }
}
