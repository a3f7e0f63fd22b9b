// A JSON Schema of draft 7, which ours are, as one of 2020-12, which OpenAPI 3.1 takes; knows no resource.
import type { Schema } from '../core/plugin.ts'
import { isObject } from '../core/schema.ts'

const one = ['not', 'if', 'then', 'else', 'propertyNames', 'additionalProperties', 'contains']
const several = ['allOf', 'anyOf', 'oneOf']
const named = ['properties', 'patternProperties']

/** What differs: `dependencies` are two keywords now, and lists whose items differ have another name. */
export function schema2020(schema: Schema): Schema {
  const { dependencies, items, additionalItems, ...rest } = schema as Record<string, unknown>
  const out: Record<string, unknown> = { ...rest }
  for (const key of one) if (key in out) out[key] = inner(out[key])
  for (const key of several) if (Array.isArray(out[key])) out[key] = out[key].map(inner)
  for (const key of named) if (isObject(out[key])) out[key] = mapped(out[key])
  if (Array.isArray(items)) out.prefixItems = items.map(inner)
  else if (items !== undefined) out.items = inner(items)
  if (additionalItems !== undefined) out.items = inner(additionalItems)
  if (!isObject(dependencies)) return out
  const [lists, schemas] = [{}, {}] as Record<string, unknown>[]
  for (const [name, needs] of Object.entries(dependencies)) {
    if (Array.isArray(needs)) lists![name] = needs
    else schemas![name] = inner(needs)
  }
  if (Object.keys(lists!).length > 0) out.dependentRequired = lists
  if (Object.keys(schemas!).length > 0) out.dependentSchemas = schemas
  return out
}

function inner(part: unknown): unknown {
  return isObject(part) ? schema2020(part) : part
}

function mapped(parts: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, inner(part)]))
}
