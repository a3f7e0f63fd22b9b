// A stream of OpenAI's chunks as one of Anthropic's events (facts ai-plugins 4.3).
import type { SseEvent } from '../../framing/sse.ts'
import { isObject, type JsonObject } from '../../json.ts'
import { isFinish } from '../../protocols/openai-chat-reader.ts'
import type { ParsedEvent } from '../../protocols/protocol.ts'
import { type Asked, anthropicError, anthropicUsage, filled, isError, stopOf, textOf, thinkingOf } from './answer.ts'
import { ContentBlocks } from './content-blocks.ts'

const nothing: readonly SseEvent[] = []

/**
 * `message_start` comes with the first choice, `message_stop` with `[DONE]`, with the usage behind the last choice, or with
 * the end of a stream that was complete; never behind an error.
 */
export class AnswerStream {
  readonly #asked: Asked
  readonly #blocks = new ContentBlocks()
  #state: 'waiting' | 'open' | 'over' = 'waiting'
  /** The choice that had a finish_reason: what it ends is told when the usage is known. */
  #finished: JsonObject | undefined
  #usage: unknown

  constructor(asked: Asked) {
    this.#asked = asked
  }

  event({ type, data, json }: ParsedEvent): readonly SseEvent[] {
    if (this.#state === 'over') return nothing
    if (type === 'ping') return this.#state === 'open' ? [{ type: 'ping', data: '{"type":"ping"}' }] : nothing
    const failure = isObject(json) ? json.error : undefined
    if (type === 'error' || isError(failure)) return this.#fail(failure ?? json ?? data)
    if (type !== 'message') return nothing
    if (data.trim() === '[DONE]') return this.end()
    return isObject(json) ? this.#chunk(json) : nothing
  }

  /** Complete, as the provider's own signs have it. */
  end(): readonly SseEvent[] {
    if (this.#state !== 'open') return nothing
    this.#state = 'over'
    const out: SseEvent[] = []
    this.#blocks.end(out)
    const { callsTools } = this.#blocks
    const delta = stopOf(this.#finished ?? {}, this.#asked.stopSequences, callsTools)
    const { cache_read_input_tokens: cached, ...usage } = anthropicUsage(this.#usage)
    if (cached !== 0) Object.assign(usage, { cache_read_input_tokens: cached })
    out.push(eventOf({ type: 'message_delta', delta, usage }), eventOf({ type: 'message_stop' }))
    return out
  }

  #chunk(chunk: JsonObject): readonly SseEvent[] {
    const reportsUsage = isObject(chunk.usage)
    if (reportsUsage) this.#usage = chunk.usage
    if (this.#finished !== undefined) return reportsUsage ? this.end() : nothing
    const choice: unknown = Array.isArray(chunk.choices) ? chunk.choices[0] : undefined
    if (!isObject(choice)) return nothing
    const out: SseEvent[] = []
    if (this.#state === 'waiting') out.push(this.#start(chunk))
    if (isObject(choice.delta)) this.#content(choice.delta, out)
    if (isFinish(choice.finish_reason)) {
      this.#finished = choice
      this.#blocks.end(out)
    }
    return out
  }

  #start({ id, model }: JsonObject): SseEvent {
    this.#state = 'open'
    const message = {
      id: filled(id),
      type: 'message',
      role: 'assistant',
      model: filled(model) || filled(this.#asked.model),
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: { input_tokens: 0, output_tokens: 0 },
    }
    return eventOf({ type: 'message_start', message })
  }

  #content(delta: JsonObject, out: SseEvent[]): void {
    this.#blocks.text('thinking', thinkingOf(delta), out)
    this.#blocks.text('text', textOf(delta), out)
    if (!Array.isArray(delta.tool_calls)) return
    delta.tool_calls.forEach((call: unknown, position) => {
      if (!isObject(call)) return
      const { name, arguments: piece } = isObject(call.function) ? call.function : {}
      const part = { id: filled(call.id), name: this.#asked.names.inward(filled(name)), piece: filled(piece) }
      this.#blocks.tool(call.index ?? position, part, out)
    })
  }

  #fail(error: unknown): readonly SseEvent[] {
    this.#state = 'over'
    return [eventOf(anthropicError(error))]
  }
}

function eventOf(event: JsonObject & { readonly type: string }): SseEvent {
  return { type: event.type, data: JSON.stringify(event) }
}
