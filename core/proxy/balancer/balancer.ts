// What every balancer does, whatever its algorithm: pick the next of several nodes. Knows no sockets.
import type { Attempt, Context } from '../../context.ts'
import type { Node } from './node.ts'

/** Nodes that are not to be picked. */
export interface Except {
  has(node: Node): boolean
}

/** Called once, when a request ends or goes on to another node, with how its attempt at this one went. */
export type Trial = (attempt: Attempt | undefined) => void

export interface Balancer {
  /** The next node for this request, none of `tried`; undefined when none is left. A node of weight 0 is never picked. */
  pick(tried: Except, ctx: Context): Node | undefined
  /** The node is being tried. Nothing is returned, or this is absent, where nothing is to be learnt from how that goes. */
  begin?(node: Node): Trial | undefined
}
