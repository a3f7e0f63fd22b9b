// The whole embedded store at one revision, read a few milliseconds at a time while writes go on; knows no transactions.
import { inSlices } from '../slices.ts'
import type { Change, Item, Revision } from './store.ts'

/** What there is to read. All of it throws when the store cannot be read. */
export interface Readings {
  /** At most `limit` items behind that key, in the order of kind and of the id's bytes. */
  page(behind: { kind: string; id: string }, limit: number): readonly Item[]
  revision(): Revision
  /** The first changes after a revision; undefined when they are not kept any more. */
  changes(after: Revision): readonly Change[] | undefined
}

const PAGE = 100
/** A list that takes longer than changes are kept begins again, but not for ever. */
const ATTEMPTS = 5

/** Pages are of different revisions: what was written meanwhile is put into them in the end. */
export async function listInSlices(readings: Readings): Promise<{ items: readonly Item[]; revision: Revision }> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const items: Item[] = []
    const since = readings.revision()
    await inSlices(pages(readings, items))
    const catchUp = new CatchUp(readings, items, since)
    await inSlices(catchUp.steps())
    // Nothing has been written since the last step: nobody else had a turn.
    if (catchUp.seen === readings.revision()) return { items, revision: catchUp.seen }
  }
  throw new Error('more was written while the store was read than it keeps')
}

function* pages(readings: Readings, items: Item[]): Generator<void> {
  let behind = { kind: '', id: '' }
  for (;;) {
    const page = readings.page(behind, PAGE)
    for (const item of page) items.push(item)
    if (page.length < PAGE) return
    behind = page.at(-1)!
    yield
  }
}

class CatchUp {
  seen: Revision
  readonly #readings: Readings
  readonly #items: Item[]

  constructor(readings: Readings, items: Item[], since: Revision) {
    this.#readings = readings
    this.#items = items
    this.seen = since
  }

  *steps(): Generator<void> {
    while (this.seen < this.#readings.revision()) {
      const changes = this.#readings.changes(this.seen)
      if (changes === undefined) return
      for (const change of changes) this.#apply(change)
      this.seen = changes.at(-1)!.revision
      yield
    }
  }

  #apply({ kind, id, item }: Change): void {
    let [low, high] = [0, this.#items.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (order(this.#items[middle]!, { kind, id }) < 0) low = middle + 1
      else high = middle
    }
    const known = this.#items[low]
    const there = known?.kind === kind && known.id === id
    this.#items.splice(low, there ? 1 : 0, ...(item === undefined ? [] : [item]))
  }
}

/** By kind, then by the bytes of the id. */
function order(a: { kind: string; id: string }, b: { kind: string; id: string }): number {
  if (a.kind !== b.kind) return a.kind < b.kind ? -1 : 1
  return Buffer.compare(Buffer.from(a.id), Buffer.from(b.id))
}
