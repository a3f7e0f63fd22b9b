// What Anthropic's message events tell of usage, first content and the end of a stream; knows no bytes.
import type { Usage } from '../exchange.ts'
import { isObject, type JsonObject } from '../json.ts'
import { type Counting, tokens } from '../usage.ts'
import { EventFollower, type TellingMember } from './event-follower.ts'

/** Events that are parsed whenever they come; of the others only those that bring text, and only where it is collected. */
const telling: readonly string[] = ['message_start', 'content_block_start', 'message_delta', 'message_stop', 'error']

/** What tells of an event that has lost its name. */
const members: readonly TellingMember[] = telling.map(type => ({ name: `${type}"`, opens: 0 }))

/** Blocks that begin empty: of any other the beginning is content. */
const emptyAtFirst: readonly unknown[] = ['text', 'thinking', undefined]

export class MessagesReader extends EventFollower {
  complete = false

  /**
   * Anthropic's numbers are absolute: those of `message_delta` count from the message's beginning, and take the place of what
   * `message_start` has foretold (facts ai-plugins 3.5).
   */
  constructor(collectsText: boolean, counting?: Counting) {
    super({ members, collectsText, counting })
  }

  protected tells(type: string): boolean {
    return telling.includes(type) || (this.collectsText && type === 'content_block_delta')
  }

  protected take(name: string, event: JsonObject): void {
    this.dataSeen = true
    // Some servers leave the event's line out; the data says it too.
    const type = name === 'message' ? event.type : name
    if (type === 'message_start') this.#begin(event.message)
    else if (type === 'content_block_start' && isObject(event.content_block)) this.#takeBlock(event.content_block)
    else if (type === 'content_block_delta' && isObject(event.delta)) this.#takeDelta(event.delta)
    else if (type === 'message_delta') this.#end(event)
    else if (type === 'error') this.failed = true
    // There is no other sign: a stream that breaks before it is not whole, whatever it has said.
    if (type === 'message_stop' || type === 'error') this.complete = true
    if (type === 'message_delta' || this.complete) this.contentSeen = true
  }

  #begin(message: unknown): void {
    if (isObject(message)) this.sayWho(message.id, message.model)
    this.#count(message)
  }

  #end(event: JsonObject): void {
    if (isObject(event.delta)) this.sayWhy(event.delta.stop_reason)
    this.#count(event)
  }

  #takeBlock({ type, text }: JsonObject): void {
    if (type === 'tool_use') this.hasToolCalls = true
    if (!emptyAtFirst.includes(type) || (typeof text === 'string' && text !== '')) this.contentSeen = true
    this.addText(text)
  }

  #takeDelta({ text }: JsonObject): void {
    this.contentSeen = true
    this.addText(text)
  }

  #count(said: unknown): void {
    this.addUsage(anthropicUsage(isObject(said) ? said.usage : undefined))
  }
}

/** facts ai-plugins 2.6: `input_tokens` are those that no cache had. Undefined for what is no object. */
export function anthropicUsage(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined
  const prompt = tokens(usage.input_tokens)
  const completion = tokens(usage.output_tokens)
  return {
    prompt,
    completion,
    total: prompt + completion,
    cacheRead: tokens(usage.cache_read_input_tokens),
    cacheCreation: tokens(usage.cache_creation_input_tokens),
    reasoning: 0,
  }
}
