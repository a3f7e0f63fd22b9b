// Names in a value that its schema does not speak of, where it lets any through; knows no resource.
import { isList, isObject } from './json.ts'
import type { Branch, Keywords } from './keywords.ts'

/** An object whose schema names nothing, or says what unknown names must be, is free, and has no strangers. */
export function strangers(schema: Keywords, value: Readonly<Record<string, unknown>>): string[] {
  const known = namesOf(schema)
  const open = schema.additionalProperties !== undefined || schema.patternProperties !== undefined
  return known.size === 0 || open ? [] : Object.keys(value).filter(name => !known.has(name))
}

/** The same of a value and all that is in it: paths, dotted, array indices left out. */
export function allStrangers(schema: Branch | undefined, value: unknown): string[] {
  if (typeof schema !== 'object') return []
  const form = branchFor(schema, isList(value) ? 'array' : 'object')
  if (isList(value)) {
    const { items } = form
    return isList(items) ? [] : [...new Set(value.flatMap(item => allStrangers(items, item)))]
  }
  if (!isObject(value)) return []
  const inner = Object.entries(form.properties ?? {}).flatMap(([name, part]) =>
    Object.hasOwn(value, name) ? allStrangers(part, value[name]).map(path => `${name}.${path}`) : [],
  )
  return [...strangers(form, value), ...inner]
}

/** Of alternatives that have types, the one for values of this type. */
function branchFor(schema: Keywords, type: 'array' | 'object'): Keywords {
  if (schema.properties !== undefined || schema.items !== undefined) return schema
  const branches = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])].filter(branch => typeof branch === 'object')
  return branches.find(branch => branch.type === type) ?? schema
}

/** What a schema and its alternatives speak of. */
function namesOf(schema: Keywords): Set<string> {
  const { allOf = [], anyOf = [], oneOf = [], then, else: otherwise, dependencies = {} } = schema
  const parts = [...allOf, ...anyOf, ...oneOf, schema.if, then, otherwise, ...Object.values(dependencies)]
  const inner = parts.flatMap(part => (isObject(part) ? [...namesOf(part as Keywords)] : []))
  return new Set([...Object.keys(schema.properties ?? {}), ...inner])
}
