// Bytes of an event stream into its events, without copying what comes whole; knows no JSON and no protocol.
import type { Cut, Framing, Said, Splitter } from './framing.ts'

/** The events that one read completed, their blank lines included. */
export interface Frames extends Cut {
  /** `bytes` as latin1: one character per byte, which a string search crosses several times faster than a Buffer's. */
  readonly text: string
  /** Where an event's only line ends, NO_LINE for a lone blank line, or SOME_LINES, to be read with `parseEvent`. */
  readonly lineEnds: readonly number[]
}

export const NO_LINE = -1
export const SOME_LINES = -2

/** An event that grows beyond this is no event (facts ai-plugins 5.3). */
// Images come as base64 in one event.
const MAX_EVENT = 16 * 1024 * 1024

const LF = 0x0a
const none = Buffer.alloc(0)

/**
 * Finds where events end, at any cut: lines end with LF, CRLF or CR, an event with an empty line (WHATWG HTML 9.2). Every
 * byte is looked at once and copied at most twice, whether a read brings one byte or a whole stream.
 */
export class SseSplitter implements Splitter {
  /** What has come of an event that is not complete: the first `#size` bytes of `#held`. */
  #held = none
  #size = 0
  /** The event was too large to be kept: what is still to come of it is no event either. */
  #overflowed = false
  /** The last read ended with an empty line's beginning, and with a CR whose LF may follow. */
  #atLineStart = true
  #afterCr = false

  /** Bytes of an incomplete event are waiting for the rest. */
  get partial(): boolean {
    return this.#size > 0 || this.#overflowed
  }

  /** The event that is coming in is larger than MAX_EVENT, and its beginning is lost. */
  get lost(): boolean {
    return this.#overflowed
  }

  /** Takes one read. The result is good until the next call; undefined when no event was completed. */
  feed(chunk: Buffer): Frames | undefined {
    const text = chunk.toString('latin1')
    const ends: number[] = []
    const lineEnds: number[] = []
    let lineEnd = this.partial ? SOME_LINES : NO_LINE
    let at = 0
    if (this.#afterCr && chunk[0] === LF) {
      at = 1
      if (!this.partial) {
        // The rest of the line end of an event that is gone already.
        ends.push(1)
        lineEnds.push(NO_LINE)
      }
    }
    this.#afterCr = false
    let lineStart = this.#atLineStart ? at : -1
    // Each kind of line end is searched for again only when it has been passed: one read is crossed once per kind.
    let lf = find(text, '\n', at)
    let cr = find(text, '\r', at)
    for (;;) {
      const end = Math.min(lf, cr)
      if (end === Number.POSITIVE_INFINITY) break
      let next = end + 1
      if (end === cr) {
        if (lf === next) next++
        else if (next === text.length) this.#afterCr = true
      }
      if (end === lineStart) {
        ends.push(next)
        lineEnds.push(lineEnd)
        lineEnd = NO_LINE
      } else lineEnd = lineEnd === NO_LINE ? end : SOME_LINES
      lineStart = next
      if (lf < next) lf = find(text, '\n', next)
      if (cr < next) cr = find(text, '\r', next)
    }
    this.#atLineStart = lineStart === text.length
    if (ends.length === 0) {
      this.#hold(chunk)
      return undefined
    }
    return this.#complete(chunk, text, { ends, lineEnds })
  }

  /** At the end of the stream: what has come without a blank line behind it counts as an event (facts ai-plugins 5.3). */
  rest(): Frames | undefined {
    if (this.#size === 0) return undefined
    const bytes = this.#held.subarray(0, this.#size)
    return { bytes, text: bytes.toString('latin1'), ends: [bytes.length], lineEnds: [SOME_LINES] }
  }

  #complete(chunk: Buffer, text: string, found: { ends: number[]; lineEnds: number[] }): Frames {
    const { ends, lineEnds } = found
    const last = ends.at(-1)!
    let frames: Frames = { bytes: chunk, text, ends, lineEnds }
    if (this.#overflowed) lineEnds[0] = NO_LINE
    else if (this.#size > 0) {
      const before = this.#size
      const bytes = Buffer.concat([this.#held.subarray(0, before), chunk.subarray(0, last)])
      frames = {
        bytes,
        text: bytes.toString('latin1'),
        ends: ends.map(end => end + before),
        lineEnds: lineEnds.map(end => (end < 0 ? end : end + before)),
      }
    }
    this.#release()
    if (last < chunk.length) this.#hold(chunk.subarray(last))
    return frames
  }

  #hold(bytes: Buffer): void {
    if (this.#overflowed) return
    const size = this.#size + bytes.length
    if (size > MAX_EVENT) {
      this.#release()
      this.#overflowed = true
      return
    }
    if (size > this.#held.length) {
      const grown = Buffer.allocUnsafe(Math.max(size, this.#held.length * 2))
      this.#held.copy(grown, 0, 0, this.#size)
      this.#held = grown
    }
    bytes.copy(this.#held, this.#size)
    this.#size = size
  }

  #release(): void {
    // What a usual event needs is kept for the next one.
    if (this.#held.length > 4096) this.#held = none
    this.#size = 0
    this.#overflowed = false
  }
}

export const sse: Framing = {
  mediaType: 'text/event-stream',
  patch: Buffer.from('\n\n'),
  comment: Buffer.from(':\n\n'),
  open: () => new SseSplitter(),
  read: parseEvent,
  rewrite: (frame, data) => Buffer.from(encodeEvent({ type: parseEvent(frame)?.type ?? 'message', data })),
}

/** indexOf with infinity for absence, so that positions compare. */
export function find(text: string, what: string, from: number): number {
  const at = text.indexOf(what, from)
  return at < 0 ? Number.POSITIVE_INFINITY : at
}

export type SseEvent = Said

/** Type and data of one event of any form, decoded; undefined when it has no data (a comment, a lone field). */
export function parseEvent(bytes: Buffer): SseEvent | undefined {
  const text = bytes.toString('utf8')
  let type = 'message'
  let data: string | undefined
  for (const line of (text.startsWith('\uFEFF') ? text.slice(1) : text).split(/\r\n|\r|\n/)) {
    const colon = line.indexOf(':')
    if (colon === 0) continue
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (field === 'data') data = data === undefined ? value : `${data}\n${value}`
    else if (field === 'event') type = value
  }
  return data === undefined ? undefined : { type, data }
}

/** The events of a read, decoded. One without data, as the comments are by which a provider says that it lives, is a `ping`. */
export function eventsOf({ bytes, text, ends, lineEnds }: Frames): SseEvent[] {
  const events: SseEvent[] = []
  let from = 0
  for (let index = 0; index < ends.length; index++) {
    const to = ends[index]!
    const lineEnd = lineEnds[index]!
    if (lineEnd >= 0 && text.startsWith('data:', from)) {
      const start = text[from + 5] === ' ' ? from + 6 : from + 5
      events.push({ type: 'message', data: bytes.toString('utf8', start, lineEnd) })
    } else if (lineEnd !== NO_LINE) {
      events.push(parseEvent(bytes.subarray(from, to)) ?? { type: 'ping', data: '' })
    }
    from = to
  }
  return events
}

/** An event as it goes on the wire. `data` must be one line, as JSON is. */
export function encodeEvent({ type, data }: SseEvent): string {
  return type === 'message' ? `data: ${data}\n\n` : `event: ${type}\ndata: ${data}\n\n`
}
