// How accounts are shown: what is available, and forecasts at the rate so far.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Account, Budget, Window } from '../../../core/budgets/budget.ts'
import { type Known, viewOf } from '../../../core/budgets/view.ts'

const DAY = 86_400_000
const START = Date.parse('2026-04-01T00:00:00Z')
const APRIL = { start: START, end: START + 30 * DAY }
const monthly: Window = { kind: 'calendar', every: 'month', timeZone: 'UTC' }

const account = (more: Partial<Budget> = {}, period: Account['period'] = APRIL): Account => ({
  budget: { name: 'b', unit: 'tokens', cap: 3_000, overshoot: 0, window: monthly, ...more },
  principal: 'consumer:jack',
  period,
})
const known = (spent: number, more: Partial<Known> = {}): Known => {
  const stands = { cap: 3_000, spent, reserved: 0, granted: 0, frozen: false, since: START, ...more }
  const available =
    stands.cap === undefined ? undefined : Math.max(0, stands.cap + stands.granted - spent - stands.reserved)
  return { available, ...stands }
}
const forecast = (spent: number, days: number, more: Partial<Known> = {}) =>
  viewOf(account(), known(spent, more), START + days * DAY).forecast

describe('the view of an account', () => {
  it('has what may be taken now: nothing while it is frozen, null without a cap', () => {
    const available = (more: Partial<Known>) => viewOf(account(), known(1_000, more), START).available
    assert.equal(available({ reserved: 500, granted: 100 }), 1_600)
    assert.equal(available({ reserved: 5_000 }), 0)
    assert.equal(available({ frozen: true }), 0)
    const { cap, available: left } = viewOf(account({ cap: undefined }), known(1, { cap: undefined }), START)
    assert.deepEqual([cap, left], [null, null])
  })

  it('forecasts at the rate so far what will be spent, and when nothing will be left', () => {
    assert.deepEqual(forecast(1_000, 10), { per_day: 100, at_end: 3_000, exhausted_at: null })
    assert.deepEqual(forecast(2_000, 10), { per_day: 200, at_end: 6_000, exhausted_at: '2026-04-16T00:00:00.000Z' })
    assert.equal(forecast(2_000, 10, { granted: 1_000 }).exhausted_at, '2026-04-21T00:00:00.000Z')
    assert.equal(forecast(3_000, 10).exhausted_at, '2026-04-11T00:00:00.000Z')
    assert.deepEqual(forecast(0, 10), { per_day: 0, at_end: 0, exhausted_at: null })
    const uncapped = viewOf(account({ cap: undefined }), known(1_000, { cap: undefined }), START + 10 * DAY).forecast
    assert.deepEqual([uncapped.per_day, uncapped.exhausted_at], [100, null])
  })

  it('forecasts a balance from when its account was first heard of, and nothing while it is too early', () => {
    const balance = account({ window: { kind: 'balance' } }, { start: 0, end: Number.POSITIVE_INFINITY })
    const at = (days: number) => viewOf(balance, known(1_000), START + days * DAY).forecast
    assert.deepEqual(at(10), { per_day: 100, at_end: null, exhausted_at: '2026-05-01T00:00:00.000Z' })
    assert.deepEqual(at(59_999 / DAY), { per_day: null, at_end: null, exhausted_at: null })
    assert.equal(at(60_000 / DAY).per_day, 1_440_000)
    assert.equal(forecast(1, 30_000 / DAY).per_day, null)
    const minute = { start: START, end: START + 60_000 }
    const rolling = account({ window: { kind: 'rolling', seconds: 60 } }, minute)
    assert.notEqual(viewOf(rolling, known(1), START + 600).forecast.per_day, null)
  })

  it('says something that can be read, whatever the amounts and the moment', () => {
    const amounts = fc.maxSafeNat()
    const windows = fc.constantFrom(APRIL, { start: 0, end: Number.POSITIVE_INFINITY })
    fc.assert(
      fc.property(amounts, amounts, amounts, fc.nat(60 * DAY), windows, (spent, reserved, granted, later, period) => {
        const euro = account({ unit: { currency: 'EUR' } }, period)
        const view = viewOf(euro, known(spent, { reserved, granted }), START + later)
        for (const amount of [view.spent, view.topped_up, view.available, view.cap])
          assert.match(String(amount), /^\d+\.\d{2,9}$/)
        const { per_day, at_end, exhausted_at } = view.forecast
        for (const amount of [per_day, at_end]) if (amount !== null) assert.match(String(amount), /^\d+\.\d{2,9}$/)
        if (exhausted_at !== null) assert.ok(Date.parse(exhausted_at) >= START + later)
      }),
      { numRuns: 300, seed: 13 },
    )
  })
})
