// The directory of accounts of budgets: how many there is place for, and what is said when there is none.
import assert from 'node:assert/strict'
import { Directory } from '../../../core/budgets/directory.ts'
import type { Logger } from '../../../core/observe/log.ts'
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
})
