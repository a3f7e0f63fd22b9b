// Values by whole texts, and by what texts begin or end with: a hash table edited in place. Knows neither paths nor hosts.

export interface Key {
  readonly text: string
  /** The text alone; else every text that begins with it (ends with it, if the table is backwards). */
  readonly whole: boolean
  /** Keys of another group are other keys. A whole number. */
  readonly group: number
}

interface Entry<V> {
  readonly text: string
  readonly space: number
  value: V
}

const FIRST_SIZE = 16
const SEED = 0x811c9dc5
const PRIME = 0x01000193

/**
 * A look-up reads the text once, hashing as it goes, and notes the hash wherever a key may end: at lengths that keys have,
 * of those that end in the separator only at separators. Then it looks for the few it has noted. What is not there costs
 * one place in memory and what is there five; with 100,000 keys that, and not the work, is the time of a look-up. (A radix
 * tree has four for every level, a built-in map five for what is not there.)
 */
export class AffixTable<V> {
  readonly #backwards: boolean
  readonly #separator: number
  /** Open addressing, at most three fifths full: it does not grow when everything that doubles does. 0 is a free place. */
  #hashes = new Int32Array(FIRST_SIZE)
  #entries: (Entry<V> | undefined)[] = new Array(FIRST_SIZE).fill(undefined)
  #size = 0
  /** How many keys of each length there are: whole ones, and others, by whether they end in the separator. */
  readonly #wholes: number[] = [0]
  readonly #closed: number[] = [0]
  readonly #open: number[] = [0]

  constructor({ separator, backwards = false }: { separator: string; backwards?: boolean }) {
    this.#separator = separator.charCodeAt(0)
    this.#backwards = backwards
  }

  get size(): number {
    return this.#size
  }

  /** In no order. */
  *values(): Iterable<V> {
    for (const entry of this.#entries) if (entry !== undefined) yield entry.value
  }

  get(key: Key): V | undefined {
    return this.#entries[this.#placeOf(key)]?.value
  }

  set(key: Key, value: V): void {
    const known = this.#entries[this.#placeOf(key)]
    if (known !== undefined) {
      known.value = value
      return
    }
    this.#count(key, 1)
    this.#size++
    if (this.#size * 5 > this.#hashes.length * 3) this.#resize(this.#hashes.length * 2)
    const place = this.#placeOf(key)
    this.#hashes[place] = this.#hashOf(key)
    this.#entries[place] = { text: key.text, space: spaceOf(key), value }
  }

  delete(key: Key): void {
    const place = this.#placeOf(key)
    if (this.#entries[place] === undefined) return
    this.#count(key, -1)
    this.#size--
    this.#clear(place)
    if (this.#size * 16 < this.#hashes.length && this.#hashes.length > FIRST_SIZE) {
      this.#resize(this.#hashes.length / 2)
    }
  }

  /** What `take` makes of the value of the whole text, or of the longest beginning for which it makes something. */
  find<R>(group: number, text: string, take: (value: V) => R | undefined): R | undefined {
    const { length } = text
    const reach = Math.min(length, this.#wholes.length - 1)
    /** Lengths and hashes, in turn. */
    const ends: number[] = []
    let hash = SEED
    let code = -1
    for (let at = 0; ; at++) {
      if ((code === this.#separator ? this.#closed[at]! : this.#open[at]!) > 0) ends.push(at, hash)
      if (at === reach) break
      code = text.charCodeAt(this.#backwards ? length - 1 - at : at)
      hash = Math.imul(hash ^ code, PRIME)
    }
    if (reach === length && this.#wholes[length]! > 0) {
      const entry = this.#entries[this.#look(hash, 2 * group + 1, text, length)]
      const taken = entry && take(entry.value)
      if (taken !== undefined) return taken
    }
    for (let at = ends.length - 2; at >= 0; at -= 2) {
      const entry = this.#entries[this.#look(ends[at + 1]!, 2 * group, text, ends[at]!)]
      const taken = entry && take(entry.value)
      if (taken !== undefined) return taken
    }
    return undefined
  }

  /** Where the key of that space is that has the first `length` characters of the text, or where it would be put. */
  #look(hash: number, space: number, text: string, length: number): number {
    const wanted = finished(hash, space)
    const mask = this.#hashes.length - 1
    for (let place = wanted & mask; ; place = (place + 1) & mask) {
      const there = this.#hashes[place]!
      if (there === 0) return place
      if (there !== wanted) continue
      const entry = this.#entries[place]!
      if (entry.space !== space || entry.text.length !== length) continue
      if (this.#backwards ? text.endsWith(entry.text) : text.startsWith(entry.text)) return place
    }
  }

  #placeOf(key: Key): number {
    return this.#look(this.#rawHash(key), spaceOf(key), key.text, key.text.length)
  }

  #hashOf(key: Key): number {
    return finished(this.#rawHash(key), spaceOf(key))
  }

  #rawHash({ text }: Key): number {
    let hash = SEED
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(this.#backwards ? text.length - 1 - at : at)
      hash = Math.imul(hash ^ code, PRIME)
    }
    return hash
  }

  #count({ text, whole }: Key, by: 1 | -1): void {
    while (this.#wholes.length <= text.length) {
      this.#wholes.push(0)
      this.#closed.push(0)
      this.#open.push(0)
    }
    const last = text.charCodeAt(this.#backwards ? 0 : text.length - 1)
    const counts = whole ? this.#wholes : last === this.#separator ? this.#closed : this.#open
    counts[text.length]! += by
  }

  #resize(length: number): void {
    const [hashes, entries] = [this.#hashes, this.#entries]
    this.#hashes = new Int32Array(length)
    this.#entries = new Array(length).fill(undefined)
    for (const [at, hash] of hashes.entries()) {
      if (hash === 0) continue
      let place = hash & (length - 1)
      while (this.#hashes[place] !== 0) place = (place + 1) & (length - 1)
      this.#hashes[place] = hash
      this.#entries[place] = entries[at]
    }
  }

  /** Frees a place, and moves up what stands behind it only because it was taken. */
  #clear(taken: number): void {
    const mask = this.#hashes.length - 1
    let free = taken
    for (let at = (free + 1) & mask; this.#hashes[at] !== 0; at = (at + 1) & mask) {
      const wished = this.#hashes[at]! & mask
      // How far it is from where it wished to be, and from the free place.
      if (((at - wished) & mask) < ((at - free) & mask)) continue
      this.#hashes[free] = this.#hashes[at]!
      this.#entries[free] = this.#entries[at]
      free = at
    }
    this.#hashes[free] = 0
    this.#entries[free] = undefined
  }
}

/** Group and kind of a key in one number. */
function spaceOf({ group, whole }: Key): number {
  return 2 * group + Number(whole)
}

/** The hash of a text, which knows nothing of the space, as one whose lowest bits depend on all of both; never 0. */
function finished(hash: number, space: number): number {
  let mixed = Math.imul(hash ^ Math.imul(space + 1, 0x9e3779b1), 0x85ebca6b)
  mixed ^= mixed >>> 15
  mixed = Math.imul(mixed, 0xc2b2ae35)
  mixed ^= mixed >>> 16
  return mixed === 0 ? 1 : mixed
}
