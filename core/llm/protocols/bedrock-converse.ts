// Amazon Bedrock's Converse: what its bodies and answers say (facts ai-plugins 2.7); knows no region and no signature.
import { awsEventStream, encodeMessage } from '../framing/aws-event-stream.ts'
import { isObject, type JsonObject } from '../json.ts'
import { conversePrompts } from './bedrock-converse-prompts.ts'
import { ConverseReader, converseUsage } from './bedrock-converse-reader.ts'
import { endsConverseText, mapConverseTexts } from './bedrock-converse-texts.ts'
import type { AnswerFacts, Message, Protocol, Refusal } from './protocol.ts'

/**
 * Clients of APISIX ask for a stream by `stream` in the body and name the model there or not at all; AWS's own say both in
 * the path.
 */
export const bedrockConverse: Protocol = {
  name: 'bedrock-converse',
  cacheApart: true,
  framing: awsEventStream,
  streamSwitch: 'stream',
  pathModel: path => /\/model\/(.+)\/converse(-stream)?$/.exec(path)?.[1],
  isStreaming: (body, path = '') => body.stream === true || path.endsWith('/converse-stream'),
  // Streams report it anyway.
  usageRequest: () => undefined,
  asksForUsage: () => true,
  messages,
  prompts: conversePrompts,
  withMessages,
  endUserId: () => undefined,
  answerFacts,
  openReader: (_, collectText) => new ConverseReader(collectText),
  errorBody: ({ code, message }) => ({ message, code }),
  errorEvent: error =>
    encodeMessage(
      {
        ':message-type': 'exception',
        ':exception-type': 'modelStreamErrorException',
        ':content-type': 'application/json',
      },
      Buffer.from(JSON.stringify(bedrockConverse.errorBody(error))),
    ),
  refusal,
  mapTexts: mapConverseTexts,
  endsText: endsConverseText,
}

/** What the system says has a place of its own. */
function withMessages(
  body: JsonObject,
  { before, after }: { before: readonly Message[]; after: readonly Message[] },
): JsonObject {
  const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
  const texts = (added: readonly Message[]) =>
    added.flatMap(({ role, content }) => (role === 'system' ? { text: content } : []))
  const others = (added: readonly Message[]) =>
    added.flatMap(({ role, content }) => (role === 'system' ? [] : { role, content: [{ text: content }] }))
  const system = [...texts(before), ...list(body.system), ...texts(after)]
  const messages = [...others(before), ...list(body.messages), ...others(after)]
  return { ...body, ...((body.system !== undefined || system.length > 0) && { system }), messages }
}

/** APISIX answers a stream with the whole answer's JSON, which none of its readers would take for a frame. */
function refusal(
  { text, usage = { inputTokens: 0, outputTokens: 0, totalTokens: 0 } }: Refusal,
  streaming: boolean,
): Buffer {
  const stopReason = 'end_turn'
  const message = { role: 'assistant', content: [{ text }] }
  if (!streaming) return Buffer.from(JSON.stringify({ output: { message }, stopReason, usage }))
  return Buffer.concat([
    event('messageStart', { role: 'assistant' }),
    event('contentBlockDelta', { contentBlockIndex: 0, delta: { text } }),
    event('contentBlockStop', { contentBlockIndex: 0 }),
    event('messageStop', { stopReason }),
    event('metadata', { usage, metrics: { latencyMs: 0 } }),
  ])
}

function event(type: string, payload: object): Buffer {
  const headers = { ':message-type': 'event', ':event-type': type, ':content-type': 'application/json' }
  return encodeMessage(headers, Buffer.from(JSON.stringify(payload)))
}

/** The system's texts as one message, then the others that carry text. */
function messages(body: JsonObject): Message[] {
  const said = Array.isArray(body.messages) ? body.messages.filter(isObject) : []
  const all = [{ role: 'system', content: body.system }, ...said]
  return all.flatMap(({ role, content }) => {
    const texts = textsOf(content)
    return texts.length === 0 ? [] : { role: typeof role === 'string' ? role : '', content: texts.join(' ') }
  })
}

function textsOf(blocks: unknown): string[] {
  if (!Array.isArray(blocks)) return []
  return blocks.filter(isObject).flatMap(({ text }) => (typeof text === 'string' ? text : []))
}

function answerFacts(answer: unknown): AnswerFacts {
  if (!isObject(answer)) return { usage: undefined, text: undefined, hasToolCalls: false }
  const output = isObject(answer.output) && isObject(answer.output.message) ? answer.output.message : {}
  const texts = textsOf(output.content)
  return {
    usage: converseUsage(answer.usage),
    text: texts.length === 0 ? undefined : texts.join(' '),
    hasToolCalls:
      Array.isArray(output.content) && output.content.some(block => isObject(block) && isObject(block.toolUse)),
  }
}
