// The ledgers of an Env that a test makes.
import { LedgerMemory, ledgerMemory } from '../../core/ledger/ledger-memory.ts'
import { Ledgers } from '../../core/ledger/ledgers.ts'
import { silent } from '../../core/observe/log.ts'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'

export function ledgers(now: () => number = Date.now): Ledgers {
  const metrics = new MetricsWriter({ publish: () => {} })
  return new Ledgers({ books: new LedgerMemory(ledgerMemory(), 0), now, log: silent, metrics })
}
