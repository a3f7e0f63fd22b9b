// Which fields and arguments of a request carry secrets, so that nobody writes them down; keeps no secret.
import { type Context, slot } from '../context.ts'

export const REDACTED = '[redacted]'

const FIELDS: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization', 'cookie', 'set-cookie'])
const ALWAYS: ReadonlySet<string> = new Set([...FIELDS, 'key', 'auth', 'jwt', 'sig'])

/**
 * What names of credentials end in: `x-amz-security-token`, `client_secret`, `x-api-key`, `X-Amz-Signature`. By their last letter:
 * most names are then compared with one of them or with none, and an entry of a logger costs 0.35 us more instead of 0.8.
 */
const ENDINGS = Object.groupBy(
  ['token', 'secret', 'password', 'passwd', 'apikey', '-key', '_key', 'signature', 'credential'],
  ending => ending.charCodeAt(ending.length - 1),
)

/** Names that end so and are none: who looks for a request finds it by them. */
const HARMLESS: ReadonlySet<string> = new Set(['idempotency-key', 'sec-websocket-key', 'public_key'])

const marked = slot<ReadonlySet<string>>()

/** An authentication plugin looks for secrets in fields and arguments of these names, which are lower-case. */
export function markCredentials(ctx: Context, names: ReadonlySet<string>): void {
  const before = marked.get(ctx)
  marked.set(ctx, before === undefined ? names : new Set([...before, ...names]))
}

/** The names so marked; undefined when there are none. */
export function credentialNames(ctx: Context): ReadonlySet<string> | undefined {
  return marked.get(ctx)
}

/** Whether the value of a header field or query argument is to be kept out of logs. */
export function isCredential(ctx: Context, name: string): boolean {
  const lower = name.toLowerCase()
  if (ALWAYS.has(lower) || marked.get(ctx)?.has(lower) || ctx.consumers.carriers?.has(lower)) return true
  return endsAsCredential(lower)
}

/** Whether what a configuration calls so is a credential, by all that its name tells: `key` is a word of many meanings there. */
export function namesCredential(name: string): boolean {
  const lower = name.toLowerCase()
  return FIELDS.has(lower) || endsAsCredential(lower)
}

function endsAsCredential(lower: string): boolean {
  const endings = ENDINGS[lower.charCodeAt(lower.length - 1)] ?? []
  return endings.some(ending => lower.endsWith(ending)) && !HARMLESS.has(lower)
}

/** What logs may have of a header field: nothing of a credential, and no argument that is one where it is a URL. */
export function loggedField(ctx: Context, name: string, value: string): string {
  if (isCredential(ctx, name)) return REDACTED
  return value.includes('?') || value.includes('#') ? withoutArguments(ctx, value) : value
}

function withoutArguments(ctx: Context, value: string): string {
  const search = value.search(/[?#]/)
  return value.slice(0, search) + redactedArguments(ctx, value.slice(search))
}

/** Fields or arguments by name, with the secret ones replaced. */
export function redacted<T>(ctx: Context, values: Iterable<readonly [string, T]>): Record<string, T | string> {
  const shown: Record<string, T | string> = Object.create(null) as Record<string, T | string>
  for (const [name, value] of values) shown[name] = isCredential(ctx, name) ? REDACTED : value
  return shown
}

/** The query as the client sent it, with secret values replaced. */
export function redactedSearch(ctx: Context): string {
  const { search } = ctx.request
  return search === '' ? '' : redactedArguments(ctx, search)
}

/** A query, or the end of a request line that has one, with secret values replaced. */
export function redactedArguments(ctx: Context, query: string): string {
  return query.replace(/([^&=?#\s]+)=([^&#\s]*)/g, (pair, name: string) =>
    isCredential(ctx, decoded(name)) ? `${name}=${REDACTED}` : pair,
  )
}

function decoded(name: string): string {
  return new URLSearchParams(`${name}=`).keys().next().value ?? name
}
