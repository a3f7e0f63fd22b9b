// A configuration that lives in memory and is replaced whole: where a document comes from and what it says is others' matter.
import { isDeepStrictEqual } from 'node:util'
import type { Change, ConfigSource, Item, Kind, Revision } from './store.ts'

interface Watcher {
  changed(changes: readonly Change[]): void
  lost(error: Error): void
}

/** What is equal before and after a swap is not a change, and keeps its revisions: limiters and connections live on. */
export class DocumentSource implements ConfigSource {
  #items = new Map<string, Item>()
  #revision: Revision = 0
  #received = false
  readonly #watchers = new Set<Watcher>()

  /** Whether anything has been swapped in, empty or not. */
  get received(): boolean {
    return this.#received
  }

  get revision(): Revision {
    return this.#revision
  }

  async list(): Promise<{ items: readonly Item[]; revision: Revision }> {
    return { items: [...this.#items.values()], revision: this.#revision }
  }

  /** Nothing is replayed: a watch that begins at another revision than the last is lost, and the watcher lists again. */
  watch(since: Revision, changed: Watcher['changed'], lost: Watcher['lost']): () => void {
    const watcher = { changed, lost }
    this.#watchers.add(watcher)
    if (since !== this.#revision) {
      setImmediate(() => {
        if (this.#watchers.delete(watcher)) lost(new Error(`revision ${since} is not the present one`))
      })
    }
    return () => {
      this.#watchers.delete(watcher)
    }
  }

  /** Puts `entries` in the place of everything there was, as one change. Each key is there once. Returns the revision. */
  swap(entries: readonly { kind: Kind; id: string; value: Item['value'] }[]): Revision {
    const revision = this.#revision + 1
    const items = new Map<string, Item>()
    const changes: Change[] = []
    for (const { kind, id, value } of entries) {
      const key = `${kind}/${id}`
      const before = this.#items.get(key)
      const same = before !== undefined && isDeepStrictEqual(before.value, value)
      const item = same
        ? before
        : { kind, id, value, createRevision: before?.createRevision ?? revision, modRevision: revision }
      items.set(key, item)
      if (!same) changes.push({ kind, id, item, revision })
    }
    for (const [key, { kind, id }] of this.#items) {
      if (!items.has(key)) changes.push({ kind, id, item: undefined, revision })
    }
    this.#received = true
    if (changes.length === 0) return this.#revision
    this.#items = items
    this.#revision = revision
    for (const { changed } of this.#watchers) changed(changes)
    return revision
  }
}
