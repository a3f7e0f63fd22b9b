// Random schedules for ledgers: who takes, settles and releases what, who dies, when Redis is lost; and what must be true then.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { type Ledger, LedgerError, type Limit, type Ticket } from '../core/ledger/ledger.ts'
import { LedgerMemory, ledgerMemory } from '../core/ledger/ledger-memory.ts'
import type { RedisLink } from '../core/ledger/redis/link.ts'
import { RedisLedger } from '../core/ledger/redis/redis-ledger.ts'
import { SharedLedger } from '../core/ledger/shared-ledger.ts'
import { until } from './helpers/until.ts'

const ACTORS = 3
const LEASE_MS = 60_000
const MAIN = 2 ** 30
/** Long enough for all that is settled in a schedule to count in the end. */
const limits: readonly Limit[] = [
  { kind: 'fixed_window', limit: 60, windowMs: 10 ** 12 },
  { kind: 'balance', limit: 40 },
  { kind: 'slots', limit: 3 },
]

const actor = fc.nat(ACTORS - 1)
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('take' as const),
      actor,
      limit: fc.nat(limits.length - 1),
      amount: fc.nat(25),
      ticket: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom('settle' as const, 'release' as const),
      actor,
      which: fc.nat(9),
      actual: fc.nat(30),
      twice: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('takeAll' as const),
      actor,
      amounts: fc.array(fc.nat(25), { minLength: limits.length, maxLength: limits.length }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('die' as const), actor }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(20_000) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('redis' as const),
      is: fc.constantFrom(
        'there' as const,
        'not reached' as const,
        'not heard' as const,
        'late' as const,
        'down' as const,
      ),
    }),
  },
)

export const schedule = fc.record({
  backing: fc.constantFrom('shared_memory' as const, 'redis' as const),
  steps: fc.array(step, { minLength: 5, maxLength: 40 }),
})
type Schedule = typeof schedule extends fc.Arbitrary<infer T> ? T : never

/** Redis as seen through a bad line: what is sent may not arrive, and the answer neither. */
class BadLine {
  line: 'there' | 'not reached' | 'not heard' | 'late' | 'down' = 'there'
  #late: Parameters<RedisLink['run']>[] = []
  readonly #link: RedisLink

  constructor(link: RedisLink) {
    this.#link = link
  }

  get ready(): boolean {
    return this.line !== 'down'
  }

  async run(...call: Parameters<RedisLink['run']>): Promise<unknown> {
    const { line } = this
    if (line === 'late') this.#late.push(call)
    const answer =
      line === 'not reached' || line === 'late' || line === 'down' ? undefined : await this.#link.run(...call)
    if (line === 'there') return answer
    throw new LedgerError('away', line)
  }

  /** What is late arrives, behind all that was sent since. */
  async arrive(): Promise<void> {
    for (const call of this.#late.splice(0)) await this.#link.run(...call)
  }
}

interface Actor {
  readonly number: number
  readonly ledger: Ledger
  readonly redis: RedisLedger | undefined
  tickets: { ticket: Ticket; limits: readonly number[] }[]
}

/** Plays one schedule on keys of its own. `link` is a connection to a real Redis. */
export async function play({ backing, steps }: Schedule, link: RedisLink): Promise<void> {
  const clock = { now: 1_700_000_000_000 }
  const now = () => clock.now
  const memory = ledgerMemory()
  const books = new LedgerMemory(memory, MAIN)
  const line = new BadLine(link)
  let numbers = 0
  let lost = 0
  const open = (): Actor => {
    const number = numbers++
    const own = new LedgerMemory(memory, number)
    const redis =
      backing === 'redis'
        ? new RedisLedger({ link: line, books: own, now, leaseMs: LEASE_MS, againMs: 1, lost: () => lost++ })
        : undefined
    return { number, redis, ledger: redis ?? new SharedLedger(own, now), tickets: [] }
  }
  const living = Array.from({ length: ACTORS }, open)
  const gone: RedisLedger[] = []
  const keys = limits.map(() => randomUUID())
  /** What must count for good in the end: all, and what may count because nobody heard that it was taken. */
  const settled = limits.map(() => 0)
  const unheard = limits.map(() => 0)

  for (const each of steps) {
    if (each.do === 'wait') {
      await line.arrive()
      clock.now += each.ms
    } else if (each.do === 'redis') line.line = each.is
    else if (each.do === 'die') {
      const dead = living[each.actor]!
      // Its outbox dies with it: all that it had settled and could not tell is not known to anybody.
      if (dead.redis !== undefined)
        await until(() => line.line !== 'there' || dead.redis!.waiting === 0, 'it has told all')
      if (dead.redis !== undefined && dead.redis.waiting > 0) continue
      if (dead.redis !== undefined) gone.push(dead.redis)
      await dead.redis?.close(0)
      living[each.actor] = open()
      books.release(dead.number, new Set([...living.map(({ number }) => number), MAIN]))
    } else if (each.do === 'take') {
      const { ledger, tickets } = living[each.actor]!
      const { limit: at, amount, ticket } = each
      const limit = limits[at]!
      const holds = ticket || limit.kind === 'slots'
      try {
        const taken = await ledger.take(keys[at]!, limit, {
          amount: limit.kind === 'slots' ? 1 : amount,
          ticket: holds,
        })
        if (taken.ticket !== undefined) tickets.push({ ticket: taken.ticket, limits: [at] })
        else if (taken.allowed && !holds) settled[at]! += amount
      } catch (error) {
        assert.ok(error instanceof LedgerError && backing === 'redis', String(error))
        if (!holds && (line.line === 'not heard' || line.line === 'late')) unheard[at]! += amount
      }
    } else if (each.do === 'takeAll') {
      const { ledger, tickets } = living[each.actor]!
      const takings = limits.map((limit, at) => ({
        key: keys[at]!,
        limit,
        wish: { amount: limit.kind === 'slots' ? 1 : each.amounts[at]!, ticket: true },
      }))
      try {
        const { ticket } = await ledger.takeAll(takings)
        if (ticket === undefined) continue
        const fate = {
          settle: (actual: number) => ticket.settle(limits.map(() => actual)),
          release: () => ticket.release(),
        }
        tickets.push({ ticket: fate, limits: [...limits.keys()] })
      } catch (error) {
        assert.ok(error instanceof LedgerError && backing === 'redis', String(error))
      }
    } else {
      const { tickets } = living[each.actor]!
      const found = tickets.splice(each.which % Math.max(1, tickets.length), 1)[0]
      if (found === undefined) continue
      const { ticket, limits: taken } = found
      await (each.do === 'settle' ? ticket.settle(each.actual) : ticket.release())
      if (each.do === 'settle') for (const at of taken) if (limits[at]!.kind !== 'slots') settled[at]! += each.actual
      if (each.twice) await (each.do === 'settle' ? ticket.release() : ticket.settle(each.actual))
    }
  }

  line.line = 'there'
  for (const { tickets } of living) for (const { ticket } of tickets.splice(0)) await ticket.release()
  for (const { redis } of living) if (redis !== undefined) await until(() => redis.waiting === 0, 'Redis has been told')
  await line.arrive()
  const check = async () => {
    for (const [at, limit] of limits.entries()) {
      const { used } = await living[0]!.ledger.take(keys[at]!, limit, { amount: 0 })
      const [least, most] = [settled[at]!, settled[at]! + unheard[at]!]
      assert.ok(used >= least && used <= most, `${limit.kind}: ${used} count where ${least} to ${most} were used`)
    }
  }
  if (backing === 'shared_memory' || numbers === ACTORS) await check()
  // What the dead have reserved in Redis lapses.
  clock.now += LEASE_MS + 1
  await check()
  assert.equal(lost, 0)
  for (const { kind, opened, settled, released, lapsed, live } of books.totals()!)
    assert.deepEqual([kind, live, settled + released + lapsed], [kind, 0, opened])
  for (const { redis } of living) await redis?.close(0)
}
