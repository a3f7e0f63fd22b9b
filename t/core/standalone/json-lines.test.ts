// Lines in JSON documents: of entries, and of what is wrong.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { entryLines, faultLine } from '../../../core/standalone/json-lines.ts'

describe('the lines of a JSON document', () => {
  it('are known of collections and their entries, and of nothing deeper', () => {
    const text = `{ "routes": [
      { "id": "1", "tags": ["a", "b"] },
      { "id": "2",
        "x": [[1], {"y": "],{\\"\\n"}] }, 5,
      "six"
    ],
    "empty": [],  "one": [{}],
    "plugins": {} }`
    assert.deepEqual(Object.fromEntries(entryLines(text)), {
      routes: 1,
      'routes[0]': 2,
      'routes[1]': 3,
      'routes[2]': 4,
      'routes[3]': 5,
      empty: 7,
      one: 7,
      'one[0]': 7,
      plugins: 8,
    })
  })

  it('are right whatever stands in the document', () => {
    const list = fc.array(fc.jsonValue({ maxDepth: 3 }), { maxLength: 4 })
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), list, { noNullPrototype: true }), document => {
        const lines = entryLines(JSON.stringify(document, null, 1))
        // Printed so, each collection and each entry begins a line: what stands on it says which it is.
        let line = 2
        for (const [name, entries] of Object.entries(document)) {
          assert.equal(lines.get(name), line)
          if (entries.length > 0) line++
          for (const [at, entry] of entries.entries()) {
            assert.equal(lines.get(`${name}[${at}]`), line)
            line += JSON.stringify(entry, null, 1).split('\n').length
          }
          line++
        }
      }),
      { numRuns: 300 },
    )
  })

  it('tell where the text stops being JSON', () => {
    for (const [text, line] of [
      ['', 1],
      ['\n\n', 3],
      ['{\n"a": 1,\n}', 3],
      ['{\n"a": 1\n"b": 2}', 3],
      ['{"a": [1,\n2,\n]}', 3],
      ['{"a": [1\n2]}', 2],
      ['{"a":\n}', 2],
      ['{"a"\n1}', 2],
      ["{\n'a': 1}", 2],
      ['{\na: 1}', 2],
      ['{"a": 01}', 1],
      ['{"a": 1.}', 1],
      ['{"a": tru\n}', 1],
      ['{"a": 1}\n}', 2],
      ['{"a": 1}\n{"b": 2}', 2],
      ['{"a": "x\ny"}', 1],
      ['[1,\n2\n', 3],
      ['{"a": 1]', 1],
      ['{"a": //\n1}', 1],
      ['{"a": "\\x"}\n', 2],
    ] as const) {
      assert.throws(() => JSON.parse(text), text)
      assert.equal(faultLine(text), line, text)
    }
  })

  it('never take text that parses for a fault before its end', () => {
    fc.assert(
      fc.property(fc.json(), text => {
        const broken = `${text}\n\n}`
        assert.equal(faultLine(broken), broken.split('\n').length)
      }),
      { numRuns: 300 },
    )
  })
})
