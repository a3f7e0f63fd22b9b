// The health of instances whose endpoints are probed (facts ai-plugins 7.4): who can be used, and at which address. Knows no order.
import { type Target, targetAt } from '../../core/llm/target.ts'
import type { Logger } from '../../core/observe/log.ts'
import type { Env } from '../../core/plugin.ts'
import type { Node } from '../../core/proxy/balancer/node.ts'
import { type HealthChecks, healthChecks, type WrittenChecks } from '../../core/proxy/health/checks.ts'
import type { PoolHealth } from '../../core/proxy/node-pool.ts'
import type { ProbedEndpoint } from '../../core/proxy/probed-endpoint.ts'
import type { Config } from './config.ts'

type WrittenInstance = Config['instances'][number]

export class InstanceHealth implements PoolHealth {
  readonly #checked: ReadonlyMap<Node, ProbedEndpoint>
  readonly #log: Logger
  readonly #owner: string

  /** `instances` are those of a config, in its order. An instance that is not checked is always usable. */
  constructor(
    instances: readonly { node: Node; target: Target; written: WrittenInstance }[],
    { probe, owner, log }: Pick<Env, 'probe' | 'owner' | 'log'>,
  ) {
    this.#owner = `/apisix/${owner.kind}s/${owner.id}`
    this.#log = log
    this.#checked = new Map(
      instances.flatMap(({ node, target, written }, at) => {
        const { place } = target
        if (probe === undefined || place === undefined || written.checks === undefined) return []
        const endpoint = probe({
          name: `${this.#owner}#plugins['ai-proxy-multi'].instances[${at}]`,
          host: place.host.replace(/^\[|\]$/g, ''),
          port: place.port,
          checks: checksOf(written),
        })
        return [[node, endpoint] as const]
      }),
    )
  }

  /** Finds out where endpoints are, where that is due; nobody waits for it. */
  locate(): void {
    for (const endpoint of this.#checked.values()) void endpoint.locate()
  }

  get changes(): number {
    let sum = 0
    for (const endpoint of this.#checked.values()) sum += endpoint.changes
    return sum
  }

  usable(node: Node): boolean {
    return this.#checked.get(node)?.usable ?? true
  }

  /** None comes back little by little. */
  share(): number {
    return 1
  }

  noneUsable(): void {
    this.#log.warn({ upstream: this.#owner }, 'all upstream nodes is unhealthy, use default')
  }

  /** The target of an instance at one of its addresses; a promise until it is known where they are. */
  at(node: Node, target: Target): Target | Promise<Target> {
    const endpoint = this.#checked.get(node)
    if (endpoint === undefined) return target
    const now = () => {
      const address = endpoint.address()
      return address === undefined ? target : targetAt(target, address)
    }
    const located = endpoint.locate()
    return located === undefined ? now() : located.then(now)
  }

  close(): void {
    for (const endpoint of this.#checked.values()) endpoint.close()
  }
}

/** Probes prove who asks as requests do, unless the checks say something else in the same fields. */
function checksOf({ checks, auth }: WrittenInstance): HealthChecks {
  // As the schema has it.
  const { active } = checks as Pick<WrittenChecks, 'active'>
  const { req_headers: fields = [], http_path: path = '/' } = active
  const said = new Set(fields.map(field => field.slice(0, field.indexOf(':')).toLowerCase()))
  const own = Object.entries(auth.header ?? {}).filter(([name]) => !said.has(name.toLowerCase()))
  const query = String(new URLSearchParams(auth.query as Record<string, string> | undefined))
  const separator = path.includes('?') ? '&' : '?'
  return healthChecks({
    active: {
      ...active,
      req_headers: [...fields, ...own.map(([name, value]) => `${name}: ${value}`)],
      http_path: query === '' ? path : path + separator + query,
    },
  })
}
