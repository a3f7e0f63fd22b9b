// The positions of round robins, counted by all workers together. Knows nothing of upstreams.
import type { Cursor } from '../proxy/balancer/cursor.ts'
import { SharedTable, tableMemory } from './shared-table.ts'

/** How many cursors fit; 1 MiB of memory. */
const SLOTS = 65_536
/** Numbers in a row. */
export const CURSOR_WIDTH = 1

/** Memory for `SharedCursors`: made once by main, handed to every worker. */
export function cursorMemory(slots = SLOTS): SharedArrayBuffer {
  return tableMemory(slots, CURSOR_WIDTH)
}

export class SharedCursors {
  readonly #table: SharedTable

  /** `owner` is the worker's number. `now` is in milliseconds. */
  constructor(memory: SharedArrayBuffer, owner: number, source: { now(): number; random(): number }) {
    this.#table = new SharedTable(memory, {
      width: CURSOR_WIDTH,
      owner,
      now: source.now,
      fresh(cells, at) {
        cells[at] = Math.floor(source.random() * 2 ** 31)
      },
    })
  }

  /** The cursor of that name; undefined when there are too many in use. A new or long idle one begins anywhere. */
  named(name: string): Cursor | undefined {
    const row = this.#table.row(name)
    if (row === undefined) return undefined
    let last = 0
    return {
      next() {
        const at = row.at()
        // Its place went to another while it was idle: it counts for itself.
        last = at === undefined ? last + 1 : Atomics.add(row.cells, at, 1)
        return last >>> 0
      },
    }
  }
}
