// What upstreams are made with besides their configuration: everything that they share.
import type { Logger } from '../observe/log.ts'
import type { AddressGuard } from './address-guard.ts'
import type { BalancerState } from './balancer/state.ts'
import type { NodeSourceEnv } from './dns/node-source.ts'
import type { Resolver } from './dns/resolver.ts'
import type { HealthBoard } from './health/board.ts'
import type { Transport } from './transport.ts'

export interface UpstreamEnv {
  transport: Transport
  balancing: BalancerState
  /** Undefined where health is not checked. */
  health: HealthBoard | undefined
  /** Of nodes that are names, and of services that are discovered. */
  names: Resolver
  services: Resolver
  guard: AddressGuard
  log: Logger
  /** Milliseconds since the epoch. */
  now(): number
  /** Uniform in [0, 1). */
  random(): number
}

/** What nodes are found with: by the name servers of nodes, or by those of services. */
export function nodeSourceEnv({ guard, now, log }: UpstreamEnv, resolver: Resolver): NodeSourceEnv {
  return { resolver, guard, now, denied: (name, address) => warnDenied(log, name, address) }
}

export function warnDenied(log: Logger, name: string, address: string): void {
  log.warn({ name, address }, 'a name leads to an address to which nothing may be sent (deny_upstream_cidrs)')
}
