// The configuration as a worker sees it: a ConfigSource at the other end of a port. The worker's side.
import type { Change, ConfigSource, Item, Revision } from '../store/store.ts'
import type { FeedRequest, ToWorker } from './messages.ts'

type Listed = { items: readonly Item[]; revision: Revision }

export class Feed implements ConfigSource {
  readonly #send: (request: FeedRequest) => void
  #listing: { items: Item[]; resolve: (listed: Listed) => void; reject: (error: Error) => void } | undefined
  #watching: { changed: (changes: readonly Change[]) => void; lost: (error: Error) => void } | undefined
  /** What has come of a write. */
  #changes: Change[] = []

  constructor(send: (request: FeedRequest) => void) {
    this.#send = send
  }

  list(): Promise<Listed> {
    return new Promise((resolve, reject) => {
      this.#listing = { items: [], resolve, reject }
      this.#send({ type: 'list' })
    })
  }

  watch(since: Revision, changed: (changes: readonly Change[]) => void, lost: (error: Error) => void): () => void {
    this.#watching = { changed, lost }
    this.#changes = []
    this.#send({ type: 'watch', since })
    return () => {
      this.#watching = undefined
    }
  }

  /** Takes a message from main; other messages than the feed's are left alone. */
  receive(message: ToWorker): void {
    switch (message.type) {
      case 'listed':
        this.#send({ type: 'arrived' })
        this.#gather(message)
        return
      case 'list_failed':
        return this.#listing?.reject(new Error(message.message))
      case 'changed':
        this.#send({ type: 'arrived' })
        for (const change of message.changes) this.#changes.push(change)
        if (!message.more) this.#watching?.changed(this.#changes.splice(0))
        return
      case 'lost':
        return this.#watching?.lost(new Error(message.message))
    }
  }

  #gather({ items, revision, more }: Extract<ToWorker, { type: 'listed' }>): void {
    if (this.#listing === undefined) return
    for (const item of items) this.#listing.items.push(item)
    if (more) return
    this.#listing.resolve({ items: this.#listing.items, revision })
    this.#listing = undefined
  }
}
