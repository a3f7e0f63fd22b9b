// Usage of several events, put together.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { mergeUsage, tokens } from '../../../core/llm/usage.ts'

const none = { prompt: 0, completion: 0, total: 0, cacheRead: 0, cacheCreation: 0, reasoning: 0 }

describe('usage of several events', () => {
  it('is that of the last one that says so, where numbers are absolute', () => {
    const first = { ...none, prompt: 10, completion: 1, total: 11, cacheRead: 4 }
    assert.deepEqual(mergeUsage(first, { ...none, completion: 8, total: 8 }), { ...first, completion: 8, total: 18 })
    assert.deepEqual(mergeUsage(first, first), first)
    assert.deepEqual(mergeUsage(first, none), first)
  })

  it('is the sum, where numbers count what came since', () => {
    const first = { ...none, prompt: 10, completion: 1, total: 11 }
    assert.deepEqual(mergeUsage(first, { ...none, completion: 8, total: 8 }, 'delta'), {
      ...none,
      prompt: 10,
      completion: 9,
      total: 19,
    })
  })

  it('is never more than what was said, and its total never less than its parts', () => {
    const count = fc.nat(1000)
    const usage = fc.record({
      prompt: count,
      completion: count,
      total: count,
      cacheRead: count,
      cacheCreation: count,
      reasoning: count,
    })
    fc.assert(
      fc.property(fc.array(usage, { minLength: 1 }), fc.constantFrom('absolute', 'delta'), (events, counting) => {
        const [first, ...rest] = events
        const merged = rest.reduce((before, now) => mergeUsage(before, now, counting), first!)
        for (const key of ['prompt', 'completion', 'cacheRead', 'cacheCreation', 'reasoning'] as const) {
          const said = events.map(event => event[key])
          const expected = counting === 'delta' ? said.reduce((a, b) => a + b) : (said.findLast(n => n > 0) ?? 0)
          assert.equal(merged[key], expected)
        }
        if (rest.length > 0) assert.ok(merged.total >= merged.prompt + merged.completion)
      }),
      { seed: 8 },
    )
  })

  it('takes no number from anything but a number', () => {
    for (const odd of [-1, '5', null, undefined, Number.NaN, Number.POSITIVE_INFINITY, {}]) assert.equal(tokens(odd), 0)
    assert.equal(tokens(5), 5)
  })
})
