// What ajv found, said as APISIX says it (facts core Appendix A); knows errors, not what they are about.
import type { ErrorObject } from 'ajv'
import type { Keywords } from './keywords.ts'

/** A user's text in an error, so long that it can be recognised. */
const longestQuote = 256

function quote(value: unknown): string {
  const text = typeof value === 'string' ? value : String(JSON.stringify(value))
  return text.length > longestQuote ? `${text.slice(0, longestQuote)}...` : text
}

/**
 * One error with the way to it. Values at the dotted paths of `secret` are not quoted. With `references` every value has
 * a way around it: `else` leads to what is asked of it otherwise.
 */
export function explain(error: ErrorObject, options: { secret: readonly string[]; references: boolean }): string {
  const data = pointer(error.instancePath)
  const hidden = options.secret.some(path => leadsThrough(data, path.split('.')))
  const say = words[error.keyword] ?? (() => `${error.message}`)
  // Only the way through the schema is encoded as in a URI.
  const schema = pointer(error.schemaPath).map(decodeURIComponent).slice(0, -1)
  const what = say(error, () => (hidden ? '***' : quote(error.data)))
  return along(schema, data, { what, references: options.references })
}

/** Whether the way to a value begins with a path, list positions and names of maps aside. */
function leadsThrough(way: readonly string[], [first, ...rest]: readonly string[]): boolean {
  if (way[0] !== first) return false
  let next = 0
  for (const step of way.slice(1)) if (step === rest[next]) next++
  return next === rest.length
}

/** `what`, behind the way to it, outermost first. `data` has one step for each value on the way. */
function along(schema: string[], data: string[], end: { what: string; references: boolean }): string {
  let path = ''
  const enter = (words: string) => {
    path += words
    data.shift()
    if (end.references && schema[0] === 'else') schema.shift()
  }
  while (schema.length > 0) {
    const keyword = schema.shift()!
    const name = quote(data[0])
    switch (keyword) {
      case 'properties':
        schema.shift()
        enter(`property "${name}" validation failed: `)
        break
      case 'patternProperties':
        enter(`failed to validate ${name} (matching "${schema.shift()}"): `)
        break
      case 'additionalProperties':
        enter(`failed to validate additional property ${name}: `)
        break
      case 'items':
      case 'additionalItems':
        if (/^\d+$/.test(schema[0] ?? '')) schema.shift()
        enter(`failed to validate item ${Number(name) + 1}: `)
        break
      case 'allOf':
        path += `allOf ${Number(schema.shift()) + 1} failed: `
        break
      case 'dependencies':
        path += `failed to validate dependent schema for "${schema.shift()}": `
        break
      case 'then':
      case 'else':
        return `${path}${keyword} clause did not match`
    }
  }
  return path + end.what
}

function pointer(path: string): string[] {
  return path
    .split('/')
    .slice(1)
    .map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** Types as Lua has them, which is how APISIX says them. */
function luaType(value: unknown): string {
  if (value === null || value === undefined) return 'nil'
  return typeof value === 'object' ? 'table' : typeof value
}

const size = (what: string, bound: string, unit: string) => (error: ErrorObject) =>
  `expect ${what} to have at ${bound} ${error.params.limit} ${unit}`

const range = (comparison: string) => (error: ErrorObject, value: () => string) =>
  `expected ${value()} to be ${comparison} ${error.params.limit}`

const characters = (error: ErrorObject) => [...(error.data as string)].length

/** What each keyword says when it fails; `value` is what may be shown of the value. */
const words: Record<string, (error: ErrorObject, value: () => string) => string> = {
  type: ({ params, data }) => {
    const types: string[] = [params.type].flat()
    return `wrong type: expected ${types.length > 1 ? `one of ${types.join(', ')}` : types[0]}, got ${luaType(data)}`
  },
  required: ({ params }) => `property "${params.missingProperty}" is required`,
  dependencies: ({ params }) => `property "${params.missingProperty}" is required when "${params.property}" is set`,
  additionalProperties: ({ params }) => `additional properties forbidden, found ${quote(params.additionalProperty)}`,
  propertyNames: ({ params }) => `the name ${quote(params.propertyName)} is not allowed here`,
  minProperties: size('object', 'least', 'properties'),
  maxProperties: size('object', 'most', 'properties'),
  minItems: size('array', 'least', 'items'),
  maxItems: size('array', 'most', 'items'),
  uniqueItems: ({ params }) => `expected unique items but items ${params.i + 1} and ${params.j + 1} are equal`,
  contains: () => 'failed to check contains',
  minLength: error => `string too short, expected at least ${error.params.limit}, got ${characters(error)}`,
  maxLength: error => `string too long, expected at most ${error.params.limit}, got ${characters(error)}`,
  pattern: ({ params }, value) => `failed to match pattern "${params.pattern}" with "${value()}"`,
  format: ({ params }, value) => `expect valid ${params.format} format but got: ${value()}`,
  minimum: range('at least'),
  maximum: range('at most'),
  exclusiveMinimum: range('greater than'),
  exclusiveMaximum: range('smaller than'),
  multipleOf: ({ params }, value) => `expected ${value()} to be a multiple of ${params.multipleOf}`,
  enum: () => 'matches none of the enum values',
  const: () => 'failed to check const value',
  anyOf: ({ schema }) => {
    const required = (schema as Keywords[]).flatMap(branch =>
      branch.required ? [JSON.stringify(branch.required)] : [],
    )
    return `object matches none of the required${required.length > 0 ? `: ${required.join(' or ')}` : ''}`
  },
  oneOf: ({ params }) => {
    const passing: number[] | null = params.passingSchemas
    const both = passing && `both schemas ${passing.map(at => at + 1).join(' and ')}`
    return `value should match only one schema, but matches ${both ?? 'none'}`
  },
  not: () => "value wasn't supposed to match schema",
  'false schema': () => 'expect false always',
}
