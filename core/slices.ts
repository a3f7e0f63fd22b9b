// Long work in short pieces, so that the event loop turns between them; knows not what the work is.

/** Milliseconds. A worker's own work may hold its loop up for ten; what a step does on top is not known beforehand. */
const SLICE_MS = 5

/** Runs `work` to its end, a few milliseconds at a time. Its steps must be short. Rejects with what a step throws. */
export async function inSlices(work: Iterator<unknown>): Promise<void> {
  let until = performance.now() + SLICE_MS
  while (!work.next().done) {
    if (performance.now() < until) continue
    await new Promise(resolve => setImmediate(resolve))
    until = performance.now() + SLICE_MS
  }
}

/** The work of doing something with each, one after the other. */
export function* steps<T>(all: Iterable<T>, each: (one: T) => unknown): Generator<void> {
  for (const one of all) {
    each(one)
    yield
  }
}
