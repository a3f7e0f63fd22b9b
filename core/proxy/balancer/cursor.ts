// Gives each number once, whoever asks: the position of a round robin, this worker's own or all workers' together.

export interface Cursor {
  /** The next number; it wraps around after 2^32 of them. Never negative. */
  next(): number
}

/** A cursor of this thread alone; it begins anywhere. */
export function localCursor(random: () => number): Cursor {
  let at = Math.floor(random() * 2 ** 31)
  return {
    next() {
      const now = at
      at = (at + 1) >>> 0
      return now
    },
  }
}
