// Names in a value that a schema has never heard of.
// biome-ignore-all lint/suspicious/noThenProperty: a keyword of JSON Schema
import assert from 'node:assert/strict'
import { allStrangers, strangers } from '../../../core/schema.ts'

const names = { type: 'object', properties: { a: { type: 'integer' } } } as const

describe('strangers', () => {
  it('are the names that neither a schema nor its alternatives speak of', () => {
    assert.deepEqual(strangers(names, { a: 1, b: 2, toString: 3 }), ['b', 'toString'])
    const alternatives = { ...names, anyOf: [{ properties: { b: {} } }, { required: ['c'] }], if: true, then: names }
    assert.deepEqual(strangers(alternatives, { a: 1, b: 2, c: 3 }), ['c'])
    const conditions = {
      allOf: [{ oneOf: [{ properties: { x: {} } }] }],
      dependencies: { x: { properties: { y: {} } } },
    }
    assert.deepEqual(strangers(conditions, { x: 1, y: 1, z: 1 }), ['z'])
  })

  it('are not in an object that is free', () => {
    assert.deepEqual(strangers({ type: 'object' }, { a: 1 }), [])
    assert.deepEqual(strangers({ ...names, additionalProperties: true }, { b: 1 }), [])
    assert.deepEqual(strangers({ ...names, patternProperties: { '^x': {} } }, { b: 1 }), [])
  })

  it('are found at any depth, through lists and alternatives of a type', () => {
    const schema = {
      type: 'object',
      properties: {
        one: names,
        many: { type: 'array', items: names },
        either: {
          anyOf: [
            { type: 'object', additionalProperties: {} },
            { type: 'array', items: names },
          ],
        },
        free: { type: 'object' },
      },
    } as const
    const value = {
      one: { b: 1 },
      many: [
        { a: 1, b: 1 },
        { b: 2, c: 3 },
      ],
      either: [{ d: 1 }],
      free: { e: 1 },
      f: 1,
    }
    assert.deepEqual(allStrangers(schema, value), ['f', 'one.b', 'many.b', 'many.c', 'either.d'])
    assert.deepEqual(allStrangers(schema, { either: { any: 1 }, one: 5, many: 'x' }), [])
    assert.deepEqual(allStrangers(schema, null), [])
  })
})
