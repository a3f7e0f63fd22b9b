// Prometheus text 0.0.4: the lines of families and series; knows not where their numbers come from.
import type { MetricType } from './metrics.ts'

/** Content-Type of the text. */
export const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8'

/** What stands above the series of a family. */
export function heading({ name, help, type }: { name: string; help: string; type: MetricType }): string[] {
  return [`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`]
}

/** `labels` is a labelText. */
export function line(name: string, labels: string, value: number): string {
  return labels === '' ? `${name} ${number(value)}` : `${name}{${labels}} ${number(value)}`
}

/**
 * Appends a histogram: `values` are its buckets, the one without bound, and its sum. The count is made of the buckets, so
 * that what is read while a worker writes still adds up.
 */
export function histogramLines(
  lines: string[],
  { name, labels, buckets, values }: { name: string; labels: string; buckets: readonly number[]; values: Float64Array },
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

/** `name="value"` pairs, escaped and joined. */
export function labelText(labels: readonly (readonly [name: string, value: string])[]): string {
  return labels.map(([name, value]) => `${name}="${escapeLabel(value)}"`).join()
}

function number(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value)
}

function escapeLabel(text: string): string {
  // Broken surrogates would all be written alike: two series of one name.
  return text.toWellFormed().replace(/[\\"\n]/g, char => (char === '\n' ? '\\n' : `\\${char}`))
}

function escapeHelp(text: string): string {
  return text.replace(/[\\\n]/g, char => (char === '\n' ? '\\n' : '\\\\'))
}
