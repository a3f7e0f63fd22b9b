// The arithmetic of meanings.
import assert from 'node:assert/strict'
import { closest, normalised, readEmbeddings, similarity } from '../../../plugins/ai-proxy-multi/vectors.ts'

const vector = (...components: number[]) => Float64Array.from(components)

describe('vectors', () => {
  it('have unit length, unless they are nothing', () => {
    assert.deepEqual(normalised(vector(3, 4)), vector(0.6, 0.8))
    assert.deepEqual(normalised(vector(0, 0)), vector(0, 0))
  })

  it('are as like as their directions', () => {
    assert.equal(similarity(vector(1, 0), vector(0, 1)), 0)
    assert.equal(closest(vector(1, 0), [vector(0, 1), vector(1, 0), vector(-1, 0)]), 1)
    assert.equal(closest(vector(1, 0), []), undefined)
    assert.throws(() => similarity(vector(1), vector(1, 0)), /^EmbeddingError: embedding dimension mismatch$|mismatch/)
  })

  it('stand where their index says, or in their order without one', () => {
    const body = (data: unknown) => Buffer.from(JSON.stringify({ data }))
    const [one, other] = [{ embedding: [2, 0] }, { embedding: [0, 2] }]
    const turned = [
      { index: 1, ...one },
      { index: 0, ...other },
    ]
    assert.deepEqual(readEmbeddings(body([one, other]), 2), [vector(1, 0), vector(0, 1)])
    assert.deepEqual(readEmbeddings(body(turned), 2), [vector(0, 1), vector(1, 0)])
    assert.throws(() => readEmbeddings(body([one]), 2), /missing embedding for input index 1/)
    assert.throws(() => readEmbeddings(Buffer.from('{"data":[{"embedding":[1e999]}]}'), 1), /non-numeric/)
  })
})
