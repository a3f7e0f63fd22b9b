// The format of an access log: what becomes of variables, of values that are not plain, and of none.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is nginx's syntax
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { JsonBytes } from '../../../core/observe/json-bytes.ts'
import { compileLine, type Escape } from '../../../core/observe/line-template.ts'

function written(format: string, way: Escape, values: Record<string, string | number>): string {
  const template = compileLine(format, way)
  const line = new JsonBytes(16)
  template.put(line, at => values[template.names[at]!])
  return line.written().toString()
}

describe('a line template', () => {
  it('fills in variables, and leaves other dollars alone', () => {
    const values = { a: 'x', b_1: 2 }
    assert.equal(written('$a ${b_1}$a-$ $', 'default', values), 'x 2x-$ $')
    assert.deepEqual(compileLine('$a ${b}$a', 'default').names, ['a', 'b', 'a'])
    assert.equal(written('no variable', 'json', values), 'no variable')
  })

  it('writes what nginx writes for no value', () => {
    assert.equal(written('"$a"', 'default', {}), '"-"')
    assert.equal(written('"$a"', 'json', {}), '""')
    assert.equal(written('"$a"', 'default', { a: '' }), '""')
  })

  it('escapes as nginx does', () => {
    const odd = 'a"b\\c\nd\x7fé'
    assert.equal(written('$a', 'default', { a: odd }), 'a\\x22b\\x5Cc\\x0Ad\\x7F\\xC3\\xA9')
    assert.equal(JSON.parse(written('"$a"', 'json', { a: odd })), odd)
  })

  it('is one line of JSON, or of fields that can be told apart, whatever is in the values', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), (a, b) => {
        assert.deepEqual(JSON.parse(written('{"a":"$a","b":"$b"}', 'json', { a, b })), { a, b })
        const line = written('"$a" "$b"', 'default', { a, b })
        assert.match(line, /^"[^"]*" "[^"]*"$/)
        assert.match(line, /^[ -~]*$/)
      }),
    )
  })
})
