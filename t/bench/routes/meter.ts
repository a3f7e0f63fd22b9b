// What work in this thread costs: its time when nothing interrupts it, and the memory it leaves behind.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { spread } from '../statistics.ts'

const SLICES = 300
const WARM_UP = 30

/**
 * Nanoseconds per operation in the quietest fifth of the slices. A slice does so many `operations`, about a millisecond's
 * worth: shorter than the turns in which the machine's other work interrupts. `between` undoes them, unmeasured.
 */
export function quietNanos(operations: number, slice: (at: number) => void, between = () => {}): number {
  const costs: number[] = []
  for (let at = 0; at < WARM_UP + SLICES; at++) {
    const began = performance.now()
    slice(at)
    const took = performance.now() - began
    if (at >= WARM_UP) costs.push((took * 1e6) / operations)
    between()
  }
  return spread(costs).quiet
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes of JavaScript heap that are in use. */
export function heapInUse(): number {
  // What was waiting to be finalized is free after a second time.
  collect()
  collect()
  return process.memoryUsage().heapUsed
}
