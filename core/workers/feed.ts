// The configuration as a worker sees it: a ConfigSource at the other end of a port. The worker's side.
import type { Change, ConfigSource, Item, Revision } from '../store/store.ts'
import type { ToMain, ToWorker } from './messages.ts'

type Listed = { items: readonly Item[]; revision: Revision }

export class Feed implements ConfigSource {
  readonly #send: (message: ToMain) => void
  #listing: { resolve: (listed: Listed) => void; reject: (error: Error) => void } | undefined
  #watching: { changed: (changes: readonly Change[]) => void; lost: (error: Error) => void } | undefined

  constructor(send: (message: ToMain) => void) {
    this.#send = send
  }

  list(): Promise<Listed> {
    return new Promise((resolve, reject) => {
      this.#listing = { resolve, reject }
      this.#send({ type: 'list' })
    })
  }

  watch(since: Revision, changed: (changes: readonly Change[]) => void, lost: (error: Error) => void): () => void {
    this.#watching = { changed, lost }
    this.#send({ type: 'watch', since })
    return () => {
      this.#watching = undefined
    }
  }

  /** Takes a message from main; other messages than the feed's are left alone. */
  receive(message: ToWorker): void {
    switch (message.type) {
      case 'listed':
        return this.#listing?.resolve(message)
      case 'list_failed':
        return this.#listing?.reject(new Error(message.message))
      case 'changed':
        return this.#watching?.changed(message.changes)
      case 'lost':
        return this.#watching?.lost(new Error(message.message))
    }
  }
}
