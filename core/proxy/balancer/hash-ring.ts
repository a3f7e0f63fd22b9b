// Points on a ring, many for each node: equal keys find the same node, and a node that goes takes only its own keys along.
import { crc32 } from 'node:zlib'
import { addressOf, type Node } from './node.ts'
import { sharesOf } from './shares.ts'

// As many for each unit of weight as Ketama has, whose arrangement this is; fewer where that would be too many together.
const POINTS = 160
// Weights are scaled down to this many units together; the shares are then right to 1 in 512.
const MAX_UNITS = 512
const MAX_POINTS = MAX_UNITS * POINTS

export class HashRing {
  /** Ascending, with the node of each. */
  readonly #points: Uint32Array
  readonly #owners: Uint32Array
  readonly #nodes: readonly Node[]

  constructor(nodes: readonly Node[]) {
    const shares = sharesOf(nodes, MAX_UNITS)
    this.#nodes = shares.map(({ node }) => node)
    const units = shares.reduce((sum, { share }) => sum + share, 0)
    const perUnit = Math.max(1, Math.min(POINTS, Math.floor(MAX_POINTS / units)))
    // One number each, so that they sort natively: 32 bits of hash above 21 of owner.
    const marks = new Float64Array(units * perUnit)
    const salt = Buffer.alloc(4)
    let at = 0
    for (const [owner, { node, share }] of shares.entries()) {
      const seed = crc32(addressOf(node))
      let hash = 0
      for (let point = 0; point < share * perUnit; point++) {
        salt.writeUInt32LE(hash)
        hash = crc32(salt, seed)
        marks[at++] = hash * 2 ** 21 + owner
      }
    }
    marks.sort()
    this.#points = Uint32Array.from(marks, mark => Math.floor(mark / 2 ** 21))
    this.#owners = Uint32Array.from(marks, mark => mark % 2 ** 21)
  }

  /** The nodes in the order in which they follow the key on the ring, each once: the first is the key's own. */
  *after(key: string): IterableIterator<Node> {
    const { length } = this.#points
    const first = this.#firstFrom(crc32(key))
    const seen = new Set<number>()
    for (let step = 0; step < length && seen.size < this.#nodes.length; step++) {
      const owner = this.#owners[(first + step) % length]!
      if (seen.has(owner)) continue
      seen.add(owner)
      yield this.#nodes[owner]!
    }
  }

  /** The first point that is not below the hash; 0 when all are. */
  #firstFrom(hash: number): number {
    let low = 0
    let high = this.#points.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#points[middle]! < hash) low = middle + 1
      else high = middle
    }
    return low === this.#points.length ? 0 : low
  }
}
