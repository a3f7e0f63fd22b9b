// The health of the nodes of one upstream: asks for their probes when they are first used, and tells what requests saw of them.
import { isIP } from 'node:net'
import type { Attempt } from '../../context.ts'
import type { Logger } from '../../observe/log.ts'
import { hostOf, type Node } from '../balancer/node.ts'
import { cellName, type HealthBoard, type HealthCell, type Target, type Watch, watchKey } from './board.ts'
import type { HealthChecks } from './checks.ts'
import { reportSign } from './report.ts'
import { isUsable, type Sign } from './state.ts'

export interface UpstreamHealthOptions {
  /** `/apisix/upstreams/1` */
  name: string
  checks: HealthChecks
  /** What probes say as Host, whatever the node: of pass_host rewrite. */
  host: string | undefined
  board: HealthBoard
  log: Logger
}

interface Known {
  readonly target: Target
  readonly cell: HealthCell | undefined
}

export class UpstreamHealth {
  readonly #options: UpstreamHealthOptions
  readonly #key: string
  #known = new Map<Node, Known>()
  #end: (() => void) | undefined

  constructor(options: UpstreamHealthOptions) {
    this.#options = options
    this.#key = watchKey(options.name, options.checks)
  }

  /** Changes whenever some target, of this upstream or another, has become usable or unusable. */
  get changes(): number {
    return this.#options.board.changes
  }

  /** Whether the same checks are under way already for an upstream that this one takes the place of. */
  get watched(): boolean {
    return this.#options.board.watched(this.#key)
  }

  /** These are the nodes from now on. https: `clientCert` is what a probe shows when it is asked who it is. */
  watch(nodes: readonly Node[], clientCert?: Watch['clientCert']): void {
    const { board, name, checks } = this.#options
    const targets = new Map(nodes.map(node => [node, this.#target(node)]))
    this.#known = new Map(
      [...targets].map(([node, target]) => [node, { target, cell: board.cell(cellName(this.#key, target)) }]),
    )
    // The new wish before the old one ends, so that nothing is forgotten in between.
    const end = board.watch({ key: this.#key, name, checks: checks.active, targets: [...targets.values()], clientCert })
    this.#end?.()
    this.#end = end
  }

  close(): void {
    this.#end?.()
    this.#end = undefined
  }

  usable(node: Node): boolean {
    const cell = this.#known.get(node)?.cell
    return cell === undefined || isUsable(cell.state)
  }

  /** No node is usable, so that all of them are used. */
  noneUsable(): void {
    this.#options.log.warn({ upstream: this.#options.name }, 'all upstream nodes is unhealthy, use default')
  }

  /** How much of its share a node may have: 1, or less for a while after it came back. Never nothing. */
  share(node: Node): number {
    const { slowStartMs } = this.#options.checks
    if (slowStartMs === 0) return 1
    const since = this.#known.get(node)?.cell?.recoveredMs ?? Number.POSITIVE_INFINITY
    return Math.min(1, Math.max(LEAST_SHARE, since / slowStartMs))
  }

  /** The node answered with that status. */
  answered(node: Node, status: number): void {
    const { passive } = this.#options.checks
    if (passive === undefined || passive.type === 'tcp') return
    const { healthy, unhealthy } = passive
    if (healthy.statuses.includes(status)) this.#observe(node, 'success', healthy.successes)
    else if (unhealthy.statuses.includes(status)) this.#observe(node, 'http', unhealthy.limits.http)
  }

  /** The node brought no answer; `status` is the one the client would get for it. */
  failed(node: Node, fault: Attempt['fault'], status: number): void {
    const { passive } = this.#options.checks
    if (passive === undefined) return
    const { statuses, limits } = passive.unhealthy
    const sign = fault?.endsWith('_timeout') ? 'timeout' : 'tcp'
    if (passive.type !== 'tcp' && statuses.includes(status)) this.#observe(node, 'http', limits.http)
    else this.#observe(node, sign, limits[sign])
  }

  #observe(node: Node, sign: Sign, limit: number): void {
    const { target, cell } = this.#known.get(node) ?? {}
    if (target === undefined || cell === undefined) return
    reportSign(this.#options.log, target, { sign, limit, ...cell.observe(sign, limit) })
  }

  /** facts core 6.6 */
  #target(node: Node): Target {
    const { host, checks } = this.#options
    const { active } = checks
    const name = isIP(node.host) === 0 ? node.host : undefined
    return {
      ip: node.address,
      port: active.port ?? node.port,
      hostname: active.host ?? node.host,
      hostHeader: host ?? name ?? active.host ?? hostOf(node),
    }
  }
}

// Of what a node would get otherwise, right after it came back.
const LEAST_SHARE = 0.1
