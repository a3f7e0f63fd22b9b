// The nodes of an upstream as they are to be used now: the healthy ones, or all when none is; one balancer over them.
import type { Context } from '../context.ts'
import type { Balancer, Except, Trial } from './balancer/balancer.ts'
import type { BalancerMaker } from './balancer/balancing.ts'
import type { Node } from './balancer/node.ts'
import type { UpstreamHealth } from './health/upstream-health.ts'

/** Who of them can be used, as far as anybody knows. */
export type PoolHealth = Pick<UpstreamHealth, 'changes' | 'usable' | 'noneUsable' | 'share'>

export class NodePool {
  /** Those that may get requests at all. */
  readonly #live: readonly Node[]
  readonly #maker: BalancerMaker
  readonly #health: PoolHealth | undefined
  readonly #random: () => number
  #balancer: Balancer
  /** Nodes of `#live` that are passed over, where they keep their places. */
  #down: ReadonlySet<Node> = new Set()
  #changes: number | undefined

  /** `random` is uniform in [0, 1). */
  constructor(
    nodes: readonly Node[],
    { maker, health, random }: { maker: BalancerMaker; health: PoolHealth | undefined; random(): number },
  ) {
    this.#live = nodes.filter(node => node.weight > 0)
    this.#maker = maker
    this.#health = health
    this.#random = random
    this.#balancer = maker.over(this.#live)
  }

  /** The next node for this request, none of `tried`; undefined when none is left. */
  pick(tried: Except, ctx: Context): Node | undefined {
    const health = this.#health
    if (health === undefined) return this.#balancer.pick(tried, ctx)
    this.#follow(health)
    const except = this.#down.size === 0 ? tried : union(tried, this.#down)
    const node = this.#balancer.pick(except, ctx)
    if (node === undefined || this.#mayHave(health, node)) return node
    return this.#another(health, { first: node, except, ctx })
  }

  /** Whether it is passed over, because others can be used and it cannot. */
  isDown(node: Node): boolean {
    if (this.#health !== undefined) this.#follow(this.#health)
    return this.#down.has(node)
  }

  begin(node: Node): Trial | undefined {
    return this.#balancer.begin?.(node)
  }

  /** facts core 6.1: without a usable node all are used. */
  #follow(health: PoolHealth): void {
    const { changes } = health
    if (changes === this.#changes) return
    this.#changes = changes
    const down = new Set(this.#live.filter(node => !health.usable(node)))
    if (down.size > 0 && down.size === this.#live.length) {
      health.noneUsable()
      down.clear()
    }
    if (down.size === this.#down.size && [...down].every(node => this.#down.has(node))) return
    this.#down = down
    if (!this.#maker.placed) this.#balancer = this.#maker.over(this.#live.filter(node => !down.has(node)))
  }

  /** A node that has just come back gets its share of requests little by little. */
  #mayHave(health: PoolHealth, node: Node): boolean {
    const share = health.share(node)
    return share >= 1 || this.#random() < share
  }

  /** What a node that is coming back does not get, another does, if there is one. */
  #another(
    health: PoolHealth,
    { first, except, ctx }: { first: Node; except: Except; ctx: Context },
  ): Node | undefined {
    const spared = new Set([first])
    for (;;) {
      const node = this.#balancer.pick(union(except, spared), ctx)
      if (node === undefined) return first
      if (this.#mayHave(health, node)) return node
      spared.add(node)
    }
  }
}

function union(one: Except, other: Except): Except {
  return { has: node => one.has(node) || other.has(node) }
}
