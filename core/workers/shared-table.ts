// Rows of numbers by name in memory that all threads share; knows not what they count.
import { hash } from 'node:crypto'

// Before the numbers of a row: two halves of a 64-bit fingerprint of its name, and the second of its last use.
const KEY_HIGH = 0
const KEY_LOW = 1
const USED = 2
const OWN = 3
// Before the rows: who is finding a place.
const LOCK = 0
const HEAD = 1

/** A row that nobody has touched for so long may lose its place. */
const IDLE_SECONDS = 600

/** Memory for a `SharedTable` of rows of `width` numbers: made once by main, handed to every thread. */
export function tableMemory(slots: number, width: number): SharedArrayBuffer {
  return new SharedArrayBuffer((HEAD + slots * (OWN + width)) * Int32Array.BYTES_PER_ELEMENT)
}

export interface TableOptions {
  /** Numbers in a row. */
  width: number
  /** The thread's number, never given to two that live at once. */
  owner: number
  /** Milliseconds since the epoch. */
  now(): number
  /** Gives a new row its first numbers; zeros without it. */
  fresh?(cells: Int32Array, at: number): void
  /** A row that may not lose its place, however long it was not touched. */
  inUse?(cells: Int32Array, at: number): boolean
}

/** Bytes of memory that threads share. */
export interface Room {
  readonly capacity: number
  readonly free: number
}

export interface Row {
  /** All the memory: the row's numbers begin at `at()`. */
  readonly cells: Int32Array
  /**
   * Where the row's numbers stand now, and a sign that it is in use. It may have lost its place while it was idle, and then
   * begins anew; undefined when there is no place left.
   */
  at(): number | undefined
}

/**
 * A hash table with open addressing. Rows are read and written with Atomics, by whoever has them; finding a place for a new
 * one takes a lock that names its owner, so that a dead thread's can be broken.
 */
export class SharedTable {
  readonly #cells: Int32Array
  readonly #options: TableOptions
  readonly #stride: number
  readonly #slots: number

  constructor(memory: SharedArrayBuffer, options: TableOptions) {
    this.#cells = new Int32Array(memory)
    this.#options = options
    this.#stride = OWN + options.width
    this.#slots = (this.#cells.length - HEAD) / this.#stride
  }

  /** The row of that name; undefined when the table is full of rows in use. */
  row(name: string): Row | undefined {
    const digest = hash('sha256', name, 'buffer')
    // Odd, and so never zero, which is an empty slot.
    const high = digest.readInt32LE(0) | 1
    const low = digest.readInt32LE(4)
    const cells = this.#cells
    const { now } = this.#options
    let place = this.#find(high, low)
    if (place === undefined) return undefined
    return {
      cells,
      at: () => {
        if (place === undefined || cells[place + KEY_HIGH] !== high || cells[place + KEY_LOW] !== low) {
          place = this.#find(high, low)
          if (place === undefined) return undefined
        }
        cells[place + USED] = now() / 1000
        return place + OWN
      },
    }
  }

  /** Runs `visit` for where each row's numbers stand, idle rows included. */
  each(visit: (cells: Int32Array, at: number) => void): void {
    for (let slot = 0; slot < this.#slots; slot++) {
      const place = HEAD + slot * this.#stride
      if (this.#cells[place + KEY_HIGH] !== 0) visit(this.#cells, place + OWN)
    }
  }

  /** How much there is of rows of that width, in bytes: all, and what a new row could have. `now` is in milliseconds. */
  static room(memory: SharedArrayBuffer, width: number, now: number): Room {
    const cells = new Int32Array(memory)
    const stride = OWN + width
    let free = 0
    for (let place = HEAD; place < cells.length; place += stride) {
      const idle = now / 1000 - cells[place + USED]! > IDLE_SECONDS
      if (cells[place + KEY_HIGH] === 0 || idle) free += stride
    }
    const bytes = Int32Array.BYTES_PER_ELEMENT
    return { capacity: (cells.length - HEAD) * bytes, free: free * bytes }
  }

  /** Breaks the lock if that thread, which is gone, held it. What it was writing is a row at most half made. */
  static release(memory: SharedArrayBuffer, owner: number): void {
    Atomics.compareExchange(new Int32Array(memory), LOCK, owner + 1, 0)
  }

  #find(high: number, low: number): number | undefined {
    const owner = this.#options.owner + 1
    while (Atomics.compareExchange(this.#cells, LOCK, 0, owner) !== 0) Atomics.wait(this.#cells, LOCK, -1, 0)
    try {
      return this.#place(high, low)
    } finally {
      Atomics.store(this.#cells, LOCK, 0)
    }
  }

  /** Where the name stands, or is put now. */
  #place(high: number, low: number): number | undefined {
    const cells = this.#cells
    const { now, fresh, inUse } = this.#options
    const second = Math.floor(now() / 1000)
    let free: number | undefined
    for (let step = 0; step < this.#slots; step++) {
      const place = HEAD + (((low >>> 0) + step) % this.#slots) * this.#stride
      if (cells[place + KEY_HIGH] === high && cells[place + KEY_LOW] === low) return place
      const empty = cells[place + KEY_HIGH] === 0
      const idle = second - cells[place + USED]! > IDLE_SECONDS && inUse?.(cells, place + OWN) !== true
      if (empty || idle) free ??= place
      if (empty) break
    }
    if (free === undefined) return undefined
    cells[free + KEY_LOW] = low
    cells.fill(0, free + OWN, free + this.#stride)
    fresh?.(cells, free + OWN)
    cells[free + USED] = second
    cells[free + KEY_HIGH] = high
    return free
  }
}
