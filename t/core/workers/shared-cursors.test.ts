// Positions that threads share: every number once, bounded places, a dead owner's lock is broken.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { cursorMemory, SharedCursors } from '../../../core/workers/shared-cursors.ts'

describe('shared cursors', () => {
  let clock = 1_000_000_000
  const source = { now: () => clock, random: () => 0.25 }
  const table = (slots: number, memory = cursorMemory(slots)) => ({
    memory,
    cursors: new SharedCursors(memory, 0, source),
  })

  it('give each number once, whoever asks', () => {
    const { memory, cursors } = table(8)
    const one = cursors.named('upstream 1')!
    const same = new SharedCursors(memory, 1, source).named('upstream 1')!
    const begin = one.next()
    assert.deepEqual([same.next(), one.next(), same.next()], [begin + 1, begin + 2, begin + 3])
    const other = cursors.named('upstream 2')!
    other.next()
    assert.equal(one.next(), begin + 4)
  })

  it('have no place for more than fit, until one has been idle for long', () => {
    const { cursors } = table(4)
    const held = ['a', 'b', 'c', 'd'].map(name => cursors.named(name)!)
    assert.ok(held.every(cursor => cursor !== undefined))
    assert.equal(cursors.named('e'), undefined)
    clock += 601_000
    for (const cursor of held.slice(1)) cursor.next()
    const late = cursors.named('e')
    assert.ok(late)
    // The one that lost its place takes another that is idle, and goes on.
    clock += 601_000
    const next = held[0]!.next()
    assert.equal(held[0]!.next(), next + 1)
  })

  it('wait for a lock only as long as its owner lives', async () => {
    const { memory, cursors } = table(4)
    // Worker 7 dies with the lock in its hand.
    new Int32Array(memory)[0] = 8
    const waiting = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads')
       import(workerData.module).then(({ SharedCursors }) => {
         const found = new SharedCursors(workerData.memory, 1, { now: () => 0, random: () => 0 }).named('x')
         parentPort.postMessage(found !== undefined)
       })`,
      {
        eval: true,
        workerData: { memory, module: new URL('../../../core/workers/shared-cursors.ts', import.meta.url).href },
      },
    )
    const found = once(waiting, 'message')
    SharedCursors.release(memory, 6)
    assert.equal(new Int32Array(memory)[0], 8, 'another owner’s lock is left alone')
    SharedCursors.release(memory, 7)
    assert.deepEqual(await found, [true])
    await waiting.terminate()
    assert.ok(cursors.named('y'))
  })
})
