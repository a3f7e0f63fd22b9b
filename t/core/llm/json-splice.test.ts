// Splicing members into JSON bytes.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { appendMember, keysOf, memberSpan, withMember } from '../../../core/llm/json-splice.ts'

const valueText = (json: string, key: string) => {
  const span = memberSpan(Buffer.from(json), key)
  return span && Buffer.from(json).toString('utf8', span.start, span.end)
}

/** JSON with whitespace wherever the grammar allows it, and strings with as many escapes as possible. */
function written(value: unknown, random: () => number): string {
  const space = () => [' ', '\n', '\t', '\r', ''][Math.floor(random() * 8)] ?? ''
  const text = (string: string) =>
    random() < 0.5
      ? JSON.stringify(string)
      : `"${Array.from({ length: string.length }, (_, at) => `\\u${string.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')}"`
  const write = (part: unknown): string => {
    if (typeof part === 'string') return text(part)
    if (Array.isArray(part))
      return `[${space()}${part.map(item => space() + write(item) + space()).join(',')}${space()}]`
    if (typeof part !== 'object' || part === null) return JSON.stringify(part)
    const members = Object.entries(part).map(
      ([key, item]) => `${space()}${text(key)}${space()}:${space()}${write(item)}`,
    )
    return `{${members.map(member => member + space()).join(',')}${members.length === 0 ? space() : ''}}`
  }
  return space() + write(value) + space()
}

// No backslash in names: JSON.parse of Node 26.10 takes "\\u0000" for "\\" where an object of the same shape had that name.
const key = fc
  .oneof(fc.constantFrom('stream', 'stream_options', 'a"b', '', '__proto__', 'é'), fc.string({ unit: 'binary' }))
  .filter(name => !name.includes('\\'))
// JSON has no -0.
const anything = fc
  .jsonValue({ maxDepth: 3 })
  .map(value => JSON.stringify(value))
  .filter(text => !text.includes('\\\\'))
  .map(text => JSON.parse(text) as unknown)
const object = fc.dictionary(key, anything, { maxKeys: 6 })
const seed = fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 1, maxLength: 40 })

describe('json-splice', () => {
  it('finds what stands behind a long text, whatever is escaped in it', () => {
    const unit = fc.constantFrom('"', '\\', 'a', '{', 'some words that are many', '\\"')
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 40 }), units => {
        const json = Buffer.from(JSON.stringify({ long: units.join(''), next: [1] }))
        const span = memberSpan(json, 'next')!
        assert.equal(json.toString('utf8', span.start, span.end), '[1]')
        assert.deepEqual(keysOf(json), ['long', 'next'])
      }),
      { numRuns: 500, seed: 8 },
    )
  })

  it('changes one member as an assignment would, and no other byte', () => {
    fc.assert(
      fc.property(object, key, anything, seed, (value, name, put, numbers) => {
        let at = 0
        const json = Buffer.from(written(value, () => numbers[at++ % numbers.length]!))
        const before = JSON.parse(json.toString()) as Record<string, unknown>
        const spliced = withMember(json, name, JSON.stringify(put))
        const entries = new Map(Object.entries(before)).set(name, put)
        assert.deepEqual(JSON.parse(spliced.toString()), Object.fromEntries(entries))
        assert.deepEqual(new Set(keysOf(json)), new Set(Object.keys(before)))
        const span = memberSpan(json, name)
        assert.equal(span !== undefined, Object.hasOwn(before, name))
        if (span === undefined) {
          const close = json.lastIndexOf('}')
          assert.deepEqual(spliced.subarray(0, close), json.subarray(0, close))
          assert.deepEqual(spliced.subarray(close - json.length), json.subarray(close))
        } else {
          assert.deepEqual(spliced.subarray(0, span.start), json.subarray(0, span.start))
          assert.deepEqual(spliced.subarray(spliced.length - (json.length - span.end)), json.subarray(span.end))
          assert.deepEqual(JSON.parse(json.toString('utf8', span.start, span.end)), before[name])
        }
      }),
      { numRuns: 500 },
    )
  })

  it('takes the last of members with the same name, as JSON.parse does', () => {
    assert.equal(valueText('{"a":1,"b":{"a":2},"a":3}', 'a'), '3')
    assert.equal(withMember(Buffer.from('{"a":1,"a":2}'), 'a', '9').toString(), '{"a":1,"a":9}')
  })

  it('names every key as often as it stands there', () => {
    assert.deepEqual(keysOf(Buffer.from('{"a":1,"b":{"c":2},"\\u0061":3}')), ['a', 'b', 'a'])
    assert.deepEqual(keysOf(Buffer.from(' {}')), [])
  })

  it('does not look into nested values or strings', () => {
    assert.equal(valueText('{"x":"\\"a\\":1","y":[{"a":2}],"z":{"a":3}}', 'a'), undefined)
  })

  it('finds a name written with escapes', () => {
    assert.equal(valueText('{"str\\u0065am": true }', 'stream'), 'true')
  })

  it('is not confused by bytes that are no UTF-8', () => {
    const json = Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xe2, 0xff]), Buffer.from('","a":1}')])
    const { start, end } = memberSpan(json, 'a')!
    assert.equal(json.toString('latin1', start, end), '1')
  })

  it('appends to an empty object without a comma and keeps what follows the object', () => {
    assert.equal(appendMember(Buffer.from(' { } \n'), 'a', '1').toString(), ' { "a":1} \n')
    assert.equal(appendMember(Buffer.from('{"b":"}" }\n'), 'a', '1').toString(), '{"b":"}" ,"a":1}\n')
  })
})
