// A question to a model in words of ours: what the system says and what the user says, not streamed (facts ai-plugins 2.3, 2.7).
import type { JsonObject } from './json.ts'
import { bedrockConverse } from './protocols/bedrock-converse.ts'
import { openaiChat } from './protocols/openai-chat.ts'
import type { Protocol } from './protocols/protocol.ts'
import type { Provider } from './providers/provider.ts'

export interface Said {
  readonly system: string
  readonly user: string
  /** Of which `model` and `max_tokens` have places of their own in some protocols. */
  readonly options: JsonObject
}

/** In which protocol a provider is asked something simple, and the body. Every provider speaks one of the two. */
export function simpleRequest({ paths }: Provider, said: Said): { protocol: Protocol; body: JsonObject } {
  return paths['openai-chat'] === undefined
    ? { protocol: bedrockConverse, body: converse(said) }
    : { protocol: openaiChat, body: chat(said) }
}

function chat({ system, user, options }: Said): JsonObject {
  const messages = [
    { role: 'system', content: system },
    { role: 'user', content: user },
  ]
  return { messages, stream: false, ...(options.model !== undefined && { model: options.model }) }
}

function converse({ system, user, options }: Said): JsonObject {
  const messages = [{ role: 'user', content: [{ text: user }] }]
  const limit = options.max_tokens !== undefined && { inferenceConfig: { maxTokens: options.max_tokens } }
  return { messages, system: [{ text: system }], ...limit }
}
