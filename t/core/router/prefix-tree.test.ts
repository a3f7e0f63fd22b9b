// What a text begins or ends with, against a list of all keys; and that edits in any order end in the same tree.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { PrefixTree } from '../../../core/router/prefix-tree.ts'

// Few letters, so that keys share beginnings, split each other and join again; one beyond the basic plane.
const text = fc.array(fc.constantFrom('a', 'b', '/', '\u{1f600}'), { maxLength: 6 }).map(letters => letters.join(''))

describe('the prefix tree', () => {
  for (const backwards of [false, true]) {
    it(`agrees with a list after any edits${backwards ? ', backwards' : ''}`, () => {
      const edit = fc.record({ key: text, value: fc.option(fc.nat(), { nil: undefined }) })
      fc.assert(
        fc.property(fc.array(edit, { maxLength: 30 }), fc.array(text, { minLength: 1 }), (edits, asked) => {
          const tree = new PrefixTree<number>({ backwards })
          const model = new Map<string, number>()
          for (const { key, value } of edits) {
            if (value === undefined) {
              tree.delete(key)
              model.delete(key)
            } else {
              tree.set(key, value)
              model.set(key, value)
            }
          }
          const touches = (whole: string, key: string) => (backwards ? whole.endsWith(key) : whole.startsWith(key))
          for (const each of [...asked, ...edits.map(({ key }) => key)]) {
            assert.equal(tree.get(each), model.get(each))
            const keys = [...model.keys()].filter(key => touches(each, key)).sort((a, b) => a.length - b.length)
            assert.deepEqual(
              tree.along(each),
              keys.map(key => model.get(key)),
            )
          }
          assert.equal(tree.empty, model.size === 0)
          const fresh = new PrefixTree<number>({ backwards })
          for (const [key, value] of model) fresh.set(key, value)
          assert.equal(tree.nodes, fresh.nodes)
        }),
        { numRuns: 500, seed: 20_261_120 },
      )
    })
  }
})
