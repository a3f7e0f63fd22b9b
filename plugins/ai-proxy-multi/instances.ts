// The instances of one config: which of them is asked next, and which may not be asked now; knows no answer.
import { hash } from 'node:crypto'
import type { Context } from '../../core/context.ts'
import type { Candidate } from '../../core/llm/exchange.ts'
import { type InstanceConfig, openInstance } from '../../core/llm/instance-config.ts'
import type { Target } from '../../core/llm/target.ts'
import type { Env } from '../../core/plugin.ts'
import { balancerMaker } from '../../core/proxy/balancer/balancing.ts'
import type { Node } from '../../core/proxy/balancer/node.ts'
import type { Rest } from '../../core/proxy/balancer/rest.ts'
import { NodePool } from '../../core/proxy/node-pool.ts'
import type { Config } from './config.ts'
import { InstanceHealth } from './health.ts'

export interface Instance {
  readonly name: string
  readonly target: Target
  readonly rest: Rest
  /** What balancers know of it: its name stands where nodes have an address. */
  readonly node: Node
}

/** Those that this request need not choose from any more, and why. */
export type Asked = ReadonlyMap<Instance, 'asked already' | 'its limit is reached'>

export class Instances {
  readonly all: readonly Instance[]
  readonly #byNode: ReadonlyMap<Node, Instance>
  readonly #pool: NodePool
  /** Where instances are checked, and there are several to choose from. */
  readonly #health: InstanceHealth | undefined

  constructor(
    config: Config,
    env: Pick<Env, 'balancing' | 'owner' | 'now' | 'random' | 'gcpTokens' | 'probe' | 'log'>,
  ) {
    const { balancer, instances } = config
    const owner = `ai-proxy-multi ${env.owner.kind}s/${env.owner.id}`
    this.all = instances.map(instance => ({
      name: instance.name,
      target: openInstance(instance.name, instance as InstanceConfig, config, env),
      // Another key, model or place is another's rest.
      rest: env.balancing.rest(`${owner} ${instance.name} ${hash('sha256', JSON.stringify(instance))}`),
      node: {
        host: instance.name,
        address: instance.name,
        port: 0,
        weight: instance.weight,
        priority: instance.priority,
      },
    }))
    this.#byNode = new Map(this.all.map(instance => [instance.node, instance]))
    const { algorithm: type = 'roundrobin', hash_on: hashOn = 'vars', key = '' } = balancer
    // Who is asked by meaning (semantic.ts) needs no turns, and neither health nor rest.
    const choosing = { type: type === 'semantic' ? 'roundrobin' : type, hashOn, key } as const
    const maker = balancerMaker(owner, choosing, { state: env.balancing, random: env.random })
    const checked = this.all.map((instance, at) => ({ ...instance, written: instances[at]! }))
    const isChecked =
      type !== 'semantic' && instances.length > 1 && instances.some(({ checks }) => checks !== undefined)
    this.#health = isChecked ? new InstanceHealth(checked, env) : undefined
    const nodes = this.all.map(({ node }) => node)
    this.#pool = new NodePool(nodes, { maker, health: this.#health, random: env.random })
  }

  /** A single instance is always asked, whatever its weight and its wishes (facts ai-plugins 7.2). */
  get only(): Instance | undefined {
    return this.all.length === 1 ? this.all[0] : undefined
  }

  /** Neither asked already nor at rest nor, unless all are, found to be unhealthy; undefined when there is none. */
  pick(ctx: Context, asked: Asked): Instance | undefined {
    if (this.only !== undefined) return asked.has(this.only) ? undefined : this.only
    const except = {
      has: (node: Node) => {
        const instance = this.#byNode.get(node)!
        return asked.has(instance) || instance.rest.leftMs > 0
      },
    }
    this.#health?.locate()
    const node = this.#pool.pick(except, ctx)
    return node && this.#byNode.get(node)
  }

  /** Where an instance is asked now: one whose endpoint is probed, at an address that answers. */
  targetOf({ node, target }: Instance): Target | Promise<Target> {
    return this.#health?.at(node, target) ?? target
  }

  /** Probes are made for it, from the first request on. */
  get isChecked(): boolean {
    return this.#health !== undefined
  }

  close(): void {
    this.#health?.close()
  }

  /** It may be given requests. */
  #isLive({ node }: Instance): boolean {
    return node.weight > 0 && !this.#pool.isDown(node)
  }

  /** Whether another than these could be asked, now or, if one may `wait`, later. */
  hasOther(asked: Asked, waits: boolean): boolean {
    return this.all.some(each => this.#isLive(each) && !asked.has(each) && (waits || each.rest.leftMs === 0))
  }

  /** Milliseconds until the first of those that are at rest can be asked; undefined when one of them need not rest. */
  shortestRest(asked: Asked = new Map()): number | undefined {
    let shortest: number | undefined
    for (const each of this.all) {
      if (!this.#isLive(each) || asked.has(each)) continue
      const { leftMs } = each.rest
      if (leftMs === 0) return undefined
      shortest = Math.min(shortest ?? Number.POSITIVE_INFINITY, leftMs)
    }
    return shortest
  }

  /** Who could have been asked when `picked` was, and why nobody else was. */
  candidates(picked: Instance | undefined, asked: Asked): Candidate[] {
    return this.all.map(each => ({
      instance: each.name,
      priority: each.node.priority,
      weight: each.node.weight,
      skipped: each === picked ? undefined : this.#skipped(each, picked, asked),
    }))
  }

  #skipped(each: Instance, picked: Instance | undefined, asked: Asked): string {
    const reason = asked.get(each)
    if (reason !== undefined) return reason
    if (each.node.weight === 0) return 'weight 0'
    if (this.#pool.isDown(each.node)) return 'unhealthy'
    const { leftMs } = each.rest
    if (leftMs > 0) return `at rest for ${leftMs} ms`
    return picked !== undefined && each.node.priority < picked.node.priority ? 'lower priority' : 'not its turn'
  }
}
