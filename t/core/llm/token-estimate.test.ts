// How far estimates are from what tokenizers count.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { estimateTokens, TokenEstimate } from '../../../core/llm/token-estimate.ts'

/** Counted with gpt-tokenizer 4.0.0. */
const english = JSON.parse(readFileSync(new URL('../../fixtures/text/english.json', import.meta.url), 'utf8')) as {
  text: string
  o200k_base: number
  cl100k_base: number
}[]

describe('an estimate of tokens', () => {
  it('is within a tenth on plain English', () => {
    for (const { text, o200k_base, cl100k_base } of english) {
      for (const counted of [o200k_base, cl100k_base]) {
        const off = estimateTokens([text]) / counted - 1
        assert.ok(Math.abs(off) <= 0.1, `${off} for ${text.slice(0, 40)}`)
      }
    }
  })

  it('is the same however the text is cut', () => {
    fc.assert(
      fc.property(fc.string(), fc.array(fc.nat(200)), (text, cuts) => {
        const whole = new TokenEstimate()
        whole.add(text)
        const pieces = new TokenEstimate()
        let from = 0
        for (const cut of cuts.toSorted((a, b) => a - b)) {
          pieces.add(text.slice(from, cut))
          from = Math.max(from, cut)
        }
        pieces.add(text.slice(from))
        assert.equal(pieces.tokens, whole.tokens)
      }),
      { seed: 9 },
    )
  })

  it('is nothing for nothing', () => {
    assert.deepEqual([estimateTokens([]), estimateTokens(['']), estimateTokens([' \n'])], [0, 0, 0])
  })
})
