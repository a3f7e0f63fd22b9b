// Everything that workers share by memory, as one: made by main, handed to each worker, and rid of what a dead one held.

import { LedgerMemory, ledgerMemory } from '../ledger/ledger-memory.ts'
import { type BalancerState, localState } from '../proxy/balancer/state.ts'
import { CURSOR_WIDTH, cursorMemory, SharedCursors } from './shared-cursors.ts'
import { HEALTH_WIDTH, type HealthMemory, healthMemory } from './shared-health.ts'
import { LATENCY_WIDTH, latencyMemory, SharedLatencies } from './shared-latencies.ts'
import { type LoadMemory, loadMemory, SharedLoads } from './shared-loads.ts'
import { REST_WIDTH, restMemory, SharedRests } from './shared-rests.ts'
import { type Room, SharedTable } from './shared-table.ts'

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

/** How much of each there is and how much is free, in bytes. `now` is in milliseconds since the epoch. */
export function* roomOf(memory: SharedMemory, now: number): Iterable<Room & { name: string }> {
  const { cursors, loads, latencies, rests, health, ledger } = memory
  yield { name: 'balancer-cursors', ...SharedTable.room(cursors, CURSOR_WIDTH, now) }
  yield { name: 'balancer-loads', ...SharedTable.room(loads.table, loads.columns, now) }
  yield { name: 'balancer-latencies', ...SharedTable.room(latencies, LATENCY_WIDTH, now) }
  yield { name: 'balancer-rests', ...SharedTable.room(rests, REST_WIDTH, now) }
  yield { name: 'health', ...SharedTable.room(health.table, HEALTH_WIDTH, now) }
  yield { name: 'limits', ...new LedgerMemory(ledger, MAIN).room(now) }
}

/** That worker is gone; `living` are the numbers of the others. What it has in the ledger is the ledger's to release. */
export function releaseShared(memory: SharedMemory, owner: number, living: Iterable<number>): void {
  SharedTable.release(memory.cursors, owner)
  SharedTable.release(memory.latencies, owner)
  SharedTable.release(memory.rests, owner)
  SharedTable.release(memory.health.table, owner)
  SharedLoads.release(memory.loads, owner, living)
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
