// A ledger that many gateways keep together in Redis: each take is one round trip; tickets are leased, so that a dead gateway's end.
import { hash, randomUUID } from 'node:crypto'
import { type Listed, Roster } from '../../roster.ts'
import { describe } from '../count.ts'
import { type Ledger, type Limit, mustBeAmount, type Taken, type Ticket, type Wish } from '../ledger.ts'
import type { LedgerMemory, OpenRecord } from '../ledger-memory.ts'
import type { RedisLink } from './link.ts'
import { Outbox, type Sent } from './outbox.ts'
import { END, type Script, TAKE } from './scripts.ts'

export interface RedisLedgerOptions {
  link: Pick<RedisLink, 'run' | 'ready'>
  /** Where its tickets are recorded. */
  books: LedgerMemory
  /** Milliseconds after which a ticket lapses that nobody renews. */
  leaseMs?: number
  /** Milliseconds after which Redis is told again what it could not be told. */
  againMs?: number
  /** An end could not be told: Redis was away for too long. */
  lost(): void
  /** In the place of Redis's own clock: milliseconds since the epoch. */
  now?: () => number
}

const LEASE_MS = 30_000
const AGAIN_MS = 100

interface Ending {
  readonly key: string
  readonly limit: Limit
  readonly id: string
  readonly what: 'settle' | 'release' | 'renew'
  readonly amount: number
}

export class RedisLedger implements Ledger {
  readonly #options: RedisLedgerOptions
  readonly #leaseMs: number
  readonly #outbox: Outbox<Ending>
  readonly #open = new Roster<RedisTicket>()
  #renewing: NodeJS.Timeout | undefined

  constructor(options: RedisLedgerOptions) {
    this.#options = options
    this.#leaseMs = options.leaseMs ?? LEASE_MS
    this.#outbox = new Outbox({
      send: ending => this.#send(ending),
      // What has ended is known for as long as a lease.
      forgivenMs: this.#leaseMs / 2,
      againMs: options.againMs ?? AGAIN_MS,
      lost: () => options.lost(),
    })
  }

  /** Ends that Redis has not been told. */
  get waiting(): number {
    return this.#outbox.size
  }

  async take(key: string, limit: Limit, wish: Wish): Promise<Taken> {
    const { amount, need = amount } = wish
    mustBeAmount(amount)
    const id = wish.ticket === true ? randomUUID() : ''
    const ending = { key, limit, id, amount }
    const { ready } = this.#options.link
    let answer: unknown
    try {
      answer = await this.#run(TAKE, ending, [amount, need])
    } catch (error) {
      // It may have been taken all the same.
      if (ready) this.#giveBack(ending)
      throw error
    }
    const [allowed, now = 0, ...numbers] = (answer as string[]).map(Number)
    const taken = describe({ numbers: Float64Array.from(numbers), at: 0 }, limit, { allowed: allowed === 1, need }, now)
    if (allowed !== 1 || id === '') return taken
    try {
      return { ...taken, ticket: this.#issue(ending) }
    } catch (error) {
      this.#giveBack(ending)
      throw error
    }
  }

  /** A ticket for what was never taken, because Redis was away: what is used in the end counts. */
  owe(key: string, limit: Limit): Ticket {
    return this.#issue({ key, limit, id: randomUUID(), amount: 0 })
  }

  /** Waits for what Redis must still be told, at most `withinMs`. */
  async close(withinMs: number): Promise<void> {
    clearInterval(this.#renewing)
    this.#renewing = undefined
    await this.#outbox.close(withinMs)
  }

  /** Only tickets call this, once. */
  end(ticket: RedisTicket, what: 'settle' | 'release', amount: number): Promise<void> | void {
    this.#open.delete(ticket)
    if (this.#open.size === 0) {
      clearInterval(this.#renewing)
      this.#renewing = undefined
    }
    const { taken } = ticket
    // Redis knows nothing of it.
    if (taken.amount === 0 && (what === 'release' || amount === 0)) return
    return this.#outbox.post({ ...taken, what, amount })
  }

  #issue(taken: Issued): RedisTicket {
    const ticket = new RedisTicket(this, taken, this.#options.books.record(taken.limit.kind, 'redis'))
    this.#open.add(ticket)
    this.#renewing ??= setInterval(() => this.#renew(), this.#leaseMs / 3).unref()
    return ticket
  }

  #giveBack(taken: Issued): void {
    if (taken.id !== '' && taken.amount > 0) void this.#outbox.post({ ...taken, what: 'release' })
  }

  #renew(): void {
    for (const { taken } of this.#open) {
      if (taken.amount > 0) void this.#send({ ...taken, what: 'renew' })
    }
  }

  async #send(ending: Ending): Promise<Sent> {
    const sends = this.#options.link.ready
    try {
      await this.#run(END, ending, [ending.what, ending.amount])
      return 'arrived'
    } catch {
      return sends ? 'unknown' : 'not_sent'
    }
  }

  #run(script: Script, { key, limit, id }: Issued, more: readonly (string | number)[]): Promise<unknown> {
    const { link, now } = this.#options
    // Keys may be made of what clients send, credentials too. The braces keep both on one node of a cluster.
    const name = `sluice:ledger:{${hash('sha256', key, 'base64url').slice(0, 22)}}`
    const size = 'windowMs' in limit ? limit.windowMs : 'rate' in limit ? limit.rate : 0
    const common = [now?.() ?? '', limit.kind, limit.limit, size, id, this.#leaseMs]
    return link.run(script, [name, `${name}:tickets`], [...common, ...more])
  }
}

type Issued = Omit<Ending, 'what'>

class RedisTicket implements Ticket, Listed {
  place = -1
  readonly taken: Issued
  readonly #ledger: RedisLedger
  #record: OpenRecord | undefined

  constructor(ledger: RedisLedger, taken: Issued, record: OpenRecord) {
    this.#ledger = ledger
    this.taken = taken
    this.#record = record
  }

  settle(actual: number): Promise<void> | void {
    mustBeAmount(actual)
    return this.#end('settled', actual)
  }

  release(): Promise<void> | void {
    return this.#end('released', 0)
  }

  #end(end: 'settled' | 'released', actual: number): Promise<void> | void {
    const record = this.#record
    this.#record = undefined
    if (record === undefined) return
    record(end)
    return this.#ledger.end(this, end === 'settled' ? 'settle' : 'release', actual)
  }
}
