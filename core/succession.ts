// The snapshots that are in use, in their order, and what none of them sees any more; knows not what that is.
import type { Snapshot } from './snapshot.ts'

/** Something that snapshots have from the one of this number on. */
interface Lasting {
  readonly since: number
}

interface Live<T> {
  readonly snapshot: Snapshot
  /** What it was the last to have. */
  dropped: readonly T[]
}

export class Succession<T extends Lasting> {
  /** The current one last; before it only such as have requests. */
  readonly #live: Live<T>[]
  readonly #unseen: (things: readonly T[]) => void
  #alone: (() => void) | undefined

  /** `unseen` is told of things when the last request that could see them has left. */
  constructor(first: Snapshot, unseen: (things: readonly T[]) => void) {
    this.#live = [{ snapshot: first, dropped: [] }]
    this.#unseen = unseen
  }

  get current(): Snapshot {
    return this.#live.at(-1)!.snapshot
  }

  /** `next` is the current one from now on, and does not have `dropped`, which the one before it had. */
  follow(next: Snapshot, dropped: readonly T[]): void {
    const previous = this.#live.at(-1)!
    previous.dropped = dropped
    this.#live.push({ snapshot: next, dropped: [] })
    previous.snapshot.retire(() => this.#end(previous))
  }

  /** Resolves when no request is on another snapshot than the current one. */
  async alone(): Promise<void> {
    if (this.#live.length === 1) return
    await new Promise<void>(resolve => {
      this.#alone = resolve
    })
  }

  /** What an older one in use has too waits for that one's requests. */
  #end(ended: Live<T>): void {
    const at = this.#live.indexOf(ended)
    this.#live.splice(at, 1)
    const older = this.#live[at - 1]
    if (older === undefined) this.#unseen(ended.dropped)
    else {
      const isSeen = ({ since }: T) => since <= older.snapshot.number
      older.dropped = older.dropped.concat(ended.dropped.filter(isSeen))
      this.#unseen(ended.dropped.filter(thing => !isSeen(thing)))
    }
    if (this.#live.length === 1) this.#alone?.()
  }
}
