// How an account of a budget is shown to people: amounts as they read them, what is left, and how long it will last.
import type { AccountStanding } from './account.ts'
import type { Account, Budget, Unit, Window } from './budget.ts'
import { formatNano } from './money.ts'

/** A number of tokens, or a decimal of the currency. */
export type Shown = number | string

export interface AccountView {
  readonly budget: string
  readonly principal: string
  /** `tokens`, or a currency. */
  readonly unit: string
  /** Null: no cap. */
  readonly cap: Shown | null
  /** On top of the cap. */
  readonly topped_up: Shown
  readonly spent: Shown
  readonly reserved: Shown
  /** What may be taken now; null without a cap. */
  readonly available: Shown | null
  readonly frozen: boolean
  readonly window: WindowView
  readonly forecast: ForecastView
}

export interface WindowView {
  readonly type: Window['kind']
  readonly seconds?: number
  readonly period?: string
  readonly time_zone?: string
  /** ISO 8601; not of a balance. */
  readonly start?: string
  readonly end?: string
}

export interface ForecastView {
  /** Spent a day at the rate so far; null while it is too early to say. */
  readonly per_day: Shown | null
  /** What will have been spent when the window ends; null of a balance, and while it is too early to say. */
  readonly at_end: Shown | null
  /** When nothing will be left; null when that does not come before the window's end, or nobody can say. */
  readonly exhausted_at: string | null
}

/** What is known of an account at a moment. */
export interface Known extends AccountStanding {
  /** When it was first heard of, in milliseconds since the epoch. */
  readonly since: number
}

const DAY_MS = 86_400_000
/** Before so much of a window has passed, or a minute, there is no rate that would say anything. */
const EARLY = 1 / 100
const EARLY_MS = 60_000
/** Later than this nobody can say. */
const LONGEST_MS = 3_650 * DAY_MS

export function viewOf({ budget, principal, period }: Account, known: Known, now: number): AccountView {
  const { name, unit } = budget
  const { cap, spent, reserved, granted, available, frozen } = known
  return {
    budget: name,
    principal,
    unit: unitName(unit),
    cap: cap === undefined ? null : shown(unit, cap),
    topped_up: shown(unit, granted),
    spent: shown(unit, spent),
    reserved: shown(unit, reserved),
    available: available === undefined ? null : shown(unit, frozen ? 0 : available),
    frozen,
    window: { ...windowView(budget.window), ...timesOf(period) },
    forecast: forecast({ budget, principal, period }, known, now),
  }
}

/** What all accounts of a budget share. */
export function budgetView({ name, unit, cap, overshoot, window }: Budget): {
  name: string
  unit: string
  cap: Shown | null
  overshoot: Shown
  window: WindowView
} {
  return {
    name,
    unit: unitName(unit),
    cap: cap === undefined ? null : shown(unit, cap),
    overshoot: shown(unit, overshoot),
    window: windowView(window),
  }
}

function unitName(unit: Unit): string {
  return unit === 'tokens' ? unit : unit.currency
}

/** An amount of the ledger as people read it. */
export function shown(unit: Unit, amount: number): Shown {
  return unit === 'tokens' ? amount : formatNano(amount)
}

export function timesOf({ start, end }: Account['period']): { start?: string; end?: string } {
  return end === Number.POSITIVE_INFINITY ? {} : { start: iso(start), end: iso(end) }
}

function windowView(window: Window): WindowView {
  switch (window.kind) {
    case 'balance':
      return { type: 'balance' }
    case 'rolling':
      return { type: 'rolling', seconds: window.seconds }
    case 'calendar':
      return { type: 'calendar', period: window.every, time_zone: window.timeZone }
  }
}

/** As if everything went on at the rate of this window so far; of a balance, of the time since it was first heard of. */
function forecast({ budget, period }: Account, { cap, spent, granted, since }: Known, now: number): ForecastView {
  const { unit } = budget
  const ends = period.end !== Number.POSITIVE_INFINITY
  const elapsed = now - (ends ? period.start : since)
  const early = elapsed < Math.min(EARLY_MS, ends ? (period.end - period.start) * EARLY : EARLY_MS)
  if (early || elapsed <= 0) return { per_day: null, at_end: null, exhausted_at: null }
  const rate = spent / elapsed
  const whole = (amount: number) => shown(unit, Math.min(Number.MAX_SAFE_INTEGER, Math.round(amount)))
  const left = cap === undefined ? Number.POSITIVE_INFINITY : Math.max(0, cap + granted - spent)
  const lastsMs = left === 0 ? 0 : left / rate
  const exhausted = lastsMs <= LONGEST_MS && now + lastsMs < period.end
  return {
    per_day: whole(rate * DAY_MS),
    at_end: ends ? whole(rate * (period.end - period.start)) : null,
    exhausted_at: exhausted ? iso(now + lastsMs) : null,
  }
}

function iso(time: number): string {
  return new Date(time).toISOString()
}
