// The ledger in shared memory: the contract, many threads at once, their deaths, its books and its bounds.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { LedgerError } from '../../../core/ledger/ledger.ts'
import { LedgerMemory, ledgerMemory } from '../../../core/ledger/ledger-memory.ts'
import { SharedLedger } from '../../../core/ledger/shared-ledger.ts'
import { until } from '../../helpers/until.ts'
import { ledgerContract } from './contract.ts'
import { KEYS, slots, type Takings, window } from './taking-thread.ts'

const MAIN = 2 ** 30

function thread(memory: SharedArrayBuffer, owner: number, takes: number): { worker: Worker; settled: Float64Array } {
  const settled = new SharedArrayBuffer(KEYS * 8)
  const workerData: Takings = { memory, owner, seed: owner, takes, settled }
  return {
    worker: new Worker(new URL('./taking-thread.ts', import.meta.url), { workerData }),
    settled: new Float64Array(settled),
  }
}

describe('a ledger in shared memory', () => {
  ledgerContract(async () => {
    const clock = { now: 0 }
    return { clock, ledger: new SharedLedger(new LedgerMemory(ledgerMemory(), 0), () => clock.now) }
  })

  it('counts exactly, whatever its threads do at the same time', async () => {
    const memory = ledgerMemory()
    const threads = [0, 1, 2].map(owner => thread(memory, owner, 30_000))
    await Promise.all(threads.map(({ worker }) => once(worker, 'exit')))
    const main = new SharedLedger(new LedgerMemory(memory, MAIN), () => 1_000)
    for (let key = 0; key < KEYS; key++) {
      const settled = threads.reduce((sum, { settled }) => sum + settled[key]!, 0)
      assert.equal(main.take(`window ${key}`, window, { amount: 0 }).used, settled)
      assert.equal(main.take(`slots ${key}`, slots, { amount: 0 }).used, 0)
    }
    const totals = new LedgerMemory(memory, MAIN).totals()!
    assert.equal(
      totals.reduce((sum, { live }) => sum + live, 0),
      0,
    )
    assertBalanced(totals)
  })

  it('knows how much room there is: without what counts and what is under way', () => {
    const memory = new LedgerMemory(ledgerMemory(), 0)
    let now = 0
    const ledger = new SharedLedger(memory, () => now)
    const { capacity, free } = memory.room(now)
    assert.equal(free, capacity)
    ledger.take('a', { kind: 'fixed_window', limit: 10, windowMs: 1_000 }, { amount: 1 })
    const row = capacity - memory.room(now).free
    assert.ok(row > 0)
    const { ticket } = ledger.take('b', slots, { amount: 1, ticket: true })
    assert.ok(capacity - memory.room(now).free > 2 * row, 'a row and a ticket')
    now = 2_000
    assert.ok(capacity - memory.room(now).free > row)
    ticket!.release()
    assert.equal(memory.room(now).free, capacity)
  })

  it('frees what a thread held that died, wherever it was, and charges nothing for it', async () => {
    const memory = ledgerMemory()
    const books = new LedgerMemory(memory, MAIN)
    const survivor = thread(memory, 1, 200_000)
    const living = new Set([1, MAIN])
    const finished = once(survivor.worker, 'exit')
    const threads = [survivor]
    for (let owner = 2; owner < 8; owner++) {
      const dying = thread(memory, owner, Number.POSITIVE_INFINITY)
      threads.push(dying)
      await until(() => dying.settled.some(sum => sum > 0), 'it has begun')
      await dying.worker.terminate()
      books.release(owner, living)
      assertBalanced(books.totals()!)
    }
    await finished
    const main = new SharedLedger(books, () => 1_000)
    const totals = books.totals()!
    assertBalanced(totals)
    assert.ok(totals.reduce((sum, { lapsed }) => sum + lapsed, 0) >= 6)
    for (let key = 0; key < KEYS; key++) {
      assert.equal(main.take(`slots ${key}`, slots, { amount: 0 }).used, 0)
      const { used } = main.take(`window ${key}`, window, { amount: 0 })
      const settled = threads.reduce((sum, { settled }) => sum + settled[key]!, 0)
      // Each of the dead may have settled up to 8 that it could not write into its own account any more.
      assert.ok(used >= settled && used <= settled + 6 * 8, `${used} where ${settled} were settled`)
    }
  })

  it('frees what a thread held that died beside one that waits there with more in hand', async () => {
    const memory = ledgerMemory()
    const stripeOf = (key: number) => new LedgerMemory(memory, 0).stripe({ high: key << 1, low: 0 })
    const [lower, upper] = [stripeOf(0), stripeOf(1)]
    // A thread that died in the upper stripe, and one that lives in the lower, on its way to the upper.
    new LedgerMemory(memory, 2).enter(upper)
    const library = JSON.stringify(new URL('../../../core/ledger/ledger-memory.ts', import.meta.url).href)
    const run = (code: string) =>
      new Worker(
        new URL(
          `data:text/javascript,${encodeURIComponent(`
            import { parentPort, workerData } from 'node:worker_threads'
            import { LedgerMemory } from ${library}
            ${code}
            parentPort.postMessage('done')`)}`,
        ),
        { workerData: memory },
      )
    const heard = (worker: Worker) => {
      let done = false
      worker.on('message', () => {
        done = true
      })
      return () => done
    }
    const survivor = run(`const mine = new LedgerMemory(workerData, 1)
      mine.enter(${lower}); mine.enter(${upper}); mine.leave(${lower}); mine.leave(${upper})`)
    const through = heard(survivor)
    const locks = new Int32Array(memory)
    await until(() => locks[lower * 2] === 2, 'it is in the lower stripe')
    const main = run(`new LedgerMemory(workerData, ${MAIN}).release(2, new Set([1, ${MAIN}]))`)
    const released = heard(main)
    try {
      await until(() => released() && through(), 'both have got through')
    } finally {
      await Promise.all([survivor.terminate(), main.terminate()])
    }
  })

  it('keeps nobody waiting who must hear of deaths, and is put in order when all have been heard of', () => {
    const memory = ledgerMemory()
    const books = new LedgerMemory(memory, MAIN, { hears: true })
    const [one, other] = [new LedgerMemory(memory, 7), new LedgerMemory(memory, 8)]
    const stripeOf = (key: number) => books.stripe({ high: key << 1, low: 0 })
    one.enter(stripeOf(3))
    other.enter(stripeOf(4))
    assert.throws(() => books.enter(stripeOf(3)), { name: 'LedgerError', reason: 'away' })
    assert.equal(books.release(7, new Set([8, MAIN])), false)
    assert.equal(books.release(8, new Set([MAIN])), true)
    assert.equal(books.release(7, new Set([MAIN])), true)
    assert.deepEqual(books.totals(), [])
    for (const key of [3, 4]) books.enter(stripeOf(key))
  })

  it('goes past a lock that a dead thread has', () => {
    const memory = ledgerMemory()
    const books = new LedgerMemory(memory, MAIN)
    const dead = new LedgerMemory(memory, 7)
    const stripe = dead.stripe({ high: 3, low: 0 })
    dead.enter(stripe)
    assert.equal(books.totals(), undefined)
    books.release(7, new Set([MAIN]))
    assert.deepEqual(books.totals(), [])
  })

  it('refuses a key for which there is no place, and has one again when others have expired', () => {
    const clock = { now: 1_000 }
    const memory = new LedgerMemory(ledgerMemory(), 0)
    const ledger = new SharedLedger(memory, () => clock.now)
    const limit = { kind: 'fixed_window', limit: 1, windowMs: 1_000 } as const
    const flood = () => {
      for (let n = 0; ; n++) ledger.take(`key ${n}`, limit, { amount: 1 })
    }
    assert.throws(flood, (error: unknown) => error instanceof LedgerError && error.reason === 'full')
    assert.equal(memory.full, 1)
    clock.now += 1_000
    for (let n = 0; n < 30_000; n++) assert.ok(ledger.take(`later ${n}`, limit, { amount: 1 }).allowed)
  })

  it('refuses a ticket for which there is no place', () => {
    const ledger = new SharedLedger(new LedgerMemory(ledgerMemory(), 0), () => 1_000)
    const all = { kind: 'slots', limit: 1e9 } as const
    const tickets = Array.from({ length: 8_192 }, () => ledger.take('k', all, { amount: 1, ticket: true }).ticket!)
    assert.throws(() => ledger.take('k', all, { amount: 1, ticket: true }), { reason: 'full' })
    tickets[4_000]!.release()
    assert.equal(ledger.take('k', all, { amount: 1, ticket: true }).used, 8_192)
  })
})

function assertBalanced(totals: NonNullable<ReturnType<LedgerMemory['totals']>>): void {
  assert.ok(totals.length > 0)
  for (const { kind, opened, settled, released, lapsed, live } of totals)
    assert.equal(opened, settled + released + lapsed + live, kind)
}
