// Rows that threads share: found by name, bounded, kept while in use; a dead owner's lock is broken.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { SharedTable, tableMemory } from '../../../core/workers/shared-table.ts'

describe('a shared table', () => {
  let clock = 1_000_000_000
  const options = { width: 2, owner: 0, now: () => clock }

  it('gives everybody the same row by the same name, with zeros at first', () => {
    const memory = tableMemory(64, 2)
    const mine = new SharedTable(memory, options)
    const theirs = new SharedTable(memory, { ...options, owner: 1 })
    const names = Array.from({ length: 50 }, (_, at) => `row ${at}`)
    for (const [at, name] of names.entries()) {
      const row = mine.row(name)!
      assert.deepEqual([...row.cells.subarray(row.at()!, row.at()! + 2)], [0, 0])
      row.cells[row.at()!] = at
      row.cells[row.at()! + 1] = 1_000 - at
    }
    for (const [at, name] of names.entries()) {
      const row = theirs.row(name)!
      assert.deepEqual([...row.cells.subarray(row.at()!, row.at()! + 2)], [at, 1_000 - at])
    }
    const seen: number[] = []
    theirs.each((cells, at) => seen.push(cells[at]!))
    assert.deepEqual(
      seen.sort((a, b) => a - b),
      names.map((_, at) => at),
    )
  })

  it('knows how much room there is: what is empty, and what nobody has touched for ten minutes', () => {
    const memory = tableMemory(10, 2)
    const table = new SharedTable(memory, options)
    const ofRow = 5 * 4
    const free = () => SharedTable.room(memory, 2, clock).free / ofRow
    assert.deepEqual(SharedTable.room(memory, 2, clock), { capacity: 10 * ofRow, free: 10 * ofRow })
    const [a] = ['a', 'b'].map(name => table.row(name)!)
    assert.equal(free(), 8)
    clock += 601_000
    a!.at()
    assert.equal(free(), 9)
  })

  it('has no place for more rows than fit, and gives away only what is idle and not in use', () => {
    const memory = tableMemory(3, 2)
    const table = new SharedTable(memory, { ...options, inUse: (cells, at) => cells[at]! > 0 })
    const [a, b, c] = ['a', 'b', 'c'].map(name => table.row(name)!)
    assert.equal(table.row('d'), undefined)
    a!.cells[a!.at()!] = 1
    clock += 601_000
    c!.at()
    const d = table.row('d')!
    assert.notEqual(d.at(), a!.at())
    assert.equal(a!.cells[a!.at()!], 1, 'what is in use is kept')
    // b lost its place, and all others are in use or not idle.
    assert.equal(b!.at(), undefined)
    clock += 601_000
    d.at()
    const place = b!.at()
    assert.ok(
      place !== undefined && place !== d.at() && place !== a!.at(),
      'it takes the place of c, which is idle now',
    )
    assert.equal(c!.at(), undefined)
  })

  it('waits for a lock only as long as its owner lives', async () => {
    const memory = tableMemory(4, 1)
    // Thread 7 dies with the lock in its hand.
    new Int32Array(memory)[0] = 8
    const waiting = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads')
       import(workerData.module).then(({ SharedTable }) => {
         const row = new SharedTable(workerData.memory, { width: 1, owner: 1, now: () => 0 }).row('x')
         parentPort.postMessage(row !== undefined)
       })`,
      {
        eval: true,
        workerData: { memory, module: new URL('../../../core/workers/shared-table.ts', import.meta.url).href },
      },
    )
    const found = once(waiting, 'message')
    SharedTable.release(memory, 6)
    assert.equal(new Int32Array(memory)[0], 8, 'another owner’s lock is left alone')
    SharedTable.release(memory, 7)
    assert.deepEqual(await found, [true])
    await waiting.terminate()
    assert.ok(new SharedTable(memory, { width: 1, owner: 0, now: () => clock }).row('y'))
  })
})
