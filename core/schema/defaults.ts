// Defaults of a schema, as a function that puts them into a value; knows no validation but what it is handed.
import { copied, isList, isObject } from './json.ts'
import type { Branch, Keywords } from './keywords.ts'
import { boundedPattern } from './pattern.ts'

/** Changes the value it is given, or returns what stands in its place. */
type Fill = (value: unknown) => unknown
/** Makes the test whether a value fits a part of the schema. */
type Accepts = (part: Keywords) => (value: unknown) => boolean

/**
 * How defaults get into a value that is ours to change; undefined when the schema has none. Unlike ajv's, defaults of the
 * first matching branch of anyOf, oneOf and if count, and `{}` and `[]` become what the schema asks for (facts core
 * Appendix A). A value that does not fit is left as it is.
 */
export function filler(schema: Branch, accepts: Accepts): Fill | undefined {
  if (typeof schema === 'boolean') return undefined
  const into = (part: Branch | undefined) => (part === undefined ? undefined : filler(part, accepts))
  const steps = [
    emptyTable(schema),
    elements(schema, into),
    members(schema, into),
    ...(schema.allOf ?? []).map(into),
    firstMatching(schema.anyOf, into, accepts),
    firstMatching(schema.oneOf, into, accepts),
    condition(schema, into, accepts),
  ].filter(step => step !== undefined)
  return steps.length === 0 ? undefined : value => steps.reduce((inner, step) => step(inner), value)
}

type Into = (part: Branch | undefined) => Fill | undefined

/** Lua has one empty table, so stores that APISIX wrote may hold either. */
function emptyTable({ type }: Keywords): Fill | undefined {
  if (type === 'object') return value => (Array.isArray(value) && value.length === 0 ? {} : value)
  if (type === 'array') return value => (isObject(value) && Object.keys(value).length === 0 ? [] : value)
  return undefined
}

function elements({ items }: Keywords, into: Into): Fill | undefined {
  const fills = isList<Branch>(items) ? items.map(into) : []
  const every = isList(items) ? undefined : into(items)
  if (every === undefined && fills.every(fill => fill === undefined)) return undefined
  return value => (Array.isArray(value) ? value.map((inner, at) => (every ?? fills[at])?.(inner) ?? inner) : value)
}

function members(schema: Keywords, into: Into): Fill | undefined {
  const properties = Object.entries(schema.properties ?? {}).map(([name, part]) => ({
    name,
    fill: into(part),
    fallback: typeof part === 'boolean' ? undefined : part.default,
  }))
  const patterns = Object.entries(schema.patternProperties ?? {}).map(([pattern, part]) => ({
    regex: boundedPattern(pattern),
    fill: into(part),
  }))
  const additional = into(schema.additionalProperties)
  const known = properties.filter(({ fill, fallback }) => fill !== undefined || fallback !== undefined)
  const open = additional !== undefined || patterns.some(({ fill }) => fill !== undefined)
  if (known.length === 0 && !open) return undefined
  return object => {
    if (!isObject(object)) return object
    for (const { name, fill, fallback } of known) {
      if (!Object.hasOwn(object, name) && fallback !== undefined) object[name] = copied(fallback)
      if (fill !== undefined && Object.hasOwn(object, name)) object[name] = fill(object[name])
    }
    if (!open) return object
    for (const name of Object.keys(object)) {
      const matching = patterns.filter(({ regex }) => regex.test(name))
      for (const { fill } of matching) if (fill !== undefined) object[name] = fill(object[name])
      const extra = matching.length === 0 && !properties.some(property => property.name === name)
      if (extra && additional !== undefined) object[name] = additional(object[name])
    }
    return object
  }
}

function firstMatching(parts: readonly Branch[] | undefined, into: Into, accepts: Accepts): Fill | undefined {
  const branches = (parts ?? []).map(part => ({ matches: matcher(part, into, accepts), fill: into(part) }))
  if (branches.every(({ fill }) => fill === undefined)) return undefined
  return value => branches.find(({ matches }) => matches(value))?.fill?.(value) ?? value
}

function condition(schema: Keywords, into: Into, accepts: Accepts): Fill | undefined {
  const [then, otherwise] = [into(schema.then), into(schema.else)]
  if (schema.if === undefined || (then === undefined && otherwise === undefined)) return undefined
  const matches = matcher(schema.if, into, accepts)
  return value => (matches(value) ? then : otherwise)?.(value) ?? value
}

/** Whether a value, with the part's own defaults, fits the part. The test is made when it is first needed. */
function matcher(part: Branch, into: Into, accepts: Accepts): (value: unknown) => boolean {
  if (typeof part === 'boolean') return () => part
  const fill = into(part) ?? (value => value)
  let test: ((value: unknown) => boolean) | undefined
  return value => {
    test ??= accepts(part)
    return test(fill(copied(value)))
  }
}
