// The table of balancers: what `type` of an upstream means (facts core 6.1).
import type { Balancer } from './balancer.ts'
import { ConsistentHash, type HashOn, hashKey } from './chash.ts'
import { Ewma } from './ewma.ts'
import { HashRing } from './hash-ring.ts'
import { LeastConn } from './least-conn.ts'
import { addressOf } from './node.ts'
import { RoundRobin } from './round-robin.ts'
import type { BalancerState } from './state.ts'
import type { Tier } from './tiers.ts'

export type BalancerType = 'roundrobin' | 'chash' | 'ewma' | 'least_conn'

export interface Balancing {
  readonly type: BalancerType
  /** Of chash. */
  readonly hashOn: HashOn
  readonly key: string
}

/** What makes the balancer of the nodes of one priority. `name` is the upstream's, by which its state is found again. */
export function balancerMaker(
  name: string,
  { type, hashOn, key }: Balancing,
  { state, random }: { state: BalancerState; random(): number },
): (tier: Tier) => Balancer {
  const cursor = (priority: number) => state.cursor(`${name} ${priority}`)
  switch (type) {
    case 'roundrobin':
      return ({ priority, nodes }) => new RoundRobin(nodes, cursor(priority))
    case 'least_conn':
      return ({ priority, nodes }) =>
        new LeastConn(nodes, node => state.load(`${name} ${addressOf(node)}`), cursor(priority))
    case 'ewma':
      // A node is as slow for one upstream as for another.
      return ({ nodes }) => new Ewma(nodes, node => state.latency(addressOf(node)), random)
    case 'chash': {
      const keyOf = hashKey(hashOn, key)
      return ({ nodes }) => new ConsistentHash(new HashRing(nodes), keyOf)
    }
  }
}
