// A stream of events on its way from the provider's protocol to the client's: each is parsed once; knows neither protocol.
import { encodeEvent, eventsOf, type Frames } from '../framing/sse.ts'
import { jsonOf } from '../protocols/event-follower.ts'
import type { EventReader } from '../protocols/protocol.ts'
import type { Conversion } from './converter.ts'

/** Reads with the provider's reader and writes what the conversion makes of it. */
export class Translation {
  readonly #conversion: Conversion
  readonly #reader: EventReader

  constructor(conversion: Conversion, reader: EventReader) {
    this.#conversion = conversion
    this.#reader = reader
  }

  /** All that one read brings the client. Throws UpstreamError. */
  read(frames: Frames): Buffer {
    const reader = this.#reader
    if (reader.takeParsed === undefined) reader.read(frames)
    let text = ''
    for (const event of eventsOf(frames)) {
      // Behind what could not be understood nothing may look as if it were whole.
      if (reader.malformed) break
      const parsed = { ...event, json: jsonOf(event.data) }
      reader.takeParsed?.(parsed)
      for (const converted of this.#conversion.event(parsed)) text += encodeEvent(converted)
    }
    return Buffer.from(text)
  }

  end(): Buffer {
    return Buffer.from(this.#conversion.end().map(encodeEvent).join(''))
  }
}
