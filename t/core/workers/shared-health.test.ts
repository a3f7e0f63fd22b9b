// The health of targets that threads share: what several of them observe counts as if one had.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { counterOf, isUsable, statusOf } from '../../../core/proxy/health/state.ts'
import { healthMemory, SharedHealth } from '../../../core/workers/shared-health.ts'

describe('health that threads share', () => {
  let clock = 1_000_000_000
  const now = () => clock

  it('is one count of what all of them see', () => {
    const memory = healthMemory()
    const threads = [0, 1, 2].map(owner => new SharedHealth(memory, owner, now).cell('a target')!)
    assert.deepEqual(
      threads.map(cell => statusOf(cell.observe('http', 3).after)),
      ['mostly_healthy', 'mostly_healthy', 'unhealthy'],
    )
    assert.ok(threads.every(cell => !isUsable(cell.state)))
    assert.equal(threads[0]!.recoveredMs, Number.POSITIVE_INFINITY)
    threads[1]!.observe('success', 2)
    threads[2]!.observe('success', 2)
    assert.ok(isUsable(threads[0]!.state))
    clock += 3_500
    assert.equal(threads[0]!.recoveredMs, 3_500)
    assert.equal(new SharedHealth(memory, 9, now).cell('another')!.state, 0)
  })

  it('tells of every change, and of nothing else', () => {
    const memory = healthMemory()
    const [one, two] = [new SharedHealth(memory, 0, now), new SharedHealth(memory, 1, now)]
    const cell = one.cell('a target')!
    const seen = two.changes
    cell.observe('http', 2)
    cell.observe('success', 1)
    assert.equal(two.changes, seen)
    cell.observe('tcp', 1)
    assert.equal(two.changes, seen + 1)
    cell.observe('success', 2)
    assert.equal(two.changes, seen + 1)
    cell.forget()
    assert.equal(two.changes, seen + 2)
  })

  it('keeps what somebody answers for, and gives the place of the rest away', () => {
    const memory = healthMemory(2)
    const table = new SharedHealth(memory, 0, now)
    const [kept, idle] = [table.cell('kept')!, table.cell('idle')!]
    kept.observe('tcp', 1)
    kept.keep()
    idle.observe('tcp', 1)
    assert.equal(table.cell('a third'), undefined)
    clock += 601_000
    assert.equal(table.cell('a third')!.state, 0)
    assert.ok(!isUsable(kept.state))
    assert.equal(idle.state, 0, 'one that has no place any more is taken for healthy')
    assert.deepEqual(idle.observe('tcp', 1), { before: 0, after: 0 })
    assert.equal(idle.recoveredMs, Number.POSITIVE_INFINITY)
    kept.forget()
    clock += 601_000
    assert.ok(table.cell('a fourth'))
  })

  it('loses no observation of threads that observe at once', async () => {
    const memory = healthMemory()
    const code = `const { workerData, parentPort } = require('node:worker_threads')
      import(workerData.module).then(({ SharedHealth }) => {
        const health = new SharedHealth(workerData.memory, workerData.owner, Date.now)
        const start = new Int32Array(workerData.start)
        let done = 0
        for (let target = 0; target < 300; target++) {
          const cell = health.cell('target ' + target)
          // All of them at the same target at the same time.
          Atomics.add(start, target, 1)
          Atomics.notify(start, target)
          while (Atomics.load(start, target) < 2) Atomics.wait(start, target, 1, 10)
          for (let time = 0; time < 120; time++) cell.observe(time % 3 === 0 ? 'tcp' : 'http', 254)
        }
        parentPort.postMessage('done')
      })`
    const module = new URL('../../../core/workers/shared-health.ts', import.meta.url).href
    const start = new SharedArrayBuffer(300 * 4)
    const workers = [1, 2].map(owner => new Worker(code, { eval: true, workerData: { module, memory, owner, start } }))
    await Promise.all(workers.map(worker => once(worker, 'message')))
    await Promise.all(workers.map(worker => worker.terminate()))
    const health = new SharedHealth(memory, 0, Date.now)
    for (let target = 0; target < 300; target++) {
      assert.deepEqual(counterOf(health.cell(`target ${target}`)!.state), {
        success: 0,
        http_failure: 160,
        tcp_failure: 80,
        timeout_failure: 0,
      })
    }
  })
})
