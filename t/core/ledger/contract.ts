// What every ledger does, whatever it keeps its counts in; a backing's test runs it.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Ledger, Limit, Taken } from '../../../core/ledger/ledger.ts'

export interface LedgerUnderTest {
  readonly ledger: Ledger
  /** Milliseconds since the epoch, as the ledger has it. */
  readonly clock: { now: number }
}

const START = 1_700_000_000_000
const one = { amount: 1 }
const fixed: Limit = { kind: 'fixed_window', limit: 3, windowMs: 10_000 }

/** `open` gives a ledger that has counted nothing under the keys of this test. */
export function ledgerContract(open: () => Promise<LedgerUnderTest>): void {
  let ledger: Ledger
  let clock: { now: number }
  beforeEach(async () => {
    const opened = await open()
    ledger = opened.ledger
    clock = opened.clock
    clock.now = START
  })
  const takeAll = async (count: number, limit: Limit, key = 'k'): Promise<Taken[]> => {
    const all: Taken[] = []
    for (let n = 0; n < count; n++) all.push(await ledger.take(key, limit, one))
    return all
  }
  const allowed = (all: readonly Taken[]) => all.filter(taken => taken.allowed).length

  describe('fixed window', () => {
    it('grants the limit, refuses the next, and says what is left and for how long', async () => {
      const all = await takeAll(4, fixed)
      assert.deepEqual(
        all.map(({ allowed, remaining }) => [allowed, remaining]),
        [
          [true, 2],
          [true, 1],
          [true, 0],
          [false, 0],
        ],
      )
      assert.deepEqual([all[3]!.resetMs, all[3]!.retryMs, all[3]!.used], [10_000, 10_000, 3])
    })

    it('begins with the first take, and anew after its time', async () => {
      await takeAll(3, fixed)
      clock.now += 9_999
      assert.equal((await ledger.take('k', fixed, one)).allowed, false)
      clock.now += 1
      const fresh = await ledger.take('k', fixed, one)
      assert.deepEqual([fresh.allowed, fresh.remaining, fresh.resetMs], [true, 2, 10_000])
    })

    it('counts keys apart', async () => {
      await takeAll(3, fixed)
      assert.equal(allowed(await takeAll(4, fixed, 'other')), 3)
    })

    it('holds a limit that changes to what it is now', async () => {
      await takeAll(3, fixed)
      assert.equal((await ledger.take('k', { ...fixed, limit: 5 }, one)).remaining, 1)
      assert.equal((await ledger.take('k', { ...fixed, limit: 2 }, one)).allowed, false)
    })

    it('is over in time when the clock is put back', async () => {
      await takeAll(3, fixed)
      clock.now -= 3_600_000
      assert.equal((await ledger.take('k', fixed, one)).resetMs, 10_000)
    })

    it('says that what is larger than the limit will never be granted', async () => {
      assert.equal((await ledger.take('k', fixed, { amount: 4 })).retryMs, Number.POSITIVE_INFINITY)
    })
  })

  describe('sliding window', () => {
    const sliding: Limit = { kind: 'sliding_window', limit: 4, windowMs: 10_000 }

    it('counts the window before by as much of it as still reaches into this one', async () => {
      assert.equal(allowed(await takeAll(5, sliding)), 4)
      clock.now += 10_000 + 5_000
      assert.deepEqual(
        (await takeAll(3, sliding)).map(({ allowed, remaining }) => [allowed, remaining]),
        [
          [true, 1],
          [true, 0],
          [false, 0],
        ],
      )
    })

    it('forgets what is two windows old', async () => {
      await takeAll(4, sliding)
      clock.now += 20_000
      assert.equal(allowed(await takeAll(5, sliding)), 4)
    })

    it('does not count who is refused', async () => {
      await takeAll(50, sliding)
      clock.now += 10_000 + 7_500
      assert.equal(allowed(await takeAll(5, sliding)), 3)
    })
  })

  describe('token bucket', () => {
    const bucket: Limit = { kind: 'token_bucket', limit: 2, rate: 4 }

    it('grants what is in it at once, and then as it is refilled', async () => {
      assert.equal(allowed(await takeAll(3, bucket)), 2)
      clock.now += 249
      assert.equal((await ledger.take('k', bucket, one)).allowed, false)
      clock.now += 1
      assert.equal((await ledger.take('k', bucket, one)).allowed, true)
      clock.now += 60_000
      assert.equal(allowed(await takeAll(5, bucket)), 2)
    })
  })

  describe('leaky bucket', () => {
    const bucket: Limit = { kind: 'leaky_bucket', limit: 2, rate: 4 }

    it('lets the first go at once, the burst wait for its turn, and refuses the rest', async () => {
      assert.deepEqual(
        (await takeAll(4, bucket)).map(({ allowed, delayMs }) => [allowed, delayMs]),
        [
          [true, 0],
          [true, 250],
          [true, 500],
          [false, 0],
        ],
      )
      clock.now += 250
      assert.deepEqual(
        (await takeAll(2, bucket)).map(({ delayMs }) => delayMs),
        [500, 0],
      )
      clock.now += 60_000
      assert.equal((await ledger.take('k', bucket, one)).delayMs, 0)
    })
  })

  describe('slots', () => {
    const slots: Limit = { kind: 'slots', limit: 2 }
    const ticketed = { amount: 1, ticket: true }

    it('are free again when they are settled or released', async () => {
      const [a, b, c] = [
        await ledger.take('k', slots, ticketed),
        await ledger.take('k', slots, ticketed),
        await ledger.take('k', slots, ticketed),
      ]
      assert.deepEqual([a.used, b.used, b.remaining, c.allowed, c.ticket], [1, 2, 0, false, undefined])
      await a.ticket!.settle(1)
      assert.equal((await ledger.take('k', slots, ticketed)).allowed, true)
      await b.ticket!.release()
      clock.now += 1_000
      assert.equal((await ledger.take('k', slots, ticketed)).used, 2)
    })

    it('are given back once, however often that is said', async () => {
      const a = await ledger.take('k', slots, ticketed)
      await ledger.take('k', slots, ticketed)
      await a.ticket!.release()
      await a.ticket!.release()
      await a.ticket!.settle(1)
      assert.equal((await ledger.take('k', slots, { amount: 0, need: 2 })).allowed, false)
    })
  })

  describe('balance', () => {
    const balance: Limit = { kind: 'balance', limit: 10 }

    it('never comes back', async () => {
      assert.equal((await ledger.take('k', balance, { amount: 10 })).remaining, 0)
      clock.now += 10 ** 10
      const refused = await ledger.take('k', balance, one)
      assert.deepEqual([refused.allowed, refused.retryMs], [false, Number.POSITIVE_INFINITY])
    })
  })

  describe('tickets', () => {
    const window: Limit = { kind: 'fixed_window', limit: 100, windowMs: 10_000 }

    it('keep others from what they have taken, and free what was not used', async () => {
      const { ticket } = await ledger.take('k', window, { amount: 80, ticket: true })
      assert.equal((await ledger.take('k', window, { amount: 30, ticket: true })).allowed, false)
      await ticket!.settle(25)
      assert.equal((await ledger.take('k', window, { amount: 0 })).used, 25)
      assert.equal((await ledger.take('k', window, { amount: 75, ticket: true })).allowed, true)
    })

    it('count what was used though it is more than was taken', async () => {
      const { ticket } = await ledger.take('k', window, { amount: 10, ticket: true })
      await ticket!.settle(130)
      const { used, remaining } = await ledger.take('k', window, { amount: 0 })
      assert.deepEqual([used, remaining], [130, 0])
    })

    it('of nothing look whether something is left, and count what was used in the end', async () => {
      const look = { amount: 0, need: 1, ticket: true }
      const both = [await ledger.take('k', window, look), await ledger.take('k', window, look)]
      assert.deepEqual(
        both.map(({ allowed, remaining }) => [allowed, remaining]),
        [
          [true, 100],
          [true, 100],
        ],
      )
      for (const { ticket } of both) await ticket!.settle(60)
      assert.equal((await ledger.take('k', window, look)).allowed, false)
      clock.now += 10_000
      assert.equal((await ledger.take('k', window, look)).remaining, 100)
    })

    it('outlive the window, and count in the one in which they are settled', async () => {
      const { ticket } = await ledger.take('k', window, { amount: 80, ticket: true })
      clock.now += 12_000
      assert.equal((await ledger.take('k', window, { amount: 30 })).allowed, false)
      await ticket!.settle(50)
      assert.equal((await ledger.take('k', window, { amount: 0 })).used, 50)
    })

    it('are not charged for by whoever asks for what is no amount', async () => {
      for (const amount of [-1, Number.NaN, Number.POSITIVE_INFINITY])
        await assert.rejects(async () => ledger.take('k', window, { amount }), RangeError)
      const { ticket } = await ledger.take('k', window, { amount: 1, ticket: true })
      await assert.rejects(async () => ticket!.settle(Number.NaN), RangeError)
      await ticket!.release()
      assert.equal((await ledger.take('k', window, { amount: 0 })).used, 0)
    })
  })

  describe('period', () => {
    const period: Limit = { kind: 'period', limit: 10, endMs: START + 5_000 }

    it('ends when it is said to end, and counts there what is settled later', async () => {
      const { ticket, resetMs } = await ledger.take('k', period, { amount: 8, ticket: true })
      assert.equal(resetMs, 5_000)
      const refused = await ledger.take('k', period, { amount: 3 })
      assert.deepEqual([refused.allowed, refused.retryMs], [false, 5_000])
      clock.now += 6_000
      await ticket!.settle(4)
      assert.deepEqual(await ledger.look('k', period), { used: 4, reserved: 0, granted: 0 })
    })

    it('grants what was granted on top, and no more', async () => {
      await ledger.take('k', period, { amount: 10 })
      assert.deepEqual(await ledger.adjust('k', period, { what: 'granted', by: 5 }), {
        used: 10,
        reserved: 0,
        granted: 5,
      })
      const taken = await ledger.take('k', period, { amount: 4 })
      assert.deepEqual([taken.allowed, taken.remaining], [true, 1])
      assert.equal((await ledger.take('k', period, { amount: 2 })).allowed, false)
    })
  })

  describe('several keys', () => {
    const balance: Limit = { kind: 'balance', limit: 10 }
    const all = (a: number, b: number) => [
      { key: 'a', limit: balance, wish: { amount: a, ticket: true } },
      { key: 'b', limit: balance, wish: { amount: b, ticket: true } },
    ]
    const both = async () => [await ledger.look('a', balance), await ledger.look('b', balance)]
    const [nothing, some] = [
      { used: 0, reserved: 0, granted: 0 },
      { used: 0, reserved: 4, granted: 0 },
    ]

    it('are taken together or not at all', async () => {
      const refused = await ledger.takeAll(all(4, 11))
      assert.deepEqual([refused.allowed, refused.ticket], [false, undefined])
      assert.deepEqual(
        refused.each.map(({ allowed, remaining }) => [allowed, remaining]),
        [
          [true, 10],
          [false, 10],
        ],
      )
      assert.deepEqual(await both(), [nothing, nothing])
      const { ticket } = await ledger.takeAll(all(4, 10))
      assert.deepEqual(await both(), [some, { ...some, reserved: 10 }])
      await ticket!.settle([1, 12])
      await ticket!.release()
      await ticket!.settle([1, 12])
      assert.deepEqual(await both(), [
        { ...nothing, used: 1 },
        { ...nothing, used: 12 },
      ])
    })

    it('are released together', async () => {
      const { ticket } = await ledger.takeAll(all(4, 10))
      await ticket!.release()
      await ticket!.settle([4, 4])
      assert.deepEqual(await both(), [nothing, nothing])
    })

    it('may be looked at in the same step, and what only is looked at is not changed', async () => {
      const frozen = { key: 'f', limit: { kind: 'balance', limit: 1 } as const, wish: { amount: 0, need: 1 } }
      const { ticket } = await ledger.takeAll([...all(1, 1), frozen])
      await ticket!.settle([1, 1, 1])
      assert.deepEqual(await ledger.look('f', frozen.limit), nothing)
      await ledger.adjust('f', frozen.limit, { what: 'used', to: 1 })
      assert.equal((await ledger.takeAll([...all(1, 1), frozen])).allowed, false)
      assert.equal((await ledger.look('a', balance)).used, 1)
    })

    it('must differ', async () => {
      const [a] = all(1, 1)
      await assert.rejects(async () => ledger.takeAll([a!, a!]), RangeError)
    })

    it('let nobody pass twice on one remaining piece, in whatever order they are asked for', async () => {
      const wishes = Array.from({ length: 50 }, async (_, n) => ledger.takeAll(n % 2 ? all(1, 3) : all(1, 3).reverse()))
      const granted = (await Promise.all(wishes)).filter(({ allowed }) => allowed)
      assert.equal(granted.length, 3)
      assert.deepEqual(await both(), [
        { ...nothing, reserved: 3 },
        { ...nothing, reserved: 9 },
      ])
    })
  })

  describe('an adjustment', () => {
    it('changes what is used, by so much or to so much, and never below nothing', async () => {
      const { ticket } = await ledger.take('k', fixed, { amount: 2, ticket: true })
      assert.deepEqual(await ledger.adjust('k', fixed, { what: 'used', by: 7 }), { used: 7, reserved: 2, granted: 0 })
      assert.equal((await ledger.adjust('k', fixed, { what: 'used', by: -9 })).used, 0)
      assert.equal((await ledger.adjust('k', fixed, { what: 'used', to: 3 })).used, 3)
      assert.equal((await ledger.take('k', fixed, one)).allowed, false)
      await ticket!.release()
      clock.now += 10_000
      assert.equal((await ledger.look('k', fixed)).used, 0)
    })
  })

  it('lets nobody pass twice on one remaining piece, however many ask at once', async () => {
    const wishes = Array.from({ length: 50 }, async () => ledger.take('k', fixed, { amount: 1, ticket: true }))
    assert.equal(allowed(await Promise.all(wishes)), 3)
  })

  it('grants after the time that a refusal names, and holds every limit', async () => {
    let number = 0
    const kind = fc.constantFrom('fixed_window', 'sliding_window', 'token_bucket', 'leaky_bucket')
    const step = fc.record({ amount: fc.integer({ min: 0, max: 6 }), waitMs: fc.nat(4_000), settles: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(
        kind,
        fc.integer({ min: 1, max: 12 }),
        fc.array(step, { maxLength: 12 }),
        async (kind, most, steps) => {
          const key = `random ${number++}`
          const limit = { kind, limit: most, windowMs: 7_000, rate: 3 } as Limit
          for (const { amount, waitMs, settles } of steps) {
            clock.now += waitMs
            const taken = await ledger.take(key, limit, { amount, ticket: settles })
            if (settles) await taken.ticket?.settle(amount)
            if (taken.allowed && amount > 0 && kind !== 'leaky_bucket')
              assert.ok(taken.used < most + 1, `${taken.used} of ${most}`)
            if (taken.allowed || taken.retryMs === Number.POSITIVE_INFINITY) continue
            assert.ok(taken.retryMs > 0, `retry after ${taken.retryMs}`)
            clock.now = Math.ceil(clock.now + taken.retryMs)
            assert.equal((await ledger.take(key, limit, { amount })).allowed, true)
          }
        },
      ),
      { numRuns: 60, seed: 9 },
    )
  })
}
