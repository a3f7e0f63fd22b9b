// The client's body as it goes to the provider (facts ai-plugins 3.2); changes neither the client's object nor its bytes.
import { GatewayError } from '../errors.ts'
import { deepMerge, isObject, type JsonObject, shallow, sortedJson } from './json.ts'
import type { Protocol } from './protocols/protocol.ts'
import type { Target } from './target.ts'

export interface ShapedBody {
  /** The client's own bytes, unless something had to change. */
  readonly bytes: Buffer
  /** What they say. */
  readonly json: JsonObject
}

/** A converter's body has no bytes yet. */
export type UnshapedBody = Omit<ShapedBody, 'bytes'> & { readonly bytes: Buffer | undefined }

/** Throws GatewayError 400 for what is nested too deep to be written; `json` must be what `bytes` say. */
export function shapeBody(client: UnshapedBody, protocol: Protocol, target: Target): ShapedBody {
  const { provider, options, maxTokens, requestBody, force } = target
  const usage = protocol.usageRequest(client.json)
  const patch = requestBody[protocol.name]
  const limit = maxTokens === undefined ? undefined : provider.maxTokens[protocol.name]
  const unsent = [provider.removesModel ? 'model' : undefined, protocol.streamSwitch].filter(key => key !== undefined)
  const removes = unsent.some(key => Object.hasOwn(client.json, key))
  const untouched = Object.keys(options).length === 0 && patch === undefined && limit === undefined && !removes

  let json = client.json
  if (usage !== undefined) json = { ...json, [usage.key]: usage.value }
  if (untouched && client.bytes !== undefined) {
    return { bytes: usage === undefined ? client.bytes : usage.splice(client.bytes), json }
  }

  json = { ...json, ...options }
  if (limit !== undefined) {
    if (limit.drop !== undefined) json = without(json, limit.drop)
    json = withPath(json, limit.set.split('.'), maxTokens)
  }
  if (patch !== undefined) json = deepMerge(json, patch, force)
  for (const key of unsent) json = without(json, key)
  // An operator has turned the stream off: what we added to it would be refused.
  if (usage !== undefined && json[usage.key] === usage.value && !protocol.isStreaming(json)) {
    json = Object.hasOwn(client.json, usage.key)
      ? { ...json, [usage.key]: client.json[usage.key] }
      : without(json, usage.key)
  }
  return { bytes: Buffer.from(shallow(() => sortedJson(json), tooDeep)), json }
}

export function tooDeep(): Error {
  return new GatewayError(400, 'body_too_deep', 'the request body is nested too deep')
}

/** A copy with `value` at the end of a path of members; what is no object on the way gives way to one. */
function withPath(json: JsonObject, [key, ...rest]: readonly string[], value: unknown): JsonObject {
  if (rest.length === 0) return { ...json, [key!]: value }
  const inner = json[key!]
  return { ...json, [key!]: withPath(isObject(inner) ? inner : {}, rest, value) }
}

function without(json: JsonObject, key: string): JsonObject {
  const { [key]: _, ...rest } = json
  return rest
}
