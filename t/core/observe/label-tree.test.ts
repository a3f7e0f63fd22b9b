// A tree of label values is a map by the whole row, and loses what it is told to.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { LabelTree } from '../../../core/observe/label-tree.ts'

describe('a tree of label values', () => {
  it('agrees with a map by the joined row after any plantings, removals and prunings', () => {
    const label = fc.constantFrom('', 'a', 'b', 'c')
    const row = fc.tuple(label, label, label)
    const operation = fc.oneof(
      row.map(values => ({ kind: 'plant' as const, values })),
      row.map(values => ({ kind: 'find' as const, values })),
      row.map(values => ({ kind: 'remove' as const, values })),
      fc.record({ kind: fc.constant('prune' as const), at: fc.nat(2), value: label, odd: fc.boolean() }),
    )
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), operations => {
        const tree = new LabelTree<number>(3)
        const model = new Map<string, number>()
        for (const [at, operation] of operations.entries()) {
          if (operation.kind === 'prune') {
            const { at: level, value, odd } = operation
            const drop = (thing: number) => !odd || thing % 2 === 1
            tree.prune(level, value, drop)
            for (const [key, thing] of model) if (key.split(',')[level] === value && drop(thing)) model.delete(key)
          } else {
            const key = operation.values.join()
            assert.equal(tree.find(operation.values), model.get(key))
            if (operation.kind === 'plant' && !model.has(key)) {
              tree.plant(operation.values, at)
              model.set(key, at)
            }
            if (operation.kind === 'remove' && model.delete(key)) tree.remove(operation.values)
          }
          assert.equal(tree.size, model.size)
        }
        for (const [key, thing] of model) assert.equal(tree.find(key.split(',')), thing)
      }),
    )
  })

  it('has one place when there are no labels', () => {
    const tree = new LabelTree<string>(0)
    assert.equal(tree.find([]), undefined)
    tree.plant([], 'only')
    assert.equal(tree.find([]), 'only')
    tree.remove([])
    assert.deepEqual([tree.find([]), tree.size], [undefined, 0])
    tree.plant([], 'again')
    tree.clear()
    assert.deepEqual([tree.find([]), tree.size], [undefined, 0])
  })
})
