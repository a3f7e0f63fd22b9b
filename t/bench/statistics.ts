// Numbers out of many slices: what a quiet machine would show, and how far apart they were.

/** Of one measure over many slices. */
export interface Spread {
  /** Mean of the quietest fifth: other work on the machine only ever adds. */
  readonly quiet: number
  readonly min: number
  readonly median: number
  readonly max: number
  readonly slices: number
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const fifth = sorted.slice(0, Math.ceil(sorted.length / 5))
  return {
    quiet: fifth.reduce((sum, value) => sum + value, 0) / fifth.length,
    min: sorted[0]!,
    median: median(values),
    max: sorted.at(-1)!,
    slices: sorted.length,
  }
}

export function median(values: readonly number[]): number {
  return percentile(Float64Array.from(values).sort(), 0.5)
}

/** `sorted` ascends; NaN when it is empty. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** Least squares: how much `y` grows per unit of `x`. */
export function slope(points: readonly { x: number; y: number }[]): number {
  const mean = (of: (point: { x: number; y: number }) => number) =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length
  const x = mean(point => point.x)
  const y = mean(point => point.y)
  return mean(point => (point.x - x) * (point.y - y)) / mean(point => (point.x - x) ** 2)
}
