// The arithmetic of limits on the five numbers of a key, one function for all kinds; knows neither keys nor who shares the numbers.
import type { Adjustment, Limit, Standing, Taken, Wish } from './ledger.ts'

// What the first three mean differs by kind. All zero is a key that nobody has used.
/** Taken for good: in this window, or as it was at `AT`; of a leaky bucket -1 when the next need not wait. */
const USED = 0
/** Of a sliding window: taken in the window before. Of a balance or a period: what was granted on top of the limit. */
const BEFORE = 1
/** The number of the sliding window; when a bucket was last looked at, in milliseconds. */
const AT = 2
/** Milliseconds: from then on the numbers say nothing, but for what is reserved. */
export const UNTIL = 3
/** Taken by tickets that are open. */
export const RESERVED = 4
export const WIDTH = 5

// What flows off a bucket in milliseconds is no round number.
const NEARLY = 1e-9

/** The numbers of a key, which begin at `at`. */
export interface Count {
  readonly numbers: Float64Array
  readonly at: number
}

/** Takes the wish if there is room; `now` is in milliseconds. The ticket is for the caller to make. */
export function take(count: Count, limit: Limit, wish: Wish, now: number): Taken {
  const { amount, need = amount } = wish
  const allowed = hasRoom(count, limit, wish, now)
  if (allowed) occupy(count, limit, wish, now)
  return describe(count, limit, { allowed, need }, now)
}

/** Brings the numbers to the present, and tells whether the wish has room. */
export function hasRoom({ numbers, at }: Count, limit: Limit, { amount, need = amount }: Wish, now: number): boolean {
  roll(numbers, at, limit, now)
  const taken = numbers[at + USED]! + numbers[at + RESERVED]!
  return (
    need === 0 ||
    fits(limit, level(numbers, at, limit, now) + need, { taken: taken + need, most: mostOf(numbers, at, limit) })
  )
}

/** Takes what has room. */
export function occupy({ numbers, at }: Count, limit: Limit, { amount, ticket }: Wish, now: number): void {
  if (ticket === true) numbers[at + RESERVED]! += amount
  else charge(numbers, at, limit, { amount, now })
}

/** What there is to say of a wish when the numbers are what they are after it. */
export function describe(
  { numbers, at }: Count,
  limit: Limit,
  { allowed, need }: { allowed: boolean; need: number },
  now: number,
): Taken {
  const used = Math.max(0, level(numbers, at, limit, now))
  return {
    allowed,
    remaining: Math.max(0, roomLeft(numbers, at, limit, used)),
    used,
    reserved: numbers[at + RESERVED]!,
    excess: Math.max(0, used - mostOf(numbers, at, limit)),
    resetMs: resetMs(numbers, at, limit, now),
    delayMs: allowed && limit.kind === 'leaky_bucket' ? (used / limit.rate) * 1000 : 0,
    retryMs: allowed ? 0 : retryMs(numbers, at, limit, { need, now }),
    ticket: undefined,
  }
}

/** Counts what was used in the window that is now, whether there is room or not. */
export function add({ numbers, at }: Count, limit: Limit, amount: number, now: number): void {
  roll(numbers, at, limit, now)
  charge(numbers, at, limit, { amount, now })
}

/** What counts, the numbers being there or not. */
export function standing(count: Count | undefined, limit: Limit, now: number): Standing {
  if (count === undefined) return { used: 0, reserved: 0, granted: 0 }
  const numbers = count.numbers.slice(count.at, count.at + WIDTH)
  roll(numbers, 0, limit, now)
  return { used: Math.max(0, numbers[USED]!), reserved: numbers[RESERVED]!, granted: grantedOf(numbers, 0, limit) }
}

/** Changes what counts. Throws RangeError for a grant to what has none. */
export function adjust({ numbers, at }: Count, limit: Limit, { what, by = 0, to }: Adjustment, now: number): void {
  roll(numbers, at, limit, now)
  const place = at + (what === 'used' ? USED : BEFORE)
  const changed = Math.max(0, to ?? numbers[place]! + by)
  if (what === 'used') charge(numbers, at, limit, { amount: changed - numbers[place]!, now })
  else numbers[place] = changed
}

/** Brings the numbers to the present. */
function roll(numbers: Float64Array, at: number, limit: Limit, now: number): void {
  switch (limit.kind) {
    case 'fixed_window': {
      const { windowMs } = limit
      if (now >= numbers[at + UNTIL]!) {
        numbers[at + USED] = 0
        numbers[at + UNTIL] = now + windowMs
      }
      // The clock was put back, or the window has become shorter.
      else if (numbers[at + UNTIL]! > now + windowMs) numbers[at + UNTIL] = now + windowMs
      return
    }
    case 'sliding_window': {
      const window = Math.floor(now / limit.windowMs)
      if (numbers[at + AT] !== window) {
        numbers[at + BEFORE] = numbers[at + AT] === window - 1 ? numbers[at + USED]! : 0
        numbers[at + USED] = 0
        numbers[at + AT] = window
        numbers[at + UNTIL] = (window + 2) * limit.windowMs
      }
      return
    }
    case 'token_bucket':
    case 'leaky_bucket': {
      const flown = (Math.max(0, now - numbers[at + AT]!) * limit.rate) / 1000
      numbers[at + USED] = Math.max(bottom(limit), numbers[at + USED]! - flown)
      numbers[at + AT] = now
      return
    }
    case 'balance':
      numbers[at + UNTIL] = Number.POSITIVE_INFINITY
      return
    case 'period':
      numbers[at + UNTIL] = limit.endMs
  }
}

function grantedOf(numbers: Float64Array, at: number, { kind }: Limit): number {
  return kind === 'balance' || kind === 'period' ? numbers[at + BEFORE]! : 0
}

/** The limit with what was granted on top. */
function mostOf(numbers: Float64Array, at: number, limit: Limit): number {
  return limit.limit + grantedOf(numbers, at, limit)
}

/** Who comes to an empty leaky bucket need not wait for its own turn. */
function bottom({ kind }: Limit): number {
  return kind === 'leaky_bucket' ? -1 : 0
}

/** What counts now, tickets included; of a sliding window an estimate. */
function level(numbers: Float64Array, at: number, limit: Limit, now: number): number {
  const taken = numbers[at + USED]! + numbers[at + RESERVED]!
  if (limit.kind !== 'sliding_window') return taken
  return taken + numbers[at + BEFORE]! * (1 - (now % limit.windowMs) / limit.windowMs)
}

/** Whether what counts may become `wanted`, of which `taken` is no estimate: of an estimate the first above the limit is refused. */
function fits(limit: Limit, wanted: number, { taken, most }: { taken: number; most: number }): boolean {
  if (limit.kind === 'sliding_window') return taken <= most && wanted < most + 1
  return wanted <= most + ('rate' in limit ? NEARLY : 0)
}

function charge(
  numbers: Float64Array,
  at: number,
  limit: Limit,
  { amount, now }: { amount: number; now: number },
): void {
  if (limit.kind === 'slots') return
  numbers[at + USED]! += amount
  if ('rate' in limit) numbers[at + UNTIL] = now + ((numbers[at + USED]! - bottom(limit)) / limit.rate) * 1000
}

function roomLeft(numbers: Float64Array, at: number, limit: Limit, used: number): number {
  const taken = numbers[at + USED]! + numbers[at + RESERVED]!
  if (limit.kind === 'sliding_window') return Math.min(limit.limit - taken, Math.ceil(limit.limit - used))
  return Math.floor(mostOf(numbers, at, limit) - used + ('rate' in limit ? NEARLY : 0))
}

function resetMs(numbers: Float64Array, at: number, limit: Limit, now: number): number {
  switch (limit.kind) {
    case 'fixed_window':
      return numbers[at + UNTIL]! - now
    case 'period':
      return Math.max(0, limit.endMs - now)
    case 'sliding_window':
      return limit.windowMs - (now % limit.windowMs)
    case 'balance':
      return Number.POSITIVE_INFINITY
    case 'slots':
      return 0
    default:
      return (Math.max(0, numbers[at + USED]!) / limit.rate) * 1000
  }
}

/** When there will be room for `need`, unless somebody else takes it. */
function retryMs(
  numbers: Float64Array,
  at: number,
  limit: Limit,
  { need, now }: { need: number; now: number },
): number {
  const never = Number.POSITIVE_INFINITY
  if (need > mostOf(numbers, at, limit) - bottom(limit)) return never
  switch (limit.kind) {
    case 'fixed_window':
    case 'period':
      return resetMs(numbers, at, limit, now)
    case 'sliding_window': {
      const { windowMs } = limit
      const rest = windowMs - (now % windowMs)
      const reserved = numbers[at + RESERVED]!
      const used = numbers[at + USED]!
      // How much of the window before may still count: in this window, and in the next, which has this one before it.
      const room = limit.limit + 1 - need - reserved - used
      if (room >= 1) return Math.ceil(rest - (windowMs * room) / numbers[at + BEFORE]!) + 1
      const later = limit.limit + 1 - need - reserved
      return later >= 1 ? Math.ceil(rest + windowMs * Math.max(0, 1 - later / used)) + 1 : 2 * windowMs
    }
    case 'token_bucket':
    case 'leaky_bucket':
      return ((level(numbers, at, limit, now) + need - limit.limit) / limit.rate) * 1000
    case 'balance':
      return never
    case 'slots':
      return 0
  }
}
