// Refusals as Anthropic's messages: whole, as a stream, and as the end of a stream that has begun; knows nobody who refuses.
import { isObject, type JsonObject } from '../json.ts'
import type { BegunStream, Refusal } from './protocol.ts'

const nothingUsed = { input_tokens: 0, output_tokens: 0 }
const ended = { stop_reason: 'end_turn', stop_sequence: null }

/** facts ai-plugins 2.6; where APISIX writes `{}` for an empty list, a list. */
export function messageRefusal(said: Refusal, streaming: boolean): Buffer {
  if (streaming) return new BegunMessage().refusal(said)
  const { text, model, id, usage = nothingUsed } = said
  const content = [{ type: 'text', text }]
  return Buffer.from(JSON.stringify({ id, type: 'message', role: 'assistant', model, content, ...ended, usage }))
}

/**
 * A message begins once: its clients take a second beginning for a fault. What it says is another block of it, or a block of
 * text that has begun and says nothing yet.
 */
export class BegunMessage implements BegunStream {
  #begun = false
  #usage: JsonObject | undefined
  #next = 0
  readonly #open = new Set<number>()
  #empty: number | undefined

  took({ type, index, message, content_block: block }: JsonObject): void {
    if (type === 'message_start') {
      this.#begun = true
      if (isObject(message) && isObject(message.usage)) this.#usage = message.usage
    }
    if (typeof index !== 'number') return
    const isText = type === 'content_block_start' && isObject(block) && block.type === 'text' && block.text === ''
    this.#empty = isText ? index : undefined
    if (type === 'content_block_start') this.#open.add(index)
    else if (type === 'content_block_stop') this.#open.delete(index)
    this.#next = Math.max(this.#next, index + 1)
  }

  refusal({ text, model, id, usage = this.#usage ?? nothingUsed }: Refusal): Buffer {
    const message = { id, type: 'message', role: 'assistant', model, content: [], stop_reason: null }
    const empty = this.#empty
    const index = empty ?? this.#next
    const others = [...this.#open].filter(open => open !== empty)
    const events = [
      ...(this.#begun ? [] : [{ type: 'message_start', message: { ...message, stop_sequence: null, usage } }]),
      ...others.map(open => ({ type: 'content_block_stop', index: open })),
      ...(empty === undefined
        ? [{ type: 'content_block_start', index, content_block: { type: 'text', text: '' } }]
        : []),
      { type: 'content_block_delta', index, delta: { type: 'text_delta', text } },
      { type: 'content_block_stop', index },
      { type: 'message_delta', delta: ended, usage },
      { type: 'message_stop' },
    ]
    return bytesOf(events)
  }

  cutOff(outputTokens: number): Buffer {
    const delta = { stop_reason: 'max_tokens', stop_sequence: null }
    return bytesOf([
      ...[...this.#open].map(open => ({ type: 'content_block_stop', index: open })),
      { type: 'message_delta', delta, usage: { ...this.#usage, output_tokens: outputTokens } },
      { type: 'message_stop' },
    ])
  }
}

function bytesOf(events: readonly (JsonObject & { type: string })[]): Buffer {
  return Buffer.from(events.map(event => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(''))
}
