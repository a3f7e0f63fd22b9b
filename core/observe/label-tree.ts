// Things by a row of label values, one map per label; knows not what they are.

/** What is below one row of values, and which of it was asked for last: most labels of most requests are as before. */
class Branch<T> {
  readonly below = new Map<unknown, Branch<T> | T>()
  value: unknown
  found: Branch<T> | T | undefined

  find(value: unknown): Branch<T> | T | undefined {
    // Eleven labels: 0.05 us this way, 0.1 us by their maps alone, 0.25 us by a joined key.
    if (value === this.value) return this.found
    const found = this.below.get(value)
    if (found === undefined) return undefined
    this.value = value
    this.found = found
    return found
  }

  delete(value: unknown): void {
    this.below.delete(value)
    this.value = undefined
    this.found = undefined
  }
}

export class LabelTree<T> {
  readonly #depth: number
  #root: Branch<T> | T | undefined
  #size = 0

  /** `depth` is the number of labels. */
  constructor(depth: number) {
    this.#depth = depth
  }

  get size(): number {
    return this.#size
  }

  find(values: readonly unknown[]): T | undefined {
    let node = this.#root
    // As deep as there are labels stand the things.
    for (let at = 0; at < this.#depth && node !== undefined; at++) node = (node as Branch<T>).find(values[at])
    return node as T | undefined
  }

  /** There must be nothing at `values` yet. */
  plant(values: readonly unknown[], thing: T): void {
    this.#root = this.#planted(this.#root, values, thing, 0)
    this.#size++
  }

  /** There must be something at `values`. */
  remove(values: readonly unknown[]): void {
    const path: Branch<T>[] = []
    let node = this.#root
    for (let at = 0; at < this.#depth; at++) {
      path.push(node as Branch<T>)
      node = (node as Branch<T>).below.get(values[at])
    }
    this.#size--
    for (let at = this.#depth - 1; at >= 0; at--) {
      path[at]!.delete(values[at])
      if (path[at]!.below.size > 0) return
    }
    this.#root = undefined
  }

  /** Removes the things with `value` as label `at` for which `drop` returns true. */
  prune(at: number, value: unknown, drop: (thing: T) => boolean): void {
    if (this.#root !== undefined) this.#prune(this.#root, 0, { at, value, drop })
  }

  clear(): void {
    this.#root = undefined
    this.#size = 0
  }

  #planted(node: Branch<T> | T | undefined, values: readonly unknown[], thing: T, at: number): Branch<T> | T {
    if (at === this.#depth) return thing
    const branch = (node as Branch<T> | undefined) ?? new Branch<T>()
    branch.below.set(values[at], this.#planted(branch.below.get(values[at]), values, thing, at + 1))
    return branch
  }

  /** True when nothing is left below a node. */
  #prune(
    node: Branch<T> | T,
    level: number,
    wanted: { at: number; value: unknown; drop: (thing: T) => boolean },
  ): boolean {
    if (level === this.#depth) {
      const drops = wanted.drop(node as T)
      if (drops) this.#size--
      return drops
    }
    const branch = node as Branch<T>
    for (const value of level === wanted.at ? [wanted.value] : branch.below.keys()) {
      const below = branch.below.get(value)
      if (below !== undefined && this.#prune(below, level + 1, wanted)) branch.delete(value)
    }
    return branch.below.size === 0
  }
}
