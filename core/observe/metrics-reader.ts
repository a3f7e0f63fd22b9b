// Main's side of metrics: sums the series of all workers and prints them as Prometheus text 0.0.4; writes no series.
import type { MetricType, SeriesDefinition, SeriesName } from './metrics.ts'

/** Content-Type of what `print` returns. */
export const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8'

export interface MetricsReaderOptions {
  /** Stands before every family's name, except those of our own (`sluice_`). */
  prefix?: string
  /** Label sets per family, over all workers that ever lived; what comes later is counted as `other`. */
  maxSeries?: number
}

type WorkerId = number | string

interface Part {
  readonly worker: WorkerId
  readonly memory: Float64Array
  readonly slot: number
}

interface Series {
  /** `name="value"` pairs, escaped and joined. */
  readonly labels: string
  /** What workers that are gone had counted. */
  readonly kept: Float64Array
  parts: Part[]
}

interface Family {
  readonly help: string
  readonly type: MetricType
  readonly labelNames: string
  readonly buckets: readonly number[] | undefined
  readonly series: Map<string, Series>
}

export class MetricsReader {
  readonly #prefix: string
  readonly #maxSeries: number
  readonly #families = new Map<string, Family>()

  constructor({ prefix = 'apisix_', maxSeries = 10_000 }: MetricsReaderOptions = {}) {
    this.#prefix = prefix
    this.#maxSeries = maxSeries
  }

  /** Takes a series that a worker has published. Throws when its family is known with other labels, buckets or type. */
  add(worker: WorkerId, definition: SeriesDefinition): void {
    const { memory, slot } = definition
    const family = this.#family(definition)
    let labels = render(definition.labels)
    if (!family.series.has(labels) && family.series.size >= this.#maxSeries)
      labels = render(definition.labels.map(([name]) => [name, 'other'] as const))
    let series = family.series.get(labels)
    if (series === undefined) {
      series = { labels, kept: new Float64Array(width(family)), parts: [] }
      family.series.set(labels, series)
    }
    series.parts.push({ worker, memory, slot })
  }

  /** A worker's series is no more. What workers that are gone had counted in it goes with its last living part. */
  remove(worker: WorkerId, { name, labels }: SeriesName): void {
    const family = this.#families.get(this.#fullName(name))
    const key = render(labels)
    const series = family?.series.get(key)
    if (series === undefined) return
    series.parts = series.parts.filter(part => part.worker !== worker)
    if (series.parts.length === 0) family?.series.delete(key)
  }

  #fullName(name: string): string {
    return name.startsWith('sluice_') ? name : this.#prefix + name
  }

  /** The worker is gone and writes no more: what it counted stays, what was live in it is not. */
  removeWorker(worker: WorkerId): void {
    for (const family of this.#families.values()) {
      for (const [key, series] of family.series) {
        const gone = series.parts.filter(part => part.worker === worker)
        if (gone.length === 0) continue
        series.parts = series.parts.filter(part => part.worker !== worker)
        if (family.type !== 'gauge') for (const part of gone) accumulate(series.kept, part)
        else if (series.parts.length === 0) family.series.delete(key)
      }
    }
  }

  /** All families in the order of their names; those without series are left out. */
  print(): string {
    const lines: string[] = []
    for (const [name, family] of [...this.#families].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (family.series.size === 0) continue
      lines.push(`# HELP ${name} ${escapeHelp(family.help)}`, `# TYPE ${name} ${family.type}`)
      for (const series of family.series.values()) {
        const values = series.kept.slice()
        for (const part of series.parts) accumulate(values, part)
        if (family.buckets === undefined) lines.push(line(name, series.labels, values[0]!))
        else printHistogram(lines, name, { labels: series.labels, buckets: family.buckets, values })
      }
    }
    return lines.length === 0 ? '' : `${lines.join('\n')}\n`
  }

  #family({ name, help, type, labels, buckets }: SeriesDefinition): Family {
    const full = this.#fullName(name)
    const labelNames = labels.map(([label]) => label).join()
    const known = this.#families.get(full)
    if (known === undefined) {
      const family: Family = { help, type, labelNames, buckets, series: new Map() }
      this.#families.set(full, family)
      return family
    }
    if (known.type !== type || known.labelNames !== labelNames || String(known.buckets) !== String(buckets))
      throw new Error(`metric ${full} is published twice, differently`)
    return known
  }
}

function width(family: Family): number {
  return family.buckets === undefined ? 1 : family.buckets.length + 2
}

function accumulate(into: Float64Array, { memory, slot }: Part): void {
  for (let at = 0; at < into.length; at++) into[at]! += memory[slot + at]!
}

/** The count is made of the buckets that were just read, so that a page read while a worker writes still adds up. */
function printHistogram(
  lines: string[],
  name: string,
  { labels, buckets, values }: { labels: string; buckets: readonly number[]; values: Float64Array },
): void {
  const separator = labels === '' ? '' : ','
  let count = 0
  for (let at = 0; at <= buckets.length; at++) {
    count += values[at]!
    const bound = at < buckets.length ? number(buckets[at]!) : '+Inf'
    lines.push(line(`${name}_bucket`, `${labels}${separator}le="${bound}"`, count))
  }
  lines.push(line(`${name}_sum`, labels, values[buckets.length + 1]!), line(`${name}_count`, labels, count))
}

function line(name: string, labels: string, value: number): string {
  return labels === '' ? `${name} ${number(value)}` : `${name}{${labels}} ${number(value)}`
}

function number(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value)
}

function render(labels: SeriesDefinition['labels']): string {
  return labels.map(([name, value]) => `${name}="${escapeLabel(value)}"`).join()
}

function escapeLabel(text: string): string {
  // Broken surrogates would all be written alike: two series of one name.
  return text.toWellFormed().replace(/[\\"\n]/g, char => (char === '\n' ? '\\n' : `\\${char}`))
}

function escapeHelp(text: string): string {
  return text.replace(/[\\\n]/g, char => (char === '\n' ? '\\n' : '\\\\'))
}
