// One place under one name whose addresses are all probed: whether any can be used, and which; knows not what is asked there.
import { isIP } from 'node:net'
import { addressOf, type Node } from './balancer/node.ts'
import { listedNodes, type NodeSource } from './dns/node-source.ts'
import type { HealthChecks } from './health/checks.ts'
import { UpstreamHealth } from './health/upstream-health.ts'
import { nodeSourceEnv, type UpstreamEnv } from './upstream-env.ts'

export interface CheckedEndpoint {
  /** As `/v1/healthcheck` calls it. */
  readonly name: string
  /** A name or an IP; IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly checks: HealthChecks
}

export class ProbedEndpoint {
  readonly #health: UpstreamHealth
  readonly #source: NodeSource
  readonly #random: () => number
  readonly #isName: boolean
  /** Undefined until it is known where the endpoint is. */
  #nodes: readonly Node[] | undefined
  #moves = 0
  #closed = false

  /** Probes begin with the first `locate`, or at once where equal ones are under way: edits do not end them. */
  constructor(endpoint: CheckedEndpoint, env: UpstreamEnv & { health: NonNullable<UpstreamEnv['health']> }) {
    const { name, host, port, checks } = endpoint
    this.#health = new UpstreamHealth({ name, checks, host: undefined, board: env.health, log: env.log })
    this.#source = listedNodes([{ host, port, weight: 1, priority: 0 }], nodeSourceEnv(env, env.names))
    this.#random = env.random
    this.#isName = isIP(host) === 0
    if (this.#health.watched) void this.locate()
  }

  /** Changes whenever `usable` may have. */
  get changes(): number {
    return this.#health.changes + this.#moves
  }

  /** Nothing bad is known of one of its addresses, or nobody knows yet where it is. */
  get usable(): boolean {
    return this.#nodes === undefined || this.#nodes.some(node => this.#health.usable(node))
  }

  /** Finds out where it is, as often as its records ask for. A promise only where it was not known before. */
  locate(): void | Promise<void> {
    const located = this.#source.nodes()
    if (!(located instanceof Promise)) return this.#use(located.nodes)
    const found = located.then(({ nodes }) => this.#use(nodes))
    return this.#nodes === undefined ? found : undefined
  }

  /** `ip:port` of a random address of those that can be used, or of all where none can; undefined where its host is it. */
  address(): string | undefined {
    if (!this.#isName || this.#nodes === undefined) return undefined
    const good = this.#nodes.filter(node => this.#health.usable(node))
    const among = good.length > 0 ? good : this.#nodes
    const node = among[Math.floor(this.#random() * among.length)]
    return node && addressOf(node)
  }

  close(): void {
    this.#closed = true
    this.#health.close()
  }

  #use(nodes: readonly Node[]): void {
    if (nodes === this.#nodes || this.#closed) return
    this.#nodes = nodes
    this.#moves++
    this.#health.watch(nodes)
  }
}
