// Positions that threads share: every number once, and bounded places.
import assert from 'node:assert/strict'
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
})
