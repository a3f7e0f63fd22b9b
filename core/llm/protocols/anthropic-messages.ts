// Anthropic's messages: what its bodies and answers say (facts ai-plugins 2.6); knows no provider and no bytes but JSON's.
import { isObject, type JsonObject } from '../json.ts'
import { messagePrompts } from './anthropic-messages-prompts.ts'
import { anthropicUsage, MessagesReader } from './anthropic-messages-reader.ts'
import { BegunMessage, messageRefusal } from './anthropic-messages-refusal.ts'
import { endsMessageText, isMessageEnd, mapMessageTexts, messagePieces } from './anthropic-messages-texts.ts'
import type { AnswerFacts, Message, Protocol, ProtocolError } from './protocol.ts'
import { saidMore } from './said.ts'

export const anthropicMessages: Protocol = {
  name: 'anthropic-messages',
  cacheApart: true,
  isStreaming: body => body.stream === true,
  // Usage comes unasked.
  usageRequest: () => undefined,
  asksForUsage: () => true,
  messages,
  prompts: messagePrompts,
  withMessages,
  endUserId(body) {
    const id = isObject(body.metadata) ? body.metadata.user_id : undefined
    return typeof id === 'string' ? id : undefined
  },
  answerFacts,
  said: ({ id, model, stop_reason }) => saidMore(undefined, { id, model, reasons: [stop_reason] }),
  openReader: (_, collectsText, counting) => new MessagesReader(collectsText, counting),
  errorBody,
  errorEvent: error => Buffer.from(eventOf(errorBody(error))),
  refusal: messageRefusal,
  openBegun: () => new BegunMessage(),
  mapTexts: mapMessageTexts,
  endsText: endsMessageText,
  pieces: messagePieces,
  isAnswer: ({ content }) => Array.isArray(content),
  isEnd: isMessageEnd,
}

/** Messages that carry text, the system prompt first; other blocks (images, tools, thinking) are not seen. */
function messages(body: JsonObject): Message[] {
  const all = Array.isArray(body.messages) ? body.messages.filter(isObject) : []
  return [{ role: 'system', content: body.system }, ...all].flatMap(({ role, content }: JsonObject) => {
    const texts = typeof content === 'string' ? [content] : textsOf(content)
    return texts.length === 0 ? [] : { role: typeof role === 'string' ? role : '', content: texts.join(' ') }
  })
}

/** What is the system's goes to the system prompt: the API takes no such message. */
function withMessages(
  body: JsonObject,
  { before, after }: { before: readonly Message[]; after: readonly Message[] },
): JsonObject {
  const own = Array.isArray(body.messages) ? body.messages : []
  const changed = { ...body, messages: [...before.filter(isTurn), ...own, ...after.filter(isTurn)] }
  const [first, last] = [before, after].map(added => added.filter(one => !isTurn(one)).map(({ content }) => content))
  if (first!.length + last!.length === 0) return changed
  const system = Array.isArray(body.system)
    ? [...first!.map(textBlock), ...body.system, ...last!.map(textBlock)]
    : [...first!, ...(typeof body.system === 'string' ? [body.system] : []), ...last!].join('\n')
  return { ...changed, system }
}

function isTurn({ role }: Message): boolean {
  return role !== 'system'
}

function textBlock(text: string): JsonObject {
  return { type: 'text', text }
}

function answerFacts(answer: unknown): AnswerFacts {
  const { content, usage, type, error } = isObject(answer) ? answer : {}
  const texts = textsOf(content)
  const blocks = Array.isArray(content) ? content.filter(isObject) : []
  return {
    usage: anthropicUsage(usage),
    text: texts.length === 0 ? undefined : texts.join(' '),
    hasToolCalls: blocks.some(block => block.type === 'tool_use'),
    failed: type === 'error' ? errorStatus(error) : undefined,
  }
}

/** Of an error that came with a good status. */
function errorStatus(error: unknown): number {
  const type = isObject(error) ? error.type : undefined
  return Number(Object.entries(errorTypes).find(([, name]) => name === type)?.[0] ?? 500)
}

function textsOf(blocks: unknown): string[] {
  if (!Array.isArray(blocks)) return []
  return blocks
    .filter(isObject)
    .flatMap(({ type, text }) => (type === 'text' && typeof text === 'string' ? [text] : []))
}

/** https://docs.anthropic.com/en/api/errors */
const errorTypes: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
  529: 'overloaded_error',
}

const otherErrors = 'api_error'

/** `code` is ours. */
function errorBody({ status, code, message }: ProtocolError): JsonObject & { type: 'error' } {
  return { type: 'error', error: { type: errorTypes[status] ?? otherErrors, message, code } }
}

function eventOf(event: JsonObject & { readonly type: string }): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}
