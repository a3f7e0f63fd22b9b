// Requests that speak no protocol we know: relayed as they are, without text, usage or messages (facts ai-plugins 2.8).
import { isObject, type JsonObject } from '../json.ts'
import { EventFollower } from './event-follower.ts'
import { openaiErrorBody } from './openai-error.ts'
import type { Protocol } from './protocol.ts'

export const passthrough: Protocol = {
  name: 'passthrough',
  isStreaming: body => body.stream === true,
  usageRequest: () => undefined,
  asksForUsage: () => true,
  messages: () => [],
  prompts: () => [{ role: 'user', kind: 'not_text', text: 'passthrough', turn: 0 }],
  withMessages: body => body,
  endUserId: () => undefined,
  // A status below 400 is believed: what an answer of an unknown kind says is its own.
  answerFacts: () => ({ usage: undefined, text: undefined, hasToolCalls: false }),
  openReader: () => new UnknownEvents(),
  errorBody: openaiErrorBody,
  errorEvent: error => Buffer.from(`event: error\ndata: ${JSON.stringify(openaiErrorBody(error))}\n\n`),
  refusal: () => Buffer.alloc(0),
}

/** Every event is content, and the end of the body is the end, if it is an orderly one. */
export class UnknownEvents extends EventFollower {
  readonly endsWithBody = true
  complete = false

  constructor() {
    super({ members: [], collectsText: false, counting: undefined })
  }

  protected override takeDone(): void {
    this.complete = true
    this.contentSeen = true
  }

  protected override notUnderstood(): void {
    this.contentSeen = true
  }

  protected tells(type: string): boolean {
    return type === 'error'
  }

  protected take(type: string, event: JsonObject): void {
    this.dataSeen = true
    this.contentSeen = true
    if (type === 'error' || isObject(event.error)) this.failed = true
  }
}
