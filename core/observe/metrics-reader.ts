// Main's side of metrics: sums the series of all writers and prints them as Prometheus text 0.0.4; writes no series.
import type { MetricType, SeriesDefinition, WithdrawnSeries } from './metrics.ts'
import { heading, histogramLines, labelText, line } from './prometheus-text.ts'

export interface MetricsReaderOptions {
  /** Stands before every family's name, except those of our own (`sluice_`). */
  prefix?: string
  /** Label sets per family, over all writers that ever lived; what comes later is counted as `other`. */
  maxSeries?: number
  /** Told when that happens. */
  overflowed?(family: string): void
  /** Of series that no writer has any more, those stay whose label, if they have one of these, names what there is. */
  stays?: { labels: readonly string[]; has(value: string): boolean }
  /** Milliseconds after which series of a family go that have not moved, by its name without the prefix; 0 is never. */
  expiry?(family: string): number
  /** What was live in a gauge when its writer went is counted in a counter with the same labels. */
  lapses?: { gauge: string; counter: string; help: string }
}

/** A gauge of main's that is asked for when the page is printed. */
export interface MeasuredGauge {
  name: string
  help: string
  labels: readonly string[]
  /** A gauge without it. */
  type?: MetricType
  /** Its series now, in few steps: label values in the order of `labels`, each row once. Must not throw. */
  read(): Iterable<readonly [values: readonly string[], value: number]>
}

export type WriterId = number | string

/** A writer's numbers in a series. */
interface Part {
  readonly writer: WriterId
  readonly id: number
  readonly series: Series
  readonly memory: Float64Array
  readonly slot: number
  readonly lasting: boolean
}

interface Series {
  readonly family: Family
  /** `name="value"` pairs, escaped and joined. */
  readonly labels: string
  /** What it stands and falls with when no writer has it. */
  readonly stands: readonly string[]
  readonly parts: Set<Part>
  /** What was counted by writers that have it no more. */
  kept: Float64Array | undefined
  /** Of a family that expires: the sum of all its numbers when it was looked at last, and when that was first seen. */
  total: number
  since: number
  /** That sum when its writers were asked to withdraw it, unless it has moved since. */
  asked: number | undefined
}

interface Family {
  readonly name: string
  readonly help: string
  readonly type: MetricType
  readonly labelNames: string
  readonly buckets: readonly number[] | undefined
  readonly series: Map<string, Series>
  /** Milliseconds after which a series goes that has not moved; 0 is never. */
  readonly expireMs: number
  /** The series of what came past the limit. */
  other: Series | undefined
}

// About 2 ms and 500 KB: the loop of main also answers the admin API and looks after the workers.
const LINES_PER_SLICE = 2_500
const OTHER = 'other'

export class MetricsReader {
  readonly #prefix: string
  readonly #maxSeries: number
  readonly #overflowed: (family: string) => void
  readonly #stays: NonNullable<MetricsReaderOptions['stays']>
  readonly #lapses: MetricsReaderOptions['lapses']
  readonly #expiry: (family: string) => number
  readonly #families = new Map<string, Family>()
  readonly #measured = new Map<string, MeasuredGauge>()
  readonly #writers = new Map<WriterId, Map<number, Part>>()

  constructor(options: MetricsReaderOptions = {}) {
    const { prefix = 'apisix_', maxSeries = 10_000, overflowed = () => {}, expiry = () => 0 } = options
    this.#expiry = expiry
    this.#prefix = prefix
    this.#maxSeries = maxSeries
    this.#overflowed = overflowed
    this.#stays = options.stays ?? { labels: [], has: () => true }
    this.#lapses = options.lapses
  }

  /** Puts a gauge on the page whose series somebody knows better than a writer could be told: they come and go. */
  measure(gauge: MeasuredGauge): void {
    this.#measured.set(this.#fullName(gauge.name), gauge)
  }

  /** Takes a series that a writer has published. Throws when its family is known with other labels, buckets or type. */
  add(writer: WriterId, definition: SeriesDefinition): void {
    const { id, memory, slot, lasting } = definition
    const series = this.#series(definition)
    const part = { writer, id, series, memory, slot, lasting }
    series.parts.add(part)
    const parts = this.#writers.get(writer)
    if (parts === undefined) this.#writers.set(writer, new Map([[id, part]]))
    else parts.set(id, part)
  }

  /**
   * A writer has withdrawn a series. What was counted in it goes when no other has it: what it names is gone, or it has not
   * moved since that was found out.
   */
  remove(writer: WriterId, { id, last, expired }: WithdrawnSeries): void {
    const parts = this.#writers.get(writer)
    const part = parts?.get(id)
    if (part === undefined) return
    parts?.delete(id)
    const { series } = part
    series.parts.delete(part)
    // Many share this one: what they have counted is not to shrink.
    if (expired || series === series.family.other) keep(series, part, last)
    if (series === series.family.other || series.parts.size > 0) return
    if (!expired || totalOf(series) === series.asked) drop(series)
  }

  /**
   * Looks at every series of families that expire, one a step: `ask` is told those whose writers are to withdraw them, for they
   * have not moved for as long as their family says. `now` is in milliseconds.
   */
  *expire(now: number, ask: (writer: WriterId, id: number) => void): Generator<void> {
    for (const family of this.#families.values()) {
      if (family.expireMs === 0) continue
      for (const series of family.series.values()) {
        if (series !== family.other) look(series, now, ask)
        yield
      }
    }
  }

  /** The writer is gone and writes no more: what it counted stays, what was live in it does not. */
  removeWriter(writer: WriterId): void {
    for (const part of this.#writers.get(writer)?.values() ?? []) {
      const { series, memory, slot } = part
      series.parts.delete(part)
      keep(series, part, memory.subarray(slot))
      if (series.family.name === this.#lapses?.gauge) this.#lapse(series, memory[slot]!)
      if (series.parts.size === 0 && series.kept === undefined) drop(series)
    }
    this.#writers.delete(writer)
  }

  #lapse({ family, labels, stands }: Series, live: number): void {
    if (live === 0) return
    const { counter: name, help } = this.#lapses!
    const made = { name, help, type: 'counter' as const, labelNames: family.labelNames, expireMs: 0 }
    const counted = this.#families.get(name) ?? { ...made, buckets: undefined, series: new Map(), other: undefined }
    this.#families.set(name, counted)
    const series = open(counted, labels, stands)
    series.kept ??= new Float64Array(1)
    series.kept[0]! += live
  }

  /** The whole page. */
  print(): string {
    return [...this.slices()].join('')
  }

  /**
   * All families in the order of their names, those without series left out, in pieces that may be printed with pauses
   * between them: what comes and goes meanwhile is there or not, and each series adds up.
   */
  *slices(): IterableIterator<string> {
    let lines: string[] = []
    for (const name of [...this.#families.keys(), ...this.#measured.keys()].sort()) {
      const measured = this.#measured.get(name)
      if (measured !== undefined) lines.push(...measuredLines(name, measured))
      const family = this.#families.get(name)
      if (family === undefined) continue
      this.#sweep(family)
      if (family.series.size === 0) continue
      lines.push(...heading(family))
      const values = new Float64Array(widthOf(family))
      for (const series of family.series.values()) {
        sum(series, values)
        if (family.buckets === undefined) lines.push(line(name, series.labels, values[0]!))
        else histogramLines(lines, { name, labels: series.labels, buckets: family.buckets, values })
        if (lines.length >= LINES_PER_SLICE) {
          yield `${lines.join('\n')}\n`
          lines = []
        }
      }
    }
    if (lines.length > 0) yield `${lines.join('\n')}\n`
  }

  /** Drops what is only there because writers that are gone have counted it, when what it names is gone too. */
  #sweep(family: Family): void {
    for (const series of family.series.values()) {
      if (series.parts.size === 0 && !series.stands.every(value => this.#stays.has(value))) drop(series)
    }
  }

  #series(definition: SeriesDefinition): Series {
    const family = this.#family(definition)
    const labels = labelText(definition.labels)
    const known = family.series.get(labels)
    if (known !== undefined) return known
    if (family.series.size >= this.#maxSeries) this.#sweep(family)
    if (family.series.size < this.#maxSeries) return open(family, labels, this.#standsWith(definition))
    this.#overflowed(definition.name)
    family.other ??= open(family, labelText(definition.labels.map(([name]) => [name, OTHER] as const)), [])
    return family.other
  }

  #standsWith({ labels }: SeriesDefinition): string[] {
    return labels
      .filter(([name, value]) => value !== '' && value !== OTHER && this.#stays.labels.includes(name))
      .map(([, value]) => value)
  }

  #fullName(name: string): string {
    return name.startsWith('sluice_') ? name : this.#prefix + name
  }

  #family({ name: bare, help, type, labels, buckets }: SeriesDefinition): Family {
    const name = this.#fullName(bare)
    if (this.#measured.has(name)) throw new Error(`metric ${name} is measured elsewhere`)
    const labelNames = labels.map(([label]) => label).join()
    const known = this.#families.get(name)
    if (known === undefined) {
      const expireMs = this.#expiry(bare)
      const family: Family = { name, help, type, labelNames, buckets, expireMs, series: new Map(), other: undefined }
      this.#families.set(name, family)
      return family
    }
    if (known.type !== type || known.labelNames !== labelNames || String(known.buckets) !== String(buckets))
      throw new Error(`metric ${name} is published twice, differently`)
    return known
  }
}

function open(family: Family, labels: string, stands: readonly string[]): Series {
  const known = family.series.get(labels)
  if (known !== undefined) return known
  const series: Series = {
    family,
    labels,
    stands,
    parts: new Set(),
    kept: undefined,
    total: Number.NaN,
    since: 0,
    asked: undefined,
  }
  family.series.set(labels, series)
  return series
}

function drop(series: Series): void {
  const { family } = series
  family.series.delete(series.labels)
  if (family.other === series) family.other = undefined
}

function look(series: Series, now: number, ask: (writer: WriterId, id: number) => void): void {
  const { family, parts } = series
  const total = totalOf(series)
  const live = family.type === 'gauge' && total > 0
  if (live || total !== series.total) {
    series.total = total
    series.since = now
    series.asked = undefined
  } else if (now - series.since >= family.expireMs) {
    series.asked = total
    if (parts.size === 0) drop(series)
    for (const { writer, id } of parts) ask(writer, id)
  }
}

/** Another with every move, and exact: of a histogram the count, without the sum of what was observed. */
function totalOf({ family, kept, parts }: Series): number {
  const width = family.buckets === undefined ? 1 : family.buckets.length + 1
  let total = 0
  for (let at = 0; at < width; at++) {
    total += kept?.[at] ?? 0
    for (const { memory, slot } of parts) total += memory[slot + at]!
  }
  return total
}

function keep(series: Series, { lasting }: Part, last: Float64Array): void {
  if (!lasting) return
  series.kept ??= new Float64Array(widthOf(series.family))
  for (let at = 0; at < series.kept.length; at++) series.kept[at]! += last[at]!
}

function sum({ kept, parts }: Series, into: Float64Array): void {
  if (kept === undefined) into.fill(0)
  else into.set(kept)
  for (const { memory, slot } of parts) for (let at = 0; at < into.length; at++) into[at]! += memory[slot + at]!
}

function widthOf({ buckets }: Pick<Family, 'buckets'>): number {
  return buckets === undefined ? 1 : buckets.length + 2
}

function measuredLines(name: string, { help, labels, type = 'gauge', read }: MeasuredGauge): string[] {
  const lines = [...read()].map(([values, value]) => {
    const pairs = labels.map((label, at) => [label, values[at]!] as const)
    return line(name, labelText(pairs), value)
  })
  return lines.length === 0 ? [] : [...heading({ name, help, type }), ...lines]
}
