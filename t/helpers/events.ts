// Streams of events for the readers of protocols: cut as a test says, read as a gateway reads them.
import { sse } from '../../core/llm/framing/sse.ts'
import type { EventReader, Protocol } from '../../core/llm/protocols/protocol.ts'

/** Gives the reader each piece as one read, and what is left at the end as an event. */
export function follow(
  protocol: Protocol,
  pieces: readonly (string | Buffer)[],
  given: { request?: Record<string, unknown>; collectText?: boolean } = {},
): EventReader {
  const reader = protocol.openReader(given.request ?? {}, given.collectText ?? false)
  const splitter = (protocol.framing ?? sse).open()
  for (const piece of pieces) {
    const frames = splitter.feed(Buffer.from(piece))
    if (frames !== undefined) reader.read(frames)
  }
  const rest = splitter.rest()
  if (rest !== undefined) reader.read(rest)
  return reader
}

/** One event with its name, which its data repeats. */
export function named(type: string, more: object = {}): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`
}

/** `bytes` in pieces that end at `places`, in any order. */
export function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set([...places.filter(place => place < bytes.length), bytes.length])].sort((a, b) => a - b)
  return ends.map((end, at) => bytes.subarray(ends[at - 1] ?? 0, end))
}
