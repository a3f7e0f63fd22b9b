// Nodes of upstreams for tests: addresses that nobody need listen on.
import type { Node } from '../../core/proxy/balancer/node.ts'

export function node(host: string, given: Partial<Node> = {}): Node {
  return { host, address: host, port: 80, weight: 1, priority: 0, ...given }
}

/** One node per weight: n0, n1, ... */
export function nodesOf(weights: readonly number[]): Node[] {
  return weights.map((weight, at) => node(`n${at}`, { weight }))
}
