// What a text is, begins with or ends with, against a list of all keys, through any edits and any crowding.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { AffixTable, type Key } from '../../../core/router/affix-table.ts'

// Few letters, so that keys share beginnings; the separator, and one beyond the basic plane.
const text = fc.array(fc.constantFrom('a', 'b', '/', '\u{1f600}'), { maxLength: 6 }).map(letters => letters.join(''))
const key: fc.Arbitrary<Key> = fc.record({ text, whole: fc.boolean(), group: fc.constantFrom(0, 1, 7) })

describe('the table of affixes', () => {
  for (const backwards of [false, true]) {
    it(`agrees with a list after any edits${backwards ? ', backwards' : ''}`, () => {
      const edit = fc.record({ key, value: fc.option(fc.nat(), { nil: undefined }) })
      fc.assert(
        fc.property(fc.array(edit, { maxLength: 60 }), fc.array(text, { minLength: 1 }), (edits, asked) => {
          const table = new AffixTable<number>({ separator: '/', backwards })
          const model = new Map<string, { key: Key; value: number }>()
          for (const { key, value } of edits) {
            const name = JSON.stringify([key.text, key.whole, key.group])
            if (value === undefined) {
              table.delete(key)
              model.delete(name)
            } else {
              table.set(key, value)
              model.set(name, { key, value })
            }
          }
          assert.equal(table.size, model.size)
          for (const { key, value } of model.values()) assert.equal(table.get(key), value)
          for (const whole of [...asked, ...edits.map(edit => edit.key.text)]) {
            for (const group of [0, 1, 2, 7]) {
              const touches = (part: string) => (backwards ? whole.endsWith(part) : whole.startsWith(part))
              const expected = [...model.values()]
                .filter(({ key }) => key.group === group && (key.whole ? key.text === whole : touches(key.text)))
                .sort((a, b) => Number(b.key.whole) - Number(a.key.whole) || b.key.text.length - a.key.text.length)
                .map(({ value }) => value)
              const seen: number[] = []
              table.find(group, whole, value => void seen.push(value))
              assert.deepEqual(seen, expected)
              assert.equal(
                table.find(group, whole, value => (value === expected[1] ? `${value}` : undefined)),
                expected[1] === undefined ? undefined : `${expected[1]}`,
              )
            }
          }
        }),
        { numRuns: 300, seed: 20_261_120 },
      )
    })
  }

  it('finds everything while it grows, is thinned out, and shrinks', () => {
    const table = new AffixTable<number>({ separator: '/' })
    const keys = Array.from({ length: 5_000 }, (_, at) => ({ text: `/${at}/`, whole: at % 2 === 0, group: at % 3 }))
    const check = (present: (at: number) => boolean) => {
      for (const [at, key] of keys.entries()) {
        const found = table.find(key.group, key.whole ? key.text : `${key.text}x/y`, value => value)
        assert.equal(found, present(at) ? at : undefined)
      }
    }
    for (const [at, key] of keys.entries()) table.set(key, at)
    check(() => true)
    for (const [at, key] of keys.entries()) if (at % 7 !== 0) table.delete(key)
    check(at => at % 7 === 0)
    for (const key of keys) table.delete(key)
    check(() => false)
    assert.equal(table.size, 0)
  })

  it('is not held up by a text that is longer than any key', () => {
    const table = new AffixTable<number>({ separator: '/' })
    for (const text of ['', '/', '/a/', '/a']) table.set({ text, whole: false, group: 0 }, text.length)
    const long = `/a/${'b/'.repeat(30_000)}`
    const started = process.cpuUsage()
    for (let times = 0; times < 10_000; times++)
      assert.equal(
        table.find(0, long, value => value),
        3,
      )
    assert.ok(process.cpuUsage(started).user < 1_000_000)
  })
})
