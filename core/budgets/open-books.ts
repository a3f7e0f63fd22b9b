// The books of budgets with all that they need, opened before anybody is served; knows no thread and no server.
import { Announcer, type AnnouncerOptions } from './announcer.ts'
import { Books, type BooksOptions } from './books.ts'
import { ConfiguredBudgets, type ConfiguredBudgetsOptions } from './configured.ts'
import { Journal } from './journal.ts'

export interface BooksParts extends ConfiguredBudgetsOptions, AnnouncerOptions, Pick<BooksOptions, 'ledgers'> {
  /** Where the journal is; without it nothing survives. */
  folder: string | undefined
}

export interface OpenedBooks {
  readonly books: Books
  /** When nobody spends any more. */
  close(): Promise<void>
}

/** What was spent is in the ledger again when it resolves. Rejects when the journal that is there cannot be read. */
export async function openBooks(parts: BooksParts): Promise<OpenedBooks> {
  const { folder, ledgers, now, log } = parts
  const announcer = new Announcer(parts)
  const configured = new ConfiguredBudgets(parts)
  const books = new Books({
    ledgers,
    configured,
    journal: new Journal(folder, log),
    now,
    log,
    reached: (reached, alerts) => announcer.announce(reached, alerts),
  })
  await books.restore()
  books.start()
  return {
    books,
    async close() {
      configured.close()
      await books.close()
      await announcer.close()
    },
  }
}
