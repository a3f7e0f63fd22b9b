// What is made from configuration, by the configuration it was made from; knows not what it is.

interface Part {
  value: unknown
  close: (() => Promise<void>) | undefined
}

/**
 * The things of one snapshot. Equal configuration in the next snapshot is the same thing with all its state, so that
 * limiters, balancers and connections survive edits that do not concern them (design.md 8).
 */
export class Parts {
  private readonly made = new Map<string, Part>()
  #previous: Parts | undefined

  constructor(previous: Parts | undefined) {
    this.#previous = previous
  }

  /** The thing of that key, from here, from the previous snapshot, or made now. */
  carry<T>(key: string, make: () => T, close?: (value: T) => Promise<void>): T {
    const known = this.made.get(key) ?? this.#previous?.made.get(key)
    if (known !== undefined) {
      this.made.set(key, known)
      return known.value as T
    }
    const value = make()
    this.made.set(key, { value, close: close && (() => close(value)) })
    return value
  }

  /** Nothing is carried any more: lets go of the previous snapshot's things. */
  seal(): void {
    this.#previous = undefined
  }

  /** Closes what is here and not in `next`. Returns the errors. */
  async closeUnless(next: Parts | undefined): Promise<unknown[]> {
    const unused = [...this.made].filter(([key, part]) => next?.made.get(key) !== part)
    const results = await Promise.allSettled(unused.map(([, part]) => part.close?.()))
    return results.filter(result => result.status === 'rejected').map(result => result.reason as unknown)
  }
}
