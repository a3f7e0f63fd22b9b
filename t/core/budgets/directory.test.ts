// The directory of accounts of budgets: how many there is place for, and what is said when there is none.
import assert from 'node:assert/strict'
import type { Budget } from '../../../core/budgets/budget.ts'
import type { Defined } from '../../../core/budgets/configured.ts'
import { Directory } from '../../../core/budgets/directory.ts'
import { periodsOf } from '../../../core/budgets/windows.ts'
import { type Logger, silent } from '../../../core/observe/log.ts'
import { alerts, prepaid } from '../../helpers/office.ts'

describe('the directory of accounts', () => {
  it('says once in a while that there are too many, however many more come: they may be what clients send', () => {
    const said: string[] = []
    const log: Logger = { debug() {}, info() {}, warn() {}, error: (_, message) => said.push(message) }
    const directory = new Directory({ now: () => 1, log })
    const period = { start: 0, end: Number.POSITIVE_INFINITY }
    const keep = (n: number) =>
      directory.keep({ account: { budget: prepaid, principal: `route:${n}`, period }, servers: undefined, alerts })
    let kept = 0
    for (let n = 0; n < 65_636; n++) if (keep(n) !== undefined) kept++
    assert.equal(kept, 65_536)
    assert.deepEqual(said, ['too many accounts of budgets: some are neither written nor shown'])
    assert.notEqual(keep(7), undefined)
    assert.deepEqual(
      directory.of(['route:7', 'route:65599', 'nobody']).map(({ account }) => account.principal),
      ['route:7'],
    )
  })

  it('goes by the window that is configured, whoever still counts by another', () => {
    const budgets = [1, 7].map(days => ({ ...prepaid, window: { kind: 'rolling', seconds: 86_400 * days } as const }))
    const [daily, weekly] = budgets as [Budget, Budget]
    const known = new Map<string, Defined>([
      ['prepaid', { budget: weekly, principal: 'route', servers: undefined, alerts }],
    ])
    const now = Date.parse('2026-03-11T12:00:00Z')
    const directory = new Directory({ now: () => now, log: silent, configured: { known } })
    const keep = (budget: Budget) =>
      directory.keep({
        account: { budget, principal: 'route:1', period: periodsOf(budget.window)(now) },
        ...{ servers: undefined, alerts },
      })!
    keep(daily)
    const week = keep(weekly)
    assert.deepEqual(week.alerts, alerts)
    assert.deepEqual(keep(daily).alerts.thresholds, [])
    assert.equal(keep(weekly), week)
  })
})
