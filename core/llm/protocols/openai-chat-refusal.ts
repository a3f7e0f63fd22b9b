// Refusals as chat completions: whole, as a stream, and as the end of a stream that has begun; knows nobody who refuses.
import { isObject, type JsonObject } from '../json.ts'
import { isFinish } from './openai-chat-reader.ts'
import type { BegunStream, Refusal } from './protocol.ts'

const nothingUsed = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }

/** facts ai-plugins 2.3, and the blank line that belongs behind `[DONE]`. */
export function chatRefusal(said: Refusal, streaming: boolean): Buffer {
  if (streaming) return new BegunChat().refusal(said)
  const { text, model, id, usage = nothingUsed } = said
  const choices = [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }]
  return Buffer.from(JSON.stringify({ id, object: 'chat.completion', model, choices, usage }))
}

/** Every choice that has begun and not ended says it; ends are never said twice. */
export class BegunChat implements BegunStream {
  #chunk: JsonObject | undefined
  readonly #open = new Set<unknown>()
  readonly #ended = new Set<unknown>()

  took(chunk: JsonObject): void {
    if (!Array.isArray(chunk.choices)) return
    this.#chunk ??= chunk
    for (const { index = 0, finish_reason: reason } of chunk.choices.filter(isObject)) {
      if (isFinish(reason)) this.#ended.add(index)
      else this.#open.add(index)
    }
  }

  refusal({ text, model, id, usage = nothingUsed }: Refusal): Buffer {
    const open = [...this.#open].filter(index => !this.#ended.has(index))
    // OpenAI's SDK wants to be told once whose words these are.
    const delta = open.length === 0 ? { role: 'assistant', content: text } : { content: text }
    const choices = (open.length === 0 ? [0] : open).map(index => ({ index, delta, finish_reason: 'stop' }))
    const { id: begun, created } = this.#chunk ?? {}
    const known = { id: begun ?? id, object: 'chat.completion.chunk', ...(created !== undefined && { created }) }
    return Buffer.from(`data: ${JSON.stringify({ ...known, model, choices, usage })}\n\ndata: [DONE]\n\n`)
  }

  /** Of usage nothing is said: the provider has said nothing. */
  cutOff(): Buffer {
    const open = [...this.#open].filter(index => !this.#ended.has(index))
    const choices = open.map(index => ({ index, delta: {}, finish_reason: 'length' }))
    const { id, object, created, model } = this.#chunk ?? {}
    return Buffer.from(`data: ${JSON.stringify({ id, object, created, model, choices })}\n\ndata: [DONE]\n\n`)
  }
}
