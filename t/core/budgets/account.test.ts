// Accounts of budgets: what is reserved of several at once, the bound that holds whatever requests cost, and what operators change.
import assert from 'node:assert/strict'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { adjustAccount, type Claim, type Claimed, claim, freeze, standing } from '../../../core/budgets/account.ts'
import type { Account, Budget, Period } from '../../../core/budgets/budget.ts'
import { LedgerMemory, ledgerMemory } from '../../../core/ledger/ledger-memory.ts'
import { SharedLedger } from '../../../core/ledger/shared-ledger.ts'
import { ledgers } from '../../helpers/ledgers.ts'
import { until } from '../../helpers/until.ts'
import { accounts, type Claiming, WORST } from './claiming-thread.ts'

/** Main's number. */
const MAIN = 2 ** 30
const START = 1_700_000_000_000
const forEver: Period = { start: 0, end: Number.POSITIVE_INFINITY }

const budget = (more: Partial<Budget> = {}): Budget => ({
  ...{ name: 'b', unit: 'tokens', cap: 100, overshoot: 0, window: { kind: 'balance' } },
  ...more,
})
const account = (more: Partial<Budget> = {}, principal = 'consumer:jack', period = forEver): Account => ({
  ...{ budget: budget(more), principal, period },
})
const wants = (of: Account, expected: number, worst = expected, unbound = false): Claim => ({
  ...{ account: of, expected, worst, unbound },
})

describe('accounts of budgets', () => {
  let clock: { now: number }
  let ledger: SharedLedger
  beforeEach(() => {
    clock = { now: START }
    ledger = ledgers(() => clock.now).own as SharedLedger
  })
  const claimed = (...claims: Claim[]) => claim(ledger, claims) as Claimed

  it('are all reserved from, or none is', async () => {
    const [own, team] = [account(), account({ name: 'team', cap: 50 })]
    const refused = claimed(wants(own, 60), wants(team, 60))
    assert.deepEqual([refused.fits, refused.reservation], [[true, false], undefined])
    const { reservation, left } = claimed(wants(own, 40), wants(team, 40))
    assert.deepEqual(
      left.map(({ remaining }) => remaining),
      [60, 10],
    )
    await reservation!.settle([30, 20])
    assert.deepEqual(await standing(ledger, own), {
      ...{ cap: 100, spent: 30, reserved: 0, granted: 0, available: 70, frozen: false },
    })
    assert.equal((await standing(ledger, team)).available, 30)
  })

  it('reserve the worst where nothing may be overshot, and else what is expected while the worst has room', () => {
    assert.deepEqual(claimed(wants(account(), 10, 101)).fits, [false])
    const loose = account({ overshoot: 50 })
    const open = [claimed(wants(loose, 10, 70)), claimed(wants(loose, 10, 70)), claimed(wants(loose, 10, 70))]
    assert.deepEqual(
      open.map(({ fits }) => fits),
      [[true], [true], [false]],
    )
    // As little is left of the cap, what is expected is what counts.
    open[0]!.reservation!.settle([5])
    open[1]!.reservation!.settle([90])
    assert.deepEqual(claimed(wants(loose, 6, 6)).fits, [false])
    assert.deepEqual(claimed(wants(loose, 5, 5)).fits, [true])
  })

  it('without a cap, and those that are only watched, take what they are asked for and tell what would not fit', () => {
    assert.deepEqual(claimed(wants(account({ cap: undefined, name: 'metered' }), 1e12)).fits, [true])
    const watched = account({ name: 'watched' })
    const over = claimed(wants(watched, 101, 101, true))
    assert.deepEqual([over.fits, over.reservation !== undefined], [[false], true])
    over.reservation!.settle([7])
    assert.deepEqual(claimed(wants(watched, 93, 93, true)).fits, [true])
  })

  it('have room for what costs nothing, though they are exceeded, and then only others refuse', () => {
    const [own, team] = [account(), account({ name: 'team', cap: 10 })]
    claimed(wants(own, 100)).reservation!.settle([150])
    const { fits, reservation } = claimed(wants(own, 0))
    assert.deepEqual([fits, reservation !== undefined], [[true], true])
    assert.deepEqual(claimed(wants(own, 0), wants(team, 11)).fits, [true, false])
    assert.deepEqual(claimed(wants(own, 0, 0, true)).fits, [true])
  })

  it('say when a claim may fit: with the next period, or never', () => {
    const day = { start: START, end: START + 60_000 }
    const daily = account({ window: { kind: 'rolling', seconds: 60 } }, 'p', day)
    claimed(wants(daily, 100))
    assert.equal(claimed(wants(daily, 1)).left[0]!.retryMs, 60_000)
    assert.equal(claimed(wants(daily, 101)).left[0]!.retryMs, Number.POSITIVE_INFINITY)
    assert.equal(claimed(wants(account({}, 'p', { start: day.end, end: day.end + 60_000 }), 100)).fits[0], true)
  })

  it('grant nothing while they are frozen, and as before when they are thawed', async () => {
    const own = account()
    await freeze(ledger, own, true)
    const { fits, left, reservation } = claimed(wants(own, 1))
    assert.deepEqual([fits, left[0]!.frozen, left[0]!.retryMs, reservation], [[false], true, Infinity, undefined])
    assert.deepEqual(claimed(wants(account({}, 'consumer:jill'), 1)).fits, [true])
    assert.equal((await standing(ledger, own)).frozen, true)
    await freeze(ledger, own, false)
    assert.deepEqual(claimed(wants(own, 1)).fits, [true])
  })

  it('are topped up and reset, with what they may overshoot', async () => {
    const loose = account({ overshoot: 10 })
    claimed(wants(loose, 100)).reservation!.settle([100])
    assert.deepEqual(claimed(wants(loose, 1)).fits, [false])
    await adjustAccount(ledger, loose, { what: 'granted', by: 20 })
    const { reservation } = claimed(wants(loose, 20, 30))
    assert.deepEqual((await standing(ledger, loose)).available, 0)
    reservation!.release()
    await adjustAccount(ledger, loose, { what: 'used', to: 0 })
    assert.deepEqual(claimed(wants(loose, 120, 130)).fits, [true])
  })

  it('never spend more than the cap and what they may overshoot, whatever requests cost up to their worst', async () => {
    const step = fc.record({
      expected: fc.nat(40),
      beyond: fc.nat(60),
      other: fc.nat(30),
      ends: fc.constantFrom('settle', 'release', 'later'),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    let reached = 0
    await fc.assert(
      fc.asyncProperty(fc.nat(80), fc.array(step, { minLength: 5, maxLength: 40 }), async (overshoot, steps) => {
        const [own, strict] = [
          account({ overshoot }, `p${reached++}`),
          account({ name: 'strict', cap: 150 }, `p${reached}`),
        ]
        const open: { claimed: Claimed; worst: number; other: number; part: number }[] = []
        let spent = 0
        let strictly = 0
        const end = ({ claimed, worst, other, part }: (typeof open)[number]) => {
          const actuals = [Math.round(worst * part), Math.round(other * part)]
          void claimed.reservation?.settle(actuals)
          if (claimed.reservation === undefined) return
          spent += actuals[0]!
          strictly += actuals[1]!
        }
        for (const { expected, beyond, other, ends, part } of steps) {
          const each = claimed(wants(own, expected, expected + beyond), wants(strict, other))
          if (ends === 'release') void each.reservation?.release()
          else open.push({ claimed: each, worst: expected + beyond, other, part })
          if (ends === 'settle') end(open.shift()!)
        }
        for (const one of open) end(one)
        assert.ok(spent <= 100 + overshoot, `${spent} of 100 + ${overshoot}`)
        assert.ok(strictly <= 150, `${strictly} of 150`)
        assert.deepEqual(
          [(await standing(ledger, own)).spent, (await standing(ledger, strict)).spent],
          [spent, strictly],
        )
      }),
      { numRuns: 200, seed: 9 },
    )
  })

  it('hold their bound though threads die that have claimed of them, wherever they are', async () => {
    const memory = ledgerMemory()
    const books = new LedgerMemory(memory, MAIN)
    const main = new SharedLedger(books, () => 1_000)
    const DEATHS = 6
    const threads = Array.from({ length: DEATHS }, (_, owner) => {
      const settled = new SharedArrayBuffer(accounts.length * 8)
      const workerData: Claiming = { memory, owner, settled }
      const worker = new Worker(new URL('./claiming-thread.ts', import.meta.url), { workerData })
      return { worker, settled: new Float64Array(settled) }
    })
    for (const [owner, { worker, settled }] of threads.entries()) {
      await until(() => settled.some(sum => sum > 0), 'it has begun')
      await worker.terminate()
      const living = threads.map((_, at) => at).filter(at => at > owner)
      books.release(owner, new Set([...living, MAIN]))
      for (const account of accounts) {
        const { spent } = await standing(main, account)
        const { cap = 0, overshoot } = account.budget
        // Of what counts twice one of the dead may have settled only the first.
        const most = cap + overshoot + (overshoot > 0 ? DEATHS * WORST : 0)
        assert.ok(spent <= most, `${spent} of ${most}`)
      }
    }
    for (const [at, account] of accounts.entries()) {
      const { spent, reserved } = await standing(main, account)
      const settled = threads.reduce((sum, { settled }) => sum + settled[at]!, 0)
      assert.ok(spent >= settled && spent <= settled + DEATHS * WORST, `${spent} where ${settled} were settled`)
      assert.equal(reserved, 0)
    }
    for (const { opened, settled, released, lapsed, live } of books.totals()!)
      assert.deepEqual([live, settled + released + lapsed], [0, opened])
  })
})
