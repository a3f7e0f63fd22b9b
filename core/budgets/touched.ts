// Which accounts of budgets a worker has spent from: told to main, which keeps the books; once in a while, not per request.
import type { RedisServers } from '../ledger/ledgers.ts'
import { type Account, spendKey } from './budget.ts'
import type { Alerts } from './metadata.ts'
import type { AccountView } from './view.ts'

export interface Touched {
  readonly account: Account
  /** Where it is counted; undefined: in the process's own ledger. */
  readonly servers: RedisServers | undefined
  readonly alerts: Alerts
}

/** The books as plugins see them. */
export interface Accounts {
  /** To be called when something was taken from an account, or settled, or was refused. */
  touched(touched: Touched): void
  /** How the accounts of these principals stand that anybody has touched. */
  standings(principals: readonly string[]): Promise<readonly AccountView[]>
}

/** Of nobody who keeps books. */
export const noAccounts: Accounts = { touched() {}, standings: async () => [] }

/** Asks main, and hands each answer to whoever asked. */
export class StandingsAsker {
  readonly #send: (question: number, principals: readonly string[]) => void
  readonly #asked = new Map<number, (views: readonly AccountView[]) => void>()
  #next = 0

  constructor(send: (question: number, principals: readonly string[]) => void) {
    this.#send = send
  }

  ask(principals: readonly string[]): Promise<readonly AccountView[]> {
    const question = this.#next++
    return new Promise(resolve => {
      this.#asked.set(question, resolve)
      this.#send(question, principals)
    })
  }

  answer(question: number, views: readonly AccountView[]): void {
    this.#asked.get(question)?.(views)
    this.#asked.delete(question)
  }
}

/** Milliseconds. With the time that main takes to write it, what is settled is durable within a second. */
const TOLD_WITHIN_MS = 200
/** Beyond it accounts are told of at once again. */
const MOST_MET = 10_000

export class TouchedAccounts implements Accounts {
  readonly #tell: (touched: readonly Touched[]) => void
  readonly #ask: Accounts['standings']
  readonly #waiting = new Map<string, Touched>()
  readonly #met = new Set<string>()
  #timer: NodeJS.Timeout | undefined

  constructor(tell: (touched: readonly Touched[]) => void, ask: Accounts['standings']) {
    this.#tell = tell
    this.#ask = ask
  }

  /** One that was never told of before is told of at once: of a thread that dies main should know where to look. */
  touched(touched: Touched): void {
    const key = spendKey(touched.account)
    if (this.#met.has(key)) {
      this.#waiting.set(key, touched)
      this.#timer ??= setTimeout(() => this.flush(), TOLD_WITHIN_MS).unref()
      return
    }
    if (this.#met.size >= MOST_MET) this.#met.clear()
    this.#met.add(key)
    this.#tell([touched])
  }

  standings(principals: readonly string[]): Promise<readonly AccountView[]> {
    return this.#ask(principals)
  }

  /** Tells what waits. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#waiting.size === 0) return
    const all = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#tell(all)
  }
}
