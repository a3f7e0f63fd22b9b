// What it costs to reserve from accounts of budgets and to settle, in CPU per request: `node t/bench/budgets/run.ts`.
import { type Claimed, claim } from '../../../core/budgets/account.ts'
import type { Budget } from '../../../core/budgets/budget.ts'
import { LedgerMemory, ledgerMemory } from '../../../core/ledger/ledger-memory.ts'
import { SharedLedger } from '../../../core/ledger/shared-ledger.ts'

const REQUESTS = 100_000
const ledger = new SharedLedger(new LedgerMemory(ledgerMemory(), 0), Date.now)
const period = { start: 0, end: Number.POSITIVE_INFINITY }

for (const overshoot of [0, 5_000]) {
  for (const budgets of [1, 2, 4]) {
    const claims = Array.from({ length: budgets }, (_, at) => {
      const budget: Budget = { name: `b${at}`, unit: 'tokens', cap: 2 ** 50, overshoot, window: { kind: 'balance' } }
      return { account: { budget, principal: 'consumer:jack', period }, expected: 100, worst: 1_000, unbound: false }
    })
    const actuals = claims.map(() => 50)
    let spent: NodeJS.CpuUsage | undefined
    // The first rounds compile.
    for (let round = 0; round < 3; round++) {
      const before = process.cpuUsage()
      for (let n = 0; n < REQUESTS; n++) {
        const { reservation } = claim(ledger, claims) as Claimed
        void reservation!.settle(actuals)
      }
      spent = process.cpuUsage(before)
    }
    const us = (spent!.user + spent!.system) / REQUESTS
    process.stdout.write(`${budgets} budgets, overshoot ${overshoot}: ${us.toFixed(2)} us\n`)
  }
}
