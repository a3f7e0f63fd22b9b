// Amazon Bedrock's Converse: what its bodies and answers say (facts ai-plugins 2.7); knows no region and no signature.
import { awsEventStream, encodeMessage } from '../framing/aws-event-stream.ts'
import { isObject, type JsonObject } from '../json.ts'
import { conversePrompts } from './bedrock-converse-prompts.ts'
import { ConverseReader, converseUsage } from './bedrock-converse-reader.ts'
import { BegunConverse, converseRefusal } from './bedrock-converse-refusal.ts'
import { conversePieces, endsConverseText, isConverseEnd, mapConverseTexts } from './bedrock-converse-texts.ts'
import type { AnswerFacts, Message, Protocol } from './protocol.ts'
import { saidMore } from './said.ts'

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
  said: ({ stopReason }) => saidMore(undefined, { reasons: [stopReason] }),
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
  refusal: converseRefusal,
  openBegun: () => new BegunConverse(),
  mapTexts: mapConverseTexts,
  endsText: endsConverseText,
  pieces: conversePieces,
  isAnswer: ({ output }) => isObject(output),
  isEnd: isConverseEnd,
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
