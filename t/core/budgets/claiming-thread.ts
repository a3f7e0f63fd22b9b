// A thread that claims, settles and releases accounts of budgets at random until it is told to stop or ended.
import { workerData } from 'node:worker_threads'
import { type Claimed, claim, type Reservation } from '../../../core/budgets/account.ts'
import type { Account } from '../../../core/budgets/budget.ts'
import { LedgerMemory } from '../../../core/ledger/ledger-memory.ts'
import { SharedLedger } from '../../../core/ledger/shared-ledger.ts'
import { randomness } from '../../helpers/randomness.ts'

export interface Claiming {
  memory: SharedArrayBuffer
  /** Its number, and what it draws from. */
  owner: number
  /** What it has settled of each, read by the test. One that is ended may have settled one more. */
  settled: SharedArrayBuffer
}

export const WORST = 50
/** One may be overshot. */
export const accounts: readonly Account[] = [0, 400].map((overshoot, at) => ({
  budget: { name: `b${at}`, unit: 'tokens', cap: 2_000 + 1_000 * at, overshoot, window: { kind: 'balance' } },
  principal: 'consumer:jack',
  period: { start: 0, end: Number.POSITIVE_INFINITY },
}))

if (workerData !== null) {
  const { memory, owner, settled } = workerData as Claiming
  const ledger = new SharedLedger(new LedgerMemory(memory, owner), () => 1_000)
  const own = new Float64Array(settled)
  const random = randomness(owner)
  const open: { reservation: Reservation; worst: number }[] = []
  for (;;) {
    const worst = 1 + random(WORST)
    const claims = accounts.map(account => ({ account, expected: 1 + random(worst), worst, unbound: false }))
    const { reservation } = claim(ledger, claims) as Claimed
    if (reservation !== undefined) open.push({ reservation, worst })
    // Little by little, so that the caps are reached when several have died.
    while (open.length > random(9)) {
      const [{ reservation, worst }] = open.splice(random(open.length), 1) as [(typeof open)[number]]
      if (random(200) > 0) void reservation.release()
      else {
        const actuals = [random(worst + 1), random(worst + 1)]
        void reservation.settle(actuals)
        for (const [at, actual] of actuals.entries()) own[at]! += actual
      }
    }
  }
}
