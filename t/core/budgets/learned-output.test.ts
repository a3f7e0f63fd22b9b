// What is learned of the length of answers: no less than the quantile, little more, and soon forgotten.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { LearnedOutput } from '../../../core/budgets/learned-output.ts'

describe('learned outputs', () => {
  it('are not known before there were enough', () => {
    const learned = new LearnedOutput({ quantile: 0.9, after: 3, keys: 10 })
    for (const _ of [1, 2]) learned.observe('k', 100)
    assert.equal(learned.expected('k'), undefined)
    learned.observe('k', 100)
    assert.ok(learned.expected('k')! >= 100)
    assert.equal(learned.expected('other'), undefined)
  })

  it('are no less than the quantile, and at most a fifth and one more', () => {
    const outputs = fc.array(fc.nat(200_000), { minLength: 5, maxLength: 200 })
    fc.assert(
      fc.property(outputs, fc.double({ min: 0.05, max: 0.99, noNaN: true }), (all, quantile) => {
        const learned = new LearnedOutput({ quantile, after: 5, keys: 10 })
        for (const output of all) learned.observe('k', output)
        const sorted = all.toSorted((one, other) => one - other)
        const true_ = sorted[Math.ceil(quantile * all.length) - 1]!
        const expected = learned.expected('k')!
        assert.ok(expected >= true_ && expected <= (true_ + 1) * 1.2 + 1, `${expected} for ${true_}`)
      }),
      { numRuns: 200, seed: 9 },
    )
  })

  it('follow what has changed', () => {
    const learned = new LearnedOutput({ quantile: 0.9, after: 5, keys: 10 })
    for (let n = 0; n < 1_000; n++) learned.observe('k', 10_000)
    for (let n = 0; n < 1_000; n++) learned.observe('k', 100)
    assert.ok(learned.expected('k')! < 130)
  })

  it('are forgotten of who was not seen for longest', () => {
    const learned = new LearnedOutput({ quantile: 0.9, after: 1, keys: 2 })
    for (const key of ['a', 'b', 'a', 'c']) learned.observe(key, 10)
    assert.deepEqual(
      ['a', 'b', 'c'].map(key => learned.expected(key) !== undefined),
      [true, false, true],
    )
  })
})
