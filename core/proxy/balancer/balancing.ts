// The table of balancers: what `type` of an upstream means (facts core 6.1).
import type { Balancer } from './balancer.ts'
import { ConsistentHash, type HashOn, hashKey } from './chash.ts'
import { Ewma } from './ewma.ts'
import { HashRing } from './hash-ring.ts'
import { LeastConn } from './least-conn.ts'
import { addressOf, type Node } from './node.ts'
import { RoundRobin } from './round-robin.ts'
import type { BalancerState } from './state.ts'
import { overTiers, type Tier, tiersOf } from './tiers.ts'

export const balancerTypes = ['roundrobin', 'chash', 'ewma', 'least_conn'] as const
export type BalancerType = (typeof balancerTypes)[number]

export interface Balancing {
  readonly type: BalancerType
  /** Of chash. */
  readonly hashOn: HashOn
  readonly key: string
}

export interface BalancerMaker {
  /** A balancer over these nodes. */
  over(nodes: readonly Node[]): Balancer
  /** Nodes have places that must not move when others cannot be used: those are passed over, not left out. */
  readonly placed: boolean
}

/** `name` is the upstream's, by which the state of its balancers is found again. */
export function balancerMaker(
  name: string,
  { type, hashOn, key }: Balancing,
  { state, random }: { state: BalancerState; random(): number },
): BalancerMaker {
  const cursor = (priority: number) => state.cursor(`${name} ${priority}`)
  const maker = (make: (tier: Tier) => Balancer, placed = false): BalancerMaker => ({
    over: nodes => overTiers(tiersOf(nodes), make),
    placed,
  })
  switch (type) {
    case 'roundrobin':
      return maker(({ priority, nodes }) => new RoundRobin(nodes, cursor(priority)))
    case 'least_conn': {
      const load = (node: Node) => state.load(`${name} ${addressOf(node)}`)
      return maker(({ priority, nodes }) => new LeastConn(nodes, load, cursor(priority)))
    }
    case 'ewma': {
      // A node is as slow for one upstream as for another.
      const latency = (node: Node) => state.latency(addressOf(node))
      return maker(({ nodes }) => new Ewma(nodes, latency, random))
    }
    case 'chash': {
      const keyOf = hashKey(hashOn, key)
      return maker(({ nodes }) => new ConsistentHash(new HashRing(nodes), keyOf), true)
    }
  }
}
