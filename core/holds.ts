// What requests take and must give back: each hold ends exactly once, and the books prove it; knows no request.

export type HoldEnd = 'settled' | 'released'

/** Something taken. The first of `settle` and `release` ends it; every later call does nothing. */
export interface Hold {
  readonly kind: string
  readonly open: boolean
  /** The thing was used: `actual` is how much (tokens, requests). */
  settle(actual?: number): void
  /** The thing was not used, or its use need not be counted. */
  release(): void
}

interface Account {
  opened: number
  settled: number
  released: number
  readonly live: Set<Hold>
}

/** Books per kind. `opened = settled + released + live` holds at every moment, because `live` is the set itself. */
export class HoldBook {
  readonly #accounts = new Map<string, Account>()

  /** Opens a hold; `give` runs once, when it ends. */
  open(kind: string, give: (end: HoldEnd, actual: number | undefined) => void): Hold {
    let account = this.#accounts.get(kind)
    if (account === undefined) {
      account = { opened: 0, settled: 0, released: 0, live: new Set() }
      this.#accounts.set(kind, account)
    }
    const hold = new OpenHold(kind, account, give)
    account.opened++
    account.live.add(hold)
    return hold
  }

  /** A copy of the books. */
  totals(): Record<string, { opened: number; settled: number; released: number; live: number }> {
    const totals: Record<string, { opened: number; settled: number; released: number; live: number }> = {}
    for (const [kind, { opened, settled, released, live }] of this.#accounts) {
      totals[kind] = { opened, settled, released, live: live.size }
    }
    return totals
  }
}

class OpenHold implements Hold {
  readonly kind: string
  readonly #account: Account
  readonly #give: (end: HoldEnd, actual: number | undefined) => void

  constructor(kind: string, account: Account, give: (end: HoldEnd, actual: number | undefined) => void) {
    this.kind = kind
    this.#account = account
    this.#give = give
  }

  get open(): boolean {
    return this.#account.live.has(this)
  }

  settle(actual?: number): void {
    this.#end('settled', actual)
  }

  release(): void {
    this.#end('released', undefined)
  }

  #end(end: HoldEnd, actual: number | undefined): void {
    if (!this.#account.live.delete(this)) return
    this.#account[end]++
    this.#give(end, actual)
  }
}
