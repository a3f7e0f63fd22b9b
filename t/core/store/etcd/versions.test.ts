// Versions of items: whoever takes what is good of them, one by one, ends with the last good one, whenever they come.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Versions } from '../../../../core/store/etcd/versions.ts'
import type { Item } from '../../../../core/store/store.ts'

function item(id: string, modRevision: number, more: Partial<Item> = {}): Item {
  return { kind: 'routes', id, value: { n: modRevision }, createRevision: 1, modRevision, ...more }
}

describe('the versions of items', () => {
  it('lead whoever comes late to the same as those who were there, however late anything is known to be bad', () => {
    const step = fc.record({
      id: fc.constantFrom('a', 'b'),
      what: fc.constantFrom('good', 'good', 'bad', 'fault', 'delete'),
      /** How many steps later the data plane has looked at it. */
      judged: fc.integer({ min: 0, max: 6 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), steps => {
        const verdicts = new Map<number, { good: boolean; from: number }>()
        let now = 0
        const versions = new Versions(({ modRevision }) => {
          const verdict = verdicts.get(modRevision)
          return verdict === undefined || verdict.from > now ? undefined : verdict.good
        })
        const served = new Map<string, Item>()
        for (const [at, { id, what, judged }] of steps.entries()) {
          now = at
          const revision = at + 10
          const next = item(id, revision, what === 'fault' ? { fault: 'no JSON', value: {} } : {})
          verdicts.set(revision, { good: what === 'good', from: at + judged })
          versions.take({ kind: 'routes', id, item: what === 'delete' ? undefined : next })
          if (what === 'good') served.set(id, next)
          if (what === 'delete') served.delete(id)
          const late = new Map<string, Item>()
          for (const each of versions.all()) if (verdicts.get(each.modRevision)!.good) late.set(each.id, each)
          assert.deepEqual(late, served)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('are no more than nine of an item that changes faster than it is looked at', () => {
    const versions = new Versions(() => undefined)
    for (let n = 1; n <= 100; n++) versions.take({ kind: 'routes', id: 'a', item: item('a', n) })
    const kept = versions.all().map(({ modRevision }) => modRevision)
    assert.equal(kept.length, 9)
    assert.deepEqual([kept[0], kept.at(-1)], [1, 100])
  })

  it('come to another state by changes that are different, deletes first', () => {
    const versions = new Versions(() => true)
    for (const id of ['stays', 'goes', 'changes']) versions.take({ kind: 'routes', id, item: item(id, 1) })
    const wanted = [item('stays', 1), item('changes', 2), item('comes', 2)]
    const said = (sameHistory: boolean, items = wanted) =>
      versions.towards(items, 9, sameHistory).map(({ id, item, revision }) => [id, item?.modRevision, revision])
    assert.deepEqual(said(true), [
      ['goes', undefined, 9],
      ['changes', 2, 9],
      ['comes', 2, 9],
    ])
    const other = [item('stays', 1, { value: { other: true } }), ...wanted.slice(1)]
    assert.deepEqual(said(false, other)[1], ['stays', 1, 9])
    assert.deepEqual(said(false), said(true))
  })
})
