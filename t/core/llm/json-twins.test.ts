// Keys that stand twice.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { hasTwins } from '../../../core/llm/json-twins.ts'

const twins = (text: string) => hasTwins(Buffer.from(text), JSON.parse(text))

describe('a JSON body', () => {
  it('has no key twice that was written down from a value', () => {
    const key = fc.oneof(fc.constantFrom('a', '__proto__', '1', '"', ':', ''), fc.string())
    const { value } = fc.letrec<{ value: unknown }>(tie => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.oneof(fc.string(), fc.constantFrom(null, true, 1.5, 'a":', '\\":{"')),
        fc.array(tie('value')),
        fc.dictionary(key, tie('value')),
      ),
    }))
    fc.assert(
      fc.property(value, fc.constantFrom(undefined, 1, '\t'), (some, indent) => {
        assert.equal(twins(JSON.stringify(some, null, indent)), false)
      }),
      { numRuns: 500, seed: 8 },
    )
  })

  it('may have one twice, at any depth and however it is written', () => {
    for (const text of [
      '{"a":1,"a":1}',
      '{"a":1,"\\u0061" :2}',
      '[{"b":{"a":{},"a":{}}}]',
      '{"__proto__":1,"__proto__":2}',
    ])
      assert.equal(twins(text), true, text)
    const deep = '{"a":'.repeat(100_000)
    assert.equal(twins(`${deep}{"b":1,"b":2}${'}'.repeat(100_000)}`), true)
    assert.equal(twins(`${deep}{"b":1,"c":2}${'}'.repeat(100_000)}`), false)
  })
})
