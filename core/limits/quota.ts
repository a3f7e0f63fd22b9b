// What a limit tells of itself: response fields, and the variable `rate_limiting_info`; knows no plugin.
import { type Context, slot } from '../context.ts'
import type { Taken } from '../ledger/ledger.ts'
import type { Reply } from '../reply.ts'

export interface QuotaNames {
  readonly limit: string
  readonly remaining: string
  readonly reset: string
}

/** `X-RateLimit-Limit` and so on, with what stands before and behind. */
export function quotaNames(prefix: string, suffix = ''): QuotaNames {
  const name = (what: string) => `${prefix}RateLimit-${what}${suffix}`
  return { limit: name('Limit'), remaining: name('Remaining'), reset: name('Reset') }
}

interface Quota {
  readonly key: string
  readonly limit: number
  readonly taken: Taken
}

interface Shown {
  /** The last that was looked at. */
  quota: Quota
  /** Names and values in turn. */
  readonly fields: string[]
}

const shown = slot<Shown>()

/** Notes how a limit stands, and puts it into the fields of these names if there are any. */
export function noteQuota(ctx: Context, quota: Quota, names: QuotaNames | undefined): void {
  const noted = shown.get(ctx) ?? { quota, fields: [] }
  noted.quota = quota
  shown.set(ctx, noted)
  if (names === undefined) return
  const { limit, taken } = quota
  noted.fields.push(
    names.limit,
    String(limit),
    names.remaining,
    String(left(taken)),
    names.reset,
    String(seconds(taken)),
  )
}

/** For `header_filter`: whoever comes first shows what all have noted. */
export function showQuotas(ctx: Context, { headers }: Reply): void {
  const fields = shown.get(ctx)?.fields
  if (fields === undefined) return
  for (let at = 0; at < fields.length; at += 2) headers.set(fields[at]!, fields[at + 1]!)
  fields.length = 0
}

/** `$rate_limiting_info`: how the limit stands that was looked at last; undefined without one. */
export function rateLimitingInfo(ctx: Context): string | undefined {
  const quota = shown.get(ctx)?.quota
  if (quota === undefined) return undefined
  const { key, limit, taken } = quota
  return JSON.stringify({
    rate_limiting_key: key,
    rate_limiting_limit: limit,
    rate_limiting_remaining: left(taken),
    rate_limiting_reset: seconds(taken),
  })
}

function left({ allowed, remaining }: Taken): number {
  return allowed ? remaining : 0
}

/** With at most two decimals. */
function seconds({ resetMs }: Taken): number {
  return Math.floor(resetMs / 10) / 100
}
