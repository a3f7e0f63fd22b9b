// Secret references: what they say, and what can refer to nothing.
import assert from 'node:assert/strict'
import { parseReference, referencesIn, withSecrets } from '../../../core/secrets/reference.ts'

describe('a secret reference', () => {
  it('says where a secret is kept and which part of it is meant', () => {
    const of = (variable: string, member?: string) => ({ variable, member })
    const at = (manager: string, path: string, field: string) => ({ manager, path, field })
    for (const [text, said] of [
      ['$env://KEY', of('KEY')],
      ['$ENV://KEYS/jack', of('KEYS', 'jack')],
      ['$env://KEYS/a/b', of('KEYS', 'a/b')],
      ['$env://', undefined],
      ['$secret://vault/1/jack/key', at('vault/1', 'jack', 'key')],
      ['$SECRET://vault/a.b/apps/jack/key', at('vault/a.b', 'apps/jack', 'key')],
      ['$secret://vault/1/key', undefined],
      ['$secret://vault/1', undefined],
      ['$secret://vault/1/jack/', undefined],
      ['$secret://vault/1//key', undefined],
      ['$secret://vault/1/../sys/key', undefined],
      ['$secret://vault/1/a/./key', undefined],
    ] as const) {
      assert.deepEqual(parseReference(text), said, text)
    }
  })

  it('is found wherever it stands, and what it stands for takes its place in a copy', () => {
    const value = { a: '$env://A', list: ['x', { b: '$secret://vault/1/p/f' }], c: 'costs $env', d: null, e: 5 }
    assert.deepEqual(
      [...referencesIn(value)],
      [
        { path: 'a', text: '$env://A' },
        { path: 'list.1.b', text: '$secret://vault/1/p/f' },
      ],
    )
    const filled = withSecrets(value, text => (text === '$env://A' ? 'hush' : undefined))
    assert.deepEqual(filled, { ...value, a: 'hush' })
    assert.equal(value.a, '$env://A')
  })
})
