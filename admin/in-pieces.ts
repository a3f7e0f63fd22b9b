// The JSON text of a long list, made piece by piece so that the loop can turn meanwhile; knows nothing of its items.
import { setImmediate as turn } from 'node:timers/promises'

/** How long making text may hold up the loop at a time. */
const sliceMs = 10
const pieceChars = 64 * 1024

/** An array of what `show` makes of each item, without what it makes nothing of, between `before` and `after`. */
export async function* inPieces<T>(
  items: readonly T[],
  show: (item: T) => object | undefined,
  { before = '', after = '\n' }: { before?: string; after?: string } = {},
): AsyncIterable<string> {
  let piece = `${before}[`
  let [begun, first] = [performance.now(), true]
  for (const item of items) {
    const shown = show(item)
    if (shown !== undefined) {
      piece += (first ? '' : ',') + JSON.stringify(shown)
      first = false
    }
    if (piece.length > pieceChars) {
      yield piece
      piece = ''
    }
    if (performance.now() - begun < sliceMs) continue
    await turn()
    begun = performance.now()
  }
  yield `${piece}]${after}`
}
