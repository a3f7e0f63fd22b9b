// The items of a configuration, and of those whose newest version may be bad the older ones; knows no store.
import { isDeepStrictEqual } from 'node:util'
import type { Change, Item, Kind, Revision } from '../store.ts'

/** Versions of an item about which nothing is known yet; the oldest was good. */
const MOST_KEPT = 8

/**
 * A bad item leaves what was good before in its place (facts core 5.1), and that must hold for a worker that starts later
 * too. So a version that was replaced is kept until the one in its place is known to be good.
 */
export class Versions {
  readonly #isGood: (item: Item) => boolean | undefined
  readonly #newest = new Map<string, Item>()
  readonly #older = new Map<string, Item[]>()

  constructor(isGood: (item: Item) => boolean | undefined) {
    this.#isGood = isGood
  }

  newest(kind: Kind, id: string): Item | undefined {
    return this.#newest.get(`${kind}/${id}`)
  }

  /** Older versions come before the newest: whoever takes what is good one by one ends with the last good one. */
  all(): Item[] {
    for (const key of this.#older.keys()) if (this.#isGood(this.#newest.get(key)!) === true) this.#older.delete(key)
    return [...this.#newest].flatMap(([key, item]) => [...(this.#older.get(key) ?? []), item])
  }

  take({ kind, id, item }: Pick<Change, 'kind' | 'id' | 'item'>): void {
    const key = `${kind}/${id}`
    const replaced = this.#newest.get(key)
    if (item === undefined) {
      this.#newest.delete(key)
      this.#older.delete(key)
      return
    }
    this.#newest.set(key, item)
    if (replaced === undefined || isDeepStrictEqual(replaced, item)) return
    const good = replaced.fault === undefined ? this.#isGood(replaced) : false
    if (good === true) this.#older.set(key, [replaced])
    else if (good === undefined) this.#keep(key, replaced)
  }

  /**
   * What has to be taken to come to have `items` and nothing else, as one change at `revision`; deletes come first. In
   * another history an item may be another under the same revision.
   */
  towards(items: readonly Item[], revision: Revision, sameHistory: boolean): Change[] {
    const wanted = new Set(items.map(({ kind, id }) => `${kind}/${id}`))
    const gone = [...this.#newest].filter(([key]) => !wanted.has(key))
    const has = (item: Item) => {
      const own = this.newest(item.kind, item.id)
      return own?.modRevision === item.modRevision && (sameHistory || isDeepStrictEqual(own, item))
    }
    const changed = items.filter(item => !has(item))
    return [
      ...gone.map(([, { kind, id }]): Change => ({ kind, id, item: undefined, revision })),
      ...changed.map((item): Change => ({ kind: item.kind, id: item.id, item, revision })),
    ]
  }

  /** How many there are of each kind, and the one that was written last: what a history hardly has by chance. */
  mark(): { counts: ReadonlyMap<Kind, number>; last: Item | undefined } {
    const counts = new Map<Kind, number>()
    let last: Item | undefined
    for (const item of this.#newest.values()) {
      counts.set(item.kind, (counts.get(item.kind) ?? 0) + 1)
      if (item.fault === undefined && item.modRevision > (last?.modRevision ?? 0)) last = item
    }
    return { counts, last }
  }

  /** The highest modRevision of each kind. */
  modifyIndexes(): ReadonlyMap<Kind, Revision> {
    const indexes = new Map<Kind, Revision>()
    for (const { kind, modRevision } of this.#newest.values()) {
      if (modRevision > (indexes.get(kind) ?? 0)) indexes.set(kind, modRevision)
    }
    return indexes
  }

  /** The revisions of the newest versions. */
  revisions(): Map<string, Revision> {
    return new Map([...this.#newest].map(([key, { modRevision }]) => [key, modRevision]))
  }

  #keep(key: string, version: Item): void {
    const kept = this.#older.get(key) ?? []
    kept.push(version)
    if (kept.length > MOST_KEPT) kept.splice(1, 1)
    this.#older.set(key, kept)
  }
}
