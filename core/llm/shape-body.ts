// The client's body as it goes to the provider (facts ai-plugins 3.2); changes neither the client's object nor its bytes.
import { GatewayError } from '../errors.ts'
import { deepMerge, type JsonObject, sortedJson } from './json.ts'
import type { Protocol } from './protocols/protocol.ts'
import type { Target } from './target.ts'

export interface ShapedBody {
  /** The client's own bytes, unless something had to change. */
  readonly bytes: Buffer
  /** What they say. */
  readonly json: JsonObject
}

/** Throws nothing; `json` must be what `bytes` say. */
export function shapeBody(client: ShapedBody, protocol: Protocol, target: Target): ShapedBody {
  const { provider, options, maxTokens, requestBody, force } = target
  const usage = protocol.usageRequest(client.json)
  const patch = requestBody[protocol.name]
  const limit = maxTokens === undefined ? undefined : provider.maxTokens[protocol.name]
  const removesModel = provider.removesModel === true && Object.hasOwn(client.json, 'model')
  const untouched = Object.keys(options).length === 0 && patch === undefined && limit === undefined && !removesModel

  let json = client.json
  if (usage !== undefined) json = { ...json, [usage.key]: usage.value }
  if (untouched) return { bytes: usage === undefined ? client.bytes : usage.splice(client.bytes), json }

  json = { ...json, ...options }
  if (limit !== undefined) {
    if (limit.drop !== undefined) json = without(json, limit.drop)
    json = { ...json, [limit.set]: maxTokens }
  }
  if (patch !== undefined) json = deepMerge(json, patch, force)
  if (provider.removesModel) json = without(json, 'model')
  // An operator has turned the stream off: what we added to it would be refused.
  if (usage !== undefined && json[usage.key] === usage.value && !protocol.isStreaming(json)) {
    json = Object.hasOwn(client.json, usage.key)
      ? { ...json, [usage.key]: client.json[usage.key] }
      : without(json, usage.key)
  }
  return { bytes: Buffer.from(written(json)), json }
}

function without(json: JsonObject, key: string): JsonObject {
  const { [key]: _, ...rest } = json
  return rest
}

/** What JSON.parse can read may still be nested too deep to be written by a function that calls itself. */
function written(json: JsonObject): string {
  try {
    return sortedJson(json)
  } catch (error) {
    if (error instanceof RangeError) throw new GatewayError(400, 'body_too_deep', 'the request body is nested too deep')
    throw error
  }
}
