// What balancers remember, by name: of this worker alone or of all workers together.
import { type Cursor, localCursor } from './cursor.ts'
import { type Latency, localLatency } from './latency.ts'
import { type Load, localLoad } from './load.ts'
import { localRest, type Rest } from './rest.ts'

export interface BalancerState {
  /** The position of a round robin. */
  cursor(name: string): Cursor
  /** The requests under way to a node. */
  load(name: string): Load
  /** How slow a node has been. */
  latency(name: string): Latency
  /** Until when somebody is not to be asked. */
  rest(name: string): Rest
}

/** The state of this thread alone. It keeps no names: whoever asks twice has two. */
export function localState(source: { now(): number; random(): number }): BalancerState {
  return {
    cursor: () => localCursor(source.random),
    load: () => localLoad(),
    latency: () => localLatency(source.now),
    rest: () => localRest(source.now),
  }
}
