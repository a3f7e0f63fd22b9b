// Long lists as text, made while the loop turns.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { inPieces } from '../../admin/in-pieces.ts'

async function whole(pieces: AsyncIterable<string>): Promise<string> {
  let text = ''
  for await (const piece of pieces) text += piece
  return text
}

describe('a list in pieces', () => {
  it('is the list, without what there is nothing to show of', async () => {
    const long = 'x'.repeat(10_000)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(9)), async numbers => {
        const show = (n: number) => (n === 0 ? undefined : { n, long })
        const expected = numbers.map(show).filter(each => each !== undefined)
        assert.deepEqual(JSON.parse(await whole(inPieces(numbers, show))), expected)
        const around = { before: '{"list":', after: '}' }
        assert.deepEqual(JSON.parse(await whole(inPieces(numbers, show, around))), { list: expected })
      }),
      { numRuns: 50 },
    )
  })

  it('lets others have their turn, however long its items take', async () => {
    let turns = 0
    const counting = setInterval(() => turns++, 0)
    const slow = () => {
      const until = performance.now() + 4
      while (performance.now() < until);
      return {}
    }
    await whole(inPieces(Array(60).fill(0), slow))
    clearInterval(counting)
    assert.ok(turns >= 5, `${turns} turns`)
  })

  it('is made no faster than it is read', async () => {
    let made = 0
    const show = () => {
      made++
      return { text: 'x'.repeat(1000) }
    }
    const pieces = inPieces(Array(1000).fill(0), show)[Symbol.asyncIterator]()
    await pieces.next()
    assert.ok(made < 200, `${made} made`)
    await pieces.return?.()
  })
})
