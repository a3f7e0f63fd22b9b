// What is made from configuration, by the configuration it was made from; knows not what it is.

interface Part {
  value: unknown
  close: (() => Promise<void>) | undefined
  /** In how many snapshots it is. */
  holders: number
}

/** Things that were asked for while one thing was made: they are carried together. */
interface Group {
  value: unknown
  madeOf: readonly unknown[]
  keys: readonly unknown[]
}

/**
 * The things of one snapshot. Equal configuration in the next snapshot is the same thing with all its state, so that
 * limiters, balancers and connections survive edits that do not concern them (design.md 8).
 */
export class Parts {
  readonly #parts = new Map<unknown, Part>()
  readonly #groups = new Map<unknown, Group>()
  #previous: Parts | undefined
  /** Keys that were asked for since the group that is being made began. */
  #asked: unknown[] | undefined

  constructor(previous: Parts | undefined) {
    this.#previous = previous
  }

  /** The thing of that key, from here, from the previous snapshot, or made now. */
  carry<T>(key: unknown, make: () => T, close?: (value: T) => Promise<void>): T {
    this.#asked?.push(key)
    const known = this.#adopt(key)
    if (known !== undefined) return known.value as T
    const value = make()
    this.#parts.set(key, { value, close: close && (() => close(value)), holders: 1 })
    return value
  }

  /**
   * The thing of that key and with it everything that `make` carries, without asking for each again while `madeOf` is what
   * it was: an edit costs the routes it does not touch next to nothing.
   */
  carryGroup<T>(key: unknown, madeOf: readonly unknown[], make: () => T): T {
    const before = this.#previous === undefined ? undefined : this.#previous.#groups.get(key)
    if (before?.madeOf.every((made, at) => made === madeOf[at])) {
      for (const each of before.keys) this.#adopt(each)
      this.#groups.set(key, before)
      return before.value as T
    }
    this.#asked = []
    const value = make()
    this.#groups.set(key, { value, madeOf, keys: this.#asked })
    this.#asked = undefined
    return value
  }

  /** Nothing is carried any more: lets go of the previous snapshot. */
  seal(): void {
    this.#previous = undefined
  }

  /** The snapshot is gone: closes what is in no other. Call it once. Returns the errors. */
  async release(): Promise<unknown[]> {
    const unused = [...this.#parts.values()].filter(part => --part.holders === 0)
    this.#parts.clear()
    this.#groups.clear()
    const results = await Promise.allSettled(unused.map(part => part.close?.()))
    return results.filter(result => result.status === 'rejected').map(result => result.reason as unknown)
  }

  #adopt(key: unknown): Part | undefined {
    const here = this.#parts.get(key)
    if (here !== undefined) return here
    const part = this.#previous === undefined ? undefined : this.#previous.#parts.get(key)
    if (part === undefined) return undefined
    part.holders++
    this.#parts.set(key, part)
    return part
  }
}
