// One family of a writer: its series by their label values, bounded; and the handles that count in them.
import { short } from './client-values.ts'
import { LabelTree } from './label-tree.ts'
import type { CounterSeries, GaugeSeries, HistogramSeries, LiveSeries, MetricType } from './metrics.ts'
import type { Cells } from './metrics-memory.ts'

export interface FamilySpec {
  readonly name: string
  readonly help: string
  readonly type: MetricType
  readonly labels: readonly string[]
  /** Upper bounds in ascending order, without infinity; of a histogram only. */
  readonly buckets: readonly number[] | undefined
}

/** A series, and where its numbers stand. */
export interface Series extends Cells {
  readonly id: number
  readonly values: readonly string[]
  /** Who found it may come back to it without looking for it again. */
  stays: boolean
}

/** What a family needs of its writer. */
export interface FamilyKeeper {
  readonly maxSeries: number
  /** No family has room for another series of so many bytes. */
  full(bytes: number): boolean
  open(spec: FamilySpec, values: readonly string[], lasting: boolean): Omit<Series, 'stays'>
  close(spec: FamilySpec, series: Series, expired: boolean): void
  /** A series of a family has been opened that may be closed by its number. */
  opened(family: Family, series: Series): void
  /** Something was counted as `other`. */
  overflowed(spec: FamilySpec): void
}

const OTHER = 'other'
/** Bytes of a label's value, whoever gave it: what clients choose is shorter. */
const LONGEST_VALUE = 512

export class Family {
  readonly spec: FamilySpec
  readonly #keeper: FamilyKeeper
  readonly #series: LabelTree<Series>
  /** The series of everything past the limit. */
  #other: Series | undefined

  constructor(spec: FamilySpec, keeper: FamilyKeeper) {
    this.spec = spec
    this.#keeper = keeper
    this.#series = new LabelTree(spec.labels.length)
  }

  /** The series of these label values, opened when there is none; past the limit the one of all others. */
  find(values: readonly string[], lasting: boolean): Series {
    const { name, labels } = this.spec
    if (values.length !== labels.length)
      throw new Error(`metric ${name} has ${labels.length} labels, not ${values.length}`)
    return this.#series.find(values) ?? this.#open(values.map(labelValue), lasting)
  }

  /** The same for values as they may stand on the page: others are looked up each time, but not kept. */
  #open(values: readonly string[], lasting: boolean): Series {
    const known = this.#series.find(values)
    if (known !== undefined) return known
    if (this.#series.size >= this.#keeper.maxSeries || this.#keeper.full(bytesOf(values)))
      return this.#overflow(lasting)
    const series = { ...this.#keeper.open(this.spec, values, lasting), stays: true }
    this.#series.plant(values, series)
    this.#keeper.opened(this, series)
    return series
  }

  /** Closes the series with that value as that label, except gauges in which something is live. */
  forget(label: string, value: string): void {
    const at = this.spec.labels.indexOf(label)
    if (at < 0) return
    this.#series.prune(at, value, series => {
      if (this.spec.type === 'gauge' && series.memory[series.slot]! > 0) return false
      series.stays = false
      this.#keeper.close(this.spec, series, false)
      return true
    })
  }

  /** Closes a series of it that has not moved for long, if nothing is live in it. */
  expire(series: Series): void {
    if (!series.stays || (this.spec.type === 'gauge' && series.memory[series.slot]! > 0)) return
    series.stays = false
    this.#series.remove(series.values)
    this.#keeper.close(this.spec, series, true)
  }

  #overflow(lasting: boolean): Series {
    this.#keeper.overflowed(this.spec)
    this.#other ??= {
      ...this.#keeper.open(
        this.spec,
        this.spec.labels.map(() => OTHER),
        lasting,
      ),
      // Whoever was counted here is looked up again each time: there may be room by then, and each time is counted.
      stays: false,
    }
    return this.#other
  }
}

/** Plugins in JavaScript may give anything. */
function labelValue(value: unknown): string {
  return short(String(value ?? ''), LONGEST_VALUE)
}

/** About what the labels of a series take, with what there is of any series. */
export function bytesOf(values: readonly string[]): number {
  let bytes = 200
  for (const value of values) bytes += value.length * 2 + 20
  return bytes
}

/** A histogram has its buckets, the one without bound, and the sum; its count is the sum of the buckets. */
export function sizeOf({ buckets }: Pick<FamilySpec, 'buckets'>): number {
  return buckets === undefined ? 1 : buckets.length + 2
}

const nowhere: Series = { id: -1, values: [], memory: new Float64Array(0), slot: 0, stays: false }

/** Keeps hold of a series, and finds it again when it is no more: 1 ns each time instead of a look-up. */
class Handle {
  readonly #family: Family
  readonly #values: readonly string[]
  readonly #lasting: boolean
  #series = nowhere

  constructor(family: Family, values: readonly string[], lasting: boolean) {
    this.#family = family
    this.#values = values
    this.#lasting = lasting
  }

  protected get series(): Series {
    if (!this.#series.stays) this.#series = this.#family.find(this.#values, this.#lasting)
    return this.#series
  }

  protected get name(): string {
    return this.#family.spec.name
  }
}

export class CountedSeries extends Handle implements CounterSeries {
  constructor(family: Family, values: readonly string[]) {
    super(family, values, true)
  }

  add(by = 1): void {
    if (!(by >= 0)) throw new RangeError(`${this.name}: a counter does not count ${by}`)
    const { memory, slot } = this.series
    memory[slot]! += by
  }
}

export class ObservedSeries extends Handle implements HistogramSeries {
  readonly #buckets: readonly number[]

  constructor(family: Family, values: readonly string[]) {
    super(family, values, true)
    this.#buckets = family.spec.buckets!
  }

  observe(value: number): void {
    if (!Number.isFinite(value)) throw new RangeError(`${this.name}: cannot observe ${value}`)
    const { memory, slot } = this.series
    const buckets = this.#buckets
    let bucket = 0
    while (bucket < buckets.length && value > buckets[bucket]!) bucket++
    memory[slot + bucket]! += 1
    memory[slot + buckets.length + 1]! += value
  }
}

export class EnteredSeries extends Handle implements LiveSeries {
  constructor(family: Family, values: readonly string[]) {
    super(family, values, false)
  }

  enter(): () => void {
    // It is not closed while somebody is in it.
    const { memory, slot } = this.series
    let inside = true
    memory[slot]! += 1
    return () => {
      if (!inside) return
      inside = false
      memory[slot]! -= 1
    }
  }
}

export class MeasuredSeries extends Handle implements GaugeSeries {
  constructor(family: Family, values: readonly string[]) {
    super(family, values, false)
  }

  set(value: number): void {
    const { memory, slot } = this.series
    memory[slot] = value
  }
}
