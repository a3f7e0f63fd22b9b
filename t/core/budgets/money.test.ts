// Money as whole nano-units: decimals in, decimals out, nothing lost between.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { formatNano, nanoOf } from '../../../core/budgets/money.ts'

describe('money', () => {
  it('reads decimals exactly, as text or as the numbers that JSON makes of them', () => {
    for (const [decimal, nano] of [
      ['2.50', 2_500_000_000],
      [2.5, 2_500_000_000],
      [0.1, 100_000_000],
      [0.3, 300_000_000],
      ['0.000000001', 1],
      [1e-9, 1],
      [7.5e-7, 750],
      ['9007199.254740991', Number.MAX_SAFE_INTEGER],
      [0, 0],
      ['000.500', 500_000_000],
      ['1e3', 1_000_000_000_000],
    ] as const)
      assert.equal(nanoOf(decimal), nano, String(decimal))
  })

  it('does not read what it would have to round, or what is no amount', () => {
    for (const decimal of [
      '0.0000000001',
      1e-10,
      '9007199.254740992',
      1e16,
      '-1',
      -1,
      '',
      '1,5',
      'NaN',
      Number.NaN,
      '.5',
    ])
      assert.equal(nanoOf(decimal), undefined, String(decimal))
    assert.equal(nanoOf(Number.POSITIVE_INFINITY), undefined)
    assert.equal(nanoOf('1e99'), undefined)
  })

  it('is printed with at least two decimals and no more than it needs', () => {
    assert.equal(formatNano(12_500_000_000), '12.50')
    assert.equal(formatNano(0), '0.00')
    assert.equal(formatNano(-125_000), '-0.000125')
    assert.equal(formatNano(Number.MAX_SAFE_INTEGER), '9007199.254740991')
  })

  it('comes back from its print as what it was, whatever the amount', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), amount => {
        assert.equal(nanoOf(formatNano(amount)), amount)
      }),
      { numRuns: 500, seed: 13 },
    )
  })
})
