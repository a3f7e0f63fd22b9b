// How a PATCH changes a value.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { merged, NoSuchPath, replaced } from '../../admin/patch.ts'

type Json = Record<string, unknown>

const object = fc
  .dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }))
  .map(value => JSON.parse(JSON.stringify(value)) as Json)

describe('patch', () => {
  it('takes an object that replaces a scalar or a list as it is', () => {
    assert.deepEqual(merged({ a: 1, b: [1] }, { a: { x: null }, b: { y: 1 } }), { a: { x: null }, b: { y: 1 } })
    assert.deepEqual(merged({ a: { x: 1 } }, { a: [2] }), { a: [2] })
  })

  it('merges what it names, leaves what it does not name, and changes nothing it is given', () => {
    fc.assert(
      fc.property(object, object, (value, patch) => {
        const before = JSON.stringify([value, patch])
        const once = merged(value, patch)
        assert.equal(JSON.stringify([value, patch]), before)
        for (const [key, change] of Object.entries(patch)) {
          assert.equal(Object.hasOwn(once, key), change !== null)
        }
        for (const key of Object.keys(value)) if (!Object.hasOwn(patch, key)) assert.deepEqual(once[key], value[key])
      }),
    )
  })

  it('never reaches a prototype', () => {
    const patch = JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}') as Json
    merged({}, patch)
    replaced({}, ['__proto__', 'polluted'], 1)
    replaced({}, ['constructor', 'prototype', 'polluted'], 1)
    assert.equal(({} as Json).polluted, undefined)
  })

  it('puts a part where a path leads, making what is missing and leaving the rest', () => {
    fc.assert(
      fc.property(
        object,
        fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 4 }),
        fc.jsonValue(),
        (value, path, part) => {
          const before = JSON.stringify(value)
          let result: unknown
          try {
            result = replaced(value, path, part)
          } catch (error) {
            assert.ok(error instanceof NoSuchPath)
            return
          } finally {
            assert.equal(JSON.stringify(value), before)
          }
          assert.deepEqual(
            path.reduce<unknown>((inner, step) => (inner as Json)[step], result),
            part,
          )
          for (const key of Object.keys(value)) if (key !== path[0]) assert.deepEqual((result as Json)[key], value[key])
        },
      ),
    )
  })
})
