// A provider's stream through a conversion, read by read, and all that a client would have seen of it.
import { UpstreamError } from '../../core/errors.ts'
import type { Conversion } from '../../core/llm/converters/converter.ts'
import { Translation } from '../../core/llm/converters/translation.ts'
import { EventStream } from '../../core/llm/event-stream.ts'
import { failureOf } from '../../core/llm/failure.ts'
import { anthropicMessages } from '../../core/llm/protocols/anthropic-messages.ts'
import { openaiChat } from '../../core/llm/protocols/openai-chat.ts'
import type { Sink } from '../../core/reply.ts'

export interface Translated {
  writes: string[]
  text: string
  /** How often the client was told that it is over. */
  ends: number
  /** Why it was cut short, if it was. */
  over: unknown
  /** Set when nothing had been sent, so that it can be told with a status. */
  failed: Error | undefined
}

/** From OpenAI's protocol to Anthropic's. */
export function translate(conversion: Conversion, reads: readonly Buffer[]): Translated {
  const seen: Translated = { writes: [], text: '', ends: 0, over: undefined, failed: undefined }
  const reader = openaiChat.openReader({}, false)
  let sink!: Sink
  const body = {
    whole: () => undefined,
    pipe: (to: Sink) => {
      sink = to
    },
    pause: () => {},
    resume: () => {},
    cancel: () => {},
    contentSeen: () => {},
  }
  const stream = new EventStream(body, {
    reader,
    translation: new Translation(conversion, reader),
    hidesUsage: false,
    maxBytes: Number.POSITIVE_INFINITY,
    firstData: () => {},
    errorEvent: error => anthropicMessages.errorEvent(failureOf(error, undefined)),
    over: (error, aborted) => {
      seen.over = aborted
      if (seen.writes.length === 0) seen.failed = error
    },
  })
  stream.opened.catch(() => {})
  stream.pipe({
    write: chunk => void seen.writes.push(chunk.toString()),
    end: () => {
      seen.ends++
    },
    fail: error => {
      throw error instanceof UpstreamError ? new Error('the client was told nothing') : error
    },
  })
  for (const read of reads) if (read.length > 0) sink.write(read)
  sink.end()
  seen.text = seen.writes.join('')
  return seen
}
