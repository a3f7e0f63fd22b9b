// Everything that workers share by memory, as one: made by main, handed to each worker, and rid of what a dead one held.

import { LedgerMemory, ledgerMemory } from '../ledger/ledger-memory.ts'
import { type BalancerState, localState } from '../proxy/balancer/state.ts'
import { cursorMemory, SharedCursors } from './shared-cursors.ts'
import { type HealthMemory, healthMemory } from './shared-health.ts'
import { latencyMemory, SharedLatencies } from './shared-latencies.ts'
import { type LoadMemory, loadMemory, SharedLoads } from './shared-loads.ts'
import { restMemory, SharedRests } from './shared-rests.ts'
import { SharedTable } from './shared-table.ts'

export interface SharedMemory {
  readonly cursors: SharedArrayBuffer
  readonly loads: LoadMemory
  readonly latencies: SharedArrayBuffer
  readonly rests: SharedArrayBuffer
  readonly health: HealthMemory
  readonly ledger: SharedArrayBuffer
}

/** Main's own number where threads share memory: never a worker's. */
export const MAIN = 2 ** 30

export function sharedMemory(workers: number): SharedMemory {
  return {
    cursors: cursorMemory(),
    loads: loadMemory(workers),
    latencies: latencyMemory(),
    rests: restMemory(),
    health: healthMemory(),
    ledger: ledgerMemory(),
  }
}

/** That worker is gone; `living` are the numbers of the others. */
export function releaseShared(memory: SharedMemory, owner: number, living: Iterable<number>): void {
  SharedTable.release(memory.cursors, owner)
  SharedTable.release(memory.latencies, owner)
  SharedTable.release(memory.rests, owner)
  SharedTable.release(memory.health.table, owner)
  SharedLoads.release(memory.loads, owner, living)
  new LedgerMemory(memory.ledger, MAIN).release(owner, new Set(living))
}

/** What balancers of that worker count with all others. `full` hears what there is no place for: it is counted per worker. */
export function sharedState(
  memory: SharedMemory,
  owner: number,
  source: { now(): number; random(): number; full(what: string, name: string): void },
): BalancerState {
  const cursors = new SharedCursors(memory.cursors, owner, source)
  const loads = new SharedLoads(memory.loads, owner, source.now)
  const latencies = new SharedLatencies(memory.latencies, owner, source.now)
  const rests = new SharedRests(memory.rests, owner, source.now)
  const local = localState(source)
  const here = <T>(what: string, name: string, state: T): T => {
    source.full(what, name)
    return state
  }
  return {
    cursor: name => cursors.named(name) ?? here('cursor', name, local.cursor(name)),
    load: name => loads.named(name) ?? here('load', name, local.load(name)),
    latency: name => latencies.named(name) ?? here('latency', name, local.latency(name)),
    rest: name => rests.named(name) ?? here('rest', name, local.rest(name)),
  }
}
