// response-rewrite: changes status, header fields and body of any response on its way to the client (facts core 8.3.10).
import { isUtf8 } from 'node:buffer'
import { type ContentEncoding, contentEncoding, decode } from '../core/content-encoding.ts'
import type { Context } from '../core/context.ts'
import { applyHeaderChange, badFieldName, compileHeaderChange } from '../core/header-change.ts'
import { cutOff } from '../core/patterns/cut-off.ts'
import { longestDirect } from '../core/patterns/effort.ts'
import { compilePattern, compileReplacement, expand, PatternError } from '../core/patterns/pattern.ts'
import { type Infer, plugin, type Schema } from '../core/plugin.ts'
import type { Filter, Reply } from '../core/reply.ts'
import { checkExpr, compileExpr } from '../core/router/expr.ts'
import { variable } from '../core/router/vars.ts'

const scalar = { type: ['string', 'number'] } as const
const map = { type: 'object', minProperties: 1, patternProperties: { '^[^:]+$': scalar } } as const

const schema = {
  type: 'object',
  properties: {
    status_code: { type: 'integer', minimum: 200, maximum: 598 },
    body: { type: 'string' },
    body_base64: { type: 'boolean', default: false },
    headers: {
      anyOf: [
        {
          type: 'object',
          minProperties: 1,
          additionalProperties: false,
          properties: {
            add: { type: 'array', minItems: 1, items: { type: 'string', pattern: '^[^:]+:[^:]*[^/]$' } },
            set: map,
            remove: { type: 'array', minItems: 1, items: { type: 'string', pattern: '^[^:]+$' } },
          },
        },
        { ...map, additionalProperties: false },
      ],
    },
    filters: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        properties: {
          regex: { type: 'string', minLength: 1 },
          replace: { type: 'string' },
          scope: { type: 'string', enum: ['once', 'global'], default: 'once' },
          options: { type: 'string', default: 'jo' },
        },
        required: ['regex', 'replace'],
      },
    },
    vars: { type: 'array' },
    max_resp_body_size: { type: 'integer', minimum: 1, default: 67_108_864 },
  },
  dependencies: {
    body: { not: { required: ['filters'] } },
    filters: { not: { required: ['body'] } },
  },
} as const satisfies Schema

type FilterConfig = NonNullable<Infer<typeof schema>['filters']>[number]

/** One of `filters`: what it makes of a text. */
type Substitution = (text: string) => string

// They follow from the body; a response whose length is a lie ends in the next one on the connection.
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding'])
const ABOUT_THE_BODY = ['Content-Length', 'Content-Encoding', 'Last-Modified', 'ETag']
const nothing = Buffer.alloc(0)

export default plugin({
  name: 'response-rewrite',
  priority: 899,
  version: 0.1,
  schema,
  check({ body, body_base64, headers, filters, vars }) {
    if (body_base64 && body !== undefined && fromBase64(body) === undefined) return 'invalid base64 content'
    const field = badFieldName(compileHeaderChange(headers), FRAMING)
    if (field !== undefined)
      return `header ${field} cannot be written: ${FRAMING.has(field.toLowerCase()) ? 'it follows from the body' : 'invalid field character in header'}`
    for (const filter of filters ?? []) {
      try {
        compileFilter(filter)
      } catch (error) {
        if (!(error instanceof PatternError)) throw error
        return `regex "${filter.regex}" validation failed: ${error.message}`
      }
    }
    const problem = vars && checkExpr(vars)
    return problem && `failed to validate the 'vars' expression: ${problem}`
  },
  setup(config, { log }) {
    const { status_code, max_resp_body_size: max } = config
    const expr = config.vars && compileExpr(config.vars)
    const body = config.body === undefined ? undefined : bytesOf(config.body, config.body_base64)
    const filters = config.filters?.map(compileFilter)
    const change = compileHeaderChange(config.headers)
    /** Responses whose body is to change, with the encoding it comes in. */
    const changing = new WeakMap<Context, ContentEncoding>()

    /** Decides what becomes of the body, and takes back what the head says of the one that was. */
    function announce(ctx: Context, reply: Reply): void {
      if (body === undefined && filters === undefined) return
      if (reply.status === 204 || reply.status === 304) return
      const encoding = body === undefined ? contentEncoding(reply.headers.get('content-encoding')) : 'identity'
      if (encoding === undefined) {
        log.warn(
          { route: ctx.route?.id, request_id: ctx.id },
          'response-rewrite leaves a body in an encoding it cannot read',
        )
        return
      }
      for (const name of ABOUT_THE_BODY) reply.headers.delete(name)
      changing.set(ctx, encoding)
    }

    return {
      header_filter(ctx, reply) {
        if (expr !== undefined && !expr.test(name => variable(ctx, name))) return
        if (status_code !== undefined) reply.status = status_code
        announce(ctx, reply)
        applyHeaderChange(reply.headers, change, name => variable(ctx, name))
      },
      body_filter(ctx) {
        const encoding = changing.get(ctx)
        if (encoding === undefined) return undefined
        if (body !== undefined) return (_chunk, last) => (last ? body : nothing)
        return whole(max, async original => {
          try {
            return substitute(await decode(original, encoding, max), filters!)
          } catch (error) {
            log.warn(
              { route: ctx.route?.id, request_id: ctx.id, err: error },
              'response-rewrite leaves a body as it is',
            )
            return original
          }
        })
      },
    }
  },
})

/** On a text on which V8 may take long it is cut off. */
function compileFilter({ regex, replace, scope, options }: FilterConfig): Substitution {
  const once = compilePattern(regex, options)
  const pattern = scope === 'global' ? new RegExp(once, `${once.flags}g`) : once
  const replacement = compileReplacement(replace)
  const direct: Substitution = text =>
    text.replace(pattern, (...found: (string | number | undefined)[]) => expand(replacement, groupsOf(found)))
  const short = longestDirect(once.source)
  let bounded: Substitution | undefined
  return text => {
    if (text.length <= short) return direct(text)
    bounded ??= cutOff(direct)
    return bounded(text)
  }
}

/** A filter that keeps everything back, up to `max` bytes, and sends what `change` makes of it. */
function whole(max: number, change: (body: Buffer) => Promise<Buffer>): Filter {
  const chunks: Buffer[] = []
  let size = 0
  return (chunk, last) => {
    const kept = chunk.subarray(0, max - size)
    size += kept.length
    if (kept.length > 0) chunks.push(kept)
    return last ? change(Buffer.concat(chunks, size)) : nothing
  }
}

/** Bytes that are no UTF-8 are taken one by one, so that what no filter touches stays what it was. */
function substitute(body: Buffer, filters: readonly Substitution[]): Buffer {
  const encoding = isUtf8(body) ? 'utf8' : 'latin1'
  let text = body.toString(encoding)
  for (const change of filters) text = change(text)
  return Buffer.from(text, encoding)
}

/** The match and its groups; behind them `replace` passes the position and more. */
function groupsOf(found: readonly (string | number | undefined)[]): (string | undefined)[] {
  return found.slice(
    0,
    found.findIndex(part => typeof part === 'number'),
  ) as (string | undefined)[]
}

function bytesOf(body: string, base64: boolean): Buffer {
  return base64 ? fromBase64(body)! : Buffer.from(body)
}

/** Undefined for what is not base64, or empty. */
function fromBase64(text: string): Buffer | undefined {
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/.test(text) && text !== ''
    ? Buffer.from(text, 'base64')
    : undefined
}
