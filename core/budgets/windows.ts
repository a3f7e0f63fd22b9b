// The windows of budgets: which one an instant is in, and from when to when it lasts; knows no budget and counts nothing.
import type { Infer, Schema } from '../plugin.ts'

/** As configurations have it. */
export const windowSchema = {
  type: 'object',
  properties: {
    // `balance` never begins anew, `rolling` lasts so many seconds from its first request on.
    type: { type: 'string', enum: ['balance', 'rolling', 'calendar'] },
    seconds: { type: 'integer', minimum: 1, maximum: 366 * 86_400 },
    // A week begins on Monday.
    period: { type: 'string', enum: ['day', 'week', 'month'] },
    // A name of the IANA's, as Europe/Berlin.
    time_zone: { type: 'string', minLength: 1, maxLength: 64 },
  },
  required: ['type'],
  additionalProperties: false,
} as const satisfies Schema

export type WindowConfig = Infer<typeof windowSchema>

/** Milliseconds since the epoch; `end` is the first that is not within. */
export interface Span {
  /** The same for every instant within, another for every other window: `month 2026-03-01`. */
  readonly key: string
  /** -Infinity of a balance, and of a rolling window: it begins with a request. */
  readonly start: number
  /** Infinity of both. */
  readonly end: number
}

/** What the schema cannot say, or nothing. */
export function windowProblem({ type, seconds, period, time_zone }: WindowConfig): string | undefined {
  if ((type === 'rolling') !== (seconds !== undefined)) return 'window.seconds belongs to a window of type rolling'
  if ((type === 'calendar') !== (period !== undefined)) return 'window.period belongs to a window of type calendar'
  if (time_zone === undefined) return undefined
  if (type !== 'calendar') return 'window.time_zone belongs to a window of type calendar'
  try {
    dateFormat(time_zone)
    return undefined
  } catch {
    return `window.time_zone: there is no time zone ${time_zone}`
  }
}

/** The window that an instant is in. What it gave last is looked at first: of calendars it is worked out once per window. */
export function windowAt(config: WindowConfig): (now: number) => Span {
  const { type, period = 'day', time_zone = 'UTC' } = config
  if (type !== 'calendar') {
    const span: Span = { key: type, start: Number.NEGATIVE_INFINITY, end: Number.POSITIVE_INFINITY }
    return () => span
  }
  const calendar = new Calendar(period, dateFormat(time_zone))
  let current = calendar.span(0)
  return now => {
    if (now < current.start || now >= current.end) current = calendar.span(now)
    return current
  }
}

type Period = NonNullable<WindowConfig['period']>

const DAY_MS = 86_400_000

/** A date without a place, as the milliseconds of its midnight in UTC. */
type CivilDate = number

class Calendar {
  readonly #period: Period
  readonly #format: Intl.DateTimeFormat

  constructor(period: Period, format: Intl.DateTimeFormat) {
    this.#period = period
    this.#format = format
  }

  span(now: number): Span {
    let first = firstDay(this.#period, this.#date(now))
    // Clocks that are put back over midnight: the date of the day that has begun is for an hour that of the day before.
    if (now < this.#start(first)) first = firstDay(this.#period, first - DAY_MS)
    const start = this.#start(first)
    const end = this.#start(nextPeriod(this.#period, first))
    if (now >= end) return this.span(end)
    return { key: `${this.#period} ${new Date(first).toISOString().slice(0, 10)}`, start, end }
  }

  /**
   * When that date begins there: not always at midnight, which some days do not have, and some days there are not. Nothing
   * but the date decides, so that one window ends where the next begins.
   */
  #start(date: CivilDate): number {
    // No place is further from UTC than 14 hours; a day that is left out is another.
    let before = date - 2 * DAY_MS
    let within = date + 2 * DAY_MS
    while (within - before > 1) {
      const middle = Math.floor((before + within) / 2)
      if (this.#date(middle) >= date) within = middle
      else before = middle
    }
    return within
  }

  #date(now: number): CivilDate {
    const parts = this.#format.formatToParts(now)
    const part = (type: Intl.DateTimeFormatPartTypes) => Number(parts.find(each => each.type === type)?.value)
    return Date.UTC(part('year'), part('month') - 1, part('day'))
  }
}

function firstDay(period: Period, date: CivilDate): CivilDate {
  if (period === 'day') return date
  const day = new Date(date)
  if (period === 'month') return day.setUTCDate(1)
  return date - ((day.getUTCDay() + 6) % 7) * DAY_MS
}

function nextPeriod(period: Period, first: CivilDate): CivilDate {
  if (period === 'month') return new Date(first).setUTCMonth(new Date(first).getUTCMonth() + 1)
  return first + (period === 'week' ? 7 : 1) * DAY_MS
}

/** Throws RangeError for a time zone that there is not. */
function dateFormat(timeZone: string): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', {
    timeZone,
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
  })
}
