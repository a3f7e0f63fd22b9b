// The operator's credentials in what a provider says of an error: gone in every form, and nothing else with them.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { withoutEchoes } from '../../../core/llm/echoes.ts'

describe('an error of a provider', () => {
  it('has no credential of the operator in it, however that is written', () => {
    const key = 'sk-"quoted"/and+more='
    const forms = [key, `Bearer ${key}`, JSON.stringify(key), encodeURIComponent(key), new URLSearchParams({ k: key })]
    for (const form of forms) {
      const left = withoutEchoes(Buffer.from(`{"message": "of ${form}!"}`), [`Bearer ${key}`]).toString()
      assert.match(left, /^\{"message": "of .*\[redacted\].*!"\}$/)
      assert.doesNotMatch(left, /quoted/)
    }
  })

  it('is the same buffer where there is none, and keeps what is too short to be one', () => {
    const body = Buffer.from('gpt-4 of org-1')
    assert.equal(withoutEchoes(body, ['org-1', 'Bearer sk-12345678']), body)
    assert.equal(withoutEchoes(body, []), body)
  })

  it('keeps every other byte, text or not', () => {
    const bytes = fc.uint8Array({ maxLength: 30 }).map(array => Buffer.from(array))
    fc.assert(
      fc.property(bytes, bytes, (before, after) => {
        const left = withoutEchoes(Buffer.concat([before, Buffer.from('SECRET-KEY-1'), after]), ['SECRET-KEY-1'])
        assert.deepEqual(left, Buffer.concat([before, Buffer.from('[redacted]'), after]))
      }),
      { seed: 11, numRuns: 300 },
    )
  })
})
