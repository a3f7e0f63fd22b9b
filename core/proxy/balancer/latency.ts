// How slow a node has been lately: a mean of its times in which the older counts less (facts core 6.1).

export interface Latency {
  /** Milliseconds; it sinks while nothing is observed, and is 0 for a node that nobody has tried for a minute. */
  score(): number
  observe(ms: number): void
}

/** What was observed counts e times less after so long. */
const DECAY_MS = 10_000
const FORGOTTEN_MS = 60_000

/** The mean after `silentMs` without an observation. */
export function faded(mean: number, silentMs: number): number {
  return silentMs > FORGOTTEN_MS ? 0 : mean * Math.exp(-silentMs / DECAY_MS)
}

/** The mean with an observation that comes `silentMs` after the one before. */
export function blended(mean: number, silentMs: number, ms: number): number {
  const weight = Math.exp(-silentMs / DECAY_MS)
  return silentMs > FORGOTTEN_MS ? ms : mean * weight + ms * (1 - weight)
}

/** The latency as this thread alone sees it. `now` is in milliseconds. */
export function localLatency(now: () => number): Latency {
  let mean = 0
  let at = Number.NEGATIVE_INFINITY
  return {
    score: () => faded(mean, now() - at),
    observe(ms) {
      mean = blended(mean, now() - at, ms)
      at = now()
    },
  }
}
