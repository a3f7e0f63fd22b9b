// AWS's binary event stream, both ways: frames with headers and checksums (facts ai-plugins 5.4); knows no event by name.
import { crc32 } from 'node:zlib'
import type { Cut, Framing, Splitter } from './framing.ts'

/** 64-bit numbers and times (milliseconds since the epoch) are bigints, UUIDs are their 16 bytes. */
export type HeaderValue = boolean | number | bigint | string | Buffer

export interface Message {
  readonly headers: ReadonlyMap<string, HeaderValue>
  readonly payload: Buffer
}

/** Two lengths and their checksum; headers and payload follow, and the checksum of all of it. */
const PRELUDE = 12
const CHECKSUM = 4
const SMALLEST = PRELUDE + CHECKSUM
const LARGEST = 16 * 1024 * 1024

const none = Buffer.alloc(0)

/** Finds where frames end, at any cut. Every byte is looked at twice (checksums) and copied at most twice. */
export class AwsSplitter implements Splitter {
  /** What has come of a frame that is not complete: the first `#size` bytes of `#held`. */
  #held = none
  #size = 0
  #lost = false

  get partial(): boolean {
    return this.#size > 0 || this.#lost
  }

  /** For good: nothing tells where the next frame would begin. */
  get lost(): boolean {
    return this.#lost
  }

  feed(chunk: Buffer): Cut | undefined {
    if (this.#lost) return undefined
    const held = this.#size > 0
    const bytes = held ? this.#joined(chunk) : chunk
    const ends: number[] = []
    let at = 0
    for (;;) {
      const size = frameSize(bytes, at)
      if (size === undefined) break
      if (size === 0 || !isWhole(bytes, at, size)) {
        this.#lost = true
        break
      }
      at += size
      ends.push(at)
    }
    this.#size = this.#lost ? 0 : bytes.length - at
    // What was held and is complete is given away: the next frame gets room of its own.
    if (this.#size === 0) this.#held = none
    else if (at > 0 || !held) this.#held = Buffer.from(bytes.subarray(at))
    return ends.length === 0 ? undefined : { bytes, ends }
  }

  rest(): undefined {}

  #joined(chunk: Buffer): Buffer {
    const size = this.#size + chunk.length
    if (size > this.#held.length) {
      const grown = Buffer.allocUnsafe(Math.max(size, this.#held.length * 2))
      this.#held.copy(grown, 0, 0, this.#size)
      this.#held = grown
    }
    chunk.copy(this.#held, this.#size)
    return this.#held.subarray(0, size)
  }
}

/** Of the frame at `at`: undefined while too little of it has come, 0 when it is none. */
function frameSize(bytes: Buffer, at: number): number | undefined {
  if (bytes.length - at < PRELUDE) return undefined
  const size = bytes.readUInt32BE(at)
  const headers = bytes.readUInt32BE(at + 4)
  const fits = size >= SMALLEST && size <= LARGEST && headers <= size - SMALLEST
  if (!fits || crc32(bytes.subarray(at, at + 8)) !== bytes.readUInt32BE(at + 8)) return 0
  return bytes.length - at < size ? undefined : size
}

function isWhole(bytes: Buffer, at: number, size: number): boolean {
  const end = at + size - CHECKSUM
  return crc32(bytes.subarray(at, end)) === bytes.readUInt32BE(end)
}

/** Reads one frame whose checksums are right. Undefined when it is not what frames are. */
export function parseMessage(frame: Buffer): Message | undefined {
  if (frame.length < SMALLEST) return undefined
  const headersEnd = PRELUDE + frame.readUInt32BE(4)
  if (headersEnd > frame.length - CHECKSUM) return undefined
  const headers = new Map<string, HeaderValue>()
  try {
    const reader = new HeaderReader(frame.subarray(PRELUDE, headersEnd))
    while (!reader.done) {
      const name = reader.take(reader.take(1).readUInt8()).toString('utf8')
      if (headers.has(name)) return undefined
      headers.set(name, reader.value())
    }
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
  return { headers, payload: frame.subarray(headersEnd, frame.length - CHECKSUM) }
}

/** Throws RangeError where the bytes end too early, or a type is unknown. */
class HeaderReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length
  }

  take(size: number): Buffer {
    const end = this.#at + size
    if (end > this.#bytes.length) throw new RangeError('a header is cut off')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  value(): HeaderValue {
    const type = this.take(1).readUInt8()
    switch (type) {
      case 0:
        return true
      case 1:
        return false
      case 2:
        return this.take(1).readInt8()
      case 3:
        return this.take(2).readInt16BE()
      case 4:
        return this.take(4).readInt32BE()
      case 5:
      case 8:
        return this.take(8).readBigInt64BE()
      case 6:
        return this.take(this.take(2).readUInt16BE())
      case 7:
        return this.take(this.take(2).readUInt16BE()).toString('utf8')
      case 9:
        return this.take(16)
      default:
        throw new RangeError(`no header has the type ${type}`)
    }
  }
}

/** Writes one frame. Names are at most 255 bytes, values 65,535. */
export function encodeMessage(headers: Readonly<Record<string, string>>, payload: Buffer): Buffer {
  const parts: Buffer[] = []
  for (const [name, value] of Object.entries(headers)) {
    const [key, text] = [Buffer.from(name), Buffer.from(value)]
    const size = Buffer.alloc(3, 7)
    size.writeUInt16BE(text.length, 1)
    parts.push(Buffer.from([key.length]), key, size, text)
  }
  return assembled(Buffer.concat(parts), payload)
}

function assembled(head: Buffer, payload: Buffer): Buffer {
  const frame = Buffer.alloc(SMALLEST + head.length + payload.length)
  frame.writeUInt32BE(frame.length, 0)
  frame.writeUInt32BE(head.length, 4)
  frame.writeUInt32BE(crc32(frame.subarray(0, 8)), 8)
  head.copy(frame, PRELUDE)
  payload.copy(frame, PRELUDE + head.length)
  const end = frame.length - CHECKSUM
  frame.writeUInt32BE(crc32(frame.subarray(0, end)), end)
  return frame
}

export const awsEventStream: Framing = {
  mediaType: 'application/vnd.amazon.eventstream',
  // Within a frame everything counts as its bytes.
  patch: undefined,
  comment: undefined,
  open: () => new AwsSplitter(),
  read(frame) {
    const message = parseMessage(frame)
    if (message === undefined) return undefined
    const type = [':event-type', ':exception-type', ':error-code'].map(name => message.headers.get(name)).find(isText)
    return { type: type ?? 'message', data: message.payload.toString('utf8') }
  },
  rewrite: (frame, data) => assembled(frame.subarray(PRELUDE, PRELUDE + frame.readUInt32BE(4)), Buffer.from(data)),
}

function isText(value: HeaderValue | undefined): value is string {
  return typeof value === 'string'
}
