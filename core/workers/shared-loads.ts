// How many requests are under way to each node, counted by all workers together: a column per worker, so that a dead one's goes.
import { type Load, once } from '../proxy/balancer/load.ts'
import { type Row, SharedTable, tableMemory } from './shared-table.ts'

/** How many nodes fit. */
const SLOTS = 16_384

export interface LoadMemory {
  readonly table: SharedArrayBuffer
  /** Numbers in a row. Workers whose numbers are equal modulo this share one. */
  readonly columns: number
}

/** Memory for `SharedLoads`: made once by main, handed to every worker. Workers that are being replaced live beside the new. */
export function loadMemory(workers: number, slots = SLOTS): LoadMemory {
  const columns = Math.max(8, 4 * workers)
  return { table: tableMemory(slots, columns), columns }
}

export class SharedLoads {
  readonly #table: SharedTable
  readonly #columns: number
  readonly #own: number

  /** `owner` is the worker's number. `now` is in milliseconds. */
  constructor({ table, columns }: LoadMemory, owner: number, now: () => number) {
    this.#columns = columns
    this.#own = owner % columns
    const inUse = (cells: Int32Array, at: number) => sum(cells, at, columns) > 0
    this.#table = new SharedTable(table, { width: columns, owner, now, inUse })
  }

  /** The load of the node of that name; undefined when there are too many. */
  named(name: string): Load | undefined {
    const row = this.#table.row(name)
    if (row === undefined) return undefined
    return new SharedLoad(row, this.#columns, this.#own)
  }

  /** Takes away what that worker, which is gone, has not: `living` are the numbers of those that are there. */
  static release({ table, columns }: LoadMemory, owner: number, living: Iterable<number>): void {
    SharedTable.release(table, owner)
    const column = owner % columns
    for (const other of living) if (other % columns === column) return
    const all = new SharedTable(table, { width: columns, owner, now: () => 0 })
    all.each((cells, at) => Atomics.store(cells, at + column, 0))
  }
}

class SharedLoad implements Load {
  readonly #row: Row
  readonly #columns: number
  readonly #own: number

  constructor(row: Row, columns: number, own: number) {
    this.#row = row
    this.#columns = columns
    this.#own = own
  }

  get count(): number {
    const at = this.#row.at()
    return at === undefined ? 0 : Math.max(0, sum(this.#row.cells, at, this.#columns))
  }

  begin(): () => void {
    const at = this.#row.at()
    if (at === undefined) return () => {}
    const { cells } = this.#row
    // A row with a number in it keeps its place.
    Atomics.add(cells, at + this.#own, 1)
    return once(() => Atomics.sub(cells, at + this.#own, 1))
  }
}

function sum(cells: Int32Array, at: number, columns: number): number {
  let total = 0
  for (let column = 0; column < columns; column++) total += cells[at + column]!
  return total
}
