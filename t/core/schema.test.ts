// Schemas: what is said of values that do not fit, and what becomes of those that do.
// biome-ignore-all lint/suspicious/noThenProperty: a keyword of JSON Schema
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { collectGarbage } from '../../core/garbage.ts'
import type { Schema } from '../../core/plugin.ts'
import { isReference, shapeProblem, validator } from '../../core/schema.ts'

/** Schema, value, and what is said; undefined when it fits. */
type Row = [schema: Schema, value: unknown, said: string | undefined]

const inA = (schema: Schema): Schema => ({ type: 'object', properties: { a: schema } })
const needs = (...names: string[]): Schema => ({ required: names })

const rows: Record<string, Row[]> = {
  'a wrong type': [
    [{ type: 'integer' }, 'x', 'wrong type: expected integer, got string'],
    [{ type: 'integer' }, 1.5, 'wrong type: expected integer, got number'],
    [{ type: 'integer' }, 1.0, undefined],
    [{ type: 'string' }, null, 'wrong type: expected string, got nil'],
    [{ type: 'string' }, true, 'wrong type: expected string, got boolean'],
    [{ type: 'string' }, { x: 1 }, 'wrong type: expected string, got table'],
    [{ type: ['string', 'object'] }, 1, 'wrong type: expected one of string, object, got number'],
  ],
  'where it is': [
    [
      inA(inA({ type: 'integer' })),
      { a: { a: 'x' } },
      'property "a" validation failed: property "a" validation failed: wrong type: expected integer, got string',
    ],
    [
      { type: 'array', items: { type: 'string' } },
      ['x', 1],
      'failed to validate item 2: wrong type: expected string, got number',
    ],
    [
      { type: 'object', patternProperties: { '^x/~': { type: 'integer' } } },
      { 'x/~ü': '' },
      'failed to validate x/~ü (matching "^x/~"): wrong type: expected integer, got string',
    ],
    [
      { type: 'object', additionalProperties: { type: 'string' } },
      { '100%/~0': 1 },
      'failed to validate additional property 100%/~0: wrong type: expected string, got number',
    ],
  ],
  'names that are missing or too many': [
    [needs('uri'), {}, 'property "uri" is required'],
    [{ type: 'object', dependencies: { a: ['b'] } }, { a: 1 }, 'property "b" is required when "a" is set'],
    [
      { type: 'object', dependencies: { a: needs('b') } },
      { a: 1 },
      'failed to validate dependent schema for "a": property "b" is required',
    ],
    [{ type: 'object', additionalProperties: false }, { k: 1 }, 'additional properties forbidden, found k'],
    [{ type: 'object', minProperties: 1 }, {}, 'expect object to have at least 1 properties'],
    [{ type: 'object', maxProperties: 1 }, { a: 1, b: 1 }, 'expect object to have at most 1 properties'],
    [{ type: 'object', propertyNames: { pattern: '^a' } }, { b: 1 }, 'the name b is not allowed here'],
  ],
  sizes: [
    [{ type: 'array', minItems: 1 }, [], 'expect array to have at least 1 items'],
    [{ type: 'array', maxItems: 1 }, [1, 2], 'expect array to have at most 1 items'],
    [
      { type: 'array', uniqueItems: true },
      [{ x: 1 }, 2, { x: 1 }],
      'expected unique items but items 1 and 3 are equal',
    ],
    [{ type: 'array', contains: { type: 'string' } }, [1], 'failed to check contains'],
    [{ type: 'string', minLength: 1 }, '', 'string too short, expected at least 1, got 0'],
    [{ type: 'string', maxLength: 2 }, 'a😀b', 'string too long, expected at most 2, got 3'],
    [{ type: 'string', maxLength: 3 }, 'a😀b', undefined],
    [{ type: 'integer', minimum: 1 }, -1, 'expected -1 to be at least 1'],
    [{ type: 'integer', maximum: 1 }, 2, 'expected 2 to be at most 1'],
    [{ type: 'number', exclusiveMinimum: 0 }, 0, 'expected 0 to be greater than 0'],
    [{ type: 'number', exclusiveMaximum: 0 }, 0, 'expected 0 to be smaller than 0'],
    [{ type: 'number', multipleOf: 2 }, 3, 'expected 3 to be a multiple of 2'],
  ],
  forms: [
    [{ type: 'string', pattern: '^a$' }, 'b', 'failed to match pattern "^a$" with "b"'],
    [{ type: 'string', format: 'ipv4' }, 'x', 'expect valid ipv4 format but got: x'],
    [{ enum: ['a'] }, 'b', 'matches none of the enum values'],
    [{ const: 'a' }, 'b', 'failed to check const value'],
  ],
  combinations: [
    [{ allOf: [{}, needs('a')] }, {}, 'allOf 2 failed: property "a" is required'],
    [{ anyOf: [needs('a', 'b'), needs('c')] }, {}, 'object matches none of the required: ["a","b"] or ["c"]'],
    [{ anyOf: [{ type: 'string' }, { type: 'integer' }] }, 1.5, 'object matches none of the required'],
    [{ oneOf: [needs('a'), needs('b')] }, {}, 'value should match only one schema, but matches none'],
    [
      { oneOf: [needs('c'), needs('a'), needs('b')] },
      { a: 1, b: 1 },
      'value should match only one schema, but matches both schemas 2 and 3',
    ],
    [{ if: needs('a'), then: needs('b') }, { a: 1 }, 'then clause did not match'],
    [{ if: needs('a'), else: needs('b') }, {}, 'else clause did not match'],
    [inA({ if: needs('x'), else: needs('y') }), { a: {} }, 'property "a" validation failed: else clause did not match'],
    [{ allOf: [{ if: needs('a'), then: needs('b') }] }, { a: 1 }, 'allOf 1 failed: then clause did not match'],
    [{ not: needs('a') }, { a: 1 }, "value wasn't supposed to match schema"],
    [
      inA({ type: 'object', properties: { else: { type: 'integer' } } }),
      { a: { else: '' } },
      'property "a" validation failed: property "else" validation failed: wrong type: expected integer, got string',
    ],
  ],
}

describe('schema', () => {
  for (const [what, some] of Object.entries(rows)) {
    it(`says of ${what} what APISIX says`, () => {
      for (const [schema, value, said] of some) assert.equal(validator(schema).check(value), said)
    })
  }

  it('speaks of attributes before it speaks of their combination, and of allOf before anyOf', () => {
    const schema: Schema = {
      type: 'object',
      properties: { a: { type: 'string' } },
      anyOf: [needs('c')],
      allOf: [needs('b')],
    }
    assert.equal(
      validator(schema).check({ a: 1 }),
      'property "a" validation failed: wrong type: expected string, got number',
    )
    assert.equal(validator(schema).check({}), 'allOf 1 failed: property "b" is required')
    assert.equal(validator(schema).check({ b: 1 }), 'object matches none of the required: ["c"]')
  })

  it('says the same of the same value, whatever else is wrong', () => {
    const schema: Schema = { type: 'object', properties: { a: { type: 'string' }, b: { type: 'string' } } }
    const said = 'property "a" validation failed: wrong type: expected string, got number'
    assert.equal(validator(schema).check({ a: 1, b: 1 }), said)
    assert.equal(validator(schema).check({ b: 1, a: 1 }), said)
  })

  it('fills defaults in a copy, nested ones where the object is there', () => {
    const { check, fill } = validator({
      type: 'object',
      properties: {
        n: { type: 'integer', default: 1 },
        list: { type: 'array', default: [] },
        inner: inA({ type: 'integer', default: 2 }),
        all: { type: 'array', items: inA({ type: 'integer', default: 3 }) },
      },
    })
    const value = { inner: {}, all: [{}, { a: 0 }] }
    assert.equal(check(value), undefined)
    assert.deepEqual(fill(value), { n: 1, list: [], inner: { a: 2 }, all: [{ a: 3 }, { a: 0 }] })
    assert.deepEqual(value, { inner: {}, all: [{}, { a: 0 }] })
    assert.notEqual((fill({}) as { list: unknown }).list, (fill({}) as { list: unknown }).list)
  })

  it('fills defaults of the branch that matches, and lets conditions rest on defaults', () => {
    const policy = (name: string, more: Schema): Schema => ({
      properties: { policy: { const: name }, ...(more.properties as object) },
      required: ['policy'],
    })
    const branches = validator({
      type: 'object',
      oneOf: [
        policy('local', { properties: { size: { type: 'integer', default: 5 } } }),
        policy('redis', { properties: { port: { type: 'integer', default: 6379 } } }),
      ],
    })
    assert.deepEqual(branches.fill({ policy: 'redis' }), { policy: 'redis', port: 6379 })
    const conditional = validator({
      type: 'object',
      properties: { policy: { type: 'string', default: 'local' } },
      if: { properties: { policy: { const: 'redis' } } },
      then: { required: ['host'] },
    })
    assert.equal(conditional.check({}), undefined)
    assert.equal(conditional.check({ policy: 'redis' }), 'then clause did not match')
  })

  it('takes an empty list for an empty object and the other way round', () => {
    const { check, fill } = validator({
      type: 'object',
      properties: { map: { type: 'object', required: [] }, list: { type: 'array' } },
    })
    assert.equal(check({ map: [], list: {} }), undefined)
    assert.deepEqual(fill({ map: [], list: {} }), { map: {}, list: [] })
    assert.match(check({ map: [1] }) ?? '', /expected object, got table/)
  })

  it('asks nothing of a secret reference, wherever it stands', () => {
    const schema: Schema = {
      type: 'object',
      properties: {
        a: { type: 'string', maxLength: 3 },
        b: { type: 'array', items: { type: 'integer' } },
        c: { anyOf: [{ type: 'integer' }, { type: 'object' }] },
      },
      additionalProperties: { type: 'boolean' },
    }
    const value = { a: '$secret://vault/1/jack/key', b: ['$ENV://KEY'], c: '$env://KEY', d: '$Secret://x' }
    assert.equal(validator(schema).check(value), undefined)
    assert.match(validator(schema, { references: false }).check(value) ?? '', /additional property d: wrong type/)
    assert.match(validator(schema).check({ a: ' $env://KEY' }) ?? '', /^property "a" validation failed/)
    assert.equal(isReference('$env://KEY'), true)
    assert.equal(isReference('env://KEY'), false)
  })

  it('never quotes a secret behind a map either', () => {
    const password = { type: 'string', pattern: '^x' } as const
    const server = { type: 'object', properties: { password } } as const
    const schema = {
      type: 'object',
      properties: { servers: { type: 'object', additionalProperties: server } },
    } as const
    const said = validator(schema, { secret: ['servers.password'] }).check({ servers: { a: { password: 'hush' } } })
    assert.match(said ?? '', /failed to match pattern "\^x" with "\*\*\*"/)
  })

  it('never quotes a value at a path that is secret, and cuts what it quotes', () => {
    const schema: Schema = inA({ type: 'array', items: inA({ type: 'string', pattern: '^x' }) })
    const value = { a: [{ a: `secret${'y'.repeat(1000)}` }] }
    const said = validator(schema, { secret: ['a.a'] }).check(value) ?? ''
    assert.match(said, /with "\*\*\*"$/)
    assert.equal(/secret/.test(said), false)
    assert.ok((validator(schema).check(value) ?? '').length < 500)
  })

  it('is done quickly with a long list whose items must differ', () => {
    const { check } = validator({ type: 'array', uniqueItems: true })
    const list = Array.from({ length: 200_000 }, (_, at) => ({ at }))
    assert.equal(check(list), undefined)
    assert.match(check([...list, { at: 7 }]) ?? '', /items 8 and 200001 are equal/)
    assert.match(check([{ a: 1, b: 2 }, 1, { b: 2, a: 1 }]) ?? '', /items 1 and 3 are equal/)
  })

  it('is done quickly with a long string, whatever the pattern', () => {
    const { check } = validator({ type: 'string', pattern: '^(a|b)*c' })
    assert.match(check('a'.repeat(1_000_000)) ?? '', /^failed to match pattern/)
  })

  it('refuses a schema that it does not understand', () => {
    assert.throws(() => validator({ type: 'object', propertys: {} }), /propertys/)
    assert.throws(() => validator({ $ref: '#/definitions/a' }), /\$ref/)
    assert.throws(() => validator({ type: 'string', pattern: '(' }), /regular expression/i)
  })

  it('fills what it has accepted so that it accepts it again, changes nothing twice and never the original', () => {
    const { check, fill } = validator({
      type: 'object',
      properties: {
        a: { type: 'integer', default: 1 },
        b: {
          anyOf: [inA({ type: 'integer', default: 2 }), { type: 'array', items: inA({ type: 'string', default: '' }) }],
        },
      },
      additionalProperties: inA({ type: 'boolean', default: false }),
    })
    let accepted = 0
    const object = fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.jsonValue({ maxDepth: 3 }))
    const close = fc.record(
      { a: fc.integer(), b: fc.oneof(fc.array(fc.record({ a: fc.string() }, { requiredKeys: [] })), fc.constant({})) },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.oneof(object, close), value => {
        const before = JSON.stringify(value)
        const said = check(value)
        const filled = fill(value)
        assert.equal(JSON.stringify(value), before)
        if (said !== undefined) return
        accepted++
        assert.equal(check(filled), undefined)
        assert.deepEqual(fill(filled), filled)
      }),
    )
    assert.ok(accepted > 10)
  })
})

describe('JSON from outside', () => {
  it('must not be a trap for prototypes, nor deep', () => {
    assert.equal(shapeProblem(JSON.parse('{"a":[{"__proto__":1}]}')), 'the name __proto__ is not allowed')
    assert.equal(shapeProblem(JSON.parse('{"constructor":{"prototype":1}}')), undefined)
    const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels)) as unknown
    assert.equal(shapeProblem(nested(100)), undefined)
    assert.equal(shapeProblem(nested(101)), 'nested deeper than 100 levels')
    assert.equal(shapeProblem(nested(50_000)), 'nested deeper than 100 levels')
  })
})

describe('a validator that nobody uses any more', () => {
  it('is forgotten with its schema', () => {
    const megabyte = (n: number) => Array.from({ length: 20_000 }, (_, at) => `${n}-${at}-${'x'.repeat(40)}`)
    const used = () => {
      collectGarbage()
      return process.memoryUsage().heapUsed
    }
    const make = (n: number) =>
      validator({ type: 'object', properties: { a: { enum: megabyte(n) } } }).check({ a: `${n}-0` })
    make(0)
    const before = used()
    for (let n = 1; n <= 20; n++) assert.match(make(n)!, /enum/)
    const kept = used() - before
    assert.ok(kept < 10 * 2 ** 20, `${Math.round(kept / 2 ** 20)} MiB are kept`)
  })
})
