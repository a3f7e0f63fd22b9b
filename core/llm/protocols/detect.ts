// Which protocol a request speaks: one table, first match wins (facts ai-plugins 2.1); knows nothing else of any of them.
import { isTable, type JsonObject } from '../json.ts'
import { openaiChat } from './openai-chat.ts'
import type { Protocol, ProtocolName } from './protocol.ts'

const signs: readonly [ProtocolName, (body: JsonObject, path: string) => boolean][] = [
  ['bedrock-converse', (body, path) => path.endsWith('/converse') && isTable(body.messages)],
  ['anthropic-messages', (_, path) => path.endsWith('/v1/messages')],
  ['openai-responses', (body, path) => path.endsWith('/v1/responses') && body.input !== undefined],
  ['openai-chat', body => isTable(body.messages)],
  ['openai-embeddings', body => body.input !== undefined],
  ['passthrough', body => Object.keys(body).length > 0],
]

/** The protocol of a parsed body sent to `path` (normalised, without query); undefined for `{}`, `[]` and scalars. */
export function detectProtocol(body: unknown, path: string): ProtocolName | undefined {
  // An array is a table without any of the members that matter.
  if (!isTable(body)) return undefined
  return signs.find(([, matches]) => matches(body as JsonObject, path))?.[0]
}

/** The protocols we can read; the others are recognised so that they can be refused by name. */
const spoken: Partial<Record<ProtocolName, Protocol>> = { 'openai-chat': openaiChat }

export function protocolNamed(name: ProtocolName): Protocol | undefined {
  return spoken[name]
}
