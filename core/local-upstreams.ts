// What upstreams share where there is one thread: balancers' state, names, and the health of their targets with its keeper.
import type { Logger } from './observe/log.ts'
import { AddressGuard, DENIED_BY_DEFAULT } from './proxy/address-guard.ts'
import { localState } from './proxy/balancer/state.ts'
import { guardedLookup } from './proxy/dns/lookup.ts'
import { Resolver, type ResolverOptions } from './proxy/dns/resolver.ts'
import { HealthKeeper } from './proxy/health/keeper.ts'
import { Watches } from './proxy/health/watches.ts'
import { Transport } from './proxy/transport.ts'
import { type UpstreamEnv, warnDenied } from './proxy/upstream-env.ts'
import { healthMemory, SharedHealth } from './workers/shared-health.ts'

export interface LocalUpstreamsOptions extends Partial<UpstreamEnv> {
  log: Logger
  /** Of the resolver of names; without it that of the operating system is asked. */
  dns?: Partial<ResolverOptions>
}

export interface LocalUpstreams extends UpstreamEnv {
  readonly keeper: HealthKeeper
  close(): Promise<void>
}

export function localUpstreams({ dns, ...given }: LocalUpstreamsOptions): LocalUpstreams {
  const { log, now = Date.now, random = Math.random, guard = new AddressGuard(DENIED_BY_DEFAULT) } = given
  const cells = new SharedHealth(healthMemory(), 0, now)
  const keeper = new HealthKeeper({ cell: name => cells.cell(name), log })
  const names = new Resolver({ servers: [], validMs: 0, timeoutMs: 5_000, search: true, ipv6: true, now, log, ...dns })
  const lookup = guardedLookup(names, guard, (name, address) => warnDenied(log, name, address))
  const transport = given.transport ?? new Transport({ lookup })
  return {
    transport,
    balancing: localState({ now, random }),
    health: new Watches(cells, {
      watch: watch => keeper.watch(0, watch),
      unwatch: key => keeper.unwatch(0, key),
    }),
    names,
    services: names,
    guard,
    now,
    random,
    ...given,
    keeper,
    async close() {
      keeper.close()
      await transport.close()
    },
  }
}
