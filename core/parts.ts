// What was made of one edition of a resource, by the configuration it was made from; knows not what it is.
import { isDeepStrictEqual } from 'node:util'

interface Part {
  readonly config: unknown
  readonly value: unknown
  readonly close: () => Promise<void>
  /** How many editions have it. */
  holders: number
}

/** How a thing is made, when it may not be carried over though its configuration is equal, and how it ends. */
interface Making<T> {
  make(): T
  holds?(value: T): boolean
  close(value: T): Promise<void>
}

/**
 * Equal configuration in the next edition is the same thing with all its state, so that limiters, balancers and
 * connections survive edits that do not concern them (design.md 8).
 */
export class Parts {
  readonly #parts = new Map<string, Part>()
  #older: Parts | undefined

  constructor(older?: Parts) {
    this.#older = older
  }

  /** The thing of that key: there already, the older edition's if it was made of equal configuration, or made now. */
  carry<T>(key: string, config: unknown, making: Making<T>): T {
    const known = this.#parts.get(key) ?? this.#adopt(key, config, making)
    if (known !== undefined) return known.value as T
    const value = making.make()
    this.#parts.set(key, { config, value, close: () => making.close(value), holders: 1 })
    return value
  }

  /** Nothing more is carried from the older edition. */
  seal(): void {
    this.#older = undefined
  }

  /** No snapshot has the edition any more: closes what no other edition has. Call it once. Returns the errors. */
  async release(): Promise<unknown[]> {
    const unused = [...this.#parts.values()].filter(part => --part.holders === 0)
    this.#parts.clear()
    const results = await Promise.allSettled(unused.map(part => part.close()))
    return results.filter(result => result.status === 'rejected').map(result => result.reason as unknown)
  }

  #adopt<T>(key: string, config: unknown, { holds }: Making<T>): Part | undefined {
    const part = this.#older === undefined ? undefined : this.#older.#parts.get(key)
    if (part === undefined || !isDeepStrictEqual(part.config, config)) return undefined
    // Under one key stand only things of one sort.
    if (holds?.(part.value as T) === false) return undefined
    part.holders++
    this.#parts.set(key, part)
    return part
  }
}
