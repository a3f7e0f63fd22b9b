// Counters by name in memory that all workers share: the positions of round robins. Knows nothing of upstreams.
import { hash } from 'node:crypto'
import type { Cursor } from '../proxy/balancer/cursor.ts'

// Per slot: two halves of a 64-bit fingerprint, the number, and the second of its last use.
const WIDTH = 4
const LOCK = 0
const HEAD = 1
const KEY_HIGH = 0
const KEY_LOW = 1
const VALUE = 2
const USED = 3

/** How many cursors fit; 1 MiB of memory. */
const SLOTS = 65_536
/** A cursor that nobody has moved for so long may lose its place: an idle round robin can begin anywhere. */
const IDLE_SECONDS = 600

/** Memory for `SharedCursors`: made once by main, handed to every worker. */
export function cursorMemory(slots = SLOTS): SharedArrayBuffer {
  return new SharedArrayBuffer((HEAD + slots * WIDTH) * Int32Array.BYTES_PER_ELEMENT)
}

/**
 * A hash table with open addressing. Moving a cursor is one atomic addition; finding a place for a new one takes a lock that
 * names its owner, so that a dead worker's can be broken.
 */
export class SharedCursors {
  readonly #cells: Int32Array
  readonly #slots: number
  readonly #owner: number
  readonly #now: () => number
  readonly #random: () => number

  /** `owner` is the worker's number. `now` is in milliseconds. */
  constructor(memory: SharedArrayBuffer, owner: number, source: { now(): number; random(): number }) {
    this.#cells = new Int32Array(memory)
    this.#slots = (this.#cells.length - HEAD) / WIDTH
    this.#owner = owner + 1
    this.#now = source.now
    this.#random = source.random
  }

  /** The cursor of that name; undefined when the table is full of cursors in use. A new one begins anywhere. */
  named(name: string): Cursor | undefined {
    const digest = hash('sha256', name, 'buffer')
    // Odd, and so never zero, which is an empty slot.
    const high = digest.readInt32LE(0) | 1
    const low = digest.readInt32LE(4)
    const cells = this.#cells
    let at = this.#find(high, low)
    if (at === undefined) return undefined
    return {
      next: () => {
        // Its place may have gone to another while it was idle.
        if (cells[at! + KEY_HIGH] !== high || cells[at! + KEY_LOW] !== low) at = this.#find(high, low) ?? at
        cells[at! + USED] = this.#now() / 1000
        return Atomics.add(cells, at! + VALUE, 1) >>> 0
      },
    }
  }

  /** Breaks the lock if that worker, which is gone, held it. What it was writing is a slot at most half taken. */
  static release(memory: SharedArrayBuffer, owner: number): void {
    Atomics.compareExchange(new Int32Array(memory), LOCK, owner + 1, 0)
  }

  #find(high: number, low: number): number | undefined {
    while (Atomics.compareExchange(this.#cells, LOCK, 0, this.#owner) !== 0) Atomics.wait(this.#cells, LOCK, -1, 0)
    try {
      return this.#place(high, low)
    } finally {
      Atomics.store(this.#cells, LOCK, 0)
    }
  }

  /** Where the name stands, or is put now. */
  #place(high: number, low: number): number | undefined {
    const cells = this.#cells
    const second = Math.floor(this.#now() / 1000)
    let free: number | undefined
    for (let step = 0; step < this.#slots; step++) {
      const at = HEAD + (((low >>> 0) + step) % this.#slots) * WIDTH
      if (cells[at + KEY_HIGH] === high && cells[at + KEY_LOW] === low) return at
      const empty = cells[at + KEY_HIGH] === 0
      if (empty || second - cells[at + USED]! > IDLE_SECONDS) free ??= at
      if (empty) break
    }
    if (free === undefined) return undefined
    cells[free + KEY_LOW] = low
    cells[free + VALUE] = Math.floor(this.#random() * 2 ** 31)
    cells[free + USED] = second
    cells[free + KEY_HIGH] = high
    return free
  }
}
