// Which protocol a request speaks: one table, first match wins (facts ai-plugins 2.1); knows nothing else of any of them.
import { isTable, type JsonObject } from '../json.ts'
import { anthropicMessages } from './anthropic-messages.ts'
import { bedrockConverse } from './bedrock-converse.ts'
import { openaiChat } from './openai-chat.ts'
import { openaiEmbeddings } from './openai-embeddings.ts'
import { openaiResponses } from './openai-responses.ts'
import { passthrough } from './passthrough.ts'
import type { Protocol, ProtocolName } from './protocol.ts'
import { vertexPredict } from './vertex-predict.ts'

/**
 * Paths of APIs that are none of the protocols, though their bodies would pass for one: a count of tokens has messages, and
 * what is to be moderated or spoken is an input. APISIX takes them for chat and embeddings.
 */
const ASIDE =
  /\/v1(\/models(?:\/.+)?|\/messages\/count_tokens|\/responses\/input_tokens|\/moderations|\/audio\/speech)$/

/** What stands behind `/v1` of a request for such an API, or for a list of models; undefined for all others. */
export function aside(path: string): string | undefined {
  return ASIDE.exec(path)?.[1]
}

const signs: readonly [ProtocolName, (body: JsonObject, path: string) => boolean][] = [
  // Models are asked for without a body.
  ['passthrough', (_, path) => aside(path)?.startsWith('/models') === false],
  // AWS's own clients ask for a stream by another path.
  ['bedrock-converse', (body, path) => /\/converse(-stream)?$/.test(path) && isTable(body.messages)],
  ['anthropic-messages', (_, path) => path.endsWith('/v1/messages')],
  ['openai-responses', (body, path) => path.endsWith('/v1/responses') && body.input !== undefined],
  ['openai-chat', body => isTable(body.messages)],
  ['openai-embeddings', body => body.input !== undefined],
  ['passthrough', body => Object.keys(body).length > 0],
]

/**
 * The protocol of a parsed body sent to `path` (normalised, without query); undefined for `{}`, `[]` and scalars. A request
 * without a body (undefined) may ask for models.
 */
export function detectProtocol(body: unknown, path: string): ProtocolName | undefined {
  if (body === undefined) return aside(path)?.startsWith('/models') ? 'passthrough' : undefined
  // An array is a table without any of the members that matter.
  if (!isTable(body)) return undefined
  return signs.find(([, matches]) => matches(body as JsonObject, path))?.[0]
}

/** The protocols we can read; the others are recognised so that they can be refused by name. */
const spoken: Partial<Record<ProtocolName, Protocol>> = {
  'openai-chat': openaiChat,
  'openai-responses': openaiResponses,
  'openai-embeddings': openaiEmbeddings,
  'bedrock-converse': bedrockConverse,
  passthrough,
  'anthropic-messages': anthropicMessages,
  'vertex-predict': vertexPredict,
}

export function protocolNamed(name: ProtocolName): Protocol | undefined {
  return spoken[name]
}
