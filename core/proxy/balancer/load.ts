// How many requests are under way to a node, by this worker's own count or by that of all workers together.

export interface Load {
  /** Never negative. */
  readonly count: number
  /** One more; what is returned ends it, once. */
  begin(): () => void
}

/** The load that this thread alone puts on a node. */
export function localLoad(): Load {
  let count = 0
  return {
    get count() {
      return count
    },
    begin() {
      count++
      return once(() => {
        count--
      })
    },
  }
}

/** The same, and nothing when it is called again. */
export function once(run: () => void): () => void {
  let done = false
  return () => {
    if (done) return
    done = true
    run()
  }
}
