// Least connections: the node with the fewest requests under way for its weight (facts core 6.1).
import type { Balancer, Except, Trial } from './balancer.ts'
import type { Cursor } from './cursor.ts'
import type { Load } from './load.ts'
import type { Node } from './node.ts'

export class LeastConn implements Balancer {
  readonly #nodes: readonly { readonly node: Node; readonly load: Load }[]
  readonly #cursor: Cursor

  /** `cursor` says which of several that are equal comes first. */
  constructor(nodes: readonly Node[], load: (node: Node) => Load, cursor: Cursor) {
    this.#nodes = nodes.filter(node => node.weight > 0).map(node => ({ node, load: load(node) }))
    this.#cursor = cursor
  }

  pick(tried: Except): Node | undefined {
    const nodes = this.#nodes
    const first = this.#cursor.next()
    let best: Node | undefined
    let least = Number.POSITIVE_INFINITY
    for (let step = 0; step < nodes.length; step++) {
      const { node, load } = nodes[(first + step) % nodes.length]!
      if (tried.has(node)) continue
      const share = (load.count + 1) / node.weight
      if (share >= least) continue
      least = share
      best = node
    }
    return best
  }

  begin(node: Node): Trial {
    return this.#nodes.find(each => each.node === node)!.load.begin()
  }
}
