// What V8 is told of garbage; Node offers it only to who starts it with flags.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Stops everything in this thread for as long as it takes: some tens of milliseconds for each 100 MB in use. */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
}

/**
 * Where objects live long, V8 makes later ones of the same kind old from the start. Of requests it learns that wrongly: some
 * are under way whenever it looks. Each then keeps what it refers to, until all garbage is collected, a dozen times a second
 * (seen: a POST of 16 KB cost 36 us by itself and 49 us after many GETs). Holds for all threads.
 */
export function makeAllYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring')
}

/**
 * Buffers are freed by the thread that made them. V8's own threads would free them beside it, each piece of a body in the
 * allocator of another: that cost more CPU than it saved, and memory that is warm (large bodies went up at 960 MB/s, and go at
 * 1,230; 1.03 ms of CPU per MB, and 0.78; requests without large bodies cost the same). Holds for all threads.
 */
export function freeBuffersAtHome(): void {
  setFlagsFromString('--no-concurrent-array-buffer-sweeping')
}
