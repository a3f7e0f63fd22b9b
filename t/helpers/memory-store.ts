// A store in memory: the contract of core/store/store.ts without durability, and a switch that takes it away.
import {
  type Change,
  Conflict,
  type Guards,
  type Item,
  type Kind,
  type Revision,
  type Store,
  StoreUnavailable,
  type Write,
} from '../../core/store/store.ts'

interface Watcher {
  changed(changes: readonly Change[]): void
}

export class MemoryStore implements Store {
  /** While it is true nothing can be read or written. */
  away = false
  /** Called before each write with its changes; what it throws the write throws. */
  beforeWrite: (changes: readonly Write[]) => void | Promise<void> = () => {}
  readonly #items = new Map<string, Item>()
  readonly #history: Change[][] = []
  readonly #watchers = new Set<Watcher>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #revision: Revision = 0

  async list(): Promise<{ items: readonly Item[]; revision: Revision }> {
    this.#mustBeThere()
    const keys = [...this.#items.keys()].sort()
    return { items: keys.map(key => this.#items.get(key)!), revision: this.#revision }
  }

  async get(kind: Kind, id: string): Promise<Item | undefined> {
    this.#mustBeThere()
    return this.#items.get(`${kind}/${id}`)
  }

  async revision(): Promise<Revision> {
    this.#mustBeThere()
    return this.#revision
  }

  async write(changes: readonly Write[], guards: Guards = []): Promise<Revision> {
    await this.beforeWrite(changes)
    this.#mustBeThere()
    for (const { kind, id, modRevision } of guards) {
      if ((this.#items.get(`${kind}/${id}`)?.modRevision ?? 0) !== modRevision) throw new Conflict()
    }
    this.#apply(changes)
    return this.#revision
  }

  watch(since: Revision, changed: Watcher['changed'], lost: (error: Error) => void): () => void {
    const watcher = { changed }
    queueMicrotask(() => {
      if (since > this.#revision) lost(new Error('revision is in the future'))
      else for (const changes of this.#history.slice(since)) changed(changes)
    })
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  async ready(): Promise<void> {}

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#watchers.clear()
  }

  #apply(changes: readonly Write[]): void {
    const revision = ++this.#revision
    const spread = (change: Write): Write[] => {
      const prefix = `${change.kind}/${change.id}/`
      const below = [...this.#items.values()].filter(
        ({ kind, id }) => change.below && `${kind}/${id}`.startsWith(prefix),
      )
      return [change, ...below.map(({ kind, id }) => ({ kind, id, value: null }))]
    }
    const made = changes.flatMap(spread).map(({ kind, id, value, ttlSeconds }): Change => {
      const key = `${kind}/${id}`
      if (value === null) {
        this.#items.delete(key)
        return { kind, id, item: undefined, revision }
      }
      const createRevision = this.#items.get(key)?.createRevision ?? revision
      // Through JSON, as in every real store.
      const stored = JSON.parse(JSON.stringify(value)) as Item['value']
      const item: Item = { kind, id, value: stored, createRevision, modRevision: revision }
      this.#items.set(key, item)
      if (ttlSeconds !== undefined) this.#expire(item, ttlSeconds)
      return { kind, id, item, revision }
    })
    this.#history.push(made)
    for (const { changed } of this.#watchers) changed(made)
  }

  #expire(item: Item, ttlSeconds: number): void {
    const { kind, id } = item
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (this.#items.get(`${kind}/${id}`) === item) this.#apply([{ kind, id, value: null }])
    }, ttlSeconds * 1000)
    this.#timers.add(timer)
  }

  #mustBeThere(): void {
    if (this.away) throw new StoreUnavailable('the store is away', 'not_written')
  }
}
