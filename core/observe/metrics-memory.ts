// Where a writer's numbers stand: runs of cells in shared memory, given out and taken back; knows no series.

/** Numbers beside each other: `memory[slot]` and so many behind it as were asked for. */
export interface Cells {
  readonly memory: Float64Array
  readonly slot: number
}

// 64 KiB: some four hundred histograms.
const CHUNK = 8_192
// Main reads what was given back until it has heard of that: another's numbers would stand there under the old name.
const REST_MS = 10_000

interface Freed extends Cells {
  readonly since: number
}

export class MetricsMemory {
  /** What came back and when, by its size; the oldest first. */
  readonly #free = new Map<number, Set<Freed>>()
  readonly #now: () => number
  #chunk: Float64Array = new Float64Array(0)
  #used = 0

  /** `now` is in milliseconds. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** So many cells, zero. */
  take(size: number): Cells {
    const free = this.#free.get(size)
    const oldest = free?.values().next().value
    if (oldest !== undefined && this.#now() - oldest.since >= REST_MS) {
      free!.delete(oldest)
      oldest.memory.fill(0, oldest.slot, oldest.slot + size)
      return oldest
    }
    if (this.#used + size > this.#chunk.length) {
      this.#chunk = new Float64Array(new SharedArrayBuffer(Math.max(CHUNK, size) * Float64Array.BYTES_PER_ELEMENT))
      this.#used = 0
    }
    const cells = { memory: this.#chunk, slot: this.#used }
    this.#used += size
    return cells
  }

  /** Takes back what `take(size)` gave. */
  give(cells: Cells, size: number): void {
    const { memory, slot } = cells
    const freed = { memory, slot, since: this.#now() }
    const free = this.#free.get(size)
    if (free === undefined) this.#free.set(size, new Set([freed]))
    else free.add(freed)
  }
}
