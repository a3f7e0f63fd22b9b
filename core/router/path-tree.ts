// Paths -> candidates in APISIX's order of precedence: exact path, then the longest literal prefix (facts core 2.3, 2.4).

/** One pattern of one route. */
export interface Candidate<T> {
  readonly value: T
  readonly pattern: string
  readonly priority: number
  /** For patterns whose wildcard is not just a tail: the whole path must fit. */
  readonly fits: RegExp | undefined
}

interface Node<T> {
  label: string
  /** By first character of the child's label. */
  readonly children: Map<string, Node<T>>
  bucket: Candidate<T>[]
}

/** Exact paths in a map, prefixes in a radix tree. Cost of a look-up: the path's length, whatever the number of routes. */
export class PathTree<T> {
  readonly #exact = new Map<string, Candidate<T>[]>()
  readonly #root: Node<T> = { label: '', children: new Map(), bucket: [] }

  add(pattern: string, priority: number, value: T): void {
    const star = pattern.indexOf('*')
    if (star < 0) {
      const bucket = this.#exact.get(pattern) ?? []
      this.#exact.set(pattern, bucket)
      insert(bucket, { value, pattern, priority, fits: undefined })
      return
    }
    insert(this.#nodeFor(pattern.slice(0, star)).bucket, { value, pattern, priority, fits: segmentCheck(pattern) })
  }

  /** The first candidate, in order of precedence, that fits the path and that `accept` takes. */
  find(path: string, accept: (value: T) => boolean): Candidate<T> | undefined {
    const exact = this.#exact.get(path)
    if (exact !== undefined) {
      for (const candidate of exact) if (accept(candidate.value)) return candidate
    }
    const buckets: Candidate<T>[][] = []
    let node: Node<T> | undefined = this.#root
    let at = 0
    while (node !== undefined) {
      if (!path.startsWith(node.label, at)) break
      at += node.label.length
      if (node.bucket.length > 0) buckets.push(node.bucket)
      node = at < path.length ? node.children.get(path[at]!) : undefined
    }
    for (let deep = buckets.length - 1; deep >= 0; deep--) {
      for (const candidate of buckets[deep]!) {
        if ((candidate.fits === undefined || candidate.fits.test(path)) && accept(candidate.value)) return candidate
      }
    }
    return undefined
  }

  #nodeFor(prefix: string): Node<T> {
    let node = this.#root
    let rest = prefix
    for (;;) {
      if (rest === '') return node
      const child = node.children.get(rest[0]!)
      if (child === undefined) {
        const leaf: Node<T> = { label: rest, children: new Map(), bucket: [] }
        node.children.set(rest[0]!, leaf)
        return leaf
      }
      let common = 0
      while (common < child.label.length && common < rest.length && child.label[common] === rest[common]) common++
      if (common < child.label.length) {
        // Split: the shared beginning becomes a node between parent and child.
        const middle: Node<T> = { label: rest.slice(0, common), children: new Map(), bucket: [] }
        node.children.set(rest[0]!, middle)
        child.label = child.label.slice(common)
        middle.children.set(child.label[0]!, child)
        node = middle
      } else {
        node = child
      }
      rest = rest.slice(common)
    }
  }
}

/** Priority first, then the longer pattern, then the order in which they came (facts core 2.4). */
function insert<T>(bucket: Candidate<T>[], candidate: Candidate<T>): void {
  let at = bucket.length
  while (at > 0 && comesBefore(candidate, bucket[at - 1]!)) at--
  bucket.splice(at, 0, candidate)
}

function comesBefore<T>(a: Candidate<T>, b: Candidate<T>): boolean {
  return a.priority !== b.priority ? a.priority > b.priority : a.pattern.length > b.pattern.length
}

/**
 * The check of a wildcard pattern: a segment that begins with `*` is anything, one that begins with `:` is one segment.
 * None when no segment begins so, or when the first `*` is the last segment, where the literal prefix has said everything.
 */
function segmentCheck(pattern: string): RegExp | undefined {
  if (!/\/[*:]/.test(pattern) || /^[^*]*\/\*[^/]*$/.test(pattern)) return undefined
  const [head, ...pieces] = pattern.split(/(?<=\/)\*[^/]*/).map(pieceSource)
  const tail = pieces.pop()
  // What stands between two wildcards is taken where it first occurs and never given back, which is what a lookahead does:
  // with a plain `.*` a made-up path of n segments costs n to the power of the wildcards.
  const between = pieces.map((piece, at) => `(?=(.*?${piece}))\\${at + 1}`)
  return new RegExp(`^${head}${between.join('')}${tail === undefined ? '' : `.*${tail}`}$`, 's')
}

function pieceSource(piece: string): string {
  const segments = piece.split('/')
  return segments.map(each => (each.startsWith(':') ? '[^/]+' : each.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))).join('/')
}
