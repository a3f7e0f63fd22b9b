// How long a provider asks to be left alone, in every dialect that says so; knows no provider by name.
import type { HeaderList } from '../reply.ts'
import { isObject } from './json.ts'

/** What a provider said besides its status; `body` is undefined where it was not read. */
export interface Said {
  readonly headers: HeaderList
  readonly body: Buffer | undefined
}

/** Too many requests, unavailable, and Anthropic's overloaded. */
const ASKING = new Set([429, 503, 529])

/**
 * Milliseconds; undefined when nothing is asked. Where it is said more than once, the longest counts. Limits of which
 * something remains (`*-remaining`) ask for nothing, whatever their reset. `now` is in milliseconds since the epoch.
 */
export function restAsked(status: number, { headers, body }: Said, now: number): number | undefined {
  if (!ASKING.has(status)) return undefined
  const wishes = [
    number(headers.get('retry-after-ms')),
    afterOf(headers.get('retry-after'), now),
    ...(status === 429 ? [...resets(headers, now), retryInfo(body)] : []),
  ].filter(wish => wish !== undefined && wish > 0)
  return wishes.length === 0 ? undefined : Math.ceil(Math.max(...(wishes as number[])))
}

function number(text: string | undefined): number | undefined {
  return text !== undefined && /^\s*\d+(\.\d+)?\s*$/.test(text) ? Number(text) : undefined
}

/** Seconds, or a date (RFC 9110 10.2.3). */
function afterOf(text: string | undefined, now: number): number | undefined {
  const seconds = number(text)
  if (seconds !== undefined) return seconds * 1000
  return text === undefined ? undefined : dateOf(text, now)
}

function dateOf(text: string, now: number): number | undefined {
  const date = /^\d{4}-\d\d-\d\dT|GMT/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(date) ? undefined : date - now
}

/** `x-ratelimit-reset-tokens` (OpenAI, Azure, Groq), `anthropic-ratelimit-requests-reset`, `x-ratelimit-reset`, `ratelimit-reset`. */
const RESET = /^(?:(?<before>(?:x-)?ratelimit-)reset(?<behind>-.+)?|(?<anthropic>anthropic-ratelimit-.+-)reset)$/

function resets(headers: HeaderList, now: number): (number | undefined)[] {
  return Object.entries(headers.toObject()).map(([name, value]) => {
    const { before, behind = '', anthropic } = RESET.exec(name)?.groups ?? {}
    if (before === undefined && anthropic === undefined) return undefined
    const remaining = number(headers.get(anthropic ? `${anthropic}remaining` : `${before}remaining${behind}`))
    if (remaining !== undefined && remaining > 0) return undefined
    return dateOf(value, now) ?? epochOf(number(value), now) ?? durationOf(value)
  })
}

/** A number may be a moment, in seconds or milliseconds since the epoch, or seconds from now. */
function epochOf(value: number | undefined, now: number): number | undefined {
  if (value === undefined) return undefined
  if (value > 1e11) return value - now
  return value > 1e9 ? value * 1000 - now : value * 1000
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `6m0s`, `7.66s`, `20ms` */
function durationOf(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|[smhd]))+$/.test(text)) return undefined
  let ms = 0
  for (const [, count, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)) ms += Number(count) * UNITS[unit!]!
  return ms
}

/** `google.rpc.RetryInfo` in an error, which some of Google's APIs put into a list. */
function retryInfo(body: Buffer | undefined): number | undefined {
  if (body === undefined || !body.includes('retryDelay')) return undefined
  const said = parsed(body)
  const { error } = (Array.isArray(said) ? said[0] : said) ?? {}
  const details = isObject(error) && Array.isArray(error.details) ? error.details : []
  const delays = details.map(detail => (isObject(detail) ? durationOf(String(detail.retryDelay)) : undefined))
  return delays.find(delay => delay !== undefined)
}

function parsed(body: Buffer): Record<string, unknown> | Record<string, unknown>[] | undefined {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}
