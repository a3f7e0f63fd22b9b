// The ledger in Redis, on a real one: the contract, agreement with memory, leases, and what happens when Redis is away.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { type Ledger, LedgerError, type Limit, type SharedFate, type Ticket } from '../../../../core/ledger/ledger.ts'
import { LedgerMemory, ledgerMemory } from '../../../../core/ledger/ledger-memory.ts'
import { RedisLink, type RedisServers } from '../../../../core/ledger/redis/link.ts'
import { RedisLedger, type RedisLedgerOptions } from '../../../../core/ledger/redis/redis-ledger.ts'
import { TAKE } from '../../../../core/ledger/redis/scripts.ts'
import { SharedLedger } from '../../../../core/ledger/shared-ledger.ts'
import { type RedisForTest, startRedis, startRedisCluster, startRedisSentinel } from '../../../helpers/redis.ts'
import { until } from '../../../helpers/until.ts'
import { ledgerContract } from '../contract.ts'

const window: Limit = { kind: 'fixed_window', limit: 100, windowMs: 60_000 }

describe('a ledger in Redis', () => {
  let redis: RedisForTest
  const closing: (() => Promise<void> | void)[] = []

  /** A gateway's ledger: each has a connection of its own. */
  function open(more: Partial<RedisLedgerOptions> & { servers?: Partial<RedisServers> } = {}) {
    const heard: string[] = []
    const books = new LedgerMemory(ledgerMemory(), 0)
    const link = new RedisLink(
      { ...redis.at, ...more.servers },
      { away: error => heard.push(`away: ${error.message}`), back: () => heard.push('back') },
    )
    let lost = 0
    const ledger = new RedisLedger({ link, books, lost: () => lost++, ...more })
    closing.push(async () => {
      await ledger.close(0)
      link.close()
    })
    return { ledger, link, books, heard, lost: () => lost }
  }

  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
  })

  describe('on one server', () => {
    before(async function () {
      this.timeout(300_000)
      redis = await startRedis()
    })
    after(() => redis.close())
    afterEach(() => redis.servers[0]!.resume())

    ledgerContract(async () => {
      const clock = { now: 0 }
      return { clock, ledger: prefixed(open({ now: () => clock.now }).ledger) }
    })

    it('counts as the ledger in memory does, whatever is taken and ended when', async () => {
      const clock = { now: 1_700_000_000_000 }
      const inRedis = open({ now: () => clock.now, leaseMs: 10 ** 9 }).ledger
      const inMemory = new SharedLedger(new LedgerMemory(ledgerMemory(), 0), () => clock.now)
      const limits = fc.constantFrom<Limit>(
        { kind: 'fixed_window', limit: 20, windowMs: 5_000 },
        { kind: 'sliding_window', limit: 20, windowMs: 5_000 },
        { kind: 'token_bucket', limit: 20, rate: 3.7 },
        { kind: 'leaky_bucket', limit: 9, rate: 3.3 },
        { kind: 'slots', limit: 12 },
        { kind: 'balance', limit: 200 },
        { kind: 'period', limit: 40, endMs: clock.now + 10 ** 12 },
      )
      const step = fc.record({
        waitMs: fc.nat(3_000),
        amount: fc.nat(9),
        need: fc.option(fc.nat(9), { nil: undefined }),
        ticket: fc.boolean(),
        end: fc.constantFrom('settle', 'release', 'keep'),
        actual: fc.nat(15),
        together: fc.boolean(),
        change: fc.option(
          fc.record({
            what: fc.constantFrom('used' as const, 'granted' as const),
            by: fc.integer({ min: -9, max: 9 }),
          }),
          {
            nil: undefined,
            freq: 4,
          },
        ),
      })
      await fc.assert(
        fc.asyncProperty(limits, limits, fc.array(step, { maxLength: 15 }), async (limit, second, steps) => {
          const key = randomUUID()
          const open: (readonly [Ticket, Ticket])[] = []
          for (const { waitMs, amount, need, ticket, end, actual, together, change } of steps) {
            clock.now += waitMs
            const wish = { amount, ticket, ...(need !== undefined && { need }) }
            if (change !== undefined && ('endMs' in limit || limit.kind === 'balance'))
              assert.deepEqual(await inRedis.adjust(key, limit, change), inMemory.adjust(key, limit, change))
            if (together) {
              const all = [
                { key, limit, wish },
                { key: `${key} second`, limit: second, wish: { amount: actual } },
              ]
              const one = inMemory.takeAll(all)
              const other = await inRedis.takeAll(all)
              assert.deepEqual({ ...other, ticket: undefined }, { ...one, ticket: undefined })
              if (one.ticket !== undefined) open.push([firstOf(one.ticket), firstOf(other.ticket!)])
              continue
            }
            const one = inMemory.take(key, limit, wish)
            const other = await inRedis.take(key, limit, wish)
            assert.deepEqual({ ...other, ticket: undefined }, { ...one, ticket: undefined })
            if (one.ticket !== undefined) open.push([one.ticket, other.ticket!])
            const pair = end === 'keep' ? undefined : open.shift()
            for (const each of pair ?? []) await (end === 'settle' ? each.settle(actual) : each.release())
            assert.deepEqual(await inRedis.look(key, limit), inMemory.look(key, limit))
          }
        }),
        { numRuns: 60, seed: 9 },
      )
    })

    it('is one ledger for two gateways', async () => {
      const [a, b] = [open().ledger, open().ledger]
      const key = randomUUID()
      const takes = Array.from({ length: 200 }, (_, n) => (n % 2 === 0 ? a : b).take(key, window, { amount: 1 }))
      assert.equal((await Promise.all(takes)).filter(({ allowed }) => allowed).length, 100)
    })

    it('frees what a gateway held that is gone, when its lease is over, and not what one holds that lives', async () => {
      const clock = { now: 1_700_000_000_000 }
      const now = () => clock.now
      const key = randomUUID()
      const slots: Limit = { kind: 'slots', limit: 2 }
      const dead = open({ now, leaseMs: 30_000 })
      const living = open({ now, leaseMs: 30_000 }).ledger
      await dead.ledger.take(key, slots, { amount: 1, ticket: true })
      dead.link.close()
      clock.now += 29_999
      await living.take(key, slots, { amount: 1, ticket: true })
      assert.equal((await living.take(key, slots, { amount: 1, ticket: true })).allowed, false)
      clock.now += 1
      assert.equal((await living.take(key, slots, { amount: 1, ticket: true })).allowed, true)
      assert.equal((await living.take(key, slots, { amount: 1, ticket: true })).allowed, false)
    })

    it('frees what has lapsed also where a take comes too late, whose ticket has been given back', async () => {
      const clock = { now: 1_700_000_000_000 }
      const now = () => clock.now
      const balance: Limit = { kind: 'balance', limit: 10 }
      const key = randomUUID()
      const dead = open({ now, leaseMs: 30_000 })
      await dead.ledger.take(key, balance, { amount: 10, ticket: true })
      clock.now += 20_000
      // The answer to a take is lost, and on another connection what gives it back overtakes it.
      const { link } = open()
      let late: () => Promise<unknown> = () => Promise.reject(new Error('nothing was taken'))
      const overtaken = open({
        now,
        leaseMs: 30_000,
        link: {
          ready: true,
          run(script, keys, values) {
            if (script !== TAKE) return link.run(script, keys, values)
            late = () => link.run(script, keys, [now(), ...values.slice(1)])
            throw new LedgerError('away', 'Redis did not answer')
          },
        },
      }).ledger
      await assert.rejects(overtaken.take(key, balance, { amount: 1, ticket: true }), LedgerError)
      await until(() => overtaken.waiting === 0, 'it is given back')
      clock.now += 20_000
      dead.link.close()
      await late()
      assert.equal((await open({ now }).ledger.look(key, balance)).reserved, 0)
    })

    it('renews the leases of what is still held', async () => {
      const holder = open({ leaseMs: 300 }).ledger
      const other = open({ leaseMs: 300 }).ledger
      const key = randomUUID()
      const began = performance.now()
      const { ticket } = await holder.take(key, { kind: 'slots', limit: 1 }, { amount: 1, ticket: true })
      let stolen = 0
      const steal = async () => {
        const { allowed, ticket } = await other.take(key, { kind: 'slots', limit: 1 }, { amount: 1, ticket: true })
        if (allowed) stolen++
        await ticket?.release()
        return performance.now() - began > 1_000
      }
      await until(steal, 'several leases are over')
      // A machine that stands still for a lease may lose one.
      assert.ok(stolen <= 3, `${stolen}`)
      await ticket!.release()
      assert.equal((await other.take(key, { kind: 'slots', limit: 1 }, { amount: 1 })).allowed, true)
    })

    it('counts in its books what is open', async () => {
      const { ledger, books } = open()
      const key = randomUUID()
      const [a, b] = [
        await ledger.take(key, window, { amount: 5, ticket: true }),
        await ledger.take(key, window, { amount: 5, ticket: true }),
      ]
      await ledger.take(key, window, { amount: 500, ticket: true })
      await a.ticket!.settle(2)
      const account = { kind: 'fixed_window', backing: 'redis', opened: 2, released: 0, lapsed: 0 }
      assert.deepEqual(books.totals(), [{ ...account, settled: 1, live: 1 }])
      await b.ticket!.settle(2)
      assert.deepEqual(books.totals(), [{ ...account, settled: 2, live: 0 }])
    })

    it('says within its time that Redis does not answer, and takes back what it may have taken', async () => {
      const { ledger, heard } = open({ servers: { answerMs: 100 } })
      const key = randomUUID()
      await ledger.take(key, window, { amount: 1 })
      redis.servers[0]!.pause()
      await assert.rejects(ledger.take(key, window, { amount: 60, ticket: true }), { reason: 'away' })
      redis.servers[0]!.resume()
      const freed = async () => (await ledger.take(key, window, { amount: 0 }).catch(() => undefined))?.used === 1
      await until(freed, 'what nobody got is free again')
      assert.deepEqual([heard[0]?.startsWith('away'), heard.at(-1)], [true, 'back'])
    })

    it('charges what was used while Redis did not answer, once', async () => {
      const { ledger } = open({ servers: { answerMs: 100 } })
      const key = randomUUID()
      const tickets = await Promise.all(
        Array.from({ length: 10 }, () => ledger.take(key, window, { amount: 8, ticket: true })),
      )
      redis.servers[0]!.pause()
      await Promise.all(tickets.map(({ ticket }) => ticket!.settle(7)))
      assert.equal(ledger.waiting, 10)
      redis.servers[0]!.resume()
      await until(() => ledger.waiting === 0, 'Redis has been told')
      const used = async () => (await ledger.take(key, window, { amount: 0 }).catch(() => undefined))?.used
      await until(async () => (await used()) !== undefined, 'Redis answers')
      assert.equal(await used(), 70)
    })

    it('fails at once while there is no Redis, and finds it when it is there again', async () => {
      const { ledger } = open()
      await ledger.take('k', window, { amount: 1 })
      await redis.servers[0]!.kill()
      await until(
        () =>
          ledger.take('k', window, { amount: 1 }).then(
            () => false,
            () => true,
          ),
        'it is missed',
      )
      const began = performance.now()
      for (let n = 0; n < 20; n++) await assert.rejects(ledger.take('k', window, { amount: 1 }), { reason: 'away' })
      assert.ok(performance.now() - began < 2_000)
      await redis.servers[0]!.start()
      await until(
        () =>
          ledger.take('k', window, { amount: 1 }).then(
            () => true,
            () => false,
          ),
        'it is found',
      )
    })
  })

  describe('in a cluster', () => {
    before(async function () {
      this.timeout(300_000)
      redis = await startRedisCluster()
    })
    after(() => redis.close())

    it('counts each key on its node', async () => {
      const { ledger } = open()
      await Promise.all(
        Array.from({ length: 30 }, async () => {
          const key = randomUUID()
          const { ticket } = await ledger.take(key, window, { amount: 10, ticket: true })
          await ticket!.settle(3)
          assert.equal((await ledger.take(key, window, { amount: 1 })).used, 4)
        }),
      )
    })

    it('takes together what begins with the same name in braces', async () => {
      const { ledger } = open()
      const takings = Array.from({ length: 5 }, () => ({
        ...{ key: `{budget}/${randomUUID()}`, limit: window, wish: { amount: 60, ticket: true } },
      }))
      const { ticket } = await ledger.takeAll(takings)
      assert.equal((await ledger.takeAll(takings)).allowed, false)
      await ticket!.settle([1, 2, 3, 4, 5])
      const used = await Promise.all(takings.map(async ({ key }) => (await ledger.look(key, window)).used))
      assert.deepEqual(used, [1, 2, 3, 4, 5])
    })
  })

  describe('behind a sentinel', () => {
    before(async function () {
      this.timeout(300_000)
      redis = await startRedisSentinel()
    })
    after(() => redis.close())

    it('counts on the master', async () => {
      const { ledger } = open()
      const key = randomUUID()
      await ledger.take(key, window, { amount: 1 })
      assert.equal((await ledger.take(key, window, { amount: 1 })).used, 2)
    })
  })
})

/** A ticket for two keys as one for the first. */
function firstOf(fate: SharedFate): Ticket {
  return { settle: actual => fate.settle([actual, 1]), release: () => fate.release() }
}

/** Nobody has counted under these keys. */
function prefixed(ledger: Ledger): Ledger {
  const prefix = randomUUID()
  return {
    take: (key, limit, wish) => ledger.take(prefix + key, limit, wish),
    takeAll: all => ledger.takeAll(all.map(({ key, limit, wish }) => ({ key: prefix + key, limit, wish }))),
    look: (key, limit) => ledger.look(prefix + key, limit),
    adjust: (key, limit, change) => ledger.adjust(prefix + key, limit, change),
  }
}
