// Paths -> candidates in APISIX's order of precedence: exact path, then the longest literal prefix (facts core 2.3, 2.4).
import { readPath, segmentCheck } from './path-pattern.ts'
import { PrefixTree } from './prefix-tree.ts'

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

const PLAIN = { parameters: false }

/** Exact paths in a map, prefixes in a radix tree; both made when needed, for with many hosts most have one path. */
export class PathTree<T extends Target> {
  readonly #syntax: Parameters<typeof readPath>[1]
  #exact: Map<string, Candidate<T>[]> | undefined
  #prefixes: PrefixTree<Candidate<T>[]> | undefined

  constructor(syntax = PLAIN) {
    this.#syntax = syntax
  }

  get empty(): boolean {
    return (this.#exact?.size ?? 0) === 0 && (this.#prefixes?.empty ?? true)
  }

  add(pattern: string, priority: number, value: T): void {
    const path = readPath(pattern, this.#syntax)
    const candidate = { value, pattern, priority, fits: path.exact ? undefined : segmentCheck(path) }
    if (path.exact) {
      this.#exact ??= new Map()
      insert(this.#exact, path.literal, candidate)
    } else {
      this.#prefixes ??= new PrefixTree()
      insert(this.#prefixes, path.literal, candidate)
    }
  }

  /** Takes back what `add` was given. */
  remove(pattern: string, priority: number, value: T): void {
    const { literal, exact } = readPath(pattern, this.#syntax)
    takeOut(exact ? this.#exact : this.#prefixes, literal, { value, pattern, priority, fits: undefined })
  }

  /** The first candidate, in order of precedence, that fits the path and that `accept` takes. */
  find(path: string, accept: (value: T) => boolean): Candidate<T> | undefined {
    const exact = this.#exact?.get(path)
    if (exact !== undefined) {
      for (const candidate of exact) if (accept(candidate.value)) return candidate
    }
    if (this.#prefixes === undefined) return undefined
    const buckets = this.#prefixes.along(path)
    for (let deep = buckets.length - 1; deep >= 0; deep--) {
      for (const candidate of buckets[deep]!) {
        if ((candidate.fits === undefined || candidate.fits.test(path)) && accept(candidate.value)) return candidate
      }
    }
    return undefined
  }
}

/** What both kinds of buckets can do. */
interface Buckets<T> {
  get(key: string): Candidate<T>[] | undefined
  set(key: string, bucket: Candidate<T>[]): unknown
  delete(key: string): unknown
}

function insert<T extends Target>(buckets: Buckets<T>, key: string, candidate: Candidate<T>): void {
  const bucket = buckets.get(key)
  if (bucket === undefined) buckets.set(key, [candidate])
  else bucket.splice(placeOf(candidate, bucket), 0, candidate)
}

function takeOut<T extends Target>(buckets: Buckets<T> | undefined, key: string, candidate: Candidate<T>): void {
  const bucket = buckets?.get(key)
  if (bucket === undefined) return
  // Editions of one route stand side by side.
  let at = placeOf(candidate, bucket) - 1
  while (at >= 0 && bucket[at]!.value !== candidate.value) at--
  if (at < 0) return
  if (bucket.length === 1) buckets?.delete(key)
  else bucket.splice(at, 1)
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
