// JSON written as bytes: the same as JSON.stringify has it, whatever the text and the room there is.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { JsonBytes } from '../../../core/observe/json-bytes.ts'

describe('JSON as bytes', () => {
  it('is what JSON.stringify makes of the same values', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 20 }),
      fc.string({ unit: 'grapheme-ascii', maxLength: 600 }),
      fc.constantFrom('\ud800', '"', '\\', '\u007f', '\u2028', 'ä'.repeat(300)),
    )
    fc.assert(
      fc.property(fc.array(text), fc.nat(64), (texts, room) => {
        const bytes = new JsonBytes(room)
        bytes.raw('[')
        texts.forEach((each, index) => {
          if (index > 0) bytes.raw(',')
          bytes.quoted(each)
        })
        bytes.raw(']')
        assert.equal(bytes.written().toString(), JSON.stringify(texts))
        assert.equal(bytes.length, Buffer.byteLength(JSON.stringify(texts)))
      }),
    )
  })

  it('takes text that is no ASCII as it is, and forgets what is taken back', () => {
    const bytes = new JsonBytes(1)
    bytes.raw('"grün"')
    const before = bytes.length
    bytes.raw('x'.repeat(1000))
    bytes.rewind(before)
    bytes.raw('!')
    assert.equal(bytes.written().toString(), '"grün"!')
  })
})
