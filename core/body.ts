// The one place that holds a request body: streamed when nobody asks, read and parsed at most once, replayed per attempt.
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
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

const none = Buffer.alloc(0)

export class RequestBody {
  readonly #message: IncomingMessage
  /** Content-Length as the client declared it; undefined for a chunked body. */
  readonly declaredLength: number | undefined
  readonly #limit: number
  #bytes: Buffer | undefined
  #reading: Promise<Buffer> | undefined
  #parsed: { value: unknown } | undefined
  #upload: Upload | undefined
  #replaced = false
  #received = 0

  /** `limit` bounds what is accepted from the client at all, in bytes. Throws BodyTooLarge when more is declared. */
  constructor(message: IncomingMessage, headers: HeaderList, limit = Number.POSITIVE_INFINITY) {
    this.#message = message
    this.#limit = limit
    const declared = headers.get('content-length')
    this.declaredLength = declared === undefined ? undefined : Number(declared)
    if (this.declaredLength === 0 || (declared === undefined && !headers.has('transfer-encoding'))) this.#bytes = none
    else if (this.declaredLength !== undefined && this.declaredLength > limit)
      throw new BodyTooLarge(this.declaredLength, limit)
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

  /** True when there is no body at all. */
  get empty(): boolean {
    return this.#bytes?.length === 0
  }

  /** The whole body. Throws BodyTooLarge above `max` bytes, ClientGone when the client leaves while sending. */
  async bytes(max: number): Promise<Buffer> {
    if (this.#bytes === undefined) {
      const declared = this.declaredLength
      if (declared !== undefined && declared > max) throw new BodyTooLarge(declared, max)
      this.#reading ??= this.#read(Math.min(max, this.#limit))
      this.#bytes = await this.#reading
    }
    if (this.#bytes.length > max) throw new BodyTooLarge(this.#bytes.length, max)
    return this.#bytes
  }

  /** The body parsed as JSON, once per request; whoever wants to change it clones it. Throws BodyNotJson too. */
  async json(max: number): Promise<unknown> {
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

  /** Puts other bytes in the place of the body, for every later reader and for the upstream. */
  replace(bytes: Buffer): void {
    this.#bytes = bytes
    this.#parsed = undefined
    this.#replaced = true
  }

  /**
   * What goes upstream: null without a body, the bytes when they are in memory, else a stream of them as they come.
   * The stream can be sent once: a second call is of use only while `untouched`, or when the body is `replayable`.
   */
  outgoing(): Buffer | Readable | null {
    if (this.#bytes !== undefined) return this.#bytes.length === 0 ? null : this.#bytes
    if (this.#upload === undefined || (this.#upload.destroyed && this.untouched)) {
      this.#upload = new Upload(this.#message, size => {
        this.#received += size
        return this.#received > this.#limit ? new BodyTooLarge(this.#received, this.#limit) : undefined
      })
    }
    return this.#upload
  }

  /** True while nothing of the client's body has been read, so that another attempt may still stream it. */
  get untouched(): boolean {
    return this.#received === 0
  }

  #read(max: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const message = this.#message
      const chunks: Buffer[] = []
      const finish = (settle: () => void) => {
        message.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose)
        settle()
      }
      const onData = (chunk: Buffer) => {
        this.#received += chunk.length
        if (this.#received > max) {
          message.pause()
          finish(() => reject(new BodyTooLarge(this.#received, max)))
          return
        }
        chunks.push(chunk)
      }
      const onEnd = () =>
        finish(() => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, this.#received)))
      const onClose = () => finish(() => reject(new ClientGone()))
      if (message.destroyed) return onClose()
      message.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose)
    })
  }
}

/**
 * The client's upload as a stream of its own: undici destroys the body it is given when an exchange fails, which on the
 * message itself would close the client's socket before it could be told why.
 */
class Upload extends Readable {
  readonly #message: IncomingMessage
  readonly #count: (size: number) => Error | undefined
  #started = false

  constructor(message: IncomingMessage, count: (size: number) => Error | undefined) {
    super({ highWaterMark: 64 * 1024 })
    this.#message = message
    this.#count = count
    this.on('error', () => {})
  }

  override _read(): void {
    if (!this.#started) {
      this.#started = true
      const message = this.#message
      if (message.destroyed) {
        this.destroy(new ClientGone())
        return
      }
      message.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose).on('error', this.#onClose)
    }
    this.#message.resume()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const message = this.#message
    message.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose).off('error', this.#onClose)
    // Nobody reads on: what is still to come is dropped by the gateway when it answers.
    message.pause()
    done(error)
  }

  readonly #onData = (chunk: Buffer): void => {
    const refused = this.#count(chunk.length)
    if (refused !== undefined) this.destroy(refused)
    else if (!this.push(chunk)) this.#message.pause()
  }

  readonly #onEnd = (): void => {
    this.push(null)
  }

  readonly #onClose = (): void => {
    this.destroy(new ClientGone())
  }
}
