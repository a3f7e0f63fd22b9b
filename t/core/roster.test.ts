// What comes and goes with every request: counted rightly whatever the order, and nothing left behind.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Roster } from '../../core/roster.ts'

describe('a roster', () => {
  it('has in it what was added and not deleted, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20)), steps => {
        const roster = new Roster<{ place: number }>()
        const things = Array.from({ length: 21 }, () => ({ place: -1 }))
        const model = new Set<{ place: number }>()
        for (const at of steps) {
          const thing = things[at]!
          if (model.has(thing)) {
            model.delete(thing)
            assert.equal(roster.delete(thing), true)
          } else {
            model.add(thing)
            roster.add(thing)
          }
          assert.equal(roster.size, model.size)
          assert.deepEqual(new Set(roster), model)
        }
      }),
    )
  })

  it('says that a thing has left already', () => {
    const roster = new Roster<{ place: number }>()
    const thing = { place: -1 }
    assert.equal(roster.delete(thing), false)
    roster.add(thing)
    assert.equal(roster.delete(thing), true)
    assert.equal(roster.delete(thing), false)
    assert.equal(roster.size, 0)
  })

  it('can be left while it is walked through', () => {
    const roster = new Roster<{ place: number }>()
    const things = [{ place: -1 }, { place: -1 }, { place: -1 }]
    for (const thing of things) roster.add(thing)
    const seen = []
    for (const thing of roster) {
      roster.delete(thing)
      seen.push(thing)
    }
    assert.deepEqual(seen, things)
  })
})
