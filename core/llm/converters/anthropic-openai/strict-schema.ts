// A JSON schema as OpenAI's strict mode wants it: closed objects with every property required (facts ai-plugins 4.1).
import { isObject, type JsonObject } from '../../json.ts'

/** A copy; throws RangeError for what is nested too deep. */
export function strictSchema(schema: JsonObject): JsonObject {
  const strict = new Map(Object.entries(schema))
  if (isObject(schema.properties)) strict.set('properties', each(schema.properties))
  if (isObject(schema.items)) strict.set('items', strictSchema(schema.items))
  for (const key of ['anyOf', 'oneOf', 'allOf']) {
    const branches = schema[key]
    if (Array.isArray(branches))
      strict.set(
        key,
        branches.map(branch => (isObject(branch) ? strictSchema(branch) : branch)),
      )
  }
  for (const key of ['$defs', 'definitions']) {
    const definitions = schema[key]
    if (isObject(definitions)) strict.set(key, each(definitions))
  }
  if (schema.type === 'object' && isObject(schema.properties)) {
    strict.set('additionalProperties', false)
    strict.set('required', Object.keys(schema.properties).sort())
  }
  return Object.fromEntries(strict)
}

function each(schemas: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [name, isObject(schema) ? strictSchema(schema) : schema]),
  )
}
