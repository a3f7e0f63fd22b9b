// The one place that holds a request body: streamed when nobody asks, read and parsed at most once, replayed per attempt.

import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { ClientGone, GatewayError } from './errors.ts'
import type { HeaderList } from './reply.ts'

/** The body is larger than the reader allows. The message is the one APISIX's plugins give (facts ai-plugins 1.3). */
export class BodyTooLarge extends GatewayError {
  constructor(size: number, max: number) {
    super(413, 'body_too_large', `request size ${size} is greater than the maximum size ${max} allowed`)
    this.name = 'BodyTooLarge'
  }
}

/** The body is not JSON; the message is the parser's. */
export class BodyNotJson extends GatewayError {
  constructor(detail: string) {
    super(400, 'body_not_json', detail)
    this.name = 'BodyNotJson'
  }
}

/** What is accepted of a request body at all. */
export interface BodyLimits {
  /** Bytes; 0 means any number. */
  maxBodySize: number
  /** Milliseconds to wait for the next piece of a body that is being read; 0 means for ever. */
  bodyTimeout: number
}

const none = Buffer.alloc(0)

export class RequestBody {
  readonly #message: IncomingMessage
  /** Content-Length as the client declared it; undefined for a chunked body. */
  readonly declaredLength: number | undefined
  /** Why a request with such a body cannot be served at all: larger than is accepted, or in an unknown transfer coding. */
  readonly refused: GatewayError | undefined
  readonly #max: number
  readonly #timeout: number
  /** Asks for room for bytes that are to be held; throws when there is none. */
  readonly #room: (bytes: number) => void
  #bytes: Buffer | undefined
  /** Why what the client sent cannot be had whole any more. */
  #broken: Error | undefined
  #reading: Promise<Buffer> | undefined
  #parsed: { value: unknown } | undefined
  #upload: Upload | undefined
  #replaced = false
  #received = 0

  /** `room` is asked before bytes are held in memory; it throws when there is none. */
  constructor(message: IncomingMessage, headers: HeaderList, limits: BodyLimits, room: (bytes: number) => void) {
    this.#message = message
    this.#max = limits.maxBodySize || Number.POSITIVE_INFINITY
    this.#timeout = limits.bodyTimeout
    this.#room = room
    const declared = headers.get('content-length')
    const coding = headers.get('transfer-encoding')
    this.declaredLength = declared === undefined ? undefined : Number(declared)
    if (this.declaredLength === 0 || (declared === undefined && coding === undefined)) this.#bytes = none
    this.refused = refusal(this.declaredLength ?? 0, this.#max, coding)
  }

  /** Bytes of the client's body seen so far. */
  get received(): number {
    return this.#received
  }

  /** True once a plugin put other bytes in the place of the client's. */
  get replaced(): boolean {
    return this.#replaced
  }

  /** True when every byte is in memory, so that it can be sent again. */
  get replayable(): boolean {
    return this.#bytes !== undefined
  }

  /** True while somebody waits for the client to send the rest. */
  get awaited(): boolean {
    return this.#reading !== undefined && this.#bytes === undefined && this.#broken === undefined
  }

  /** True when there is no body at all. */
  get empty(): boolean {
    return this.#bytes?.length === 0
  }

  /**
   * The whole body. Throws BodyTooLarge above `max` bytes, ClientGone when the client leaves while sending, GatewayError 408
   * when it stops sending.
   */
  async bytes(max: number): Promise<Buffer> {
    if (this.#bytes === undefined) {
      // What came with the head node:http hands over when whoever heard of the head has returned: one hop is enough.
      await undefined
      this.#gather(Math.min(max, this.#max))
    }
    if (this.#bytes === undefined) {
      if (this.#broken !== undefined) throw this.#broken
      const declared = this.declaredLength
      if (declared !== undefined && declared > max) throw new BodyTooLarge(declared, max)
      this.#reading ??= this.#read(Math.min(max, this.#max))
      this.#bytes = await this.#reading
    }
    if (this.#bytes.length > max) throw new BodyTooLarge(this.#bytes.length, max)
    return this.#bytes
  }

  /** Takes a body of which all has come already, as of most that came with their head, without the cost of a stream. */
  #gather(max: number): void {
    const { declaredLength } = this
    const untouched = this.#bytes === undefined && this.#reading === undefined && this.#upload === undefined
    if (!untouched || declaredLength === undefined || declaredLength > max) return
    if (this.#message.readableLength !== declaredLength) return
    this.#room(declaredLength)
    this.#bytes = this.#message.read() as Buffer
    this.#received = declaredLength
  }

  /** The body parsed as JSON, once per request; whoever wants to change it clones it. Throws BodyNotJson too. */
  async json(max: number): Promise<unknown> {
    if (this.#parsed !== undefined && this.#bytes !== undefined && this.#bytes.length <= max) return this.#parsed.value
    const bytes = await this.bytes(max)
    if (this.#parsed === undefined) {
      try {
        this.#parsed = { value: JSON.parse(bytes.toString('utf8')) as unknown }
      } catch (error) {
        throw new BodyNotJson((error as Error).message)
      }
    }
    return this.#parsed.value
  }

  /** What `json` has told somebody before, for who need not wait then. */
  get known(): { readonly bytes: Buffer; readonly value: unknown } | undefined {
    if (this.#parsed === undefined || this.#bytes === undefined) return undefined
    return { bytes: this.#bytes, value: this.#parsed.value }
  }

  /**
   * Puts other bytes in the place of the body, for every later reader and for the upstream. `json` is what they say, where
   * that is known: nobody need parse them then.
   */
  replace(bytes: Buffer, json?: object): void {
    this.#bytes = bytes
    this.#parsed = json && { value: json }
    this.#replaced = true
  }

  /**
   * What goes upstream: null without a body, the bytes when they are in memory, else a stream of them as they come.
   * The stream can be sent once: a second call is of use only while `untouched`, or when the body is `replayable`.
   * Throws what made the body impossible to have whole.
   */
  outgoing(): Buffer | Upload | null {
    if (this.#bytes !== undefined) return this.#bytes.length === 0 ? null : this.#bytes
    if (this.#broken !== undefined) throw this.#broken
    if (this.#upload === undefined || (this.#upload.destroyed && this.untouched)) {
      this.#upload = new Upload(listener => this.#intake(this.#max, listener))
    }
    return this.#upload
  }

  /** True while nothing of the client's body has been read, so that another attempt may still stream it. */
  get untouched(): boolean {
    return this.#received === 0
  }

  #read(max: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      const intake = this.#intake(max, {
        chunk: chunk => {
          try {
            this.#room(chunk.length)
            chunks.push(chunk)
          } catch (error) {
            intake.fail(error as Error)
          }
        },
        end: () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, this.#received)),
        fail: error => {
          this.#broken = error
          reject(error)
        },
      })
    })
  }

  #intake(max: number, listener: Listener): Intake {
    const counted: Listener = {
      chunk: chunk => {
        this.#received += chunk.length
        if (this.#received > max) intake.fail(new BodyTooLarge(this.#received, max))
        else listener.chunk(chunk)
      },
      end: listener.end,
      fail: listener.fail,
    }
    const intake = new Intake(this.#message, this.#timeout, counted)
    return intake
  }
}

function refusal(declared: number, max: number, coding: string | undefined): GatewayError | undefined {
  if (declared > max) return new BodyTooLarge(declared, max)
  // RFC 9112 6.1: a coding that we do not undo must not be passed on without its name.
  if (coding === undefined || coding.trim().toLowerCase() === 'chunked') return undefined
  // Where such a body ends, others may see otherwise: nothing that follows is listened to.
  const headers = { Connection: 'close' }
  const message = 'the only transfer coding understood is chunked'
  return new GatewayError(501, 'unsupported_transfer_encoding', message, { headers })
}

// What is still read of a body that nobody wants, so that its sender can hear the answer and use the connection again.
const MAX_DROPPED = 1024 * 1024
const DROP_WITHIN_MS = 5_000

/** Reads the rest of a body after its request was answered, within bounds; past them the connection is closed. */
export function dropRest(message: IncomingMessage): void {
  if (message.complete || message.destroyed) return
  let left = MAX_DROPPED
  const timer = setTimeout(() => message.destroy(), DROP_WITHIN_MS).unref()
  message.once('close', () => clearTimeout(timer)).once('end', () => clearTimeout(timer))
  message.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) message.destroy()
  })
  message.resume()
}

interface Listener {
  chunk(chunk: Buffer): void
  end(): void
  fail(error: Error): void
}

/** Listens to a message's body and tells how it went: `end` or `fail` comes once, last. */
class Intake {
  readonly #message: IncomingMessage
  readonly #listener: Listener
  readonly #timer: NodeJS.Timeout | undefined
  #paused = false
  #over = false

  constructor(message: IncomingMessage, timeout: number, listener: Listener) {
    this.#message = message
    this.#listener = listener
    if (timeout > 0) this.#timer = setTimeout(this.#onSilence, timeout)
    if (message.destroyed) {
      this.fail(new ClientGone())
      return
    }
    message.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onGone).on('error', this.#onGone)
    // It stands still if an earlier reader stopped before its first byte.
    message.resume()
  }

  pause(): void {
    this.#paused = true
    this.#message.pause()
  }

  resume(): void {
    this.#paused = false
    this.#timer?.refresh()
    this.#message.resume()
  }

  /** Stops listening. Nobody reads on: what is still to come is dropped when the request is answered. */
  stop(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#message
      .off('data', this.#onData)
      .off('end', this.#onEnd)
      .off('close', this.#onGone)
      .off('error', this.#onGone)
    this.#message.pause()
  }

  fail(error: Error): void {
    if (this.#over) return
    this.stop()
    this.#listener.fail(error)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#timer?.refresh()
    this.#listener.chunk(chunk)
  }

  readonly #onEnd = (): void => {
    this.stop()
    this.#listener.end()
  }

  readonly #onGone = (): void => this.fail(new ClientGone())

  readonly #onSilence = (): void => {
    // It is we who do not read.
    if (this.#paused) this.#timer?.refresh()
    else this.fail(new GatewayError(408, 'body_timeout', 'the client stopped sending its body'))
  }
}

/**
 * The client's upload as the stream that undici reads, and no more of one than that: what comes goes on at once, for a
 * queue of its own (that of node:stream) costs a quarter of the whole. It is not the message itself because undici destroys
 * the body it is given when an exchange fails, which would close the client's socket before it could be told why.
 */
export class Upload extends EventEmitter {
  readonly #begin: (listener: Listener) => Intake
  #intake: Intake | undefined
  #paused = false
  destroyed = false
  /** Where this is missing undici listens for itself whether anybody has read. */
  readableDidRead = false

  constructor(begin: (listener: Listener) => Intake) {
    super()
    this.#begin = begin
    this.on('error', () => {})
  }

  isPaused(): boolean {
    return this.#paused
  }

  pause(): this {
    this.#paused = true
    this.#intake?.pause()
    return this
  }

  resume(): this {
    this.#paused = false
    if (this.destroyed) return this
    if (this.#intake !== undefined) {
      this.#intake.resume()
      return this
    }
    this.readableDidRead = true
    this.#intake = this.#begin({
      chunk: chunk => void this.emit('data', chunk),
      end: () => void this.emit('end'),
      fail: error => this.destroy(error),
    })
    return this
  }

  /** Nothing is copied from here to there; by this name undici knows a stream. */
  pipe(): never {
    throw new Error('an upload is not piped')
  }

  destroy(error?: Error | null): void {
    if (this.destroyed) return
    this.destroyed = true
    this.#intake?.stop()
    process.nextTick(() => {
      if (error) this.emit('error', error)
      this.emit('close')
    })
  }
}
