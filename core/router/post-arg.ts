// Fields of a request body as variables: `post_arg_<name>` and `post_arg.<path>`; never reads the body by itself.
import { type Context, slot } from '../context.ts'

interface Fields {
  /** The bytes they were read from; a plugin may have replaced the body since. */
  bytes: Buffer
  json: unknown
  form: URLSearchParams | undefined
}

const known = slot<Fields>()

/** `post_arg_<name>`: a field of a urlencoded body, if the body is in memory. */
export function formArg(ctx: Context, name: string): string | undefined {
  return fieldsOf(ctx)?.form?.get(name) ?? undefined
}

/** `post_arg.<path>`: a scalar of a JSON body, or a field of a urlencoded one, if the body is in memory. */
export function bodyArg(ctx: Context, path: string): string | number | undefined {
  const fields = fieldsOf(ctx)
  if (fields?.form !== undefined) return fields.form.get(path) ?? undefined
  const value = follow(fields?.json, path)
  if (typeof value === 'boolean') return String(value)
  return typeof value === 'string' || typeof value === 'number' ? value : undefined
}

/**
 * The body is in memory when some plugin has asked for it; the router does not, so that in a route's `vars` there are no
 * fields. Multipart bodies have none here.
 */
function fieldsOf(ctx: Context): Fields | undefined {
  const bytes = ctx.body.replayable ? ctx.body.outgoing() : null
  if (!Buffer.isBuffer(bytes)) return undefined
  let fields = known.get(ctx)
  if (fields?.bytes !== bytes) {
    fields = read(bytes, ctx.request.headers.get('content-type') ?? '')
    known.set(ctx, fields)
  }
  return fields
}

function read(bytes: Buffer, type: string): Fields {
  if (type.startsWith('application/x-www-form-urlencoded'))
    return { bytes, json: undefined, form: new URLSearchParams(bytes.toString()) }
  try {
    const json: unknown = /[/+]json\b/.test(type) ? JSON.parse(bytes.toString()) : undefined
    return { bytes, json, form: undefined }
  } catch {
    return { bytes, json: undefined, form: undefined }
  }
}

/** `model`, `messages[0].content`: the part of JSONPath that names one value. */
function follow(json: unknown, path: string): unknown {
  let value = json
  for (const step of path.split(/\.|\[(\d+)\]\.?/).filter(part => part !== undefined && part !== '')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined
    value = (value as Record<string, unknown>)[step]
  }
  return value
}
