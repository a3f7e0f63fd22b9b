// Weighted round robin: a schedule made once per node list; knows no health and no sockets.
import type { Balancer, Except } from './balancer.ts'
import type { Cursor } from './cursor.ts'
import type { Node } from './node.ts'
import { sharesOf } from './shares.ts'

// Longer schedules are scaled down to this many turns; the shares are then right to 1 in 2,048.
const MAX_TURNS = 2_048

/** Picks nodes in proportion to their weights, evenly spread. A node of weight 0 is never picked. */
export class RoundRobin implements Balancer {
  readonly #schedule: readonly Node[]
  readonly #cursor: Cursor

  /** `cursor` says whose turn it is; shared by all workers, it makes their picks one sequence. */
  constructor(nodes: readonly Node[], cursor: Cursor) {
    this.#schedule = schedule(nodes)
    this.#cursor = cursor
  }

  /** The next node that has not been tried; undefined when none is left. */
  pick(tried: Except): Node | undefined {
    const { length } = this.#schedule
    if (length === 0) return undefined
    const turn = this.#cursor.next()
    for (let step = 0; step < length; step++) {
      const node = this.#schedule[(turn + step) % length]!
      if (!tried.has(node)) return node
    }
    return undefined
  }
}

/** Smooth weighted order: always the node that is furthest behind its share. */
function schedule(nodes: readonly Node[]): Node[] {
  const shares = sharesOf(nodes, MAX_TURNS)
  const turns = shares.reduce((sum, { share }) => sum + share, 0)
  const behind = shares.map(() => 0)
  const order: Node[] = []
  for (let turn = 0; turn < turns; turn++) {
    let next = 0
    for (let at = 0; at < shares.length; at++) {
      behind[at]! += shares[at]!.share
      if (behind[at]! > behind[next]!) next = at
    }
    behind[next]! -= turns
    order.push(shares[next]!.node)
  }
  return order
}
