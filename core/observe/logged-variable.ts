// Variables as logs may have them: without the values of known credentials; formats read these, expressions the real ones.
import type { Context } from '../context.ts'
import { type Variable, variable } from '../router/vars.ts'
import { isCredential, loggedField, REDACTED, redactedArguments } from './credentials.ts'

/** Variables that are a query, or end in one. */
const QUERIES: ReadonlySet<string> = new Set(['args', 'query_string'])
const WITH_QUERY: ReadonlySet<string> = new Set(['request', 'request_uri', 'real_request_uri', 'upstream_uri'])

/** What a log may have of a variable; undefined when it has no value. */
export function loggedVariable(ctx: Context, name: string): Variable {
  return loggedGetter(name)(ctx)
}

/** The same for a variable that is known before the request is. */
export function loggedGetter(name: string): (ctx: Context) => Variable {
  const get = (ctx: Context) => variable(ctx, name)
  const changed = (change: (ctx: Context, text: string) => string) => (ctx: Context) => {
    const value = get(ctx)
    return typeof value === 'string' && value !== '' ? change(ctx, value) : value
  }
  if (QUERIES.has(name)) return changed(redactedArguments)
  if (WITH_QUERY.has(name))
    return changed((ctx, text) => {
      const question = text.indexOf('?')
      return question < 0 ? text : text.slice(0, question) + redactedArguments(ctx, text.slice(question))
    })
  if (name.startsWith('cookie_')) return changed(() => REDACTED)
  const carrier = /^(?:arg|http|sent_http|post_arg)[_.](.+)$/.exec(name)?.[1]
  if (carrier === undefined) return get
  const dashed = carrier.replaceAll('_', '-')
  return changed((ctx, text) => (isCredential(ctx, carrier) ? REDACTED : loggedField(ctx, dashed, text)))
}
