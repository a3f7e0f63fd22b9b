// What is made from configuration, by the configuration it was made from; knows not what it is.

interface Part {
  value: unknown
  close: (() => Promise<void>) | undefined
  /** In how many snapshots it is. */
  holders: number
}

/**
 * The things of one snapshot. Equal configuration in the next snapshot is the same thing with all its state, so that
 * limiters, balancers and connections survive edits that do not concern them (design.md 8).
 */
export class Parts {
  readonly #parts = new Map<unknown, Part>()
  #previous: Parts | undefined

  constructor(previous: Parts | undefined) {
    this.#previous = previous
  }

  /** The thing of that key, from here, from the previous snapshot, or made now. */
  carry<T>(key: unknown, make: () => T, close?: (value: T) => Promise<void>): T {
    const here = this.#parts.get(key)
    if (here !== undefined) return here.value as T
    const before = this.#previous
    let part = before === undefined ? undefined : before.#parts.get(key)
    if (part === undefined) {
      const value = make()
      part = { value, close: close && (() => close(value)), holders: 0 }
    }
    part.holders++
    this.#parts.set(key, part)
    return part.value as T
  }

  /** Nothing is carried any more: lets go of the previous snapshot. */
  seal(): void {
    this.#previous = undefined
  }

  /** The snapshot is gone: closes what is in no other. Call it once. Returns the errors. */
  async release(): Promise<unknown[]> {
    const unused = [...this.#parts.values()].filter(part => --part.holders === 0)
    this.#parts.clear()
    const results = await Promise.allSettled(unused.map(part => part.close?.()))
    return results.filter(result => result.status === 'rejected').map(result => result.reason as unknown)
  }
}
