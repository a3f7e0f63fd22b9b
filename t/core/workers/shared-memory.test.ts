// What workers count together: exact over all of them, and rid of what a dead one held.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { loadMemory } from '../../../core/workers/shared-loads.ts'
import { releaseShared, type SharedMemory, sharedMemory, sharedState } from '../../../core/workers/shared-memory.ts'

describe('the state that workers share', () => {
  let clock: number
  let full: string[]
  beforeEach(() => {
    clock = 1_000_000_000
    full = []
  })
  const worker = (memory: SharedMemory, owner: number) =>
    sharedState(memory, owner, {
      now: () => clock,
      random: () => 0.5,
      full: (what, name) => full.push(`${what} ${name}`),
    })

  it('counts the requests under way of all of them, and each ends once', () => {
    const memory = sharedMemory(2)
    const [one, two] = [worker(memory, 0).load('a node'), worker(memory, 1).load('a node')]
    const ends = [one.begin(), two.begin(), two.begin()]
    assert.deepEqual([one.count, two.count], [3, 3])
    for (const end of ends) {
      end()
      end()
    }
    assert.deepEqual([one.count, two.count], [0, 0])
    assert.equal(worker(memory, 0).load('another node').count, 0)
  })

  it('keeps the count of a request that lasts longer than rows do otherwise', () => {
    const memory = { ...sharedMemory(1), loads: loadMemory(1, 1) }
    const load = worker(memory, 0).load('a node')
    const end = load.begin()
    clock += 3_600_000
    worker(memory, 0).load('another node')
    assert.deepEqual(full, ['load another node'])
    assert.equal(load.count, 1)
    end()
    assert.equal(load.count, 0)
  })

  it('forgets the requests of a worker that is gone, and of no other', () => {
    const memory = sharedMemory(1)
    const { columns } = memory.loads
    const [dead, living] = [worker(memory, 3).load('a node'), worker(memory, 4).load('a node')]
    for (let times = 0; times < 5; times++) dead.begin()
    const end = living.begin()
    assert.equal(living.count, 6)
    // A worker of an equal column is still there: what is whose cannot be told, until it is gone too.
    releaseShared(memory, 3, [4, 3 + columns])
    assert.equal(living.count, 6)
    releaseShared(memory, 3 + columns, [4])
    assert.equal(living.count, 1)
    end()
    assert.equal(living.count, 0)
  })

  it('is exact over threads that count at once', async () => {
    const memory = sharedMemory(4)
    const code = `const { workerData, parentPort } = require('node:worker_threads')
      import(workerData.module).then(({ sharedState }) => {
        const state = sharedState(workerData.memory, workerData.owner, { now: Date.now, random: Math.random, full() {} })
        const load = state.load('a node')
        const latency = state.latency('a node')
        const cursor = state.cursor('an upstream')
        const open = []
        let highest = 0
        for (let turn = 0; turn < 20_000; turn++) {
          open.push(load.begin())
          if (turn % 3 === 0) open.shift()()
          latency.observe(10)
          highest = Math.max(highest, cursor.next())
        }
        parentPort.postMessage({ open: open.length, highest })
        parentPort.once('message', () => {
          for (const end of open) end()
          parentPort.close()
        })
      })`
    const module = new URL('../../../core/workers/shared-memory.ts', import.meta.url).href
    clock = Date.now()
    const seen = worker(memory, 0)
    const first = seen.cursor('an upstream').next()
    const threads = [1, 2, 3].map(owner => new Worker(code, { eval: true, workerData: { module, memory, owner } }))
    const told = await Promise.all(threads.map(async thread => (await once(thread, 'message'))[0]))
    const open = told.reduce((sum: number, { open }) => sum + open, 0)
    assert.equal(seen.load('a node').count, open)
    assert.equal(Math.max(...told.map(({ highest }) => highest)), first + 60_000)
    clock = Date.now()
    const score = seen.latency('a node').score()
    assert.ok(score > 0 && score < 10.001, `${score}`)
    for (const thread of threads) {
      thread.postMessage('end')
      await once(thread, 'exit')
    }
    assert.equal(seen.load('a node').count, 0)
  })

  it('leaves whoever asks for it alone in every worker, for the longest that was asked', () => {
    const memory = sharedMemory(2)
    const [one, two] = [worker(memory, 0).rest('an instance'), worker(memory, 1).rest('an instance')]
    assert.equal(two.leftMs, 0)
    one.ask(5_000)
    assert.ok(two.leftMs >= 5_000 && two.leftMs < 5_016, `${two.leftMs}`)
    two.ask(2_000)
    assert.ok(one.leftMs >= 5_000)
    two.ask(8_000)
    assert.ok(one.leftMs >= 8_000)
    assert.equal(worker(memory, 0).rest('another instance').leftMs, 0)
    clock += 8_016
    assert.deepEqual([one.leftMs, two.leftMs], [0, 0])
    one.ask(100)
    assert.ok(two.leftMs >= 100 && two.leftMs < 116)
    two.ask(Number.POSITIVE_INFINITY)
    assert.ok(one.leftMs <= 86_400_016)
    // As often as ticks come round, and whenever between.
    for (let year = 0; year < 9; year++) {
      clock += 365 * 86_400_000
      assert.equal(one.leftMs, 0)
      one.ask(1_000)
      assert.ok(two.leftMs >= 1_000 && two.leftMs < 1_016)
    }
  })

  it('shows every worker how slow a node was for the others, and forgets it in a minute', () => {
    const memory = sharedMemory(2)
    const [one, two] = [worker(memory, 0).latency('a node'), worker(memory, 1).latency('a node')]
    assert.equal(two.score(), 0)
    one.observe(120)
    assert.equal(two.score(), 120)
    clock += 10_000
    assert.ok(Math.abs(two.score() - 120 / Math.E) < 1e-3)
    two.observe(20)
    assert.ok(Math.abs(one.score() - (120 / Math.E + 20 * (1 - 1 / Math.E))) < 1e-3)
    clock += 60_001
    assert.equal(one.score(), 0)
    one.observe(5)
    assert.equal(two.score(), 5)
    clock -= 5_000
    assert.equal(two.score(), 5, 'a clock that was set back makes nothing newer')
  })
})
