// Which routes there are now, by id and by name, as the store says; knows nothing else of them.
import type { Logger } from './observe/log.ts'
import { inSlices, steps } from './slices.ts'
import { follow } from './store/follow.ts'
import type { Change, ConfigSource, Item } from './store/store.ts'

export class RouteNames {
  /** Names by id. */
  readonly #routes = new Map<string, unknown>()
  /** How many routes have a name. */
  readonly #names = new Map<unknown, number>()
  #listed = false
  /** Stops following. */
  readonly close: () => void

  /** Follows `source` until it is closed. */
  constructor(source: ConfigSource, log: Logger) {
    this.close = follow(source, {
      listed: items => this.#list(items),
      changed: changes => this.#take(changes),
      failed: err => log.warn({ err }, 'routes could not be listed for the metrics; trying again'),
    })
  }

  /** Whether a route has this id or this name. True as long as nobody could say. */
  has(value: string): boolean {
    return !this.#listed || this.#routes.has(value) || this.#names.has(value)
  }

  get ids(): Iterable<string> {
    return this.#routes.keys()
  }

  async #list(items: readonly Item[]): Promise<void> {
    this.#listed = false
    this.#routes.clear()
    this.#names.clear()
    await inSlices(
      steps(items, ({ kind, id, value }) => {
        if (kind === 'routes') this.#put(id, value.name)
      }),
    )
    this.#listed = true
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
