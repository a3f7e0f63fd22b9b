// Variables as logs may have them: without the values of known credentials; formats read these, expressions the real ones.
import type { Context } from '../context.ts'
import { type Variable, variable } from '../router/vars.ts'
import { isCredential, REDACTED, redactedArguments } from './credentials.ts'

/** Variables with a query in them. */
const WITH_QUERY: ReadonlySet<string> = new Set([
  'request',
  'request_uri',
  'real_request_uri',
  'upstream_uri',
  'http_referer',
])

/** What a log may have of a variable; undefined when it has no value. */
export function loggedVariable(ctx: Context, name: string): Variable {
  const value = variable(ctx, name)
  if (typeof value !== 'string' || value === '') return value
  if (WITH_QUERY.has(name)) {
    const question = value.indexOf('?')
    return question < 0 ? value : value.slice(0, question) + redactedArguments(ctx, value.slice(question))
  }
  if (name === 'args' || name === 'query_string') return redactedArguments(ctx, value)
  return isSecret(ctx, name) ? REDACTED : value
}

function isSecret(ctx: Context, name: string): boolean {
  if (name.startsWith('cookie_')) return true
  const carrier = /^(?:arg|http|sent_http|post_arg)[_.](.+)$/.exec(name)?.[1]
  if (carrier === undefined) return false
  return isCredential(ctx, carrier) || isCredential(ctx, carrier.replaceAll('_', '-'))
}
