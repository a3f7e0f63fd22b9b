// The faster of two random nodes, by a moving average of how long each took (facts core 6.1).
import type { Balancer, Except, Trial } from './balancer.ts'
import type { Latency } from './latency.ts'
import type { Node } from './node.ts'

// An attempt that brought no answer counts as this at least: a node that refuses at once must not be the fastest.
const FAILED_MS = 1_000

export class Ewma implements Balancer {
  readonly #nodes: readonly Node[]
  readonly #latencies: ReadonlyMap<Node, Latency>
  readonly #random: () => number

  /** Weights only tell who is never picked. `random` is uniform in [0, 1). */
  constructor(nodes: readonly Node[], latency: (node: Node) => Latency, random: () => number) {
    this.#nodes = nodes.filter(node => node.weight > 0)
    this.#latencies = new Map(this.#nodes.map(node => [node, latency(node)]))
    this.#random = random
  }

  pick(tried: Except): Node | undefined {
    const open = this.#nodes.filter(node => !tried.has(node))
    if (open.length < 2) return open[0]
    const first = Math.floor(this.#random() * open.length)
    const second = (first + 1 + Math.floor(this.#random() * (open.length - 1))) % open.length
    const [one, other] = [open[first]!, open[second]!]
    return this.#latencies.get(one)!.score() <= this.#latencies.get(other)!.score() ? one : other
  }

  begin(node: Node): Trial {
    const latency = this.#latencies.get(node)!
    return attempt => {
      if (attempt === undefined || attempt.fault === 'client_gone' || attempt.fault === 'cancelled') return
      const ms = (attempt.connectMs ?? 0) + (attempt.responseMs ?? 0)
      latency.observe(attempt.headerMs === undefined ? Math.max(ms, FAILED_MS) : ms)
    }
  }
}
