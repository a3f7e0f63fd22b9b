// `uniqueItems` in linear time. ajv compares each with each unless a type is given: 100,000 items would stop the loop for a minute.
import type { FuncKeywordDefinition, SchemaValidateFunction } from 'ajv'
import { isObject } from './json.ts'

const validate: SchemaValidateFunction = (unique: boolean, list: unknown[]) => {
  if (!unique) return true
  const seen = new Map<string, number>()
  for (const [at, item] of list.entries()) {
    const text = JSON.stringify(item, inOrder)
    const twin = seen.get(text)
    if (twin !== undefined) {
      validate.errors = [{ keyword: 'uniqueItems', params: { i: twin, j: at } }]
      return false
    }
    seen.set(text, at)
  }
  return true
}

/** Equal objects have equal text, whatever the order of their names. */
function inOrder(_key: string, value: unknown): unknown {
  return isObject(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value
}

export const uniqueItems: FuncKeywordDefinition = {
  keyword: 'uniqueItems',
  type: 'array',
  schemaType: 'boolean',
  errors: true,
  validate,
}
