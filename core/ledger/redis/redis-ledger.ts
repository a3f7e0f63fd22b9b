// A ledger that many gateways keep together in Redis: each take is one round trip; tickets are leased, so that a dead gateway's end.
import { hash, randomUUID } from 'node:crypto'
import { type Listed, Roster } from '../../roster.ts'
import { describe, WIDTH } from '../count.ts'
import {
  type Adjustment,
  type Ledger,
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
} from '../ledger.ts'
import type { LedgerMemory, OpenRecord } from '../ledger-memory.ts'
import type { RedisLink } from './link.ts'
import { Outbox, type Sent } from './outbox.ts'
import { ADJUST, END, type Script, TAKE } from './scripts.ts'

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
    const { each, tickets } = await this.#take([{ key, limit, wish }], false)
    return { ...each[0]!, ticket: tickets?.[0] }
  }

  async takeAll(takings: readonly Taking[]): Promise<TakenTogether> {
    const { allowed, each, tickets } = await this.#take(takings, true)
    return { allowed, each, ticket: tickets && sharedFate(tickets) }
  }

  /** One script for all of them; each ticket is told of its end by itself. What is not taken `together` is never a mere look. */
  async #take(
    takings: readonly Taking[],
    together: boolean,
  ): Promise<{ allowed: boolean; each: Taken[]; tickets: (RedisTicket | undefined)[] | undefined }> {
    mustDiffer(takings)
    const id = takings.some(({ wish }) => wish.ticket) ? randomUUID() : ''
    const held = takings.map(({ key, limit, wish }) => ({ key, limit, id: wish.ticket ? id : '', amount: wish.amount }))
    const how = ({ amount, ticket }: Wish) => (ticket ? 'holds' : together && amount === 0 ? 'looks' : 'takes')
    const { ready } = this.#options.link
    let answer: unknown
    try {
      answer = await this.#run(TAKE, takings, {
        id,
        each: takings.map(({ wish }) => [wish.amount, needOf(wish), how(wish)]),
      })
    } catch (error) {
      // It may have been taken all the same.
      if (ready) for (const one of held) this.#giveBack(one)
      throw error
    }
    const [allowed, now = 0, ...numbers] = (answer as string[]).map(Number)
    const each = takings.map(({ limit, wish }, at) => {
      const [room, ...own] = numbers.slice(at * (WIDTH + 1), (at + 1) * (WIDTH + 1))
      return describe(
        { numbers: Float64Array.from(own), at: 0 },
        limit,
        { allowed: room === 1, need: needOf(wish) },
        now,
      )
    })
    if (allowed !== 1) return { allowed: false, each, tickets: undefined }
    const tickets: (RedisTicket | undefined)[] = []
    try {
      for (const one of held) tickets.push(one.id === '' ? undefined : this.#issue(one))
    } catch (error) {
      for (const ticket of tickets) void ticket?.release()
      for (const one of held.slice(tickets.length)) this.#giveBack(one)
      throw error
    }
    return { allowed: true, each, tickets }
  }

  look(key: string, limit: Limit): Promise<Standing> {
    return this.#standing(key, limit, ['', 0, ''])
  }

  adjust(key: string, limit: Limit, { what, by = 0, to }: Adjustment): Promise<Standing> {
    return this.#standing(key, limit, [what, by, to ?? ''])
  }

  async #standing(key: string, limit: Limit, change: readonly (string | number)[]): Promise<Standing> {
    const answer = await this.#run(ADJUST, [{ key, limit }], { id: '', each: [change] })
    const [used = 0, reserved = 0, granted = 0] = (answer as string[]).map(Number)
    return { used, reserved, granted }
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
      await this.#run(END, [ending], { id: ending.id, each: [[ending.what, ending.amount]] })
      return 'arrived'
    } catch {
      return sends ? 'unknown' : 'not_sent'
    }
  }

  #run(
    script: Script,
    keys: readonly Pick<Taking, 'key' | 'limit'>[],
    { id, each }: { id: string; each: readonly (readonly (string | number)[])[] },
  ): Promise<unknown> {
    const { link, now } = this.#options
    const names = keys.map(({ key }) => nameOf(key))
    return link.run(
      script,
      names.flatMap(name => [name, `${name}:tickets`]),
      [
        now?.() ?? '',
        id,
        this.#leaseMs,
        ...keys.flatMap(({ limit }, at) => [limit.kind, limit.limit, sizeOf(limit), ...each[at]!]),
      ],
    )
  }
}

/**
 * Keys may be made of what clients send, credentials too. The braces choose the node of a cluster: that of the name in braces
 * with which a key begins, else its own.
 */
function nameOf(key: string): string {
  const digest = hash('sha256', key, 'base64url').slice(0, 22)
  const family = /^\{\w+\}/.exec(key)?.[0]
  return family === undefined ? `sluice:ledger:{${digest}}` : `sluice:ledger:${family}:${digest}`
}

function sizeOf(limit: Limit): number {
  return 'windowMs' in limit ? limit.windowMs : 'rate' in limit ? limit.rate : 'endMs' in limit ? limit.endMs : 0
}

function needOf({ amount, need = amount }: Wish): number {
  return need
}

function sharedFate(tickets: readonly (RedisTicket | undefined)[]): SharedFate {
  return {
    async settle(actuals) {
      for (const actual of actuals) mustBeAmount(actual)
      await Promise.all(tickets.map((ticket, at) => ticket?.settle(actuals[at]!)))
    },
    async release() {
      await Promise.all(tickets.map(ticket => ticket?.release()))
    },
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
