// Fields of a request body as variables: `post_arg_<name>` and `post_arg.<path>` (facts core 1.6, 1.9).
import { BodyTooLarge } from '../body.ts'
import { type Context, slot } from '../context.ts'
import { multipartFields } from './multipart.ts'

interface Fields {
  /** The bytes they were read from; a plugin may have replaced the body since. */
  bytes: Buffer
  json: unknown
  form: { get(name: string): string | null | undefined } | undefined
  urlencoded: boolean
}

const known = slot<Fields>()
const unreadable = slot<true>()

const FORM = 'application/x-www-form-urlencoded'
const MULTIPART = 'multipart/form-data'
const JSON_TYPE = /[/+]json\b/

/** `post_arg_<name>`: a field of a urlencoded body, if the body is in memory. */
export function formArg(ctx: Context, name: string): string | undefined {
  const fields = fieldsOf(ctx)
  return fields?.urlencoded ? (fields.form?.get(name) ?? undefined) : undefined
}

/** `post_arg.<path>` as text or number: a scalar of a JSON body, or a field of a form, if the body is in memory. */
export function bodyArg(ctx: Context, path: string): string | number | undefined {
  const value = bodyValue(ctx, path)
  if (typeof value === 'boolean') return String(value)
  return typeof value === 'string' || typeof value === 'number' ? value : undefined
}

/** The same for expressions: booleans as they are, and with a `[*]` in the path an array of all that it names. */
export function bodyValue(ctx: Context, path: string): unknown {
  const fields = fieldsOf(ctx)
  if (fields === undefined) return undefined
  if (fields.form !== undefined) return fields.form.get(path) ?? undefined
  const steps = path.split(/\.|\[(\d+|\*)\]\.?/).filter(step => step !== undefined && step !== '')
  const values = follow([fields.json], steps)
  const value = steps.includes('*') ? values : values[0]
  return Array.isArray(value) || typeof value !== 'object' ? value : undefined
}

/** Whether the fields of the body can be told now: it is in memory, has none, or was too large. */
export function fieldsAreKnown(ctx: Context): boolean {
  return ctx.body.replayable || unreadable.get(ctx) === true || !hasFields(typeOf(ctx))
}

/**
 * Reads the body, so that its fields can be told. False when it is larger than `max` bytes: it has none then. Rejects as
 * RequestBody.bytes does when it does not come whole.
 */
export async function readFields(ctx: Context, max: number): Promise<boolean> {
  try {
    await ctx.body.bytes(max)
    return true
  } catch (error) {
    if (!(error instanceof BodyTooLarge)) throw error
    unreadable.set(ctx, true)
    return false
  }
}

/** Only of what is in memory: nothing is read here. */
function fieldsOf(ctx: Context): Fields | undefined {
  const bytes = ctx.body.replayable ? ctx.body.outgoing() : null
  if (!Buffer.isBuffer(bytes)) return undefined
  let fields = known.get(ctx)
  if (fields?.bytes !== bytes) {
    fields = read(bytes, typeOf(ctx))
    known.set(ctx, fields)
  }
  return fields
}

function typeOf(ctx: Context): string {
  return ctx.request.headers.get('content-type') ?? ''
}

function hasFields(type: string): boolean {
  return type.startsWith(FORM) || type.startsWith(MULTIPART) || JSON_TYPE.test(type)
}

function read(bytes: Buffer, type: string): Fields {
  if (type.startsWith(FORM)) {
    return { bytes, json: undefined, form: new URLSearchParams(bytes.toString()), urlencoded: true }
  }
  if (type.startsWith(MULTIPART)) {
    return { bytes, json: undefined, form: multipartFields(bytes, type), urlencoded: false }
  }
  try {
    const json: unknown = JSON_TYPE.test(type) ? JSON.parse(bytes.toString()) : undefined
    return { bytes, json, form: undefined, urlencoded: false }
  } catch {
    return { bytes, json: undefined, form: undefined, urlencoded: false }
  }
}

/** `model`, `messages[0].content`, `messages[*].content[*].type`: the parts of JSONPath that name values. */
function follow(values: readonly unknown[], steps: readonly string[]): unknown[] {
  return steps.reduce<unknown[]>(
    (found, step) =>
      found.flatMap((value): unknown[] => {
        if (typeof value !== 'object' || value === null) return []
        if (step === '*') return Object.values(value)
        return Object.hasOwn(value, step) ? [(value as Record<string, unknown>)[step]] : []
      }),
    [...values],
  )
}
