// Nodes of several priorities as one choice: a lower one's turn comes when all of the higher have been tried (facts core 6.1).
import type { Context } from '../../context.ts'
import type { Balancer, Except, Trial } from './balancer.ts'
import type { Node } from './node.ts'

/** Nodes of one priority. */
export interface Tier {
  readonly priority: number
  readonly nodes: readonly Node[]
}

/** Highest priority first. */
export function tiersOf(nodes: readonly Node[]): Tier[] {
  return [...Map.groupBy(nodes, node => node.priority)]
    .map(([priority, nodes]) => ({ priority, nodes }))
    .sort((a, b) => b.priority - a.priority)
}

/** One balancer for all tiers; `make` gives that of one. */
export function overTiers(tiers: readonly Tier[], make: (tier: Tier) => Balancer): Balancer {
  const balancers = tiers.map(tier => ({ ...tier, balancer: make(tier) }))
  // As most upstreams have it.
  if (balancers.length === 1) return balancers[0]!.balancer
  return {
    pick(tried: Except, ctx: Context): Node | undefined {
      for (const { balancer } of balancers) {
        const node = balancer.pick(tried, ctx)
        if (node !== undefined) return node
      }
      return undefined
    },
    begin(node: Node): Trial | undefined {
      return balancers.find(({ priority }) => priority === node.priority)?.balancer.begin?.(node)
    },
  }
}
