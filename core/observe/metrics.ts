// Metrics: each series is a run of numbers in shared memory with one writer; main sums and prints them.
import type { FamilyTraits } from './family-traits.ts'

export type MetricType = 'counter' | 'gauge' | 'histogram'

/** Tells the reader, once per series, where its numbers stand: `memory[slot]`; a histogram has its buckets, then its sum. */
export interface SeriesDefinition {
  /** The writer's own number for it, never given twice. */
  id: number
  name: string
  help: string
  type: MetricType
  labels: readonly (readonly [name: string, value: string])[]
  buckets: readonly number[] | undefined
  /** What was counted stays counted when its writer is gone; what was live in it, or measured of it, does not. */
  lasting: boolean
  memory: Float64Array
  slot: number
}

/** A series that its writer has given up: its place will be another's. */
export interface WithdrawnSeries {
  id: number
  /** What stood there last. */
  last: Float64Array
  /** It had not moved for long, rather than that what it names is gone. */
  expired: boolean
}

/** One series of a counter. */
export interface CounterSeries {
  /** Adds `by`, or 1. Throws RangeError for a negative number or none: a sum that has swallowed one is lost for ever. */
  add(by?: number): void
}

/** One series of a histogram. */
export interface HistogramSeries {
  /** Throws RangeError for what is no number. */
  observe(value: number): void
}

/** One series of a live gauge. */
export interface LiveSeries {
  /** Puts a member into the series and returns how it leaves; leaving twice does nothing. */
  enter(): () => void
}

/** One series of a gauge that somebody measures. */
export interface GaugeSeries {
  set(value: number): void
}

/**
 * A family. `of` is the series with these label values, in the order in which the label names were declared; keep it where
 * a series moves often (a few ns; looking it up takes 100). It is on the page from the first time that it moves, also after
 * it was forgotten.
 */
export interface Counter {
  of(values: readonly string[]): CounterSeries
  /** `of(values).add(by)`. */
  add(values: readonly string[], by?: number): void
}

export interface Histogram {
  of(values: readonly string[]): HistogramSeries
  observe(values: readonly string[], value: number): void
}

/** A gauge that cannot drift: its value is how many have entered and not left. */
export interface LiveGauge {
  of(values: readonly string[]): LiveSeries
  enter(values: readonly string[]): () => void
}

export interface Gauge {
  of(values: readonly string[]): GaugeSeries
}

export interface Metrics {
  /** `shownAs`: some of APISIX's gauges only ever grow, and last like counters. */
  counter(name: string, help: string, labels: readonly string[], shownAs?: 'gauge'): Counter
  histogram(name: string, help: string, labels: readonly string[], buckets: readonly number[]): Histogram
  liveGauge(name: string, help: string, labels: readonly string[]): LiveGauge
  gauge(name: string, help: string, labels: readonly string[]): Gauge
  /** What the configuration says of a family, for those that declare it: nothing of most. */
  traits(family: string): FamilyTraits
  /** What `make` makes with these metrics, made once however many ask: for tables of series. */
  once<T>(make: (metrics: Metrics) => T): T
  /** A label value that clients choose: itself when it is configured or one of the first hundred others, else `other`. */
  bounded(kind: string, value: string): string
  /** This value stands in the configuration, until the returned function is called. */
  configured(kind: string, value: string): () => void
  /** Drops every series in which one of these labels has this value: what it names is gone. Live gauges stay while live. */
  forget(labels: readonly string[], value: string): void
}
