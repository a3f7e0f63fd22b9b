// Store -> snapshot: the only watcher. Lists, watches, coalesces, builds the new snapshot whole, swaps one reference.
import { isDeepStrictEqual } from 'node:util'
import { asError } from './errors.ts'
import type { Logger } from './observe/log.ts'
import { checkResource, resourceKind } from './resource.ts'
import { Snapshot, type SnapshotEnv } from './snapshot.ts'
import type { Change, ConfigSource, Item, Revision } from './store/store.ts'

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
  /** Called after each swap, with everything that is rejected now. */
  applied(revision: Revision, rejected: readonly Rejected[]): void
  /** Milliseconds before a failed list is tried again. */
  retryDelay?: number
}

const RETRY_MS = 1_000
/** Labels that name routes, by id or by name. */
const ROUTE_LABELS = ['route', 'route_id']

/** Keeps `current` equal to the source. Bad items fail alone; the last good configuration serves while the source is away. */
export class Sync {
  readonly #options: SyncOptions
  readonly #log: Logger
  readonly #good = new Map<string, Item>()
  readonly #rejected = new Map<string, Rejected>()
  #current: Snapshot
  #latest: Revision = 0
  #building: NodeJS.Immediate | undefined
  #retry: NodeJS.Timeout | undefined
  #unwatch: (() => void) | undefined
  #closed = false
  /** How many ids and names of routes were forgotten, and how many before the current snapshot. */
  #forgotten = 0
  #forgottenBefore = 0
  /** Snapshots that were replaced and still have something to close. */
  readonly #retiring = new Set<Promise<void>>()

  constructor(options: SyncOptions) {
    this.#options = options
    this.#log = options.env.log
    this.#current = new Snapshot([], 0, options.env)
  }

  get current(): Snapshot {
    return this.#current
  }

  /** Resolves when the first configuration is served. Retries for as long as the source cannot be listed. */
  async start(): Promise<void> {
    while (!this.#closed) {
      try {
        const { items, revision } = await this.#options.source.list()
        if (this.#closed) return
        this.#replaceAll(items, revision)
        this.#unwatch = this.#options.source.watch(
          revision,
          changes => this.#take(changes),
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
    clearImmediate(this.#building)
    this.#retire(this.#current, this.#forgotten)
    await Promise.all(this.#retiring)
  }

  #replaceAll(items: readonly Item[], revision: Revision): void {
    const present = new Set(items.map(keyOf))
    for (const key of this.#good.keys()) if (!present.has(key)) this.#good.delete(key)
    for (const key of this.#rejected.keys()) if (!present.has(key)) this.#rejected.delete(key)
    for (const item of items) this.#admit(item)
    this.#latest = revision
    this.#swap()
  }

  #take(changes: readonly Change[]): void {
    for (const change of changes) {
      this.#latest = Math.max(this.#latest, change.revision)
      if (change.item !== undefined) this.#admit(change.item)
      else {
        this.#good.delete(keyOf(change))
        this.#rejected.delete(keyOf(change))
      }
    }
    // Whatever else this turn of the loop brings goes into the same snapshot.
    this.#building ??= setImmediate(() => this.#swap())
  }

  /** A good item is taken; a bad one leaves what was good before in its place (facts core 5.1). */
  #admit(item: Item): void {
    const key = keyOf(item)
    const known = this.#good.get(key)
    // The revision alone would not do: where the data was replaced, another value may have the same.
    if (known?.modRevision === item.modRevision && isDeepStrictEqual(known.value, item.value)) {
      this.#rejected.delete(key)
      return
    }
    const reason = checkResource(resourceKind(item), item.value, this.#options.env.plugins)
    if (reason === undefined) {
      this.#good.set(key, item)
      this.#rejected.delete(key)
      return
    }
    const { kind, id, modRevision } = item
    this.#rejected.set(key, { kind, id, revision: modRevision, reason, servesOlder: known !== undefined })
    this.#log.error({ kind, id, revision: modRevision, reason }, 'configuration item rejected')
  }

  #swap(): void {
    clearImmediate(this.#building)
    this.#building = undefined
    const previous = this.#current
    try {
      this.#current = new Snapshot(this.#good.values(), this.#latest, this.#options.env, previous)
    } catch (error) {
      // A bug of ours, since every item passed its check: better the old configuration than none.
      this.#log.error(
        { err: error, revision: this.#latest },
        'snapshot could not be built; the last good one is served',
      )
      return
    }
    this.#retire(previous, this.#forgottenBefore)
    this.#forgetRoutes(previous)
    this.#forgottenBefore = this.#forgotten
    this.#options.applied(this.#latest, [...this.#rejected.values()])
  }

  /** Series of routes that are gone go with them, and series of names that no route has any more. */
  #forgetRoutes(before: Snapshot): void {
    const now = this.#current.routes
    let names: Set<string | undefined> | undefined
    for (const [id, name] of before.routes) {
      if (now.has(id) && now.get(id) === name) continue
      names ??= new Set(now.values())
      for (const value of [id, name]) {
        if (value === undefined || now.has(value) || names.has(value)) continue
        this.#options.env.metrics.forget(ROUTE_LABELS, value)
        this.#forgotten++
      }
    }
  }

  /** `forgotten` is how many had been when this snapshot was made. */
  #retire(snapshot: Snapshot, forgotten: number): void {
    const retired = snapshot.retire().then(errors => {
      this.#retiring.delete(retired)
      for (const error of errors) this.#log.error({ err: error }, 'plugin could not be closed')
      // Its last requests have counted on routes that were gone.
      if (this.#forgotten > forgotten) this.#forgetRoutes(snapshot)
    })
    this.#retiring.add(retired)
  }

  #lost(error: Error): void {
    if (this.#closed) return
    this.#log.warn({ err: asError(error) }, 'watch lost; listing again')
    this.#unwatch = undefined
    void this.start()
  }
}

function keyOf({ kind, id }: { kind: string; id: string }): string {
  return `${kind}/${id}`
}
