// OpenAI's Responses API: what its bodies, answers and events say (facts ai-plugins 2.4); knows no provider and no bytes but JSON's.
import type { Usage } from '../exchange.ts'
import { isObject, type JsonObject } from '../json.ts'
import { type Counting, tokens } from '../usage.ts'
import { EventFollower, type TellingMember } from './event-follower.ts'
import { errorStatus, openaiErrorBody } from './openai-error.ts'
import { responsesPrompts } from './openai-responses-prompts.ts'
import { BegunResponse, responseRefusal } from './openai-responses-refusal.ts'
import { endsResponsesText, isResponseEnd, mapResponsesTexts, responsePieces } from './openai-responses-texts.ts'
import type { AnswerFacts, Message, Protocol, ProtocolError } from './protocol.ts'
import { type Said, saidMore } from './said.ts'

export const openaiResponses: Protocol = {
  name: 'openai-responses',
  isStreaming: body => body.stream === true,
  // Usage comes unasked.
  usageRequest: () => undefined,
  asksForUsage: () => true,
  messages,
  prompts: responsesPrompts,
  withMessages,
  endUserId: body => [body.safety_identifier, body.user].find(id => typeof id === 'string'),
  answerFacts,
  said,
  openReader: (_, collectsText, counting) => new ResponsesReader(collectsText, counting),
  errorBody: openaiErrorBody,
  errorEvent,
  refusal: responseRefusal,
  openBegun: () => new BegunResponse(),
  mapTexts: mapResponsesTexts,
  endsText: endsResponsesText,
  pieces: responsePieces,
  isAnswer: ({ output }) => Array.isArray(output),
  isEnd: isResponseEnd,
}

/** `instructions` are the system's; an item's text is that of its parts, of whatever kind, or of a tool's output. */
function messages({ instructions, input }: JsonObject): Message[] {
  const said: Message[] = []
  if (typeof instructions === 'string') said.push({ role: 'system', content: instructions })
  if (typeof input === 'string') said.push({ role: 'user', content: input })
  for (const item of Array.isArray(input) ? input : []) {
    if (typeof item === 'string') said.push({ role: 'user', content: item })
    else if (isObject(item)) {
      const texts = textsOf(item.content) ?? textsOf(item.text) ?? textsOf(item.output) ?? []
      const role = typeof item.role === 'string' ? item.role : 'user'
      if (texts.length > 0) said.push({ role, content: texts.join(' ') })
    }
  }
  return said
}

/** Undefined when there is neither a text nor a list of parts. */
function textsOf(value: unknown): string[] | undefined {
  if (typeof value === 'string') return [value]
  if (!Array.isArray(value)) return undefined
  return value.filter(isObject).flatMap(({ text }) => (typeof text === 'string' ? text : []))
}

/** Whatever the roles: in front is `instructions`, behind is the end of `input`. */
function withMessages(
  body: JsonObject,
  { before, after }: { before: readonly Message[]; after: readonly Message[] },
): JsonObject {
  const changed: Record<string, unknown> = { ...body }
  if (before.length > 0) {
    const own = typeof body.instructions === 'string' ? [body.instructions] : []
    changed.instructions = [...before.map(({ content }) => content), ...own].join('\n')
  }
  if (after.length > 0) {
    const text = after.map(({ content }) => content).join('\n')
    if (typeof body.input === 'string') changed.input = `${body.input}\n${text}`
    else if (Array.isArray(body.input)) {
      changed.input = [...(body.input as unknown[]), { type: 'message', role: 'user', content: text }]
    } else changed.input = text
  }
  return changed
}

function answerFacts(answer: unknown): AnswerFacts {
  if (!isObject(answer)) return { usage: undefined, text: undefined, hasToolCalls: false }
  const { usage, output, error, status } = answer
  const items = Array.isArray(output) ? output.filter(isObject) : []
  const texts = items
    .filter(({ type }) => type === 'message')
    .flatMap(({ content }) => (Array.isArray(content) ? content.filter(isObject) : []))
    .flatMap(({ type, text }) => (type === 'output_text' && typeof text === 'string' ? text : []))
  const isResponse = output !== undefined || status !== undefined
  const isError = isObject(error) || typeof error === 'string'
  return {
    usage: responsesUsage(usage),
    text: texts.length === 0 ? undefined : texts.join(' '),
    hasToolCalls: items.some(isToolCall),
    failed: status === 'failed' ? true : isError && !isResponse ? errorStatus(error) : undefined,
  }
}

/** What is incomplete says why; otherwise its status is all that is said. */
function said({ id, model, status, incomplete_details: details }: JsonObject): Said {
  return saidMore(undefined, { id, model, reasons: [isObject(details) ? (details.reason ?? status) : status] })
}

function isToolCall({ type }: JsonObject): boolean {
  return type === 'function_call' || type === 'custom_tool_call'
}

function responsesUsage(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined
  const input = isObject(usage.input_tokens_details) ? usage.input_tokens_details : {}
  const output = isObject(usage.output_tokens_details) ? usage.output_tokens_details : {}
  const counted = { prompt: tokens(usage.input_tokens), completion: tokens(usage.output_tokens) }
  return {
    ...counted,
    total: tokens(usage.total_tokens) || counted.prompt + counted.completion,
    cacheRead: tokens(input.cached_tokens),
    cacheCreation: 0,
    reasoning: tokens(output.reasoning_tokens),
  }
}

const TEXT = 'response.output_text.delta'

/** Events that end a stream; the third kind, and `error`, say that it has failed. */
const ends: readonly string[] = ['response.completed', 'response.incomplete', 'response.failed']

/** What tells of an event that has lost its name. */
const members: readonly TellingMember[] = [...ends, 'response.output_item.added', 'error'].map(type => ({
  name: `${type}"`,
  opens: 0,
}))

class ResponsesReader extends EventFollower {
  sequence = 0
  #ended = false

  constructor(collectsText: boolean, counting: Counting | undefined) {
    super({ members, collectsText, counting })
  }

  get complete(): boolean {
    return this.#ended || this.failed
  }

  protected override passed(): void {
    this.sequence++
  }

  protected tells(type: string): boolean {
    return (
      ends.includes(type) ||
      type === 'error' ||
      type === 'response.output_item.added' ||
      (this.collectsText && type === TEXT)
    )
  }

  protected take(name: string, event: JsonObject): void {
    this.dataSeen = true
    // Some servers leave the event's line out; the data says it too.
    const type = name === 'message' && typeof event.type === 'string' ? event.type : name
    if (type.endsWith('.delta') && event.delta !== '') this.contentSeen = true
    if (type === TEXT) this.addText(event.delta)
    else if (type === 'response.output_item.added') this.#takeItem(event.item)
    else if (type === 'error' || (isObject(event.error) && !isObject(event.response))) this.#fail()
    else if (ends.includes(type)) this.#takeEnd(type, event.response)
    else if (isObject(event.response)) this.sayWho(event.response.id, event.response.model)
  }

  #takeItem(item: unknown): void {
    if (!isObject(item) || !isToolCall(item)) return
    this.hasToolCalls = true
    this.contentSeen = true
  }

  #takeEnd(type: string, response: unknown): void {
    const { usage, hasToolCalls } = answerFacts(response)
    if (isObject(response)) this.said = said(response)
    this.addUsage(usage)
    this.hasToolCalls ||= hasToolCalls
    this.#ended = true
    this.contentSeen = true
    if (type === 'response.failed') this.failed = true
  }

  #fail(): void {
    this.failed = true
    this.contentSeen = true
  }
}

/** With the members that the API names, and with `error`, which its servers send too and by which its SDK knows to throw. */
function errorEvent(error: ProtocolError, sequence = 0): Buffer {
  const { code, message } = error
  const event = { type: 'error', code, message, param: null, sequence_number: sequence, ...openaiErrorBody(error) }
  return Buffer.from(`event: error\ndata: ${JSON.stringify(event)}\n\n`)
}
