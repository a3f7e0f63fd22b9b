// A thread's side of metrics: series in shared memory that only this thread writes; knows neither main nor the text format.
import { ClientValues, short } from './client-values.ts'
import { type FamilyTraits, familyTraits, type MetricSettings } from './family-traits.ts'
import type {
  Counter,
  Gauge,
  Histogram,
  LiveGauge,
  Metrics,
  MetricType,
  SeriesDefinition,
  WithdrawnSeries,
} from './metrics.ts'
import { declarationProblem } from './metrics-declaration.ts'
import {
  bytesOf,
  CountedSeries,
  EnteredSeries,
  Family,
  type FamilyKeeper,
  type FamilySpec,
  MeasuredSeries,
  ObservedSeries,
  type Series,
  sizeOf,
} from './metrics-family.ts'
import { MetricsMemory } from './metrics-memory.ts'

export interface MetricsWriterOptions {
  /** Tells the reader of a new series, once. */
  publish(definition: SeriesDefinition): void
  /** Tells it that a series is no more. */
  withdraw?(series: WithdrawnSeries): void
  /** Label sets per family; what comes later is counted as `other`. */
  maxSeries?: number
  /** What the series of all families may take together; what comes later is counted as `other`. */
  maxBytes?: number
  /** What the configuration says of families. */
  settings?: MetricSettings
  /** Milliseconds. */
  now?(): number
}

export class MetricsWriter implements Metrics {
  readonly #families = new Map<string, Family>()
  readonly #kinds = new Map<string, ClientValues>()
  readonly #made = new Map<unknown, unknown>()
  readonly #keeper: FamilyKeeper
  /** Series of families that expire, by their numbers. */
  readonly #expiring = new Map<number, { family: Family; series: Series }>()
  readonly traits: (family: string) => FamilyTraits

  constructor({
    publish,
    withdraw = () => {},
    maxSeries = 10_000,
    maxBytes = MAX_BYTES,
    settings = {},
    now = () => performance.now(),
  }: MetricsWriterOptions) {
    this.traits = familyTraits(settings, now)
    const memory = new MetricsMemory(now)
    let ids = 0
    let bytes = 0
    this.#keeper = {
      maxSeries,
      full: more => bytes + more > maxBytes,
      open(spec, values, lasting) {
        bytes += bytesOf(values)
        const { name, help, type, labels, buckets } = spec
        const place = { id: ids++, ...memory.take(sizeOf(spec)) }
        const pairs = labels.map((label, at) => [label, values[at]!] as const)
        publish({ ...place, name, help, type, labels: pairs, buckets, lasting })
        return { ...place, values }
      },
      opened: (family, series) => {
        if (this.traits(family.spec.name).expires) this.#expiring.set(series.id, { family, series })
      },
      close: (spec, { id, values, memory: cells, slot }, expired) => {
        bytes -= bytesOf(values)
        const size = sizeOf(spec)
        this.#expiring.delete(id)
        withdraw({ id, last: cells.slice(slot, slot + size), expired })
        memory.give({ memory: cells, slot }, size)
      },
      overflowed: ({ name }) => {
        if (name !== OVERFLOW) countOverflow(this, name)
      },
    }
  }

  counter(name: string, help: string, labels: readonly string[], shownAs: MetricType = 'counter'): Counter {
    const family = this.#family({ name, help, type: shownAs, labels, buckets: undefined })
    const of = (values: readonly string[]) => new CountedSeries(family, values)
    return { of, add: (values, by) => of(values).add(by) }
  }

  /** `buckets` are upper bounds in ascending order, without infinity. */
  histogram(name: string, help: string, labels: readonly string[], buckets: readonly number[]): Histogram {
    if (!buckets.every((bound, at) => Number.isFinite(bound) && (at === 0 || bound > buckets[at - 1]!)))
      throw new Error(`metric ${name}: buckets must ascend`)
    const family = this.#family({ name, help, type: 'histogram', labels, buckets })
    const of = (values: readonly string[]) => new ObservedSeries(family, values)
    return { of, observe: (values, value) => of(values).observe(value) }
  }

  liveGauge(name: string, help: string, labels: readonly string[]): LiveGauge {
    const family = this.#family({ name, help, type: 'gauge', labels, buckets: undefined })
    const of = (values: readonly string[]) => new EnteredSeries(family, values)
    return { of, enter: values => of(values).enter() }
  }

  gauge(name: string, help: string, labels: readonly string[]): Gauge {
    const family = this.#family({ name, help, type: 'gauge', labels, buckets: undefined })
    return { of: values => new MeasuredSeries(family, values) }
  }

  once<T>(make: (metrics: Metrics) => T): T {
    if (!this.#made.has(make)) this.#made.set(make, make(this))
    // Made by this very function.
    return this.#made.get(make) as T
  }

  bounded(kind: string, value: string): string {
    return this.#kind(kind).bounded(value)
  }

  configured(kind: string, value: string): () => void {
    return this.#kind(kind).configured(value)
  }

  /** Withdraws a series, by its number, that has not moved for long: some 2 us. One that is gone already is passed over. */
  expire(id: number): void {
    const found = this.#expiring.get(id)
    found?.family.expire(found.series)
  }

  forget(labels: readonly string[], value: string): void {
    for (const family of this.#families.values()) for (const label of labels) family.forget(label, value)
  }

  /** The family of that name; whoever declares it shares it. Throws when it was declared otherwise before. */
  #family(wanted: FamilySpec): Family {
    const known = this.#families.get(wanted.name)
    if (known === undefined) {
      const problem =
        this.#families.size >= MAX_FAMILIES ? 'there are too many' : declarationProblem(wanted, this.#families)
      if (problem !== undefined) throw new Error(`metric ${short(wanted.name)}: ${problem}`)
      const family = new Family(wanted, this.#keeper)
      this.#families.set(wanted.name, family)
      return family
    }
    const { type, labels, buckets } = known.spec
    const same =
      type === wanted.type && String(labels) === String(wanted.labels) && String(buckets) === String(wanted.buckets)
    if (!same) throw new Error(`metric ${wanted.name} is declared twice, differently`)
    return known
  }

  #kind(name: string): ClientValues {
    let kind = this.#kinds.get(name)
    if (kind === undefined) {
      kind = new ClientValues()
      this.#kinds.set(name, kind)
    }
    return kind
  }
}

const MAX_BYTES = 64 * 1024 * 1024
const MAX_FAMILIES = 1_000

const OVERFLOW = 'sluice_metric_series_overflow_total'

/** Says that the page does not tell the series of a family apart any more, under our name and under APISIX's. */
export function countOverflow(metrics: Pick<Metrics, 'counter'>, family: string): void {
  metrics.counter(OVERFLOW, 'Counted as "other" because the metric has too many series', ['family']).add([family])
  errorCounter(metrics).add([])
}

/** What APISIX's library counts its errors in; there is one kind of them here. */
export function errorCounter(metrics: Pick<Metrics, 'counter'>): Counter {
  return metrics.counter('nginx_metric_errors_total', 'Errors of the metrics themselves: too many series', [])
}
