// The memory of a ledger, shared by all threads: a row of numbers per key, tickets with their owners, books; knows no arithmetic.
import { RESERVED, UNTIL, WIDTH } from './count.ts'
import type { Fingerprint } from './fingerprint.ts'
import { LedgerError, type LimitKind } from './ledger.ts'

/** Where what a ticket stands for is counted. */
export type Backing = 'shared_memory' | 'redis'

export type TicketEnd = 'settled' | 'released'

/** Tickets of one kind: `opened = settled + released + lapsed + live` at every moment. */
export interface Totals {
  readonly kind: LimitKind
  readonly backing: Backing
  readonly opened: number
  readonly settled: number
  readonly released: number
  /** Of threads that died: released by main. */
  readonly lapsed: number
  /** Tickets that are there. */
  readonly live: number
}

const KINDS: readonly LimitKind[] = [
  'fixed_window',
  'sliding_window',
  'token_bucket',
  'leaky_bucket',
  'slots',
  'balance',
  'period',
]
const BACKINGS: readonly Backing[] = ['shared_memory', 'redis']
const ACCOUNTS = KINDS.length * BACKINGS.length

// A key belongs to one stripe. A thread is in a stripe, alone, for about 0.1 us at a time.
const STRIPES = 16
const ROWS = 4_096
const TICKETS = 8_192
/** A key stands in one of so many rows. */
const REACH = 128

// All in numbers of 8 bytes; halves of them are int32. The head: who is in the stripe, the first free ticket (plus one), how
// many tickets were ever used, how often there was no place; and the books.
const HEAD = 2
const LOCK = 0
const FREE = 1
const EVER = 2
const FULL = 3
const OPENED = 0
const ENDED = { settled: 1, released: 2 }
const LAPSED = 3
const ACCOUNT_WIDTH = 4
// A row: two halves of the key's fingerprint, then its numbers.
const ROW_WIDTH = 1 + WIDTH
// A ticket: its owner (0: free) and account, the key's fingerprint, the amount, the next free ticket (plus one).
const TICKET_WIDTH = 4
const KEY = 1
const AMOUNT = 2
const NEXT = 3

const ROWS_AT = HEAD + ACCOUNTS * ACCOUNT_WIDTH
const TICKETS_AT = ROWS_AT + ROWS * ROW_WIDTH
const STRIPE_WIDTH = TICKETS_AT + TICKETS * TICKET_WIDTH

/** How often a thread looks whether a stripe is free before it sleeps for a moment. */
const LOOKS = 100
/** Milliseconds that a stripe may be held while its holder lives: what is done there takes microseconds. */
const PATIENCE = 50

/** Memory for `LedgerMemory`, 8 MB of which only what is used is there: made once by main, handed to every thread. */
export function ledgerMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(STRIPES * STRIPE_WIDTH * Float64Array.BYTES_PER_ELEMENT)
}

/** Ends a ticket that is recorded here and counted elsewhere. */
export type OpenRecord = (end: TicketEnd) => void

/**
 * Whoever reads or writes is in the stripe (`enter`). A thread that dies there leaves its name at the door: `release` puts
 * in order what it left, so every step may be the last. What a row has reserved is what its tickets say, always.
 */
export class LedgerMemory {
  readonly numbers: Float64Array
  readonly #ints: Int32Array
  readonly #owner: number
  readonly #patience: number

  /**
   * `owner` is the thread's number, never given twice. Whoever `hears` of the deaths of others must not wait for one of them:
   * it is told that the ledger is away.
   */
  constructor(memory: SharedArrayBuffer, owner: number, { hears = false }: { hears?: boolean } = {}) {
    this.numbers = new Float64Array(memory)
    this.#ints = new Int32Array(memory)
    this.#owner = owner + 1
    this.#patience = hears ? PATIENCE : Number.POSITIVE_INFINITY
  }

  static account(kind: LimitKind, backing: Backing): number {
    return BACKINGS.indexOf(backing) * KINDS.length + KINDS.indexOf(kind)
  }

  /** Where the stripe of a key begins. */
  stripe({ high }: Fingerprint): number {
    return ((high >>> 1) % STRIPES) * STRIPE_WIDTH
  }

  enter(stripe: number): void {
    const ints = this.#ints
    const lock = stripe * 2 + LOCK
    for (let look = 1; Atomics.compareExchange(ints, lock, 0, this.#owner) !== 0; look++) {
      if (look % LOOKS !== 0) continue
      if (look > LOOKS * this.#patience) throw new LedgerError('away', 'a thread has died with this key in hand')
      Atomics.wait(ints, lock, Atomics.load(ints, lock), 1)
    }
  }

  leave(stripe: number): void {
    Atomics.store(this.#ints, stripe * 2 + LOCK, 0)
  }

  /** Where the numbers of a key stand, all zero for a new one; undefined when there is no place for it. */
  row(stripe: number, { high, low }: Fingerprint, now: number): number | undefined {
    const { numbers } = this
    const ints = this.#ints
    let free: number | undefined
    for (let step = 0; step < REACH; step++) {
      const row = stripe + ROWS_AT + ((low + step) & (ROWS - 1)) * ROW_WIDTH
      if (ints[row * 2] === high && ints[row * 2 + 1] === low) return row + 1
      const empty = ints[row * 2] === 0
      if (empty || (numbers[row + 1 + UNTIL]! <= now && numbers[row + 1 + RESERVED] === 0)) free ??= row
      // No row is ever empty again: whoever stands behind this one would stand here.
      if (empty) break
    }
    if (free === undefined) {
      ints[stripe * 2 + FULL]!++
      return undefined
    }
    numbers.fill(0, free + 1, free + ROW_WIDTH)
    ints[free * 2 + 1] = low
    ints[free * 2] = high
    return free + 1
  }

  /** Where the numbers of a key stand; undefined for one that nobody has used. */
  find(stripe: number, { high, low }: Fingerprint): number | undefined {
    const ints = this.#ints
    for (let step = 0; step < REACH; step++) {
      const row = stripe + ROWS_AT + ((low + step) & (ROWS - 1)) * ROW_WIDTH
      if (ints[row * 2] === high && ints[row * 2 + 1] === low) return row + 1
      if (ints[row * 2] === 0) return undefined
    }
    return undefined
  }

  /** A place for a ticket, which is not taken yet; undefined when there is none. */
  place(stripe: number): number | undefined {
    const head = stripe * 2
    const free = this.#ints[head + FREE]!
    const next = free === 0 ? this.#ints[head + EVER]! : free - 1
    if (next < TICKETS) return stripe + TICKETS_AT + next * TICKET_WIDTH
    this.#ints[head + FULL]!++
    return undefined
  }

  /** Makes the ticket at that place, which `place` has just given; its amount has been reserved. */
  open(
    stripe: number,
    place: number,
    { high, low }: Fingerprint,
    { account, amount }: { account: number; amount: number },
  ): void {
    const ints = this.#ints
    const head = stripe * 2
    if (ints[head + FREE] === 0) ints[head + EVER]!++
    else ints[head + FREE] = this.numbers[place + NEXT]!
    ints[(place + KEY) * 2] = high
    ints[(place + KEY) * 2 + 1] = low
    this.numbers[place + AMOUNT] = amount
    this.numbers[stripe + HEAD + account * ACCOUNT_WIDTH + OPENED]!++
    ints[place * 2 + 1] = account
    ints[place * 2] = this.#owner
  }

  /** Ends it: what it has reserved in `row`, if it has, is free. */
  end(stripe: number, place: number, row: number | undefined, end: TicketEnd): void {
    const { numbers } = this
    if (row !== undefined) numbers[row + RESERVED]! -= numbers[place + AMOUNT]!
    numbers[stripe + HEAD + this.#ints[place * 2 + 1]! * ACCOUNT_WIDTH + ENDED[end]]!++
    this.#free(stripe, place)
  }

  /** Opens a ticket that is counted elsewhere, so that the books know of it. Throws LedgerError when there are too many. */
  record(kind: LimitKind, backing: Backing): OpenRecord {
    const account = LedgerMemory.account(kind, backing)
    const first = (this.#owner % STRIPES) * STRIPE_WIDTH
    for (const stripe of [first, ...stripes()]) {
      this.enter(stripe)
      try {
        const place = this.place(stripe)
        if (place === undefined) continue
        this.open(stripe, place, { high: 0, low: 0 }, { account, amount: 0 })
        return end => {
          this.enter(stripe)
          this.end(stripe, place, undefined, end)
          this.leave(stripe)
        }
      } finally {
        this.leave(stripe)
      }
    }
    throw new LedgerError('full', 'too many tickets are open')
  }

  /** How often there was no place for a key or a ticket. */
  get full(): number {
    let sum = 0
    for (const stripe of stripes()) sum += this.#ints[stripe * 2 + FULL]!
    return sum
  }

  /** Bytes for keys and tickets: all, and those that are free. `now` is in milliseconds since the epoch. */
  room(now: number): { capacity: number; free: number } {
    let free = 0
    for (const stripe of stripes()) {
      const rows = stripe + ROWS_AT
      for (let row = rows; row < rows + ROWS * ROW_WIDTH; row += ROW_WIDTH) {
        const counts = this.numbers[row + 1 + UNTIL]! > now || this.numbers[row + 1 + RESERVED] !== 0
        if (this.#ints[row * 2] === 0 || !counts) free += ROW_WIDTH
      }
      let live = 0
      for (const _ of this.#tickets(stripe)) live++
      free += (TICKETS - live) * TICKET_WIDTH
    }
    const bytes = Float64Array.BYTES_PER_ELEMENT
    return { capacity: STRIPES * (ROWS * ROW_WIDTH + TICKETS * TICKET_WIDTH) * bytes, free: free * bytes }
  }

  /** What there is of each kind that has been used; undefined while a thread that died is in the way. */
  totals(): Totals[] | undefined {
    const sums = Array.from({ length: ACCOUNTS }, () => new Float64Array(ACCOUNT_WIDTH + 1))
    for (const stripe of stripes()) {
      if (!this.#tryEnter(stripe)) return undefined
      for (const [account, sum] of sums.entries()) {
        for (let of = 0; of < ACCOUNT_WIDTH; of++)
          sum[of]! += this.numbers[stripe + HEAD + account * ACCOUNT_WIDTH + of]!
      }
      for (const place of this.#tickets(stripe)) sums[this.#ints[place * 2 + 1]!]![ACCOUNT_WIDTH]!++
      this.leave(stripe)
    }
    return sums.flatMap(([opened = 0, settled = 0, released = 0, lapsed = 0, live = 0], account) => {
      const kind = KINDS[account % KINDS.length]!
      const backing = BACKINGS[Math.floor(account / KINDS.length)]!
      return opened === 0 ? [] : { kind, backing, opened, settled, released, lapsed, live }
    })
  }

  /**
   * That thread is gone: its tickets lapse, and what it was about to write is put in order. `living` are the others. False
   * when one of them has died, too, in the way: to be called again when that has been heard.
   */
  release(gone: number, living: ReadonlySet<number>): boolean {
    // First where it died: somebody who lives may wait there, with another stripe in hand that would keep us waiting.
    const held = (stripe: number) => Atomics.load(this.#ints, stripe * 2 + LOCK) === gone + 1
    const first = [...stripes()].filter(held)
    for (const stripe of [...first, ...[...stripes()].filter(each => !first.includes(each))]) {
      const broken = this.#enterPast(stripe, living)
      if (broken === undefined) return false
      let lapsed = 0
      for (const place of this.#tickets(stripe)) {
        if (this.#ints[place * 2] !== gone + 1) continue
        this.numbers[stripe + HEAD + this.#ints[place * 2 + 1]! * ACCOUNT_WIDTH + LAPSED]!++
        this.#ints[place * 2] = 0
        lapsed++
      }
      if (broken || lapsed > 0) this.#putInOrder(stripe)
      this.leave(stripe)
    }
    return true
  }

  /** Everything that follows from the tickets, anew: what is reserved, what is free, how many were opened. */
  #putInOrder(stripe: number): void {
    const { numbers } = this
    const ints = this.#ints
    for (let row = 0; row < ROWS; row++) numbers[stripe + ROWS_AT + row * ROW_WIDTH + 1 + RESERVED] = 0
    const live = new Float64Array(ACCOUNTS)
    for (const place of this.#tickets(stripe)) {
      live[ints[place * 2 + 1]!]!++
      const amount = numbers[place + AMOUNT]!
      // Its row is there: it had something reserved until a moment ago.
      const key = { high: ints[(place + KEY) * 2]!, low: ints[(place + KEY) * 2 + 1]! }
      const row = amount === 0 ? undefined : this.row(stripe, key, Number.NEGATIVE_INFINITY)
      if (row !== undefined) numbers[row + RESERVED]! += amount
    }
    for (const [account, alive] of live.entries()) {
      const book = stripe + HEAD + account * ACCOUNT_WIDTH
      numbers[book + OPENED] = numbers[book + 1]! + numbers[book + 2]! + numbers[book + LAPSED]! + alive
    }
    ints[stripe * 2 + FREE] = 0
    for (let next = ints[stripe * 2 + EVER]! - 1; next >= 0; next--) {
      const place = stripe + TICKETS_AT + next * TICKET_WIDTH
      if (ints[place * 2] === 0) this.#free(stripe, place)
    }
  }

  #free(stripe: number, place: number): void {
    const ints = this.#ints
    ints[place * 2] = 0
    this.numbers[place + NEXT] = ints[stripe * 2 + FREE]!
    ints[stripe * 2 + FREE] = (place - stripe - TICKETS_AT) / TICKET_WIDTH + 1
  }

  /** Places of the tickets that are there. */
  *#tickets(stripe: number): Iterable<number> {
    const ever = this.#ints[stripe * 2 + EVER]!
    for (let next = 0; next < ever; next++) {
      const place = stripe + TICKETS_AT + next * TICKET_WIDTH
      if (this.#ints[place * 2] !== 0) yield place
    }
  }

  #tryEnter(stripe: number): boolean {
    const lock = stripe * 2 + LOCK
    for (let tries = 0; tries < PATIENCE; tries++) {
      const holder = Atomics.compareExchange(this.#ints, lock, 0, this.#owner)
      if (holder === 0) return true
      Atomics.wait(this.#ints, lock, holder, 1)
    }
    return false
  }

  /** Enters, past whoever died within: true if somebody did. Undefined when one of the living does not leave. */
  #enterPast(stripe: number, living: ReadonlySet<number>): boolean | undefined {
    const lock = stripe * 2 + LOCK
    for (let tries = 0; tries < PATIENCE; tries++) {
      const holder = Atomics.compareExchange(this.#ints, lock, 0, this.#owner)
      if (holder === 0) return false
      if (!living.has(holder - 1)) {
        if (Atomics.compareExchange(this.#ints, lock, holder, this.#owner) === holder) return true
      } else Atomics.wait(this.#ints, lock, holder, 1)
    }
    return undefined
  }
}

function* stripes(): Iterable<number> {
  for (let stripe = 0; stripe < STRIPES; stripe++) yield stripe * STRIPE_WIDTH
}
