// What a client is told of what it may not ask or have.
import { randomUUID } from 'node:crypto'
import { sse } from '../../core/llm/framing/sse.ts'
import type { JsonObject } from '../../core/llm/json.ts'
import type { Protocol, Refusal } from '../../core/llm/protocols/protocol.ts'
import { type Reply, reply } from '../../core/reply.ts'
import type { Config } from './config.ts'

const JSON_TYPE = { 'Content-Type': 'application/json' }

/** `message` is APISIX's way, `error` the protocol's; with `answer` the model seems to have said it. */
export function denial(
  as: Config['deny_as'],
  { protocol, body, path }: { protocol: Protocol; body: JsonObject; path: string },
  message: string,
): Reply {
  if (as === 'message') return reply(400, { message })
  if (as === 'error') return reply(400, protocol.errorBody({ status: 400, code: 'denied', message }), JSON_TYPE)
  const said = refusal(message, body.model ?? protocol.pathModel?.(path))
  if (!protocol.isStreaming(body, path)) return reply(200, protocol.refusal(said, false), JSON_TYPE)
  return reply(200, protocol.refusal(said, true), { 'Content-Type': (protocol.framing ?? sse).mediaType })
}

export function refusal(text: string, model: unknown): Refusal {
  return { text, model: typeof model === 'string' ? model : '', id: randomUUID(), usage: undefined }
}
