// What the store holds, in memory, in order and by tag, so that a look at it costs no reading; knows no HTTP, no resource.
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { asError } from '../core/errors.ts'
import type { Logger } from '../core/observe/log.ts'
import { type ResourceKind, resourceKind } from '../core/resource.ts'
import type { Change, ConfigSource, Item, Revision } from '../core/store/store.ts'

export interface CatalogueOptions {
  source: ConfigSource
  /** What an item can be found by; asked once per version of an item. */
  tags(item: Item): Iterable<string>
  log: Logger
  /** Milliseconds before a source that could not be listed is asked again. */
  retryDelay?: number
}

const RETRY_MS = 1_000
/** How long reading a large store may hold up the loop at a time. */
const SLICE_MS = 10

/** Follows a source until it is closed. While the source is away it stays at what it knew last. */
export class Catalogue {
  readonly #options: CatalogueOptions
  #contents: Contents
  #revision: Revision = 0
  readonly #waiting = new Set<{ revision: Revision; resolve: () => void }>()
  #unwatch: (() => void) | undefined
  #closed = false
  readonly #ending = new AbortController()

  constructor(options: CatalogueOptions) {
    this.#options = options
    this.#contents = new Contents(options.tags, 0)
  }

  /** Resolves when the contents are those of the source; asks for as long as it cannot be listed. */
  async start(): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#load()
        return
      } catch (error) {
        this.#options.log.error(
          { err: asError(error) },
          'the store could not be listed; the admin API has what it knew',
        )
        const { signal } = this.#ending
        await sleep(this.#options.retryDelay ?? RETRY_MS, undefined, { signal }).catch(() => {})
      }
    }
  }

  /** All items of a kind, in the order of their keys; with `prefix` those whose ids begin with it. */
  of(kind: ResourceKind, prefix = ''): readonly Item[] {
    return this.#contents.of(kind, prefix)
  }

  get(kind: ResourceKind, id: string): Item | undefined {
    return this.#contents.get(kind, id)
  }

  /** The items that have a tag. */
  tagged(tag: string): Iterable<Item> {
    return this.#contents.tagged(tag)
  }

  /** The last revision in which something of the kind changed, or at which it was read first. */
  revisionOf(kind: ResourceKind): Revision {
    return this.#contents.revisionOf(kind)
  }

  get revision(): Revision {
    return this.#revision
  }

  /** Resolves when everything up to `revision` is here, or after `withinMs`. */
  async reached(revision: Revision, withinMs = 1_000): Promise<void> {
    if (this.#revision >= revision || this.#closed) return
    await new Promise<void>(resolve => {
      const waiter = {
        revision,
        resolve: () => {
          clearTimeout(timer)
          this.#waiting.delete(waiter)
          resolve()
        },
      }
      const timer = setTimeout(waiter.resolve, withinMs)
      this.#waiting.add(waiter)
    })
  }

  close(): void {
    this.#closed = true
    this.#ending.abort()
    this.#unwatch?.()
    for (const waiter of this.#waiting) waiter.resolve()
  }

  async #load(): Promise<void> {
    const { items, revision } = await this.#options.source.list()
    const contents = new Contents(this.#options.tags, revision)
    let begun = performance.now()
    for (const item of items) {
      contents.put(item)
      if (performance.now() - begun < SLICE_MS) continue
      await turn()
      begun = performance.now()
    }
    if (this.#closed) return
    this.#contents = contents
    this.#at(revision)
    this.#unwatch = this.#options.source.watch(
      revision,
      changes => this.#take(changes),
      error => {
        this.#options.log.warn({ err: error }, 'watch lost; the admin API lists again')
        void this.start()
      },
    )
  }

  #take(changes: readonly Change[]): void {
    let latest = this.#revision
    for (const { kind, id, item, revision } of changes) {
      latest = Math.max(latest, revision)
      if (item === undefined) this.#contents.remove(resourceKind({ kind, id }), id, revision)
      else this.#contents.put(item, revision)
    }
    this.#at(latest)
  }

  #at(revision: Revision): void {
    this.#revision = revision
    for (const waiter of this.#waiting) if (waiter.revision <= revision) waiter.resolve()
  }
}

interface Shelf {
  readonly items: Map<string, Item>
  /** Ids in order; undefined when one has come or gone. */
  order: string[] | undefined
  revision: Revision
}

class Contents {
  readonly #tagsOf: (item: Item) => Iterable<string>
  readonly #first: Revision
  readonly #shelves = new Map<ResourceKind, Shelf>()
  readonly #tagged = new Map<string, Set<Item>>()
  readonly #tags = new WeakMap<Item, readonly string[]>()

  constructor(tags: (item: Item) => Iterable<string>, first: Revision) {
    this.#tagsOf = tags
    this.#first = first
  }

  of(kind: ResourceKind, prefix: string): readonly Item[] {
    const shelf = this.#shelf(kind)
    shelf.order ??= [...shelf.items.keys()].sort()
    const { order } = shelf
    const end = prefix === '' ? order.length : at(order, `${prefix}\u{10ffff}`)
    return order.slice(at(order, prefix), end).map(id => shelf.items.get(id)!)
  }

  get(kind: ResourceKind, id: string): Item | undefined {
    return this.#shelves.get(kind)?.items.get(id)
  }

  tagged(tag: string): Iterable<Item> {
    return this.#tagged.get(tag) ?? []
  }

  revisionOf(kind: ResourceKind): Revision {
    return this.#shelves.get(kind)?.revision ?? this.#first
  }

  put(item: Item, revision = this.#first): void {
    const kind = resourceKind(item)
    // There is nothing in it to be shown or found.
    if (item.fault !== undefined) return this.remove(kind, item.id, revision)
    const shelf = this.#shelf(kind)
    const before = shelf.items.get(item.id)
    if (before === undefined) shelf.order = undefined
    else this.#untag(before)
    shelf.items.set(item.id, item)
    shelf.revision = Math.max(shelf.revision, revision)
    const tags = [...new Set(this.#tagsOf(item))]
    this.#tags.set(item, tags)
    for (const tag of tags) this.#tagged.set(tag, (this.#tagged.get(tag) ?? new Set()).add(item))
  }

  remove(kind: ResourceKind, id: string, revision: Revision): void {
    const shelf = this.#shelf(kind)
    shelf.revision = Math.max(shelf.revision, revision)
    const before = shelf.items.get(id)
    if (before === undefined) return
    this.#untag(before)
    shelf.items.delete(id)
    shelf.order = undefined
  }

  #untag(item: Item): void {
    for (const tag of this.#tags.get(item) ?? []) {
      const items = this.#tagged.get(tag)
      items?.delete(item)
      if (items?.size === 0) this.#tagged.delete(tag)
    }
  }

  #shelf(kind: ResourceKind): Shelf {
    const shelf = this.#shelves.get(kind) ?? { items: new Map(), order: undefined, revision: this.#first }
    this.#shelves.set(kind, shelf)
    return shelf
  }
}

/** Where `id` stands or would stand. */
function at(order: readonly string[], id: string): number {
  let [low, high] = [0, order.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (order[middle]! < id) low = middle + 1
    else high = middle
  }
  return low
}
