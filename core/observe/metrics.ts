// Metrics of the data plane: each series is a run of numbers in shared memory with one writer; main sums and prints them.

export type MetricType = 'counter' | 'gauge' | 'histogram'

/** Tells the reader, once per series, where its numbers stand: `memory[slot]`; a histogram has its buckets, then sum. */
/** Which series, among those of one worker. */
export type SeriesName = Pick<SeriesDefinition, 'name' | 'labels'>

export interface SeriesDefinition {
  name: string
  help: string
  type: MetricType
  labels: readonly (readonly [name: string, value: string])[]
  buckets: readonly number[] | undefined
  memory: Float64Array
  slot: number
}

export interface Counter {
  /** Adds to the series with these label values, in the order in which the label names were declared. */
  add(values: readonly string[], by?: number): void
}

export interface Histogram {
  observe(values: readonly string[], value: number): void
}

/** A gauge that cannot drift: its value is the size of the set of things that are live. */
export interface LiveGauge {
  /** Puts a member into the series and returns how it leaves; leaving twice does nothing. */
  enter(values: readonly string[]): () => void
}

export interface Metrics {
  counter(name: string, help: string, labels: readonly string[]): Counter
  histogram(name: string, help: string, labels: readonly string[], buckets: readonly number[]): Histogram
  liveGauge(name: string, help: string, labels: readonly string[]): LiveGauge
  /** A label value that clients choose: itself for the first hundred different ones of its kind, then `other`. */
  bounded(kind: string, value: string): string
  /** Drops every series in which one of these labels has this value: what it names is gone. Live gauges stay while live. */
  forget(labels: readonly string[], value: string): void
}
