// The ledger that all threads of a process keep together, in memory; of one thread alone it is the same.
import { add, adjust, type Count, describe, hasRoom, occupy, standing, take, WIDTH } from './count.ts'
import { type Fingerprint, Fingerprints } from './fingerprint.ts'
import {
  type Adjustment,
  type Ledger,
  LedgerError,
  type Limit,
  mustBeAmount,
  mustDiffer,
  type SharedFate,
  type Standing,
  type Taken,
  type TakenTogether,
  type Taking,
  type Ticket,
  type Wish,
} from './ledger.ts'
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
      const row = this.#row(stripe, print, now)
      const place = wish.ticket === true ? this.#place(stripe) : undefined
      const taken = take({ numbers: memory.numbers, at: row }, limit, wish, now)
      if (place === undefined || !taken.allowed) return taken
      return { ...taken, ticket: this.#open({ print, limit, stripe }, place, wish.amount) }
    } finally {
      memory.leave(stripe)
    }
  }

  /** In all stripes at once, entered in one order: whoever waits for one holds only those before it. */
  takeAll(takings: readonly Taking[]): TakenTogether {
    mustDiffer(takings)
    const memory = this.#memory
    const wanted = takings.map(taking => {
      const print = this.#prints.of(taking.key)
      return { ...taking, print, stripe: memory.stripe(print) }
    })
    const stripes = [...new Set(wanted.map(({ stripe }) => stripe))].sort((one, other) => one - other)
    const tickets: (SharedTicket | undefined)[] = []
    let entered = 0
    try {
      for (; entered < stripes.length; entered++) memory.enter(stripes[entered]!)
      const now = this.#now()
      const room = wanted.map(one => hasRoom(this.#count(one, now), one.limit, one.wish, now))
      const allowed = !room.includes(false)
      const each = wanted.map((one, at) => {
        const { limit, wish } = one
        // Where nothing counted yet, the place may have gone to the next one meanwhile.
        const count = this.#count(one, now)
        hasRoom(count, limit, wish, now)
        if (allowed) {
          const place = wish.ticket === true ? this.#place(one.stripe) : undefined
          occupy(count, limit, wish, now)
          tickets.push(place === undefined ? undefined : this.#open(one, place, wish.amount))
        }
        const { amount, need = amount } = wish
        return describe(count, limit, { allowed: room[at]!, need }, now)
      })
      return { allowed, each, ticket: allowed ? sharedFate(tickets) : undefined }
    } catch (error) {
      for (const ticket of tickets) ticket?.takeBack()
      throw error
    } finally {
      for (let at = 0; at < entered; at++) memory.leave(stripes[at]!)
    }
  }

  look(key: string, limit: Limit): Standing {
    const memory = this.#memory
    const print = this.#prints.of(key)
    const stripe = memory.stripe(print)
    memory.enter(stripe)
    try {
      const row = memory.find(stripe, print)
      return standing(row === undefined ? undefined : { numbers: memory.numbers, at: row }, limit, this.#now())
    } finally {
      memory.leave(stripe)
    }
  }

  adjust(key: string, limit: Limit, change: Adjustment): Standing {
    const memory = this.#memory
    const print = this.#prints.of(key)
    const stripe = memory.stripe(print)
    memory.enter(stripe)
    try {
      const now = this.#now()
      const count = { numbers: memory.numbers, at: this.#row(stripe, print, now) }
      adjust(count, limit, change, now)
      return standing(count, limit, now)
    } finally {
      memory.leave(stripe)
    }
  }

  /** Only tickets call this, once. What was used is counted first: a thread that dies in between has not given it away. */
  end(issued: Issued, end: TicketEnd, actual: number): void {
    const { stripe } = issued
    this.#memory.enter(stripe)
    try {
      this.endWithin(issued, end, actual)
    } finally {
      this.#memory.leave(stripe)
    }
  }

  /** The same for whoever is in its stripe. */
  endWithin({ print, stripe, place, limit }: Issued, end: TicketEnd, actual: number): void {
    const memory = this.#memory
    const now = this.#now()
    const row = memory.row(stripe, print, now)
    if (end === 'settled' && row !== undefined) add({ numbers: memory.numbers, at: row }, limit, actual, now)
    memory.end(stripe, place, row, end)
  }

  /** What only looks leaves everything as it is. */
  #count({ stripe, print, wish }: Taking & Where, now: number): Count {
    const { numbers } = this.#memory
    if (wish.ticket === true || wish.amount > 0) return { numbers, at: this.#row(stripe, print, now) }
    const row = this.#memory.find(stripe, print)
    return { numbers: row === undefined ? new Float64Array(WIDTH) : numbers.slice(row, row + WIDTH), at: 0 }
  }

  #row(stripe: number, print: Fingerprint, now: number): number {
    const row = this.#memory.row(stripe, print, now)
    if (row === undefined) throw new LedgerError('full', 'too many keys are counted')
    return row
  }

  #place(stripe: number): number {
    const place = this.#memory.place(stripe)
    if (place === undefined) throw new LedgerError('full', 'too many tickets are open')
    return place
  }

  /** `amount` has been reserved. */
  #open({ print, limit, stripe }: Where & { limit: Limit }, place: number, amount: number): SharedTicket {
    const account = LedgerMemory.account(limit.kind, 'shared_memory')
    this.#memory.open(stripe, place, print, { account, amount })
    return new SharedTicket(this, { print, stripe, place, limit })
  }
}

interface Where {
  readonly print: Fingerprint
  readonly stripe: number
}

interface Issued extends Where {
  readonly place: number
  readonly limit: Limit
}

function sharedFate(tickets: readonly (SharedTicket | undefined)[]): SharedFate {
  return {
    settle(actuals) {
      for (const actual of actuals) mustBeAmount(actual)
      for (const [at, ticket] of tickets.entries()) ticket?.settle(actuals[at]!)
    },
    release() {
      for (const ticket of tickets) ticket?.release()
    },
  }
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

  /** For whoever is in its stripe. */
  takeBack(): void {
    const issued = this.#issued
    this.#issued = undefined
    if (issued !== undefined) this.#ledger.endWithin(issued, 'released', 0)
  }

  #end(end: TicketEnd, actual: number): void {
    const issued = this.#issued
    this.#issued = undefined
    if (issued !== undefined) this.#ledger.end(issued, end, actual)
  }
}
