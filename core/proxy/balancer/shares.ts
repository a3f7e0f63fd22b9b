// Weights as small whole shares; what has weight 0 has none.
import type { Node } from './node.ts'

/**
 * Each node that may be picked with its share: its weight divided by what all weights have in common. More than `max`
 * shares together are scaled down to about that many, none below one.
 */
export function sharesOf(nodes: readonly Node[], max: number): { node: Node; share: number }[] {
  const live = nodes.filter(node => node.weight > 0)
  const divisor = live.reduce((gcd, node) => greatestCommonDivisor(gcd, node.weight), 0)
  const shares = live.map(node => ({ node, share: node.weight / divisor }))
  const total = shares.reduce((sum, { share }) => sum + share, 0)
  if (total <= max) return shares
  return shares.map(({ node, share }) => ({ node, share: Math.max(1, Math.round((share * max) / total)) }))
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
