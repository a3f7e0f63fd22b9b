// Until when each of those who asked for it is left alone, the same for all workers. Knows not who they are.
import { LONGEST_REST_MS, type Rest } from '../proxy/balancer/rest.ts'
import { SharedTable, tableMemory } from './shared-table.ts'

/** How many can be known; 64 KiB of memory. */
const SLOTS = 4_096

// A row: the end, in ticks since the epoch modulo 2^32, which come round in two years; 0 is none.
const TICK_MS = 16
export const REST_WIDTH = 1

/** Memory for `SharedRests`: made once by main, handed to every worker. */
export function restMemory(slots = SLOTS): SharedArrayBuffer {
  return tableMemory(slots, REST_WIDTH)
}

export class SharedRests {
  readonly #table: SharedTable
  readonly #now: () => number

  /** `owner` is the worker's number. `now` is in milliseconds. */
  constructor(memory: SharedArrayBuffer, owner: number, now: () => number) {
    const inUse = (cells: Int32Array, at: number) => leftMs(Atomics.load(cells, at), now()) > 0
    this.#table = new SharedTable(memory, { width: REST_WIDTH, owner, now, inUse })
    this.#now = now
  }

  /** The rest of whoever has that name; undefined when there are too many. */
  named(name: string): Rest | undefined {
    const row = this.#table.row(name)
    if (row === undefined) return undefined
    const { cells } = row
    const now = this.#now
    return {
      get leftMs() {
        const at = row.at()
        if (at === undefined) return 0
        const end = Atomics.load(cells, at)
        const left = leftMs(end, now())
        // What is over is not kept: in years it would lie ahead again.
        if (left === 0 && end !== 0) Atomics.compareExchange(cells, at, end, 0)
        return left
      },
      ask(ms) {
        const at = row.at()
        if (at === undefined) return
        const end = endOf(now() + Math.min(ms, LONGEST_REST_MS))
        for (;;) {
          const known = Atomics.load(cells, at)
          if (leftMs(known, now()) > 0 && ((end - known) | 0) <= 0) return
          if (Atomics.compareExchange(cells, at, known, end) === known) return
        }
      },
    }
  }
}

/** Never 0, and never before `ms`. */
function endOf(ms: number): number {
  return Math.ceil(ms / TICK_MS) | 0 || 1
}

function leftMs(end: number, now: number): number {
  if (end === 0) return 0
  // Subtracted before it is multiplied: only the difference is less than 2^31 ticks.
  const ticks = (end - (Math.floor(now / TICK_MS) | 0)) | 0
  return Math.max(0, ticks * TICK_MS - (now % TICK_MS))
}
