// A worker's side of metrics: series in shared memory that only this thread writes; knows neither main nor the text format.
import type { Counter, Histogram, LiveGauge, Metrics, MetricType, SeriesDefinition, SeriesName } from './metrics.ts'

export interface MetricsWriterOptions {
  /** Tells the reader of a new series, once. */
  publish(definition: SeriesDefinition): void
  /** Tells it that a series is no more. */
  withdraw?(series: SeriesName): void
  /** Label sets per family; what comes later is counted as `other`. */
  maxSeries?: number
}

const CHUNK = 8_192
const OTHER = 'other'
// Each combination of label values is a series of up to 20 numbers in every family: what clients choose must stay few.
const MAX_CHOSEN = 100

// Eleven labels: 0.1 us through nested maps, whose keys have their hash already, 0.25 us by a joined key.
type Branch<T> = Map<string, Branch<T> | T>

/** What a family's series are found by and made from. */
interface Family<T> {
  readonly name: string
  readonly help: string
  readonly type: MetricType
  readonly labels: readonly string[]
  readonly buckets: readonly number[] | undefined
  /** Series by their label values, one level per label. */
  root: Branch<T> | T | undefined
  size: number
  /** The series of everything past the limit. */
  other: T | undefined
}

/** Where a series' numbers stand. */
interface Cells {
  readonly memory: Float64Array
  readonly slot: number
}

interface LiveCells extends Cells {
  /** How many have entered and not left: each leaves once. */
  members: number
}

export class MetricsWriter implements Metrics {
  readonly #publish: (definition: SeriesDefinition) => void
  readonly #withdraw: NonNullable<MetricsWriterOptions['withdraw']>
  readonly #maxSeries: number
  readonly #families = new Map<string, Family<Cells>>()
  /** Places of series that are no more, by their size, zeroed. */
  readonly #free = new Map<number, Cells[]>()
  readonly #overflow: Counter
  readonly #chosen = new Map<string, Set<string>>()
  #chunk: Float64Array = new Float64Array(0)
  #used = 0

  constructor({ publish, withdraw = () => {}, maxSeries = 10_000 }: MetricsWriterOptions) {
    this.#publish = publish
    this.#withdraw = withdraw
    this.#maxSeries = maxSeries
    this.#overflow = this.counter(
      'sluice_metric_series_overflow_total',
      'Updates counted as "other" because their metric has too many series',
      ['family'],
    )
  }

  bounded(kind: string, value: string): string {
    const known = this.#chosen.get(kind) ?? new Set<string>()
    this.#chosen.set(kind, known)
    if (value === '' || known.has(value)) return value
    if (known.size >= MAX_CHOSEN) return OTHER
    known.add(value)
    return value
  }

  forget(labels: readonly string[], value: string): void {
    for (const family of this.#families.values()) {
      for (const label of labels) {
        const at = family.labels.indexOf(label)
        if (at >= 0 && family.root !== undefined) this.#prune(family, family.root, { at, value, path: [] })
      }
    }
  }

  /** Removes the series below `node`, to which `path` leads, that have `value` as label `at`; true when nothing is left. */
  #prune(
    family: Family<Cells>,
    node: Branch<Cells> | Cells,
    { at, value, path }: { at: number; value: string; path: readonly string[] },
  ): boolean {
    if (path.length === family.labels.length) return this.#release(family, node as Cells, path)
    const branch = node as Branch<Cells>
    for (const [label, below] of branch) {
      if (path.length === at && label !== value) continue
      if (this.#prune(family, below, { at, value, path: [...path, label] })) branch.delete(label)
    }
    return branch.size === 0 && path.length > 0
  }

  #release(family: Family<Cells>, cells: Cells & Partial<LiveCells>, values: readonly string[]): boolean {
    if ((cells.members ?? 0) > 0) return false
    const { memory, slot } = cells
    const size = sizeOf(family)
    this.#withdraw({ name: family.name, labels: family.labels.map((label, at) => [label, values[at]!] as const) })
    memory.fill(0, slot, slot + size)
    this.#free.set(size, [...(this.#free.get(size) ?? []), { memory, slot }])
    family.size--
    return true
  }

  /** `add` throws RangeError for a negative number or none: a sum that has swallowed one is lost for ever. */
  counter(name: string, help: string, labels: readonly string[]): Counter {
    const family = this.#family<Cells>({ name, help, type: 'counter', labels, buckets: undefined })
    return {
      add: (values, by = 1) => {
        if (!(by >= 0)) throw new RangeError(`${name}: a counter does not count ${by}`)
        const { memory, slot } = this.#find(family, values, cells => cells)
        memory[slot]! += by
      },
    }
  }

  /** `buckets` are upper bounds in ascending order, without infinity. `observe` throws RangeError for what is no number. */
  histogram(name: string, help: string, labels: readonly string[], buckets: readonly number[]): Histogram {
    if (!buckets.every((bound, at) => Number.isFinite(bound) && (at === 0 || bound > buckets[at - 1]!)))
      throw new Error(`metric ${name}: buckets must ascend`)
    const family = this.#family<Cells>({ name, help, type: 'histogram', labels, buckets })
    return {
      observe: (values, value) => {
        if (!Number.isFinite(value)) throw new RangeError(`${name}: cannot observe ${value}`)
        const { memory, slot } = this.#find(family, values, cells => cells)
        let bucket = 0
        while (bucket < buckets.length && value > buckets[bucket]!) bucket++
        memory[slot + bucket]! += 1
        memory[slot + buckets.length + 1]! += value
      },
    }
  }

  liveGauge(name: string, help: string, labels: readonly string[]): LiveGauge {
    const family = this.#family<LiveCells>({ name, help, type: 'gauge', labels, buckets: undefined })
    return {
      enter: values => {
        const series = this.#find(family, values, cells => ({ ...cells, members: 0 }))
        const { memory, slot } = series
        memory[slot] = ++series.members
        let inside = true
        return () => {
          if (!inside) return
          inside = false
          memory[slot] = --series.members
        }
      },
    }
  }

  /** The family of that name; instances of one plugin share it. Throws when it was declared otherwise before. */
  #family<T extends Cells>(wanted: Omit<Family<T>, 'root' | 'size' | 'other'>): Family<T> {
    const known = this.#families.get(wanted.name)
    if (known === undefined) {
      const family: Family<T> = { ...wanted, root: undefined, size: 0, other: undefined }
      this.#families.set(wanted.name, family)
      return family
    }
    const same =
      known.type === wanted.type &&
      String(known.labels) === String(wanted.labels) &&
      String(known.buckets) === String(wanted.buckets)
    if (!same) throw new Error(`metric ${wanted.name} is declared twice, differently`)
    // Of the same type, and each type has one kind of cells.
    return known as Family<T>
  }

  #find<T extends Cells>(family: Family<T>, values: readonly string[], make: (cells: Cells) => T): T {
    const depth = family.labels.length
    if (values.length !== depth) throw new Error(`metric ${family.name} has ${depth} labels, not ${values.length}`)
    let node = family.root
    for (let at = 0; at < depth && node !== undefined; at++) node = (node as Branch<T>).get(values[at]!)
    // As deep as there are labels stand the series.
    if (node !== undefined) return node as T
    if (family.size >= this.#maxSeries) return this.#other(family, make)
    const series = make(this.#allocate(family, values))
    family.root = planted(family.root, values, series)
    family.size++
    return series
  }

  #other<T extends Cells>(family: Family<T>, make: (cells: Cells) => T): T {
    if (family.name !== 'sluice_metric_series_overflow_total') this.#overflow.add([family.name])
    family.other ??= make(
      this.#allocate(
        family,
        family.labels.map(() => OTHER),
      ),
    )
    return family.other
  }

  #place(size: number): Cells {
    const freed = this.#free.get(size)?.pop()
    if (freed !== undefined) return freed
    if (this.#used + size > this.#chunk.length) {
      this.#chunk = new Float64Array(new SharedArrayBuffer(Math.max(CHUNK, size) * Float64Array.BYTES_PER_ELEMENT))
      this.#used = 0
    }
    const cells = { memory: this.#chunk, slot: this.#used }
    this.#used += size
    return cells
  }

  #allocate(family: Family<Cells>, values: readonly string[]): Cells {
    const cells = this.#place(sizeOf(family))
    const { name, help, type, labels, buckets } = family
    const pairs = labels.map((label, at) => [label, values[at]!] as const)
    this.#publish({ name, help, type, labels: pairs, buckets, ...cells })
    return cells
  }
}

/** A histogram has its buckets, the one without bound, and the sum; its count is the sum of the buckets. */
function sizeOf({ buckets }: Family<Cells>): number {
  return buckets === undefined ? 1 : buckets.length + 2
}

function planted<T>(node: Branch<T> | T | undefined, values: readonly string[], series: T): Branch<T> | T {
  const [value, ...rest] = values
  if (value === undefined) return series
  const branch = (node as Branch<T> | undefined) ?? (new Map() as Branch<T>)
  return branch.set(value, planted(branch.get(value), rest, series))
}
