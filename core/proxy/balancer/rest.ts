// How long somebody who asked not to be asked is left alone: by this thread's own memory, or by that of all workers.

export interface Rest {
  /** Milliseconds until it may be asked again; 0 when it may be asked now. */
  readonly leftMs: number
  /** It is not to be asked for so many milliseconds from now. Of two wishes the one that ends later counts. */
  ask(ms: number): void
}

/** A day is the most that anybody is left alone: longer ones are a clock that is wrong, or a joke. */
export const LONGEST_REST_MS = 86_400_000

/** The rest that this thread alone knows of. `now` is in milliseconds. */
export function localRest(now: () => number): Rest {
  let until = 0
  return {
    get leftMs() {
      return Math.max(0, until - now())
    },
    ask(ms) {
      until = Math.max(until, now() + Math.min(ms, LONGEST_REST_MS))
    },
  }
}
