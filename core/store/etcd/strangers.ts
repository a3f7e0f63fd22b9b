// What stands below the prefix in etcd and is no resource: said once, listed for operators; knows no etcd.
import type { Logger } from '../../observe/log.ts'
import type { Stranger } from './layout.ts'

/** More are neither said nor listed. */
const MOST_KEPT = 1_000

export class Strangers {
  readonly #log: Logger
  readonly #kept = new Map<string, Stranger>()

  constructor(log: Logger) {
    this.#log = log
  }

  get all(): readonly Stranger[] {
    return [...this.#kept.values()]
  }

  add(stranger: Stranger): void {
    if (!this.#kept.has(stranger.key)) {
      if (this.#kept.size >= MOST_KEPT) return
      this.#log.error(stranger, 'a key below the prefix of etcd is passed over')
    }
    this.#kept.set(stranger.key, stranger)
  }

  remove(key: string): void {
    this.#kept.delete(key)
  }

  /** Only these are left. */
  replace(strangers: readonly Stranger[]): void {
    const keys = new Set(strangers.map(({ key }) => key))
    for (const key of this.#kept.keys()) if (!keys.has(key)) this.#kept.delete(key)
    for (const stranger of strangers) this.add(stranger)
  }
}
