// The health of targets in memory that all threads share: whoever observes one moves its state, all together as one.
import type { HealthCell } from '../proxy/health/board.ts'
import { after, isUsable, type Sign } from '../proxy/health/state.ts'
import { type Row, SharedTable, tableMemory } from './shared-table.ts'

/** How many targets fit. */
const SLOTS = 16_384

// A row: the state, the second in which the target came back (0: never), and whether it is kept.
const STATE = 0
const RECOVERED = 1
const KEPT = 2
export const HEALTH_WIDTH = 3

export interface HealthMemory {
  readonly table: SharedArrayBuffer
  /** One number: how often a target has become usable or unusable. */
  readonly changes: SharedArrayBuffer
}

/** Memory for `SharedHealth`: made once by main, handed to every worker. */
export function healthMemory(slots = SLOTS): HealthMemory {
  return { table: tableMemory(slots, HEALTH_WIDTH), changes: new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT) }
}

export class SharedHealth {
  readonly #table: SharedTable
  readonly #changes: Int32Array
  readonly #now: () => number

  /** `owner` is the thread's number. `now` is in milliseconds. */
  constructor({ table, changes }: HealthMemory, owner: number, now: () => number) {
    const inUse = (cells: Int32Array, at: number) => cells[at + KEPT] === 1
    this.#table = new SharedTable(table, { width: HEALTH_WIDTH, owner, now, inUse })
    this.#changes = new Int32Array(changes)
    this.#now = now
  }

  /** Changes whenever some target has become usable or unusable. */
  get changes(): number {
    return Atomics.load(this.#changes, 0)
  }

  /** The cell of that name; undefined when there are too many. */
  cell(name: string): SharedCell | undefined {
    const row = this.#table.row(name)
    return row && new SharedCell(row, { now: this.#now, changed: () => void Atomics.add(this.#changes, 0, 1) })
  }
}

export class SharedCell implements HealthCell {
  readonly #row: Row
  readonly #now: () => number
  readonly #changed: () => void

  constructor(row: Row, { now, changed }: { now(): number; changed(): void }) {
    this.#row = row
    this.#now = now
    this.#changed = changed
  }

  get state(): number {
    const at = this.#row.at()
    return at === undefined ? 0 : Atomics.load(this.#row.cells, at + STATE)
  }

  get recoveredMs(): number {
    const at = this.#row.at()
    const second = at === undefined ? 0 : this.#row.cells[at + RECOVERED]!
    return second === 0 ? Number.POSITIVE_INFINITY : Math.max(0, this.#now() - second * 1000)
  }

  observe(sign: Sign, limit: number): { before: number; after: number } {
    const at = this.#row.at()
    if (at === undefined) return { before: 0, after: 0 }
    const { cells } = this.#row
    for (;;) {
      const before = Atomics.load(cells, at + STATE)
      const next = after(before, sign, limit)
      // What changes nothing, as nearly everything does, costs no write.
      if (next === before) return { before, after: next }
      if (Atomics.compareExchange(cells, at + STATE, before, next) !== before) continue
      if (isUsable(before) !== isUsable(next)) {
        if (isUsable(next)) Atomics.store(cells, at + RECOVERED, Math.floor(this.#now() / 1000))
        this.#changed()
      }
      return { before, after: next }
    }
  }

  /** Somebody answers for the target: its state is kept however long nobody asks for it. */
  keep(): void {
    const at = this.#row.at()
    if (at !== undefined) Atomics.store(this.#row.cells, at + KEPT, 1)
  }

  /** Nobody does any more: nothing is known of the target. */
  forget(): void {
    const at = this.#row.at()
    if (at === undefined) return
    const { cells } = this.#row
    const before = Atomics.exchange(cells, at + STATE, 0)
    Atomics.store(cells, at + RECOVERED, 0)
    Atomics.store(cells, at + KEPT, 0)
    if (!isUsable(before)) this.#changed()
  }
}
