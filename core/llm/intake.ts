// A request taken for a call to an LLM: its body is read and its protocol told (facts ai-plugins 6.2); knows no provider.
import type { Context } from '../context.ts'
import { type Reply, reply } from '../reply.ts'
import type { CallConfig } from './call-config.ts'
import { exchange, openExchange } from './exchange.ts'
import type { JsonObject } from './json.ts'
import { readJsonBody } from './json-body.ts'
import { detectProtocol, protocolNamed } from './protocols/detect.ts'

/** Opens the exchange, or returns why the request is no such call. `instance` is who will be asked. */
export async function takeCall(
  ctx: Context,
  { max_req_body_size, logging }: Pick<CallConfig, 'max_req_body_size' | 'logging'>,
  instance: string,
): Promise<Reply | undefined> {
  const type = ctx.request.headers.get('content-type') ?? 'application/json'
  if (!type.startsWith('application/json'))
    return reply(400, `unsupported content-type: ${type}, only application/json is supported`)
  const { known } = ctx.body
  const isRead = known !== undefined && known.bytes.length <= max_req_body_size
  const read = isRead ? { json: known.value } : await readJsonBody(ctx, max_req_body_size, 413)
  const refused = 'refusal' in read
  if (refused && !(read.empty && asksForModels(ctx))) return read.refusal
  const json = refused ? undefined : read.json
  const { path } = ctx.request
  const protocol = detectProtocol(json, path)
  if (protocol === undefined) return reply(400, 'no matching AI protocol for the request')
  // A protocol was found: it is an object or an array, or nothing at all.
  const body = (json ?? {}) as JsonObject
  const spoken = protocolNamed(protocol)
  const streaming = spoken?.isStreaming(body, path) ?? body.stream === true
  exchange.set(
    ctx,
    openExchange({
      protocol,
      requestType: streaming ? 'ai_stream' : 'ai_chat',
      requestModel: body.model ?? spoken?.pathModel?.(path),
      instance,
      logging: { summaries: logging?.summaries ?? false, payloads: logging?.payloads ?? false },
    }),
  )
  return undefined
}

/** Only looks: the same path deletes a model, with the operator's key. */
function asksForModels({ request: { method, path } }: Context): boolean {
  return (method === 'GET' || method === 'HEAD') && detectProtocol(undefined, path) !== undefined
}
