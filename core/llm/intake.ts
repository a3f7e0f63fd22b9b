// A request taken for a call to an LLM: its body is read and its protocol told (facts ai-plugins 6.2); knows no provider.
import type { Context } from '../context.ts'
import { GatewayError } from '../errors.ts'
import { type Reply, reply } from '../reply.ts'
import type { CallConfig } from './call-config.ts'
import { exchange, openExchange } from './exchange.ts'
import type { JsonObject } from './json.ts'
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
  const read = isRead ? { json: known.value } : await readJson(ctx, max_req_body_size)
  if ('refusal' in read) return read.refusal
  const { path } = ctx.request
  const protocol = detectProtocol(read.json, path)
  if (protocol === undefined) return reply(400, 'no matching AI protocol for the request')
  // A protocol was found: it is an object or an array, or nothing at all.
  const body = (read.json ?? {}) as JsonObject
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

/** The parsed body, or what APISIX answers when there is none (facts ai-plugins 1.3, 6.2). */
async function readJson(ctx: Context, max: number): Promise<{ json: unknown } | { refusal: Reply }> {
  try {
    const bytes = await ctx.body.bytes(max)
    if (bytes.length === 0 && asksForModels(ctx)) return { json: undefined }
    if (bytes.length === 0) return { refusal: reply(400, { message: 'could not get body: request body is empty' }) }
    return { json: await ctx.body.json(max) }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    if (error.code === 'body_too_large')
      return { refusal: reply(413, { message: `could not get body: ${error.message}` }) }
    if (error.code === 'body_not_json')
      return { refusal: reply(400, { message: `could not parse JSON request body: ${error.message}` }) }
    throw error
  }
}

/** Only looks: the same path deletes a model, with the operator's key. */
function asksForModels({ request: { method, path } }: Context): boolean {
  return (method === 'GET' || method === 'HEAD') && detectProtocol(undefined, path) !== undefined
}
