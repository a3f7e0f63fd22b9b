// Refusals as Converse's answers: whole, as a stream, and as the end of a stream that has begun; knows nobody who refuses.
import { encodeMessage } from '../framing/aws-event-stream.ts'
import { isObject, type JsonObject } from '../json.ts'
import type { BegunStream, Refusal } from './protocol.ts'

const nothingUsed = { inputTokens: 0, outputTokens: 0, totalTokens: 0 }
const stopReason = 'end_turn'

/** facts ai-plugins 2.7. APISIX answers a stream with the whole answer's JSON, which none of its readers would take for a frame. */
export function converseRefusal(said: Refusal, streaming: boolean): Buffer {
  if (streaming) return new BegunConverse().refusal(said)
  const { text, usage = nothingUsed } = said
  const message = { role: 'assistant', content: [{ text }] }
  return Buffer.from(JSON.stringify({ output: { message }, stopReason, usage }))
}

/** What it says is another block of the message. */
export class BegunConverse implements BegunStream {
  #begun = false
  #next = 0
  readonly #open = new Set<number>()

  took({ role, contentBlockIndex: index, start, delta }: JsonObject): void {
    if (role !== undefined) this.#begun = true
    if (typeof index !== 'number') return
    // The end of a block has nothing but its index; blocks of text have no beginning.
    if (isObject(start) || isObject(delta)) this.#open.add(index)
    else this.#open.delete(index)
    this.#next = Math.max(this.#next, index + 1)
  }

  refusal({ text, usage = nothingUsed }: Refusal): Buffer {
    const contentBlockIndex = this.#next
    return Buffer.concat([
      ...(this.#begun ? [] : [eventOf('messageStart', { role: 'assistant' })]),
      ...[...this.#open].map(open => eventOf('contentBlockStop', { contentBlockIndex: open })),
      eventOf('contentBlockDelta', { contentBlockIndex, delta: { text } }),
      eventOf('contentBlockStop', { contentBlockIndex }),
      eventOf('messageStop', { stopReason }),
      eventOf('metadata', { usage, metrics: { latencyMs: 0 } }),
    ])
  }

  cutOff(outputTokens: number): Buffer {
    const usage = { inputTokens: 0, outputTokens, totalTokens: outputTokens }
    return Buffer.concat([
      ...[...this.#open].map(open => eventOf('contentBlockStop', { contentBlockIndex: open })),
      eventOf('messageStop', { stopReason: 'max_tokens' }),
      eventOf('metadata', { usage, metrics: { latencyMs: 0 } }),
    ])
  }
}

function eventOf(type: string, payload: object): Buffer {
  const headers = { ':message-type': 'event', ':event-type': type, ':content-type': 'application/json' }
  return encodeMessage(headers, Buffer.from(JSON.stringify(payload)))
}
