// Which routes there are now, by id and by name, as the store says; knows nothing else of them.
import { setTimeout as sleep } from 'node:timers/promises'
import { asError } from './errors.ts'
import type { Logger } from './observe/log.ts'
import { inSlices, steps } from './slices.ts'
import type { Change, ConfigSource } from './store/store.ts'

// How long after a list that failed another is tried.
const RETRY_MS = 1_000

export class RouteNames {
  readonly #source: ConfigSource
  readonly #log: Logger
  /** Names by id. */
  readonly #routes = new Map<string, unknown>()
  /** How many routes have a name. */
  readonly #names = new Map<unknown, number>()
  #listed = false
  #unwatch: (() => void) | undefined
  readonly #closed = new AbortController()

  /** Follows `source` until it is closed. */
  constructor(source: ConfigSource, log: Logger) {
    this.#source = source
    this.#log = log
    void this.#follow()
  }

  /** Whether a route has this id or this name. True as long as nobody could say. */
  has(value: string): boolean {
    return !this.#listed || this.#routes.has(value) || this.#names.has(value)
  }

  get ids(): Iterable<string> {
    return this.#routes.keys()
  }

  close(): void {
    this.#closed.abort()
    this.#unwatch?.()
  }

  async #follow(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      try {
        const { items, revision } = await this.#source.list()
        if (this.#closed.signal.aborted) return
        this.#listed = false
        this.#routes.clear()
        this.#names.clear()
        await inSlices(
          steps(items, ({ kind, id, value }) => {
            if (kind === 'routes') this.#put(id, value.name)
          }),
        )
        if (this.#closed.signal.aborted) return
        this.#listed = true
        this.#unwatch = this.#source.watch(
          revision,
          changes => this.#take(changes),
          () => void this.#follow(),
        )
        return
      } catch (error) {
        this.#log.warn({ err: asError(error) }, 'routes could not be listed for the metrics; trying again')
        await sleep(RETRY_MS, undefined, { signal: this.#closed.signal, ref: false }).catch(() => {})
      }
    }
  }

  #take(changes: readonly Change[]): void {
    for (const { kind, id, item } of changes) {
      if (kind !== 'routes') continue
      this.#delete(id)
      if (item !== undefined) this.#put(id, item.value.name)
    }
  }

  #put(id: string, name: unknown): void {
    this.#routes.set(id, name)
    if (name !== undefined) this.#names.set(name, (this.#names.get(name) ?? 0) + 1)
  }

  #delete(id: string): void {
    const name = this.#routes.get(id)
    if (!this.#routes.delete(id) || name === undefined) return
    const left = this.#names.get(name)! - 1
    if (left === 0) this.#names.delete(name)
    else this.#names.set(name, left)
  }
}
