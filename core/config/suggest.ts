// Which known word somebody may have meant who wrote an unknown one; knows nothing of configuration.

/** How many letters must be added, dropped, replaced or swapped with their neighbour to make `a` of `b`. */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, column) => column)]
  const at = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    rows.push(current)
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1
      const swapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      current[column] = Math.min(
        at(row - 1, column) + 1,
        at(row, column - 1) + 1,
        at(row - 1, column - 1) + same,
        swapped ? at(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY,
      )
    }
  }
  return at(a.length, b.length)
}

/** The known word nearest to `word`, if a third of its letters or fewer are wrong. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (word.length > 64) return undefined // the table is quadratic
  const limit = Math.max(1, Math.floor(word.length / 3))
  const ranked = known.map(each => ({ each, far: distance(word, each) })).filter(({ far }) => far <= limit)
  return ranked.sort((a, b) => a.far - b.far)[0]?.each
}
