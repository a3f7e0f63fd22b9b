// Spans on their way to a collector, by OTLP over HTTP: one queue for all who name the same one; knows no request.
import type { LookupFunction } from 'node:net'
import { Backlog, nothingWaits, type Waiting } from '../backlog.ts'
import { Batches } from '../batches.ts'
import { HttpSink } from '../http-sink.ts'
import type { Logger } from '../log.ts'
import type { Loss } from '../lost-entries.ts'
import type { GaugeSeries, Metrics } from '../metrics.ts'
import { batchOf, putSpan } from './otlp.ts'
import { type Attributes, type Span, SpanIds } from './span.ts'

/** Plain data: equal settings are the same collector. */
export interface CollectorSettings {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly timeoutMs: number
  readonly resource: Attributes
  readonly maxQueue: number
  readonly maxBatch: number
  readonly batchMs: number
  readonly inactiveMs: number
  /** Attributes whose texts have a limit of their own. */
  readonly whole: readonly string[]
}

export interface ExporterEnv {
  readonly log: Logger
  readonly lookup: LookupFunction | undefined
  random(): number
}

export interface SpanExporter {
  /** Never waits: where there is no room the span is dropped and counted. */
  export(span: Span): void
  /** Not needed any more; the last one to say so waits until what is left has been sent, five seconds at most. */
  release(): Promise<void>
}

const ENOUGH_BYTES = 1 << 20
const RETRIES = 3
const RETRY_DELAY_MS = 1_000
// Those by which a collector says that it may take the batch later (OTLP 1.10, "Retryable response codes").
const LATER: readonly number[] = [429, 502, 503, 504]
const SCOPE = { name: 'sluice', version: '1' }

/** What the spans of a worker share. */
export class Tracing {
  readonly ids = new SpanIds()
  readonly #metrics: Metrics
  readonly #waiting: Waiting = nothingWaits()
  readonly #shown: GaugeSeries
  readonly #collectors = new Map<
    string,
    { readonly batches: Batches; readonly whole: ReadonlySet<string>; users: number }
  >()

  constructor(metrics: Metrics) {
    this.#metrics = metrics
    this.#shown = metrics.gauge('sluice_spans_waiting', 'Spans that wait for the collector of traces', []).of([])
  }

  /** The way to that collector. To be released. */
  exporter(settings: CollectorSettings, env: ExporterEnv): SpanExporter {
    const key = JSON.stringify(settings)
    const collector = this.#collectors.get(key) ?? {
      batches: this.#open(settings, env),
      whole: new Set(settings.whole),
      users: 0,
    }
    this.#collectors.set(key, collector)
    collector.users++
    return {
      export: span => collector.batches.write(line => putSpan(line, span, collector.whole)),
      release: async () => {
        if (--collector.users > 0) return
        this.#collectors.delete(key)
        await collector.batches.close()
      },
    }
  }

  #open({ url, headers, timeoutMs, resource, ...limits }: CollectorSettings, { log, ...env }: ExporterEnv): Batches {
    const lost = this.#metrics.counter('sluice_spans_dropped_total', 'Spans that never reached the collector', [
      'reason',
    ])
    return new Batches({
      name: 'opentelemetry',
      plugin: 'opentelemetry',
      owner: { kind: 'plugin_metadata', id: 'opentelemetry' },
      sink: new HttpSink({
        ...env,
        urls: [url],
        headers: { ...headers, 'Content-Type': 'application/json' },
        timeoutMs,
        verify: true,
        refused: rejectedSpans,
        final: status => !LATER.includes(status),
      }),
      framing: batchOf(resource, SCOPE),
      maxEntries: limits.maxBatch,
      enoughBytes: ENOUGH_BYTES,
      inactiveMs: limits.inactiveMs,
      durationMs: limits.batchMs,
      retries: RETRIES,
      retryDelayMs: RETRY_DELAY_MS,
      backlog: new Backlog({
        plugin: 'opentelemetry',
        waiting: this.#waiting,
        maxEntries: limits.maxQueue,
        lost: (spans: number, why: Loss) => lost.add([why], spans),
        log,
      }),
      log,
      pending: () => this.#shown.set(this.#waiting.entries),
    })
  }
}

/** A collector answers 200 also when it has refused spans; it writes the number as a text, as JSON has 64 bits. */
function rejectedSpans(answer: string): number {
  try {
    const { partialSuccess } = JSON.parse(answer) as { partialSuccess?: { rejectedSpans?: unknown } }
    const rejected = Number(partialSuccess?.rejectedSpans ?? 0)
    return Number.isSafeInteger(rejected) && rejected > 0 ? rejected : 0
  } catch {
    return 0
  }
}
