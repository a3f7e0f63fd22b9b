// Where a writer's numbers stand: runs of cells in shared memory, given out and taken back; knows no series.

/** Numbers beside each other: `memory[slot]` and so many behind it as were asked for. */
export interface Cells {
  readonly memory: Float64Array
  readonly slot: number
}

// 64 KiB: some four hundred histograms.
const CHUNK = 8_192

export class MetricsMemory {
  /** What came back, by its size. */
  readonly #free = new Map<number, Cells[]>()
  #chunk: Float64Array = new Float64Array(0)
  #used = 0

  /** So many cells, zero. */
  take(size: number): Cells {
    const freed = this.#free.get(size)?.pop()
    if (freed !== undefined) {
      freed.memory.fill(0, freed.slot, freed.slot + size)
      return freed
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
    const free = this.#free.get(size)
    if (free === undefined) this.#free.set(size, [cells])
    else free.push(cells)
  }
}
