// Finds in the bytes of an HTTP/2 connection where an etcd watch on it has got to; reads frames, and of replies four fields.
import type { CutPoint } from './fault-proxy.ts'

const HEAD = 9
const DATA = 0
const END_STREAM = 1
const PADDED = 8
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'.length

interface Frame {
  type: number
  flags: number
  stream: number
  /** Where the payload begins and the frame ends, in bytes of this direction since the connection began. */
  from: number
  to: number
  payload: Buffer
}

/** Cuts one direction of a connection into frames, whatever the pieces it comes in. */
class Frames {
  #rest = Buffer.alloc(0)
  #passed: number

  constructor(skip: number) {
    this.#passed = -skip
  }

  *add(bytes: Buffer): Generator<Frame> {
    this.#rest = Buffer.concat([this.#rest, bytes])
    if (this.#passed < 0) {
      const skipped = Math.min(-this.#passed, this.#rest.length)
      this.#rest = this.#rest.subarray(skipped)
      this.#passed += skipped
      if (this.#passed < 0) return
    }
    while (this.#rest.length >= HEAD) {
      const length = this.#rest.readUIntBE(0, 3)
      if (this.#rest.length < HEAD + length) return
      const flags = this.#rest[4]!
      const from = this.#passed + HEAD
      const payload = this.#rest.subarray(HEAD, HEAD + length)
      yield {
        type: this.#rest[3]!,
        flags,
        stream: this.#rest.readUInt32BE(5) & 0x7fffffff,
        from,
        to: from + length,
        payload: (flags & PADDED) !== 0 ? payload.subarray(1, length - payload[0]!) : payload,
      }
      this.#rest = this.#rest.subarray(HEAD + length)
      this.#passed += HEAD + length
    }
  }
}

export class WatchEnd {
  readonly #client = new Frames(preface)
  readonly #server = new Frames(0)
  /** Streams on which the client has asked everything it will: calls. A watch stays open. */
  readonly #calls = new Set<number>()
  readonly #messages = new Map<number, Buffer>()
  #received = 0

  fromClient(bytes: Buffer): void {
    for (const { type, flags, stream } of this.#client.add(bytes)) {
      if (type <= 1 && (flags & END_STREAM) !== 0) this.#calls.add(stream)
    }
  }

  /** How many of these bytes may pass when the connection is to be cut at `point`; undefined when all. */
  fromServer(bytes: Buffer, point?: CutPoint): number | undefined {
    const before = this.#received
    this.#received += bytes.length
    let at: number | undefined
    for (const frame of this.#server.add(bytes)) {
      if (frame.type !== DATA || this.#calls.has(frame.stream)) continue
      const parts = [this.#messages.get(frame.stream) ?? Buffer.alloc(0), frame.payload]
      let rest = Buffer.concat(parts)
      while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
        const message = rest.subarray(5, 5 + rest.readUInt32BE(1))
        rest = rest.subarray(5 + message.length)
        at ??= cutAt(point, message, frame)
      }
      this.#messages.set(frame.stream, rest)
    }
    return at === undefined ? undefined : Math.min(bytes.length, Math.max(0, at - before))
  }
}

/** Where to cut, in bytes since the connection began, for a reply that ends in `frame`. */
function cutAt(point: CutPoint | undefined, message: Buffer, frame: Frame): number | undefined {
  const { created, fragment } = fields(message)
  if (point === 'before created' && created) return frame.from - HEAD
  if (point === 'after created' && created) return frame.to
  if (point === 'within a fragment' && fragment) return frame.from + Math.floor((frame.to - frame.from) / 2)
  if (point === 'after a fragment' && fragment) return frame.to
  return undefined
}

/** `created` (3) and `fragment` (7) of a WatchResponse. */
function fields(message: Buffer): { created: boolean; fragment: boolean } {
  const found = { created: false, fragment: false }
  let at = 0
  const varint = () => {
    let value = 0
    for (let factor = 1; at < message.length; factor *= 128) {
      const byte = message[at++]!
      value += (byte & 127) * factor
      if (byte < 128) break
    }
    return value
  }
  while (at < message.length) {
    const tag = varint()
    const wire = tag & 7
    if (wire === 0) {
      const value = varint()
      if (tag >> 3 === 3) found.created = value !== 0
      if (tag >> 3 === 7) found.fragment = value !== 0
    } else if (wire === 2) {
      const length = varint()
      at += length
    } else return found
  }
  return found
}
