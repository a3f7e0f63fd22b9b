// Vectors of unit length, and how an embeddings API writes them down (facts ai-plugins 7.6); knows no sockets.
import { isObject } from '../../core/llm/json.ts'

export type Vector = Float64Array

/** Of length 1 in the same direction; zeros stay zeros. */
export function normalised(vector: Vector): Vector {
  let sum = 0
  for (const component of vector) sum += component * component
  return sum === 0 ? vector : vector.map(component => component / Math.sqrt(sum))
}

/** The cosine of the angle between two of unit length. Throws when they are not of one space. */
export function similarity(one: Vector, other: Vector): number {
  if (one.length !== other.length) throw new EmbeddingError('embedding dimension mismatch')
  let sum = 0
  for (let at = 0; at < one.length; at++) sum += one[at]! * other[at]!
  return sum
}

/** The likeness to the likest; undefined for none at all. */
export function closest(vector: Vector, among: readonly Vector[]): number | undefined {
  let most: number | undefined
  for (const each of among) most = Math.max(most ?? -Infinity, similarity(vector, each))
  return most
}

/** What an embeddings API did not do as it should; its message quotes nothing of what it said. */
export class EmbeddingError extends Error {}

/** The vectors of `count` inputs, in their order and of unit length, from the body of an answer. Throws EmbeddingError. */
export function readEmbeddings(body: Buffer, count: number): Vector[] {
  const found = new Array<Vector | undefined>(count).fill(undefined)
  for (const [at, entry] of entriesOf(body).entries()) {
    if (!isObject(entry)) throw new EmbeddingError(`invalid embedding entry at index ${at}`)
    const { index = at, embedding } = entry
    const place = Number.isInteger(index) ? (index as number) : at
    if (place < 0 || place >= count) throw new EmbeddingError(`invalid embedding index at entry ${at}`)
    if (!Array.isArray(embedding) || embedding.length === 0)
      throw new EmbeddingError(`invalid embedding vector at index ${place}`)
    if (!embedding.every(component => Number.isFinite(component)))
      throw new EmbeddingError(`non-numeric embedding component at index ${place}`)
    found[place] = normalised(Float64Array.from(embedding as number[]))
  }
  return found.map((vector, at) => {
    if (vector === undefined) throw new EmbeddingError(`missing embedding for input index ${at}`)
    return vector
  })
}

function entriesOf(body: Buffer): readonly unknown[] {
  let answer: unknown
  try {
    answer = JSON.parse(body.toString('utf8'))
  } catch {
    throw new EmbeddingError('invalid embedding response: it is no JSON')
  }
  const data = isObject(answer) ? answer.data : undefined
  if (!Array.isArray(data)) throw new EmbeddingError('invalid embedding response: it has no list of data')
  return data
}
