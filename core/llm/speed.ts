// How fast calls to LLMs are answered, as histograms that can be summed over gateways (facts metering 4); knows no labels' values.
import type { Context } from '../context.ts'
import type { HistogramSeries, Metrics } from '../observe/metrics.ts'
import type { Exchange } from './exchange.ts'

// Seconds, seconds for each token, and tokens for each second.
const FIRST_TOKEN = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120]
const DURATION = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200]
const BETWEEN = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5]
const RATE = [1, 2.5, 5, 10, 15, 20, 30, 40, 60, 80, 120, 200]

/** Below this many milliseconds tokens came all at once: their rate is that of the whole request. */
const SHORTEST_WINDOW_MS = 100

export const speedLabels = ['route_id', 'node', 'llm_model'] as const

export interface Speeds {
  /** The series of these label values, in the order of `speedLabels`. */
  of(values: readonly string[]): Speed
}

export interface Speed {
  /** To be called once for a request whose call was answered, when its response is over; `durationMs` is all of it. */
  record(ctx: Context, call: Exchange, durationMs: number): void
}

export function speeds(metrics: Metrics): Speeds {
  const histogram = (name: string, help: string, buckets: readonly number[]) =>
    metrics.histogram(`sluice_llm_${name}`, help, speedLabels, buckets)
  const first = histogram('time_to_first_token_seconds', 'Until the first event of a stream had come', FIRST_TOKEN)
  const between = histogram('time_per_output_token_seconds', 'From one token of a stream to the next', BETWEEN)
  const rate = histogram('tokens_per_second', 'How fast an LLM has answered', RATE)
  const duration = histogram('request_duration_seconds', 'From the request to the end of the answer', DURATION)
  return {
    of: values =>
      new SpeedSeries({
        first: first.of(values),
        between: between.of(values),
        rate: rate.of(values),
        duration: duration.of(values),
      }),
  }
}

type SeriesOfSpeed = Readonly<Record<'first' | 'between' | 'rate' | 'duration', HistogramSeries>>

class SpeedSeries implements Speed {
  readonly #series: SeriesOfSpeed

  constructor(series: SeriesOfSpeed) {
    this.#series = series
  }

  record(ctx: Context, call: Exchange, durationMs: number): void {
    const { first, between, rate, duration } = this.#series
    duration.observe(durationMs / 1000)
    const { streaming, timeToFirstTokenMs: firstMs = 0, upstreamMs = 0, usage, askedTick } = call
    // Tries before this one count: the client has waited for them.
    if (streaming) first.observe((Math.max(0, askedTick - ctx.startTick) + firstMs) / 1000)
    const tokens = usage?.completion ?? 0
    if (!(tokens > 0) || !Number.isFinite(tokens)) return
    const window = streaming ? upstreamMs - firstMs : 0
    const rated = window < SHORTEST_WINDOW_MS ? durationMs : window
    if (rated > 0) rate.observe((tokens * 1000) / rated)
    if (streaming && tokens > 1) between.observe(Math.max(0, window) / (tokens - 1) / 1000)
  }
}
