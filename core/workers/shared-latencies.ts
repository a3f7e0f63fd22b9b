// How slow nodes have been lately, as all workers together have seen it.
import { blended, faded, type Latency } from '../proxy/balancer/latency.ts'
import { SharedTable, tableMemory } from './shared-table.ts'

/** How many nodes fit; 320 KiB of memory. */
const SLOTS = 16_384

// A row: the bits of the mean as a 32-bit float, and the millisecond of the last observation, modulo 2^32.
const MEAN = 0
const SEEN = 1
export const LATENCY_WIDTH = 2

/** Memory for `SharedLatencies`: made once by main, handed to every worker. */
export function latencyMemory(slots = SLOTS): SharedArrayBuffer {
  return tableMemory(slots, LATENCY_WIDTH)
}

export class SharedLatencies {
  readonly #table: SharedTable
  readonly #now: () => number

  /** `owner` is the worker's number. `now` is in milliseconds. */
  constructor(memory: SharedArrayBuffer, owner: number, now: () => number) {
    this.#table = new SharedTable(memory, { width: LATENCY_WIDTH, owner, now })
    this.#now = now
  }

  /** The latency of the node of that name; undefined when there are too many. */
  named(name: string): Latency | undefined {
    const row = this.#table.row(name)
    if (row === undefined) return undefined
    const { cells } = row
    // A clock that was set back makes no observation newer than now.
    const silent = (at: number) => Math.max(0, (this.#now() - Atomics.load(cells, at + SEEN)) | 0)
    return {
      score() {
        const at = row.at()
        return at === undefined ? 0 : faded(toFloat(Atomics.load(cells, at + MEAN)), silent(at))
      },
      observe: ms => {
        const at = row.at()
        if (at === undefined) return
        // Two workers in the same moment: both observations count; which of their times is kept changes nothing.
        for (;;) {
          const bits = Atomics.load(cells, at + MEAN)
          const mean = bits === 0 ? ms : blended(toFloat(bits), silent(at), ms)
          if (Atomics.compareExchange(cells, at + MEAN, bits, toBits(mean)) === bits) break
        }
        Atomics.store(cells, at + SEEN, this.#now() | 0)
      },
    }
  }
}

const float = new Float32Array(1)
const integer = new Int32Array(float.buffer)

function toFloat(bits: number): number {
  integer[0] = bits
  return float[0]!
}

function toBits(value: number): number {
  float[0] = value
  return integer[0]!
}
