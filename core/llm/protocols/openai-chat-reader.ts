// Follows a stream of chat completion chunks for usage, first content and its end; parses only the events that tell of them.
import type { Usage } from '../exchange.ts'
import { type Frames, find, NO_LINE, parseEvent, SOME_LINES } from '../framing/sse.ts'
import { isObject, type JsonObject } from '../json.ts'
import type { EventReader } from './protocol.ts'

/** Characters of an answer's text that are kept for logs. */
const MAX_TEXT = 1024 * 1024

const BRACKET = 0x5b
const BRACE = 0x7b
const QUOTE = 0x22
const SPACE = 0x20
const COLON = 0x3a

/** Members of a delta that are content for somebody who waits for it. */
const contentMembers = ['content', 'tool_calls', 'reasoning_content', 'reasoning', 'refusal', 'function_call', 'audio']

/**
 * After the first content an event is searched for the names that matter and parsed only where one stands before a value
 * that tells something: 0.2 us instead of 0.7. A text cannot hold them by chance, for there their quotes are escaped.
 */
export class ChatReader implements EventReader {
  readonly usageOnly: number[] = []
  dataSeen = false
  contentSeen = false
  failed = false
  usage: Usage | undefined
  hasToolCalls = false
  text: string | undefined
  #done = false
  readonly #choices: number
  /** Indices of the choices that have a finish_reason. */
  readonly #finished = new Set<unknown>()
  readonly #mayCallTools: boolean
  readonly #collectText: boolean

  /** `request` is the body that asked for the stream. */
  constructor(request: JsonObject, collectText: boolean) {
    this.#choices = typeof request.n === 'number' ? request.n : 1
    this.#mayCallTools = isNonEmptyList(request.tools)
    this.#collectText = collectText
  }

  get complete(): boolean {
    return this.#done || this.failed || this.#finished.size >= this.#choices
  }

  read({ bytes, text, ends, lineEnds }: Frames): void {
    this.usageOnly.length = 0
    // The next occurrence at or after the event at hand. A name that does not come is searched for once per read.
    let usageAt = -1
    let finishAt = -1
    let toolsAt = this.#mayCallTools && !this.hasToolCalls ? -1 : Number.POSITIVE_INFINITY
    let from = 0
    for (let index = 0; index < ends.length; index++) {
      const to = ends[index]!
      const lineEnd = lineEnds[index]!
      if (lineEnd >= 0 && text.startsWith('data:', from)) {
        const start = text.charCodeAt(from + 5) === SPACE ? from + 6 : from + 5
        let telling = !this.contentSeen || this.#collectText || isBrief(text, start)
        while (usageAt < lineEnd) {
          if (usageAt >= start && valueBegins(text, usageAt + 'usage"'.length, BRACE)) telling = true
          usageAt = find(text, 'usage"', Math.max(usageAt + 1, start))
        }
        while (finishAt < lineEnd) {
          if (finishAt >= start && valueBegins(text, finishAt + 'finish_reason"'.length, QUOTE)) telling = true
          finishAt = find(text, 'finish_reason"', Math.max(finishAt + 1, start))
        }
        while (toolsAt < lineEnd) {
          if (toolsAt >= start) telling = true
          toolsAt = find(text, 'tool_calls"', Math.max(toolsAt + 1, start))
        }
        if (telling) this.#take(bytes.toString('utf8', start, lineEnd), index)
      } else if (lineEnd === SOME_LINES || (lineEnd !== NO_LINE && from === 0)) {
        // The first event may begin with a byte order mark.
        const event = parseEvent(bytes.subarray(from, to))
        if (event?.type === 'error') this.failed = true
        else if (event?.type === 'message') this.#take(event.data, index)
      }
      from = to
    }
  }

  #take(data: string, index: number): void {
    const trimmed = data.trim()
    if (trimmed === '') return
    this.dataSeen = true
    if (trimmed === '[DONE]') {
      this.#done = true
      this.contentSeen = true
      return
    }
    let chunk: unknown
    try {
      chunk = JSON.parse(trimmed)
    } catch {
      return
    }
    if (isObject(chunk)) this.#takeChunk(chunk, index)
  }

  #takeChunk(chunk: JsonObject, index: number): void {
    if (chunk.error !== undefined && chunk.error !== null) this.failed = true
    const choices = Array.isArray(chunk.choices) ? chunk.choices.filter(isObject) : []
    for (const { delta, finish_reason, index: choice } of choices) {
      if (finish_reason !== null && finish_reason !== undefined) this.#finished.add(choice)
      if (!isObject(delta)) continue
      if (contentMembers.some(member => isContent(delta[member]))) this.contentSeen = true
      if (isNonEmptyList(delta.tool_calls)) this.hasToolCalls = true
      if (this.#collectText && typeof delta.content === 'string') this.#addText(delta.content)
    }
    const usage = chatUsage(chunk.usage)
    if (usage !== undefined) {
      this.usage = mergeUsage(this.usage, usage)
      if (Array.isArray(chunk.choices) && chunk.choices.length === 0) this.usageOnly.push(index)
    }
    if (this.failed || this.usage !== undefined || this.#finished.size > 0) this.contentSeen = true
  }

  #addText(text: string): void {
    this.text ??= ''
    if (this.text.length < MAX_TEXT) this.text += text.slice(0, MAX_TEXT - this.text.length)
  }
}

/** `[DONE]`, or an error in the place of a chunk. */
function isBrief(text: string, start: number): boolean {
  const first = text.charCodeAt(start)
  return first === BRACKET || (first === BRACE && text.startsWith('"error"', start + 1)) || first === SPACE
}

/** Whether behind a member's name at `from` stands a colon and a value that begins with `first`. */
function valueBegins(text: string, from: number, first: number): boolean {
  let at = from
  while (text.charCodeAt(at) <= SPACE) at++
  if (text.charCodeAt(at) !== COLON) return false
  at++
  while (text.charCodeAt(at) <= SPACE) at++
  return text.charCodeAt(at) === first
}

function isContent(value: unknown): boolean {
  if (typeof value === 'string') return value.length > 0
  return isNonEmptyList(value) || isObject(value)
}

export function isNonEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0
}

/** facts ai-plugins 2.3; `total` falls back to the sum. */
export function chatUsage(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined
  const prompt = isObject(usage.prompt_tokens_details) ? usage.prompt_tokens_details : {}
  const completion = isObject(usage.completion_tokens_details) ? usage.completion_tokens_details : {}
  const counted = { prompt: count(usage.prompt_tokens), completion: count(usage.completion_tokens) }
  return {
    ...counted,
    total: count(usage.total_tokens) || counted.prompt + counted.completion,
    // The second name is DeepSeek's.
    cacheRead: count(prompt.cached_tokens) || count(usage.prompt_cache_hit_tokens),
    cacheCreation: count(prompt.cache_creation_input_tokens),
    reasoning: count(completion.reasoning_tokens),
  }
}

function count(value: unknown): number {
  return typeof value === 'number' && value > 0 ? value : 0
}

/** Each event's numbers are absolute: a later one replaces an earlier, except by 0 (facts ai-plugins 3.5). */
function mergeUsage(before: Usage | undefined, now: Usage): Usage {
  if (before === undefined) return now
  const merged: Usage = { ...before }
  for (const key of Object.keys(now) as (keyof Usage)[]) if (now[key] > 0) merged[key] = now[key]
  merged.total = Math.max(merged.total, merged.prompt + merged.completion)
  return merged
}
