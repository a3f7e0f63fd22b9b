// What chat completion chunks tell of usage, first content and the end of a stream; knows no bytes.
import type { Usage } from '../exchange.ts'
import { isObject, type JsonObject } from '../json.ts'
import { type Counting, tokens } from '../usage.ts'
import { EventFollower, type TellingMember } from './event-follower.ts'

const QUOTE = 0x22
const BRACE = 0x7b

/** Members of a delta that are content for somebody who waits for it. */
const contentMembers = ['content', 'tool_calls', 'reasoning_content', 'reasoning', 'refusal', 'function_call', 'audio']

const telling: readonly TellingMember[] = [
  { name: 'usage"', opens: BRACE },
  { name: 'finish_reason"', opens: QUOTE },
]
const tellingWithTools: readonly TellingMember[] = [...telling, { name: 'tool_calls"', opens: 0 }]

export class ChatReader extends EventFollower {
  #done = false
  readonly #choices: number
  /** Indices of the choices that have a finish_reason. */
  readonly #finished: unknown[] = []

  /** `request` is the body that asked for the stream. */
  constructor(request: JsonObject, collectsText: boolean, counting?: Counting) {
    super({ members: isNonEmptyList(request.tools) ? tellingWithTools : telling, collectsText, counting })
    this.#choices = typeof request.n === 'number' ? request.n : 1
  }

  get complete(): boolean {
    return this.#done || this.failed || this.#finished.length >= this.#choices
  }

  protected tells(type: string): boolean {
    return type === 'error'
  }

  protected override takeDone(): void {
    this.#done = true
    this.contentSeen = true
  }

  protected take(type: string, chunk: JsonObject, index: number): void {
    if (type === 'error') {
      this.failed = true
      this.contentSeen = true
    }
    if (type !== 'message') return
    // The second is what vLLM said once.
    if ((chunk.error !== undefined && chunk.error !== null) || chunk.object === 'error') this.failed = true
    this.sayWho(chunk.id, chunk.model)
    const choices = Array.isArray(chunk.choices) ? chunk.choices.filter(isObject) : []
    for (const { delta, finish_reason, index: choice } of choices) {
      if (isFinish(finish_reason) && !this.#finished.includes(choice)) {
        this.#finished.push(choice)
        this.sayWhy(finish_reason)
      }
      if (!isObject(delta)) continue
      if (contentMembers.some(member => isContent(delta[member]))) this.contentSeen = true
      if (isNonEmptyList(delta.tool_calls)) this.hasToolCalls = true
      this.addText(delta.content)
    }
    const usage = chatUsage(chunk.usage)
    this.addUsage(usage)
    if (usage !== undefined && Array.isArray(chunk.choices) && chunk.choices.length === 0) this.usageOnly.push(index)
    if (this.failed || this.usage !== undefined || this.#finished.length > 0) this.contentSeen = true
  }
}

function isContent(value: unknown): boolean {
  if (typeof value === 'string') return value.length > 0
  return isNonEmptyList(value) || isObject(value)
}

/** Whether a finish_reason is one: some providers write an empty one, or a word, where there is none. */
export function isFinish(reason: unknown): boolean {
  return typeof reason === 'string' && !/^\s*(null\s*)?$/.test(reason)
}

export function isNonEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0
}

/** facts ai-plugins 2.3; `total` falls back to the sum. */
export function chatUsage(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined
  const prompt = isObject(usage.prompt_tokens_details) ? usage.prompt_tokens_details : {}
  const completion = isObject(usage.completion_tokens_details) ? usage.completion_tokens_details : {}
  const counted = { prompt: tokens(usage.prompt_tokens), completion: tokens(usage.completion_tokens) }
  return {
    ...counted,
    total: tokens(usage.total_tokens) || counted.prompt + counted.completion,
    // The second name is DeepSeek's.
    cacheRead: tokens(prompt.cached_tokens) || tokens(usage.prompt_cache_hit_tokens),
    cacheCreation: tokens(prompt.cache_creation_input_tokens),
    reasoning: tokens(completion.reasoning_tokens),
  }
}
