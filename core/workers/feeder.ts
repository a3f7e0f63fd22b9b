// Main's side of a worker's feed: hands the configuration over in pieces, the next one when the last has arrived.
import { asError } from '../errors.ts'
import type { Change, ConfigSource, Item, Revision } from '../store/store.ts'
import type { FeedAnswer, FeedRequest } from './messages.ts'

// Copying a piece for another thread holds this loop up, and taking it in the worker's, which takes all that has come in
// one turn: so one piece is on its way, and it has as many items as take a millisecond or two.
const FAST_MS = 1
const SLOW_MS = 3
const FIRST_SIZE = 16
const MOST_ITEMS = 1_024

interface Listed {
  readonly items: readonly Item[]
  sent: number
  readonly revision: Revision
}

export class Feeder {
  readonly #source: ConfigSource
  readonly #send: (answer: FeedAnswer) => void
  /** What the worker has not got yet of the list it asked for. */
  #list: Listed | undefined
  /** What it has not got yet of what it watches. */
  #changes: Change[] = []
  #onItsWay = false
  #size = FIRST_SIZE
  #unwatch: (() => void) | undefined

  constructor(source: ConfigSource, send: (answer: FeedAnswer) => void) {
    this.#source = source
    this.#send = send
  }

  receive(request: FeedRequest): void {
    switch (request.type) {
      case 'list':
        void this.#read()
        return
      case 'watch':
        this.#watch(request.since)
        return
      case 'arrived':
        this.#onItsWay = false
        this.#next()
    }
  }

  /** Nobody is fed any more. */
  close(): void {
    this.#unwatch?.()
    this.#changes = []
    this.#list = undefined
  }

  async #read(): Promise<void> {
    try {
      const { items, revision } = await this.#source.list()
      this.#list = { items, sent: 0, revision }
      this.#next()
    } catch (error) {
      this.#send({ type: 'list_failed', message: asError(error).message })
    }
  }

  #watch(since: Revision): void {
    this.close()
    this.#unwatch = this.#source.watch(
      since,
      changes => {
        for (const change of changes) this.#changes.push(change)
        this.#next()
      },
      error => {
        this.#changes = []
        this.#send({ type: 'lost', message: error.message })
      },
    )
  }

  #next(): void {
    if (this.#onItsWay) return
    const piece = this.#list === undefined ? this.#someChanges() : this.#someItems(this.#list)
    if (piece === undefined) return
    this.#onItsWay = true
    const begun = performance.now()
    this.#send(piece)
    const took = performance.now() - begun
    const { length } = piece.type === 'listed' ? piece.items : piece.changes
    if (took > SLOW_MS) this.#size = Math.max(1, length >> 1)
    else if (took < FAST_MS && length === this.#size) this.#size = Math.min(MOST_ITEMS, length * 2)
  }

  #someItems(list: Listed) {
    const items = list.items.slice(list.sent, list.sent + this.#size)
    list.sent += items.length
    const more = list.sent < list.items.length
    if (!more) this.#list = undefined
    return { type: 'listed', items, revision: list.revision, more } as const
  }

  #someChanges() {
    if (this.#changes.length === 0) return undefined
    const changes = this.#changes.splice(0, this.#size)
    return { type: 'changed', changes, more: this.#changes[0]?.revision === changes.at(-1)!.revision } as const
  }
}
