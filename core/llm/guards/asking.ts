// Who asks on somebody's behalf, and can be stopped before that somebody is gone; knows no question.
import type { Wisher } from '../sidecar.ts'

type Listener = (reason: Error) => void

export class Asking implements Wisher {
  aborted: Error | undefined
  readonly #for: Wisher
  readonly #listeners = new Set<Listener>()
  readonly #onAbort = (reason: Error): void => this.stop(reason)

  constructor(wisher: Wisher) {
    this.#for = wisher
    wisher.onAbort(this.#onAbort)
  }

  onAbort(listener: Listener): void {
    if (this.aborted === undefined) this.#listeners.add(listener)
    else listener(this.aborted)
  }

  offAbort(listener: Listener): void {
    this.#listeners.delete(listener)
  }

  /** Gives up all that is asked. */
  stop(reason: Error): void {
    if (this.aborted !== undefined) return
    this.aborted = reason
    for (const listener of this.#listeners) listener(reason)
    this.#listeners.clear()
  }

  /** Nothing more is asked. */
  end(): void {
    this.#for.offAbort(this.#onAbort)
  }
}
