// Follows a stream of Converse events for usage, first content and its end; parses only the payloads that tell of them.
import type { Usage } from '../exchange.ts'
import { parseMessage } from '../framing/aws-event-stream.ts'
import type { Cut } from '../framing/framing.ts'
import { isObject, type JsonObject } from '../json.ts'
import type { TokenEstimate } from '../token-estimate.ts'
import { tokens } from '../usage.ts'
import { keptText } from './kept-text.ts'
import type { EventReader } from './protocol.ts'
import { type Said, saidMore } from './said.ts'

export class ConverseReader implements EventReader {
  /** Usage comes with how long it took, which clients read too. */
  readonly usageOnly: readonly number[] = []
  dataSeen = false
  contentSeen = false
  complete = false
  malformed = false
  failed = false
  usage: Usage | undefined
  hasToolCalls = false
  text: string | undefined
  said: Said | undefined
  estimate: TokenEstimate | undefined
  readonly #collectText: boolean

  constructor(collectText: boolean) {
    this.#collectText = collectText
  }

  read({ bytes, ends }: Cut): void {
    let from = 0
    for (const to of ends) {
      this.#take(bytes.subarray(from, to))
      from = to
    }
  }

  #take(frame: Buffer): void {
    this.dataSeen = true
    const message = parseMessage(frame)
    if (message === undefined) {
      this.#notUnderstood()
      return
    }
    const { headers, payload } = message
    const type = headers.get(':message-type')
    if (type === 'exception' || type === 'error') {
      this.failed = true
      this.#end()
    } else if (type === undefined || type === 'event') this.#takeEvent(headers.get(':event-type'), payload)
  }

  #takeEvent(type: unknown, payload: Buffer): void {
    switch (type) {
      case 'contentBlockStart':
        this.#takeStart(this.#parsed(payload).start)
        return
      case 'contentBlockDelta':
        if (!this.contentSeen || this.#collectText || this.estimate !== undefined)
          this.#takeDelta(this.#parsed(payload).delta)
        return
      case 'messageStop':
        this.#end()
        this.said = saidMore(undefined, { reasons: [this.#parsed(payload).stopReason] })
        return
      case 'metadata':
        this.usage = converseUsage(this.#parsed(payload).usage) ?? this.usage
    }
  }

  #takeStart(start: unknown): void {
    if (!isObject(start) || !isObject(start.toolUse)) return
    this.hasToolCalls = true
    this.contentSeen = true
  }

  #takeDelta(delta: unknown): void {
    if (!isObject(delta)) return
    const { text } = delta
    if (text !== '') this.contentSeen = true
    if (typeof text !== 'string') return
    this.estimate?.add(text)
    if (this.#collectText) this.text = keptText(this.text, text)
  }

  #parsed(payload: Buffer): JsonObject {
    try {
      const value: unknown = JSON.parse(payload.toString('utf8'))
      return isObject(value) ? value : {}
    } catch {
      this.#notUnderstood()
      return {}
    }
  }

  /** Behind the end nothing is missing. */
  #notUnderstood(): void {
    this.malformed ||= !this.complete
  }

  #end(): void {
    this.complete = true
    this.contentSeen = true
  }
}

/** facts ai-plugins 2.7, and the cache's share, which AWS counts besides; `total` falls back to the sum. */
export function converseUsage(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined
  const counted = { prompt: tokens(usage.inputTokens), completion: tokens(usage.outputTokens) }
  return {
    ...counted,
    total: tokens(usage.totalTokens) || counted.prompt + counted.completion,
    cacheRead: tokens(usage.cacheReadInputTokens),
    cacheCreation: tokens(usage.cacheWriteInputTokens),
    reasoning: 0,
  }
}
