// Refusals as responses: whole, as a stream, and as the end of a stream that has begun; knows nobody who refuses.
import { isObject, type JsonObject } from '../json.ts'
import type { BegunStream, Refusal } from './protocol.ts'

const nothingUsed = { input_tokens: 0, output_tokens: 0, total_tokens: 0 }

/**
 * facts ai-plugins 2.4. APISIX sends two events, a delta and the end; OpenAI's SDK wants to be told before what the delta is
 * a part of.
 */
export function responseRefusal(said: Refusal, streaming: boolean): Buffer {
  if (streaming) return new BegunResponse().refusal(said)
  const { text, usage = nothingUsed } = said
  return Buffer.from(JSON.stringify({ ...responseOf(said, 'completed'), output: [itemOf(text)], usage }))
}

/** What it says is another item of the response, and at the end all of it. */
export class BegunResponse implements BegunStream {
  #response: JsonObject | undefined
  #items = 0
  #sequence = 0

  took({ type, response, output_index: index, sequence_number: sequence }: JsonObject): void {
    if (isObject(response)) this.#response ??= response
    if (type === 'response.output_item.added' && typeof index === 'number') this.#items = index + 1
    if (typeof sequence === 'number') this.#sequence = sequence + 1
  }

  refusal(said: Refusal): Buffer {
    const { text, id, usage = nothingUsed } = said
    const begun = this.#response
    const item = { ...itemOf(text), id: `msg_${id}`, status: 'completed' }
    const place = { item_id: item.id, output_index: this.#items, content_index: 0 }
    const empty = { type: 'output_text', text: '', annotations: [] }
    const completed = { ...responseOf(said, 'completed'), ...begun, status: 'completed', output: [item], usage }
    const events = [
      ...(begun ? [] : [{ type: 'response.created', response: { ...responseOf(said, 'in_progress'), output: [] } }]),
      {
        type: 'response.output_item.added',
        output_index: this.#items,
        item: { ...item, status: 'in_progress', content: [] },
      },
      { type: 'response.content_part.added', ...place, part: empty },
      { type: 'response.output_text.delta', ...place, delta: text },
      { type: 'response.output_text.done', ...place, text },
      { type: 'response.content_part.done', ...place, part: { ...empty, text } },
      { type: 'response.output_item.done', output_index: this.#items, item },
      { type: 'response.completed', response: completed },
    ]
    return this.#bytesOf(events)
  }

  /** Its items stay open: what they are is with the client. */
  cutOff(outputTokens: number): Buffer {
    const why = { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } }
    const usage = { input_tokens: 0, output_tokens: outputTokens, total_tokens: outputTokens }
    return this.#bytesOf([{ type: 'response.incomplete', response: { ...this.#response, ...why, usage } }])
  }

  #bytesOf(events: readonly (JsonObject & { type: string })[]): Buffer {
    return Buffer.from(
      events
        .map((event, at) => ({ ...event, sequence_number: this.#sequence + at }))
        .map(event => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
        .join(''),
    )
  }
}

function responseOf({ id, model }: Refusal, status: string): JsonObject {
  return { id, object: 'response', status, model }
}

function itemOf(text: string): JsonObject {
  return { type: 'message', role: 'assistant', content: [{ type: 'output_text', text }] }
}
