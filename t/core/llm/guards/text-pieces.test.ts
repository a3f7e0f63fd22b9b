// Long texts in pieces: nothing is lost, nothing is larger than asked, no character is cut.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { textPieces } from '../../../../core/llm/guards/text-pieces.ts'

const letters = fc.constantFrom('a', ' ', 'ü', '中', '👋', '\n')

describe('the pieces of a long text', () => {
  it('are all of it, in order, each as long as may be at most', () => {
    fc.assert(
      fc.property(
        fc.array(letters, { maxLength: 300 }),
        fc.integer({ min: 4, max: 40 }),
        fc.boolean(),
        (all, limit, byBytes) => {
          const text = all.join('')
          const pieces = [...textPieces(text, limit, byBytes ? 'bytes' : 'characters')]
          assert.equal(pieces.join(''), text)
          for (const piece of pieces) {
            assert.ok((byBytes ? Buffer.byteLength(piece) : [...piece].length) <= limit)
            assert.ok(piece.isWellFormed() && piece !== '')
          }
        },
      ),
      { numRuns: 300, seed: 16 },
    )
  })

  it('end between words where there is a space near the end', () => {
    assert.deepEqual([...textPieces('one two three', 9, 'characters')], ['one two ', 'three'])
    assert.deepEqual([...textPieces('一二三四五', 6, 'bytes')], ['一二', '三四', '五'])
    const long = `a ${'b'.repeat(100)}`
    assert.deepEqual([...textPieces(long, 80, 'characters')], [long.slice(0, 80), long.slice(80)])
  })

  it('have one character each where a character is larger than a piece', () => {
    assert.deepEqual([...textPieces('👋👋', 1, 'bytes')], ['👋', '👋'])
  })
})
