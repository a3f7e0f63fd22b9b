// The ledger that all threads of a process keep together, in memory; of one thread alone it is the same.
import { add, take } from './count.ts'
import { type Fingerprint, Fingerprints } from './fingerprint.ts'
import { type Ledger, LedgerError, type Limit, mustBeAmount, type Taken, type Ticket, type Wish } from './ledger.ts'
import { LedgerMemory, type TicketEnd } from './ledger-memory.ts'

export class SharedLedger implements Ledger {
  readonly #memory: LedgerMemory
  readonly #now: () => number
  readonly #prints = new Fingerprints()

  /** `now` is in milliseconds since the epoch. */
  constructor(memory: LedgerMemory, now: () => number) {
    this.#memory = memory
    this.#now = now
  }

  take(key: string, limit: Limit, wish: Wish): Taken {
    mustBeAmount(wish.amount)
    const memory = this.#memory
    const print = this.#prints.of(key)
    const stripe = memory.stripe(print)
    memory.enter(stripe)
    try {
      const now = this.#now()
      const row = memory.row(stripe, print, now)
      if (row === undefined) throw new LedgerError('full', 'too many keys are counted')
      const place = wish.ticket === true ? memory.place(stripe) : undefined
      if (wish.ticket === true && place === undefined) throw new LedgerError('full', 'too many tickets are open')
      const taken = take({ numbers: memory.numbers, at: row }, limit, wish, now)
      if (place === undefined || !taken.allowed) return taken
      memory.open(stripe, place, print, {
        account: LedgerMemory.account(limit.kind, 'shared_memory'),
        amount: wish.amount,
      })
      return { ...taken, ticket: new SharedTicket(this, { print, place, limit }) }
    } finally {
      memory.leave(stripe)
    }
  }

  /** Only tickets call this, once. What was used is counted first: a thread that dies in between has not given it away. */
  end({ print, place, limit }: Issued, end: TicketEnd, actual: number): void {
    const memory = this.#memory
    const stripe = memory.stripe(print)
    memory.enter(stripe)
    try {
      const now = this.#now()
      const row = memory.row(stripe, print, now)
      if (end === 'settled' && row !== undefined) add({ numbers: memory.numbers, at: row }, limit, actual, now)
      memory.end(stripe, place, row, end)
    } finally {
      memory.leave(stripe)
    }
  }
}

interface Issued {
  readonly print: Fingerprint
  readonly place: number
  readonly limit: Limit
}

class SharedTicket implements Ticket {
  readonly #ledger: SharedLedger
  #issued: Issued | undefined

  constructor(ledger: SharedLedger, issued: Issued) {
    this.#ledger = ledger
    this.#issued = issued
  }

  settle(actual: number): void {
    mustBeAmount(actual)
    this.#end('settled', actual)
  }

  release(): void {
    this.#end('released', 0)
  }

  #end(end: TicketEnd, actual: number): void {
    const issued = this.#issued
    this.#issued = undefined
    if (issued !== undefined) this.#ledger.end(issued, end, actual)
  }
}
