// Windows of budgets on real time zones: where each begins and ends, over changes of the clock and ends of months.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Period } from '../../../core/budgets/budget.ts'
import { periodsOf, type WindowConfig, windowOf, windowProblem } from '../../../core/budgets/windows.ts'

type Every = NonNullable<WindowConfig['period']>

const calendar = (period: Every, time_zone?: string) =>
  periodsOf(windowOf({ type: 'calendar', period, ...(time_zone && { time_zone }) }))

/** The window as dates, and how many hours it has. */
const shown = ({ start, end }: Period) => [
  new Date(start).toISOString(),
  new Date(end).toISOString(),
  (end - start) / 3_600_000,
]
const at = (period: Every, zone: string, instant: string) => shown(calendar(period, zone)(Date.parse(instant)))

describe('the window of a budget', () => {
  it('is one for ever for a balance, and one after the other of equal length when it rolls', () => {
    assert.deepEqual(periodsOf({ kind: 'balance' })(Date.now()), { start: 0, end: Number.POSITIVE_INFINITY })
    const rolling = periodsOf({ kind: 'rolling', seconds: 90 })
    const { start, end } = rolling(Date.parse('2026-03-11T12:00:00Z'))
    assert.equal(end - start, 90_000)
    assert.equal(start % 90_000, 0)
    assert.deepEqual(rolling(end - 1), { start, end })
    assert.deepEqual(rolling(end), { start: end, end: end + 90_000 })
  })

  it('begins with the day, the week or the month of its time zone', () => {
    const midday = '2026-03-11T12:00:00Z'
    assert.deepEqual(at('day', 'UTC', midday), ['2026-03-11T00:00:00.000Z', '2026-03-12T00:00:00.000Z', 24])
    assert.deepEqual(at('day', 'Asia/Kolkata', midday), ['2026-03-10T18:30:00.000Z', '2026-03-11T18:30:00.000Z', 24])
    assert.deepEqual(at('day', 'Pacific/Kiritimati', midday).slice(0, 2), [
      '2026-03-11T10:00:00.000Z',
      '2026-03-12T10:00:00.000Z',
    ])
    assert.deepEqual(at('day', 'Pacific/Pago_Pago', midday).slice(0, 2), [
      '2026-03-11T11:00:00.000Z',
      '2026-03-12T11:00:00.000Z',
    ])
    assert.deepEqual(at('week', 'UTC', midday), ['2026-03-09T00:00:00.000Z', '2026-03-16T00:00:00.000Z', 168])
    assert.equal(at('week', 'UTC', '2026-03-15T23:59:59.999Z')[0], '2026-03-09T00:00:00.000Z')
    assert.equal(at('week', 'UTC', '2026-03-16T00:00:00Z')[0], '2026-03-16T00:00:00.000Z')
    assert.equal(shown(calendar('day')(Date.parse(midday)))[0], '2026-03-11T00:00:00.000Z')
  })

  it('ends with the month, whatever its length, and with the year', () => {
    assert.deepEqual(at('month', 'UTC', '2028-02-29T23:59:59.999Z'), [
      '2028-02-01T00:00:00.000Z',
      '2028-03-01T00:00:00.000Z',
      29 * 24,
    ])
    assert.deepEqual(at('month', 'UTC', '2026-01-31T12:00:00Z'), [
      '2026-01-01T00:00:00.000Z',
      '2026-02-01T00:00:00.000Z',
      744,
    ])
    assert.deepEqual(at('month', 'America/New_York', '2026-12-31T23:00:00-05:00'), [
      '2026-12-01T05:00:00.000Z',
      '2027-01-01T05:00:00.000Z',
      744,
    ])
  })

  it('is an hour shorter or longer where the clock is put forward or back in it', () => {
    assert.deepEqual(at('day', 'Europe/Berlin', '2026-03-29T12:00:00Z'), [
      '2026-03-28T23:00:00.000Z',
      '2026-03-29T22:00:00.000Z',
      23,
    ])
    assert.deepEqual(at('day', 'Europe/Berlin', '2026-10-25T12:00:00Z'), [
      '2026-10-24T22:00:00.000Z',
      '2026-10-25T23:00:00.000Z',
      25,
    ])
    assert.deepEqual(at('week', 'America/New_York', '2026-03-08T12:00:00Z')[2], 167)
    assert.deepEqual(at('month', 'Europe/Berlin', '2026-03-31T12:00:00Z'), [
      '2026-02-28T23:00:00.000Z',
      '2026-03-31T22:00:00.000Z',
      31 * 24 - 1,
    ])
    assert.deepEqual(at('day', 'Australia/Lord_Howe', '2026-10-03T20:00:00Z')[2], 23.5)
  })

  it('begins where there is no midnight with the first moment that there is, and passes over a day that there was not', () => {
    // In Cairo the clock goes from 00:00 to 01:00.
    assert.deepEqual(at('day', 'Africa/Cairo', '2026-04-24T12:00:00Z'), [
      '2026-04-23T22:00:00.000Z',
      '2026-04-24T21:00:00.000Z',
      23,
    ])
    // Samoa went from the 29th to the 31st.
    assert.equal(at('day', 'Pacific/Apia', '2011-12-30T09:59:59.999Z')[0], '2011-12-29T10:00:00.000Z')
    assert.deepEqual(at('day', 'Pacific/Apia', '2011-12-30T10:00:00Z'), [
      '2011-12-30T10:00:00.000Z',
      '2011-12-31T10:00:00.000Z',
      24,
    ])
  })

  it('is followed by another without a gap, and is the same for every instant in it', () => {
    const zones = fc.constantFrom(
      'UTC',
      'Europe/Berlin',
      'America/New_York',
      'Asia/Kolkata',
      'Africa/Cairo',
      'America/Havana',
      'Australia/Lord_Howe',
      'America/St_Johns',
      'Pacific/Apia',
      'Asia/Beirut',
      'Pacific/Chatham',
    )
    const instants = fc.integer({ min: Date.parse('2005-01-01'), max: Date.parse('2037-12-31') })
    fc.assert(
      fc.property(
        zones,
        fc.constantFrom<Every>('day', 'week', 'month'),
        instants,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (zone, period, now, share) => {
          const span = calendar(period, zone)(now)
          assert.ok(span.start <= now && now < span.end)
          const other = Math.min(span.end - 1, Math.floor(span.start + share * (span.end - span.start)))
          assert.deepEqual(calendar(period, zone)(other), span)
          const [before, after] = [calendar(period, zone)(span.start - 1), calendar(period, zone)(span.end)]
          assert.deepEqual([before.end, after.start], [span.start, span.end])
        },
      ),
      { numRuns: 200, seed: 13 },
    )
  })

  it('is followed at once when the clock passes its end, or is put back before its start', () => {
    const now = calendar('day', 'Europe/Berlin')
    const one = now(Date.parse('2026-05-05T12:00:00Z'))
    assert.equal(now(one.end - 1), one)
    assert.equal(now(one.end).start, one.end)
    assert.equal(now(one.start - 1).end, one.start)
    assert.deepEqual(now(one.start), one)
  })

  it('is refused when it asks for what its type has not, or for a place that is not there', () => {
    for (const good of [
      { type: 'balance' },
      { type: 'rolling', seconds: 1 },
      { type: 'calendar', period: 'week', time_zone: 'Europe/Berlin' },
    ] as const)
      assert.equal(windowProblem(good), undefined)
    assert.match(windowProblem({ type: 'balance', seconds: 1 }) ?? '', /window\.seconds/)
    assert.match(windowProblem({ type: 'rolling' }) ?? '', /window\.seconds/)
    assert.match(windowProblem({ type: 'calendar' }) ?? '', /window\.period/)
    assert.match(windowProblem({ type: 'balance', period: 'day' }) ?? '', /window\.period/)
    assert.match(windowProblem({ type: 'balance', time_zone: 'UTC' }) ?? '', /window\.time_zone/)
    assert.match(windowProblem({ type: 'calendar', period: 'day', time_zone: 'Europe/Bärlin' }) ?? '', /no time zone/)
  })
})
