// What operators do to accounts of budgets: top up, freeze, reset; each is counted, written with who did it, and only then done.
import type { Ledger } from '../ledger/ledger.ts'
import { type AccountStanding, adjustAccount, freeze, standing } from './account.ts'
import { type Books, once } from './books.ts'
import { type Account, spendKey, type Unit } from './budget.ts'
import type { Kept } from './directory.ts'
import type { Act } from './journal.ts'
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
 * Does it in the period that is then, and notes it where it is durable. Rejects with RangeError when an amount becomes too large
 * to be counted, LedgerError when the ledger is away, and what the journal throws: nothing has changed then.
 */
export function carryOut(books: Books, known: Kept, order: Order): Promise<void> {
  const { budget, principal } = known.account
  // Until it is its turn a window may end, and thresholds be told of.
  return books.alone(() => change(books, books.accounts.find(budget.name, principal) ?? known, order))
}

async function change(books: Books, kept: Kept, order: Order): Promise<void> {
  const { account } = kept
  const ledger = books.ledgerOf(kept)
  const before = await standing(ledger, account)
  const changed = changes(account, before, order)
  await changed.make(ledger)
  const after = await standing(ledger, account)
  const told = order.what === 'reset' ? 0 : kept.told
  try {
    const { what, who } = order
    const entry = { account, used: after.spent, granted: after.granted, since: kept.since, told }
    const noted = { at: books.now(), who, what, amount: changed.amount }
    books.journal.change(account, noted, kept.servers === undefined ? { entry, frozen: after.frozen } : undefined)
  } catch (error) {
    await changed.undo(ledger)
    throw error
  }
  books.note(kept, after, told)
  // Told of anew when it is reached again.
  if (order.what !== 'reset' || kept.servers === undefined) return
  for (const threshold of kept.alerts.thresholds)
    await ledger.adjust(`${spendKey(account)}/${threshold}`, once(account), { what: 'used', to: 0 })
}

interface Changes {
  make(ledger: Ledger): Promise<void>
  undo(ledger: Ledger): Promise<void>
  /** For those who read of it later. */
  readonly amount: number | undefined
}

function changes(account: Account, before: AccountStanding, { what, amount = 0 }: Order): Changes {
  const by = (what: 'used' | 'granted', by: number) => ({
    make: (ledger: Ledger) => adjustAccount(ledger, account, { what, by }),
    undo: (ledger: Ledger) => adjustAccount(ledger, account, { what, by: -by }),
    amount: Math.abs(by),
  })
  switch (what) {
    case 'top_up':
      if (!Number.isSafeInteger((before.cap ?? 0) + before.granted + amount)) throw new RangeError('too large')
      return by('granted', amount)
    case 'reset':
      // What is spent at this moment stays.
      return by('used', -before.spent)
    default:
      return {
        make: ledger => freeze(ledger, account, what === 'freeze'),
        undo: ledger => freeze(ledger, account, before.frozen),
        amount: undefined,
      }
  }
}
