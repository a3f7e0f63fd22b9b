// The books of budgets as a gateway has them, on a clock that the test moves, and somebody who spends.
import { Books, type Reached } from '../../core/budgets/books.ts'
import { type Account, type Budget, spendKey } from '../../core/budgets/budget.ts'
import { Journal } from '../../core/budgets/journal.ts'
import type { Alerts } from '../../core/budgets/metadata.ts'
import { periodsOf } from '../../core/budgets/windows.ts'
import type { Logger } from '../../core/observe/log.ts'
import { ledgers } from './ledgers.ts'

export const monthly: Budget = {
  name: 'team',
  unit: { currency: 'EUR' },
  cap: 100_000_000_000,
  overshoot: 0,
  window: { kind: 'calendar', every: 'month', timeZone: 'Europe/Berlin' },
}
export const prepaid: Budget = {
  name: 'prepaid',
  unit: 'tokens',
  cap: 1_000,
  overshoot: 0,
  window: { kind: 'balance' },
}
export const alerts: Alerts = { thresholds: [50, 80, 100], webhook: undefined }
export const EUR = 1_000_000_000

export class Office {
  readonly clock = { now: Date.parse('2026-03-11T12:00:00Z') }
  readonly reached: Reached[] = []
  readonly said: string[] = []
  readonly folder: string | undefined
  books: Books
  #ledgers = ledgers(() => this.clock.now)

  constructor(folder: string | undefined) {
    this.folder = folder
    this.books = this.#open()
  }

  #open(): Books {
    const error = (fields: object, message: string) => this.said.push(`${message} ${JSON.stringify(fields)}`)
    const log: Logger = { debug() {}, info() {}, warn() {}, error }
    const books = new Books({
      ledgers: this.#ledgers,
      journal: new Journal(this.folder, log),
      now: () => this.clock.now,
      log,
      reached: each => this.reached.push(each),
    })
    return books
  }

  account(budget: Budget, principal = 'consumer:jack'): Account {
    return { budget, principal, period: periodsOf(budget.window)(this.clock.now) }
  }

  /** Spends, as a worker would. */
  async spend(account: Account, amount: number): Promise<void> {
    const { end } = account.period
    const limit = Number.isFinite(end)
      ? ({ kind: 'period', limit: account.budget.cap ?? 1e15, endMs: end } as const)
      : ({ kind: 'balance', limit: account.budget.cap ?? 1e15 } as const)
    await this.#ledgers.own.take(spendKey(account), limit, { amount, need: 0 })
    this.books.touched([{ account, servers: undefined, alerts }])
    await this.books.write()
  }

  /** As after kill -9: nothing is told to anybody, and memory is empty. */
  async restart(): Promise<void> {
    this.books.journal.close()
    this.#ledgers = ledgers(() => this.clock.now)
    this.books = this.#open()
    await this.books.restore()
  }

  async view(budget: string, principal = 'consumer:jack') {
    return await this.books.view(this.books.accounts.find(budget, principal)!)
  }
}
