// Chance that can be repeated.

/** Whole numbers in [0, below) that follow from the seed: a linear congruential generator, high bits. */
export function randomness(seed: number): (below: number) => number {
  let state = seed >>> 0
  return below => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
