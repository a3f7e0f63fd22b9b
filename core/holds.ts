// What requests take and must give back: each hold ends exactly once, and the books prove it; knows no request.
import type { CounterSeries, LiveSeries, Metrics } from './observe/metrics.ts'
import { type Listed, Roster } from './roster.ts'

export type HoldEnd = 'settled' | 'released'

/** Something taken. The first of `settle` and `release` ends it; every later call does nothing. */
export interface Hold {
  readonly kind: string
  readonly open: boolean
  /** How it ended; undefined while it is open. */
  readonly ended: HoldEnd | undefined
  /** The thing was used: `actual` is how much (tokens, requests). */
  settle(actual?: number): void
  /** The thing was not used, or its use need not be counted. */
  release(): void
}

interface Account {
  opened: number
  settled: number
  released: number
  readonly live: Roster<OpenHold>
  /** The same numbers for whoever scrapes. */
  readonly shown: Record<'opened' | HoldEnd, CounterSeries> & { live: LiveSeries }
}

/** Of a worker that died nobody gives back what it held: it counts as released. */
export const heldByTheGone = {
  gauge: 'sluice_holds_live',
  counter: 'sluice_holds_released_total',
  help: 'Holds that were released, by kind',
}

/** Books per kind. `opened = settled + released + live` holds at every moment, because `live` is the set itself. */
export class HoldBook {
  readonly #accounts = new Map<string, Account>()
  readonly #metrics: Metrics

  /** Shows its numbers as `sluice_holds_*`, by kind. */
  constructor(metrics: Metrics) {
    this.#metrics = metrics
  }

  /** Opens a hold; `give` runs once, when it ends. */
  open(kind: string, give: (end: HoldEnd, actual: number | undefined) => void): Hold {
    let account = this.#accounts.get(kind)
    if (account === undefined) {
      account = this.#newAccount(kind)
      this.#accounts.set(kind, account)
    }
    const leave = account.shown.live.enter()
    const hold = new OpenHold(kind, account, (end, actual) => {
      leave()
      give(end, actual)
    })
    account.opened++
    account.shown.opened.add()
    account.live.add(hold)
    return hold
  }

  #newAccount(kind: string): Account {
    const total = (what: 'opened' | HoldEnd) =>
      this.#metrics.counter(`sluice_holds_${what}_total`, `Holds that were ${what}, by kind`, ['kind']).of([kind])
    const live = this.#metrics.liveGauge('sluice_holds_live', 'Holds that have not ended, by kind', ['kind'])
    return {
      opened: 0,
      settled: 0,
      released: 0,
      live: new Roster(),
      shown: { opened: total('opened'), settled: total('settled'), released: total('released'), live: live.of([kind]) },
    }
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

class OpenHold implements Hold, Listed {
  place = -1
  readonly kind: string
  ended: HoldEnd | undefined
  readonly #account: Account
  readonly #give: (end: HoldEnd, actual: number | undefined) => void

  constructor(kind: string, account: Account, give: (end: HoldEnd, actual: number | undefined) => void) {
    this.kind = kind
    this.#account = account
    this.#give = give
  }

  get open(): boolean {
    return this.place >= 0
  }

  settle(actual?: number): void {
    this.#end('settled', actual)
  }

  release(): void {
    this.#end('released', undefined)
  }

  #end(end: HoldEnd, actual: number | undefined): void {
    if (!this.#account.live.delete(this)) return
    this.ended = end
    this.#account[end]++
    this.#account.shown[end].add()
    this.#give(end, actual)
  }
}
