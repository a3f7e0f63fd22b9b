// What takes too long is ended.
import assert from 'node:assert/strict'
import { cutOff } from '../../../core/patterns/cut-off.ts'

describe('work that may not come back', () => {
  it('is done as it would be otherwise', () => {
    const twice = cutOff((given: number) => given * 2)
    assert.deepEqual([twice(1), twice(2)], [2, 4])
    const fails = cutOff(() => {
      throw new RangeError('so')
    })
    assert.throws(() => fails(undefined), { name: 'RangeError', message: 'so' })
  })

  it('is ended when it takes too long, as often as that happens', () => {
    const work = cutOff((endless: boolean) => {
      while (endless);
      return 'done'
    })
    for (let time = 0; time < 2; time++) {
      assert.throws(() => work(true), { code: 'pattern_timeout', status: 500 })
      assert.equal(work(false), 'done')
    }
  })
})
