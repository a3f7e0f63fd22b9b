// What operators do to accounts of budgets: top up, freeze, reset; each is counted, written with who did it, and only then done.
import type { Standing } from '../ledger/ledger.ts'
import { type Books, FREEZE, type Kept, limitOf } from './books.ts'
import { frozenKey, spendKey, type Unit } from './budget.ts'
import type { Act, Change } from './journal.ts'
import { nanoOf } from './money.ts'

export interface Order {
  readonly what: Act
  /** The name of the admin key; undefined where nobody needs one. */
  readonly who: string | undefined
  /** Of a top up: of the budget's unit, as the ledger counts it. */
  readonly amount?: number
}

/** A positive amount as people write it, as the ledger counts it; undefined for what is none. */
export function amountOf(unit: Unit, written: unknown): number | undefined {
  if (typeof written !== 'number' && typeof written !== 'string') return undefined
  const tokens = /^\d{1,16}$/.test(String(written)) ? Number(written) : Number.NaN
  const amount = unit === 'tokens' ? tokens : nanoOf(written)
  return amount !== undefined && amount > 0 && Number.isSafeInteger(amount) ? amount : undefined
}

/**
 * Does it, and notes it where it is durable. Throws RangeError when an amount becomes too large to be counted, LedgerError when
 * the ledger is away, and what the journal throws: nothing has changed then.
 */
export async function carryOut(books: Books, kept: Kept, { what, who, amount = 0 }: Order): Promise<void> {
  const { account } = kept
  const ledger = books.ledgerOf(kept)
  const [key, limit] = [spendKey(account), limitOf(account)]
  const before = await ledger.look(key, limit)
  const wasFrozen = (await ledger.look(frozenKey(account), FREEZE)).used > 0
  const frozen = what === 'freeze' || (what !== 'unfreeze' && wasFrozen)
  let after: Standing = before
  switch (what) {
    case 'top_up':
      if (!Number.isSafeInteger((account.budget.cap ?? 0) + before.granted + amount)) throw new RangeError('too large')
      after = await ledger.adjust(key, limit, { what: 'granted', by: amount })
      break
    case 'reset':
      // What is spent at this moment stays.
      after = await ledger.adjust(key, limit, { what: 'used', by: -before.used })
      break
    default:
      await ledger.adjust(frozenKey(account), FREEZE, { what: 'used', to: frozen ? 1 : 0 })
  }
  const told = what === 'reset' ? 0 : kept.told
  const change: Change = {
    at: books.now(),
    who,
    what,
    amount: what === 'top_up' ? amount : what === 'reset' ? before.used : undefined,
  }
  try {
    const entry = { account, used: after.used, granted: after.granted, since: kept.since, told }
    books.journal.change(account, change, kept.servers === undefined ? { entry, frozen } : undefined)
  } catch (error) {
    if (what === 'top_up') await ledger.adjust(key, limit, { what: 'granted', by: -amount })
    else if (what === 'reset') await ledger.adjust(key, limit, { what: 'used', by: before.used })
    else await ledger.adjust(frozenKey(account), FREEZE, { what: 'used', to: wasFrozen ? 1 : 0 })
    throw error
  }
  books.note(kept, after, told)
  // Told of anew when it is reached again.
  if (what !== 'reset' || kept.servers === undefined) return
  for (const threshold of kept.alerts.thresholds)
    await ledger.adjust(`${key}/${threshold}`, { ...limit, limit: 1 }, { what: 'used', to: 0 })
}
