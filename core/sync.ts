// Store -> snapshots: the only watcher. Lists, watches, coalesces, prepares the next snapshot in slices, makes it current.
import { isDeepStrictEqual } from 'node:util'
import { Editions } from './editions.ts'
import { asError } from './errors.ts'
import type { Logger } from './observe/log.ts'
import { checkResource, resourceKind } from './resource.ts'
import { inSlices } from './slices.ts'
import type { Snapshot, SnapshotEnv } from './snapshot.ts'
import type { Change, ConfigSource, Item, Revision } from './store/store.ts'
import { Sweeper } from './sweeper.ts'

/** An item that is not served as it stands in the store. */
export interface Rejected {
  kind: string
  id: string
  revision: Revision
  reason: string
  /** True when an older version of the item, which was good, is still served. */
  servesOlder: boolean
}

export interface SyncOptions {
  source: ConfigSource
  env: SnapshotEnv
  /** Called after each swap, with everything that is rejected now: the same list as before when that is the same. */
  applied(revision: Revision, rejected: readonly Rejected[]): void
  /** Milliseconds before a failed list is tried again. */
  retryDelay?: number
}

/** What is to be in the next snapshot: everything there is, or what has changed. */
type News =
  | { readonly items: readonly Item[]; readonly revision: Revision }
  | { readonly changes: readonly Change[]; readonly revision: Revision }

const RETRY_MS = 1_000

/** Keeps `current` equal to the source. Bad items fail alone; the last good configuration serves while the source is away. */
export class Sync {
  readonly #options: SyncOptions
  readonly #log: Logger
  readonly #editions: Editions
  readonly #sweeper: Sweeper
  readonly #rejected = new Map<string, Rejected>()
  /** All of them, as they were told last; undefined when that has changed. */
  #rejections: readonly Rejected[] | undefined = []
  #news: News[] = []
  #preparing: Promise<void> | undefined
  #retry: NodeJS.Timeout | undefined
  #unwatch: (() => void) | undefined
  #closed = false

  constructor(options: SyncOptions) {
    this.#options = options
    this.#log = options.env.log
    this.#editions = new Editions(options.env, editions => this.#sweeper.sweep(editions))
    this.#sweeper = new Sweeper(this.#editions)
  }

  get current(): Snapshot {
    return this.#editions.current
  }

  /** Resolves when the first configuration is served. Retries for as long as the source cannot be listed. */
  async start(): Promise<void> {
    while (!this.#closed) {
      try {
        const { items, revision } = await this.#options.source.list()
        if (this.#closed) return
        await this.#prepare({ items, revision })
        if (this.#closed) return
        this.#unwatch = this.#options.source.watch(
          revision,
          changes => void this.#prepare({ changes, revision: changes.at(-1)?.revision ?? revision }),
          error => this.#lost(error),
        )
        return
      } catch (error) {
        this.#log.error({ err: error }, 'configuration could not be listed; the last good one is served')
        await new Promise<void>(resolve => {
          this.#retry = setTimeout(resolve, this.#options.retryDelay ?? RETRY_MS)
        })
      }
    }
  }

  /** Stops watching and closes every plugin instance. Call it when no request is in flight any more. */
  async close(): Promise<void> {
    this.#closed = true
    this.#unwatch?.()
    clearTimeout(this.#retry)
    await this.#preparing
    this.#sweeper.finish()
    await this.#editions.clear()
    await this.#sweeper.done()
  }

  /** Resolves when a snapshot with the news is current, or there will be none. Never rejects. */
  #prepare(news: News): Promise<void> {
    this.#news.push(news)
    this.#preparing ??= this.#run()
    return this.#preparing
  }

  async #run(): Promise<void> {
    // Whatever else this turn of the loop brings goes into the same snapshot.
    await new Promise(resolve => setImmediate(resolve))
    while (this.#news.length > 0 && !this.#closed) {
      const news = this.#news
      this.#news = []
      try {
        await inSlices(this.#steps(news))
        if (!this.#closed) this.#commit(news.at(-1)!.revision)
      } catch (error) {
        // A bug of ours, since what is bad of an item is found out before: better the old configuration than none.
        this.#log.error({ err: error }, 'snapshot could not be built; the last good one is served')
      }
    }
    this.#preparing = undefined
  }

  #commit(revision: Revision): void {
    this.#sweeper.replaced(this.#editions.commit(revision))
    this.#rejections ??= [...this.#rejected.values()]
    this.#options.applied(revision, this.#rejections)
  }

  *#steps(news: readonly News[]): Generator<void> {
    for (const each of news) {
      if ('items' in each) yield* this.#replaceAll(each.items)
      else {
        for (const change of routesLast(each.changes)) {
          this.#take(change)
          if (this.#closed) return
          yield
        }
      }
    }
    yield* this.#editions.settle()
  }

  *#replaceAll(items: readonly Item[]): Generator<void> {
    // At first there is nothing that could have gone.
    const present = this.#editions.empty && this.#rejected.size === 0 ? undefined : new Set<string>()
    for (const item of routesLast(items)) {
      present?.add(keyOf(item))
      this.#take({ ...item, item })
      if (this.#closed) return
      yield
    }
    if (present === undefined) return
    for (const { kind, id } of this.#editions.items()) {
      if (!present.has(keyOf({ kind, id }))) this.#editions.remove(kind, id)
      yield
    }
    for (const [key] of this.#rejected) if (!present.has(key)) this.#accept(key)
  }

  /** A good item is taken; a bad one leaves what was good before in its place (facts core 5.1). */
  #take({ kind, id, item }: Pick<Change, 'kind' | 'id' | 'item'>): void {
    const key = keyOf({ kind, id })
    if (item === undefined) {
      this.#editions.remove(kind, id)
      this.#accept(key)
      return
    }
    const known = this.#editions.item(kind, id)
    // The revision alone would not do: where the data was replaced, another value may have the same.
    if (known?.modRevision === item.modRevision && isDeepStrictEqual(known.value, item.value)) return this.#accept(key)
    const reason = this.#put(item)
    if (reason === undefined) return this.#accept(key)
    const { modRevision: revision } = item
    this.#rejected.set(key, { kind, id, revision, reason, servesOlder: known !== undefined })
    this.#rejections = undefined
  }

  /** Why the item cannot be served, if it cannot. */
  #put(item: Item): string | undefined {
    const reason = item.fault ?? checkResource(resourceKind(item), item.value, this.#options.env.plugins)
    if (reason !== undefined) return reason
    try {
      this.#editions.put(item)
      return undefined
    } catch (error) {
      // A bug of ours or of a plugin, since the item has passed its check.
      return `it cannot be served: ${asError(error).message}`
    }
  }

  #accept(key: string): void {
    if (this.#rejected.delete(key)) this.#rejections = undefined
  }

  #lost(error: Error): void {
    if (this.#closed) return
    this.#log.warn({ err: asError(error) }, 'watch lost; listing again')
    this.#unwatch = undefined
    void this.start()
  }
}

/** Services and the like first, so that routes find what they name. The order within a kind stays. */
function* routesLast<T extends { kind: string }>(all: readonly T[]): Iterable<T> {
  for (const each of all) if (each.kind !== 'routes') yield each
  for (const each of all) if (each.kind === 'routes') yield each
}

function keyOf({ kind, id }: { kind: string; id: string }): string {
  return `${kind}/${id}`
}
