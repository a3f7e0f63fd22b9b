// The windows of budgets as configurations have them, and the period of one that an instant is in; counts nothing.
import type { Infer, Schema } from '../plugin.ts'
import type { Period, Window } from './budget.ts'

/** As configurations have it. */
export const windowSchema = {
  type: 'object',
  properties: {
    // `balance` never begins anew, `rolling` every so many seconds.
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

/** What a configuration that fits the schema, and has no problem, means. */
export function windowOf({ type, seconds = 0, period = 'day', time_zone = 'UTC' }: WindowConfig): Window {
  if (type === 'balance') return { kind: 'balance' }
  return type === 'rolling' ? { kind: 'rolling', seconds } : { kind: 'calendar', every: period, timeZone: time_zone }
}

/** The period of a window that an instant is in. The last one is kept: of calendars each is worked out once. */
export function periodsOf(window: Window): (now: number) => Period {
  let current: Period = { start: 0, end: window.kind === 'balance' ? Number.POSITIVE_INFINITY : 0 }
  const find = finderOf(window)
  return now => {
    if (now < current.start || now >= current.end) current = find(now)
    return current
  }
}

function finderOf(window: Window): (now: number) => Period {
  switch (window.kind) {
    case 'balance':
      return () => ({ start: 0, end: Number.POSITIVE_INFINITY })
    case 'rolling': {
      const size = window.seconds * 1000
      return now => {
        const start = now - (now % size)
        return { start, end: start + size }
      }
    }
    case 'calendar': {
      const calendar = new Calendar(window.every, dateFormat(window.timeZone))
      return now => calendar.period(now)
    }
  }
}

type Every = NonNullable<WindowConfig['period']>

const DAY_MS = 86_400_000

/** A date without a place, as the milliseconds of its midnight in UTC. */
type CivilDate = number

class Calendar {
  readonly #every: Every
  readonly #format: Intl.DateTimeFormat

  constructor(every: Every, format: Intl.DateTimeFormat) {
    this.#every = every
    this.#format = format
  }

  period(now: number): Period {
    let first = firstDay(this.#every, this.#date(now))
    // Clocks that are put back over midnight: the date of the day that has begun is for an hour that of the day before.
    if (now < this.#start(first)) first = firstDay(this.#every, first - DAY_MS)
    const end = this.#start(nextFirstDay(this.#every, first))
    return now >= end ? this.period(end) : { start: this.#start(first), end }
  }

  /**
   * When that date begins there: not always at midnight, which some days do not have, and some days there are not. Nothing
   * but the date decides, so that one period ends where the next begins.
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

function firstDay(every: Every, date: CivilDate): CivilDate {
  if (every === 'day') return date
  const day = new Date(date)
  if (every === 'month') return day.setUTCDate(1)
  return date - ((day.getUTCDay() + 6) % 7) * DAY_MS
}

function nextFirstDay(every: Every, first: CivilDate): CivilDate {
  if (every === 'month') return new Date(first).setUTCMonth(new Date(first).getUTCMonth() + 1)
  return first + (every === 'week' ? 7 : 1) * DAY_MS
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
