// Who of this thread wants targets probed: equal wishes of several upstreams are told on as one. Knows no probes.
import type { HealthBoard, HealthCell, Watch } from './board.ts'

/** Tells the keeper, which may be in another thread. */
export interface WatchPort {
  watch(watch: Watch): void
  unwatch(key: string): void
}

export class Watches implements HealthBoard {
  readonly #cells: { readonly changes: number; cell(name: string): HealthCell | undefined }
  readonly #port: WatchPort
  /** By key, the latest last: it is the one that counts. */
  readonly #open = new Map<string, Watch[]>()

  constructor(cells: { readonly changes: number; cell(name: string): HealthCell | undefined }, port: WatchPort) {
    this.#cells = cells
    this.#port = port
  }

  get changes(): number {
    return this.#cells.changes
  }

  cell(name: string): HealthCell | undefined {
    return this.#cells.cell(name)
  }

  watched(key: string): boolean {
    return this.#open.has(key)
  }

  watch(watch: Watch): () => void {
    const { key } = watch
    const wishes = this.#open.get(key) ?? []
    this.#open.set(key, wishes)
    wishes.push(watch)
    this.#port.watch(watch)
    return () => {
      const at = wishes.indexOf(watch)
      if (at < 0) return
      wishes.splice(at, 1)
      const latest = wishes.at(-1)
      if (latest === undefined) {
        this.#open.delete(key)
        this.#port.unwatch(key)
      } else if (at === wishes.length) this.#port.watch(latest)
    }
  }
}
