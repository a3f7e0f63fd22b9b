// JSON Schema for configs: ajv validates, errors are said in APISIX's words, defaults are filled; knows no resource, no plugin.
import { Ajv, type SchemaObject, type ValidateFunction } from 'ajv'
import { ValueScope } from 'ajv/dist/compile/codegen/scope.js'
import addFormats from 'ajv-formats'
import type { Schema } from './plugin.ts'
import { filler } from './schema/defaults.ts'
import { copied, isList } from './schema/json.ts'
import type { Branch, Keywords } from './schema/keywords.ts'
import { boundedPattern } from './schema/pattern.ts'
import { uniqueItems } from './schema/unique-items.ts'
import { explain } from './schema/words.ts'

export { isObject, shapeProblem } from './schema/json.ts'
export { allStrangers, strangers } from './schema/strangers.ts'

export interface Validator<T> {
  /** The first thing that is wrong with `value`, in the words of facts core Appendix A. Never changes `value`. */
  check(value: unknown): string | undefined
  /** A deep copy of a checked `value` with every default in it, those of the matching anyOf and oneOf branches too. */
  fill(value: unknown): T
}

/** Whether a value stands for a secret kept elsewhere: `$secret://manager/id/field` or `$env://NAME`, in any case. */
export function isReference(value: unknown): value is string {
  return typeof value === 'string' && referencePattern.test(value)
}

export interface ValidatorOptions {
  /** Paths (dotted, array indices left out) whose values are never quoted in an error. */
  secret?: readonly string[]
  /** Whether a secret reference is valid wherever a value is; true by default. */
  references?: boolean
}

/**
 * Makes the two functions for `schema`. Throws when the schema itself is wrong: an unknown keyword, an invalid pattern, a
 * `$ref` (sub-schemas are written out). `{}` and `[]` are the same to APISIX (facts core Appendix A).
 */
export function validator<T = unknown>(schema: Schema, options: ValidatorOptions = {}): Validator<T> {
  const { secret = [], references = true } = options
  const compiled = (part: Keywords) => compile(part, references)
  const root = schema as Keywords
  const accept = compiled(root)
  const fill = filler(root, compiled)
  const filled = (value: unknown): unknown => {
    const copy = copied(value)
    return fill === undefined ? copy : fill(copy)
  }
  return {
    check(value) {
      // Defaults count: a condition may rest on one.
      if (accept(filled(value))) return undefined
      // ajv stops at the first failure and reports it last, behind those of branches.
      return explain(accept.errors!.at(-1)!, { secret, references })
    },
    fill: value => filled(value) as T, // `check` is what the cast stands on
  }
}

function compile(schema: Keywords, references: boolean): ValidateFunction {
  const form = ajvForm(schema, references)
  // ajv would keep every schema it has ever seen, and in its scope whatever it has made of one.
  Object.assign(ajv, { scope: new ValueScope({ ...ajv.scope.opts, scope: {} }) })
  const validate = ajv.compile(form)
  ajv.removeSchema(form)
  return validate
}

const referencePattern = /^\$(secret|env):\/\//i
const reference: Schema = { type: 'string', pattern: '^\\$([sS][eE][cC][rR][eE][tT]|[eE][nN][vV])://' }

const ajv = new Ajv({
  strictSchema: true,
  strictTypes: false,
  strictTuples: false,
  allowUnionTypes: true,
  allowMatchingProperties: true,
  verbose: true,
  code: { regExp: Object.assign(boundedPattern, { code: 'boundedPattern' }) },
})
ajv.removeKeyword('uniqueItems').addKeyword(uniqueItems)
// What an attribute is comes before how attributes combine, and allOf first of these: the order in which APISIX speaks.
const combining = ajv.RULES.rules.shift()!
combining.rules.sort((a, b) => Number(b.keyword === 'allOf') - Number(a.keyword === 'allOf'))
ajv.RULES.rules.push(combining)
addFormats.default(ajv, ['email', 'ipv4', 'ipv6', 'hostname', 'uuid', 'date', 'date-time', 'uri'])

/** The schema as ajv gets it: without defaults, and where asked for with a way around every value for references. */
function ajvForm(schema: Keywords, references: boolean): SchemaObject {
  if (schema.$ref !== undefined) throw new Error('a schema with $ref is not supported: write the sub-schema out')
  const { default: _, ...form } = schema as Record<string, unknown>
  const branch = (part: Branch) => (typeof part === 'boolean' ? part : ajvForm(part, references))
  const value = (part: Branch) =>
    typeof part === 'boolean' || !references ? branch(part) : { if: reference, else: branch(part) }

  for (const key of ['allOf', 'anyOf', 'oneOf'] as const) if (schema[key]) form[key] = schema[key].map(branch)
  for (const key of ['not', 'if', 'then', 'else', 'propertyNames'] as const) {
    if (schema[key] !== undefined) form[key] = branch(schema[key])
  }
  for (const key of ['properties', 'patternProperties'] as const) {
    const parts = Object.entries(schema[key] ?? {})
    if (parts.length > 0) form[key] = Object.fromEntries(parts.map(([name, part]) => [name, value(part)]))
  }
  for (const key of ['additionalProperties', 'additionalItems', 'contains'] as const) {
    if (schema[key] !== undefined) form[key] = value(schema[key])
  }
  if (schema.items !== undefined) form.items = isList(schema.items) ? schema.items.map(value) : value(schema.items)
  if (schema.dependencies) {
    form.dependencies = Object.fromEntries(
      Object.entries(schema.dependencies).map(([name, part]) => [name, isList(part) ? part : branch(part as Branch)]),
    )
  }
  return form
}
