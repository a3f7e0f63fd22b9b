// Paths -> candidates in APISIX's order of precedence: exact path, then the longest literal prefix (facts core 2.3, 2.4).
import { AffixTable } from './affix-table.ts'
import { readPath, segmentCheck } from './path-pattern.ts'

/** What a pattern leads to. */
export interface Target {
  readonly id: string
}

/** One pattern of one route. */
export interface Candidate<T> {
  readonly value: T
  readonly pattern: string
  readonly priority: number
  /** For patterns whose wildcard is not just a tail: the whole path must fit. */
  readonly fits: RegExp | undefined
}

/** What leads to a value: a pattern in a group of patterns (of one host), and its rank. */
export interface Way<T> {
  readonly group: number
  readonly pattern: string
  readonly priority: number
  readonly value: T
}

/** In order; the only one, as with most paths, without an array around it. */
type Bucket<T> = Candidate<T> | Candidate<T>[]

export class PathIndex<T extends Target> {
  readonly #buckets = new AffixTable<Bucket<T>>({ separator: '/' })
  readonly #syntax: { parameters: boolean }

  constructor(syntax = { parameters: false }) {
    this.#syntax = syntax
  }

  add({ group, pattern, priority, value }: Way<T>): void {
    const path = readPath(pattern, this.#syntax)
    const key = { group, text: path.literal, whole: path.exact }
    const candidate = { value, pattern, priority, fits: path.exact ? undefined : segmentCheck(path) }
    const bucket = this.#buckets.get(key)
    if (bucket === undefined) this.#buckets.set(key, candidate)
    else if (Array.isArray(bucket)) bucket.splice(placeOf(candidate, bucket), 0, candidate)
    else this.#buckets.set(key, comesBefore(candidate, bucket) ? [candidate, bucket] : [bucket, candidate])
  }

  /** Takes back what `add` was given; false when it was not. */
  remove({ group, pattern, priority, value }: Way<T>): boolean {
    const { literal, exact } = readPath(pattern, this.#syntax)
    const key = { group, text: literal, whole: exact }
    const bucket = this.#buckets.get(key)
    if (!Array.isArray(bucket)) {
      if (bucket?.value !== value) return false
      this.#buckets.delete(key)
      return true
    }
    // Editions of one route stand side by side.
    let at = placeOf({ value, pattern, priority, fits: undefined }, bucket) - 1
    while (at >= 0 && bucket[at]!.value !== value) at--
    if (at < 0) return false
    bucket.splice(at, 1)
    if (bucket.length === 1) this.#buckets.set(key, bucket[0]!)
    return true
  }

  /** The first candidate of the group, in order of precedence, that fits the path and that `accept` takes. */
  find(group: number, path: string, accept: (value: T) => boolean): Candidate<T> | undefined {
    return this.#search(group, path, ({ value }) => accept(value))
  }

  /** Every candidate of the group that fits the path, in order of precedence. */
  visit(group: number, path: string, see: (candidate: Candidate<T>) => void): void {
    this.#search(group, path, candidate => {
      see(candidate)
      return false
    })
  }

  #search(group: number, path: string, takes: (candidate: Candidate<T>) => boolean): Candidate<T> | undefined {
    const fits = (candidate: Candidate<T>) =>
      (candidate.fits === undefined || candidate.fits.test(path)) && takes(candidate)
    return this.#buckets.find(group, path, bucket => {
      if (Array.isArray(bucket)) return bucket.find(fits)
      return fits(bucket) ? bucket : undefined
    })
  }
}

/** Behind all that come before it and all of the same rank. */
function placeOf<T extends Target>(candidate: Candidate<T>, bucket: readonly Candidate<T>[]): number {
  let low = 0
  let high = bucket.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (comesBefore(candidate, bucket[middle]!)) high = middle
    else low = middle + 1
  }
  return low
}

/**
 * Priority first, then the longer pattern (facts core 2.4). What APISIX leaves to the order of loading is by id here, so
 * that every worker, and every gateway of a fleet, decides alike whatever it heard of first.
 */
function comesBefore<T extends Target>(a: Candidate<T>, b: Candidate<T>): boolean {
  if (a.priority !== b.priority) return a.priority > b.priority
  return a.pattern.length !== b.pattern.length ? a.pattern.length > b.pattern.length : a.value.id < b.value.id
}
