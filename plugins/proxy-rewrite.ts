// proxy-rewrite: changes path, method, host and header fields on their way to the upstream (facts core 8.3.9).
import type { Context } from '../core/context.ts'
import { GatewayError } from '../core/errors.ts'
import { applyHeaderChange, badFieldName, compileHeaderChange } from '../core/header-change.ts'
import { compileFinder, type Finder, type Found } from '../core/patterns/finder.ts'
import { compileReplacement, PatternError, type Replacement } from '../core/patterns/pattern.ts'
import { plugin, type Schema } from '../core/plugin.ts'
import { compileTemplate, type Template } from '../core/router/template.ts'
import { variable } from '../core/router/vars.ts'

const scalar = { type: ['string', 'number'] } as const
const fields = {
  type: 'object',
  minProperties: 1,
  patternProperties: { '^[^:]+$': { anyOf: [scalar, { type: 'array', minItems: 1, items: scalar }] } },
} as const

const schema = {
  type: 'object',
  properties: {
    uri: { type: 'string', minLength: 1, maxLength: 4096, pattern: '^\\/.*' },
    regex_uri: { type: 'array', minItems: 2, items: { type: 'string' } },
    method: {
      type: 'string',
      enum: [
        'GET',
        'POST',
        'PUT',
        'HEAD',
        'DELETE',
        'OPTIONS',
        'MKCOL',
        'COPY',
        'MOVE',
        'PROPFIND',
        'LOCK',
        'UNLOCK',
        'PATCH',
        'TRACE',
      ],
    },
    host: { type: 'string', pattern: '^[0-9a-zA-Z-.]+(:\\d{1,5})?$' },
    headers: {
      anyOf: [
        {
          type: 'object',
          minProperties: 1,
          additionalProperties: false,
          properties: {
            add: fields,
            set: fields,
            remove: { type: 'array', minItems: 1, items: { type: 'string', pattern: '^[^:]+$' } },
          },
        },
        { type: 'object', minProperties: 1, additionalProperties: false, patternProperties: { '^[^:]+$': scalar } },
      ],
    },
    use_real_request_uri_unsafe: { type: 'boolean', default: false },
  },
  minProperties: 1,
} as const satisfies Schema

/** One pattern of `regex_uri` with what it makes of the path. */
interface Rule {
  find: Finder
  replacement: Replacement
}

/** A piece of the new target: written in the config, or brought by the request, where a `?` is no separator. */
interface Piece {
  text: string
  own: boolean
}

export default plugin({
  name: 'proxy-rewrite',
  priority: 1008,
  version: 0.1,
  schema,
  check({ regex_uri, headers }) {
    if (regex_uri !== undefined) {
      if (regex_uri.length % 2 !== 0) return 'The length of regex_uri should be an even number'
      for (let at = 0; at < regex_uri.length; at += 2) {
        const [pattern, template] = [regex_uri[at]!, regex_uri[at + 1]!]
        try {
          compileRule(pattern, template)
        } catch (error) {
          if (!(error instanceof PatternError)) throw error
          return `invalid regex_uri(${pattern}, ${template}): ${error.message}`
        }
      }
    }
    return badFieldName(compileHeaderChange(headers)) === undefined ? undefined : 'invalid field character in header'
  },
  setup(config) {
    const { host, method, use_real_request_uri_unsafe: raw } = config
    const uri = config.uri === undefined ? undefined : compileTemplate(config.uri)
    const rules: Rule[] = []
    for (let at = 0; at < (config.regex_uri?.length ?? 0); at += 2)
      rules.push(compileRule(config.regex_uri![at]!, config.regex_uri![at + 1]!))
    const change = compileHeaderChange(config.headers)

    /** The target with the pattern's groups, when one matched. */
    function rewrite(ctx: Context): { target: string; groups: Found['groups'] | undefined } | undefined {
      const current = ctx.outbound.target ?? ctx.request.target
      const question = current.indexOf('?')
      const search = question < 0 ? '' : current.slice(question + 1)
      if (uri !== undefined) return { target: join(fill(uri, ctx), { search, raw }), groups: undefined }
      const base = raw ? current : ctx.request.path
      for (const rule of rules) {
        const found = match(rule.find, base)
        if (found === undefined) continue
        const pieces = substitute(base, found, rule)
        return { target: join(pieces, { search: raw ? '' : search, raw }), groups: found.groups }
      }
      return undefined
    }

    return {
      rewrite(ctx) {
        const rewritten = rewrite(ctx)
        if (rewritten !== undefined) ctx.outbound.target = rewritten.target
        if (host !== undefined) ctx.outbound.host = host
        if (method !== undefined) ctx.outbound.method = method
        applyHeaderChange(ctx.request.headers, change, name =>
          /^\d+$/.test(name) ? rewritten?.groups?.[Number(name)] : variable(ctx, name),
        )
      },
    }
  },
})

function compileRule(pattern: string, template: string): Rule {
  return { find: compileFinder(pattern), replacement: compileReplacement(template) }
}

/** V8 gives up on some patterns only when it runs them, and some are cut off. */
function match(find: Finder, path: string): Found | undefined {
  try {
    return find(path)
  } catch (error) {
    throw new GatewayError(500, 'rewrite_failed', `failed to match the uri ${path}`, { cause: error })
  }
}

function fill(template: Template, ctx: Context): Piece[] {
  return template.map(part =>
    typeof part === 'string'
      ? { text: part, own: true }
      : { text: String(variable(ctx, part.name) ?? part.fallback ?? ''), own: false },
  )
}

/** The path with the first match replaced; what the match does not cover stays. */
function substitute(path: string, { index, groups }: Found, { replacement }: Rule): Piece[] {
  return [
    { text: path.slice(0, index), own: false },
    ...replacement.map(part =>
      typeof part === 'string' ? { text: part, own: true } : { text: groups[part] ?? '', own: false },
    ),
    { text: path.slice(index + groups[0]!.length), own: false },
  ]
}

/**
 * One target of the pieces: a path that is percent-encoded, from the config's first `?` on a query, and the query that was
 * there before behind it. `raw` encodes nothing but what would break the request line.
 */
function join(pieces: readonly Piece[], { search, raw }: { search: string; raw: boolean }): string {
  let target = ''
  let inQuery = false
  for (const { text, own } of pieces) {
    if (raw) {
      target += percentEncode(text, NOT_IN_TARGET)
      continue
    }
    const question = own && !inQuery ? text.indexOf('?') : -1
    if (question >= 0) {
      target += `${percentEncode(text.slice(0, question), NOT_IN_PATH)}?${percentEncode(text.slice(question + 1), NOT_IN_TARGET)}`
      inQuery = true
    } else if (inQuery) {
      target += percentEncode(own ? text : text.replaceAll('?', '%3F'), NOT_IN_TARGET)
    } else {
      target += percentEncode(text, NOT_IN_PATH)
    }
  }
  if (!target.startsWith('/')) target = `/${target}`
  if (search === '') return target
  return `${target}${target.includes('?') ? '&' : '?'}${search}`
}

// Everything but the characters of a path (RFC 3986 3.3).
const NOT_IN_PATH = /[^A-Za-z0-9\-._~!$&'()*+,;=:@/]/gu
// What cannot stand in a target at all: controls, spaces, what is not ASCII, and the fragment's sign.
const NOT_IN_TARGET = /[^!-~]|#/gu

function percentEncode(text: string, which: RegExp): string {
  return text
    .toWellFormed()
    .replace(which, char =>
      [...Buffer.from(char)].map(byte => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
    )
}
