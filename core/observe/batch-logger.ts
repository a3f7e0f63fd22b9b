// What logger plugins with a batch processor share (facts core C.2): attributes, metadata, and the way of a line into a batch.
import type { Context } from '../context.ts'
import type { Env, Hooks, Infer, Schema } from '../plugin.ts'
import { Backlog, nothingWaits, type Waiting } from './backlog.ts'
import { Batches, type Framing, type Sink } from './batches.ts'
import { type LineConfig, lineMetadata, loggerHooks, type Put } from './logger.ts'
import { lostEntries } from './lost-entries.ts'
import type { Metrics } from './metrics.ts'

const natural = { type: 'integer', minimum: 0 } as const
const positive = { type: 'integer', minimum: 1 } as const

/** The attributes of the batch processor; times are seconds. `name` is what it is called by default. */
export function batchAttributes<const N extends string>(name: N) {
  return {
    name: { type: 'string', default: name },
    max_retry_count: { ...natural, default: 0 },
    retry_delay: { ...natural, default: 1 },
    buffer_duration: { ...positive, default: 60 },
    inactive_timeout: { ...positive, default: 5 },
    batch_max_size: { ...positive, default: 1000 },
  } as const satisfies Schema['properties']
}

type BatchConfig = Infer<{ readonly type: 'object'; readonly properties: ReturnType<typeof batchAttributes> }>

const MAX_PENDING = 8192

export const batchMetadata = {
  type: 'object',
  properties: { ...lineMetadata, max_pending_entries: { ...positive, default: MAX_PENDING } },
} as const satisfies Schema

export interface BatchLogger {
  plugin: string
  /** Opened with the first line. */
  sink(): Sink
  framing: Framing
  /** What stands in the batch for a request; its line as it is without it. */
  dress?(ctx: Context, put: Put): Put
  maxEntries?: number
  enoughBytes?: number
  maxBytes?: number
  maxWaiting?: number
  unmatched?: string
}

/** A batch that has so many bytes takes no more: many servers refuse more than a few MiB. */
const ENOUGH_BYTES = 1 << 20

/** An array, or an object where a batch is one entry: `concat_method: json` of facts core 8.3.21. */
export function asArray(entries: number): Framing {
  return entries === 1 ? { begin: '', between: '', end: '' } : { begin: '[', between: ',', end: ']' }
}

/** An entry per line. */
export const asLines: Framing = { begin: '', between: '\n', end: '' }

/** The hooks of a logger plugin whose lines go to a sink in batches. */
export function batchLogger(
  config: LineConfig & BatchConfig,
  env: Env<Infer<typeof batchMetadata>>,
  logger: BatchLogger,
): Hooks {
  const { metadata, metrics, log, owner } = env
  const { plugin, dress } = logger
  const open = () => {
    const pending = metrics.once(openPending).of(config.name, owner.kind === 'route' ? owner.id : '')
    return new Batches({
      name: config.name,
      plugin,
      owner,
      sink: logger.sink(),
      framing: logger.framing,
      maxEntries: Math.min(config.batch_max_size, logger.maxEntries ?? Number.POSITIVE_INFINITY),
      enoughBytes: logger.enoughBytes ?? ENOUGH_BYTES,
      maxBytes: logger.maxBytes,
      maxWaiting: logger.maxWaiting,
      inactiveMs: config.inactive_timeout * 1000,
      durationMs: config.buffer_duration * 1000,
      retries: config.max_retry_count,
      retryDelayMs: config.retry_delay * 1000,
      backlog: new Backlog({
        plugin,
        waiting: metrics.once(openWaiting).of(plugin),
        maxEntries: metadata?.max_pending_entries ?? MAX_PENDING,
        lost: lostEntries(metrics, plugin),
        log,
      }),
      log,
      pending,
    })
  }
  // A dry run makes instances that never log.
  let batches: Batches | undefined
  return loggerHooks(config, metadata, {
    record(ctx, put) {
      batches ??= open()
      batches.write(dress === undefined ? put : dress(ctx, put))
    },
    close: async () => batches?.close(),
    ...(logger.unmatched !== undefined && { unmatched: logger.unmatched }),
  })
}

/** What waits for the sinks of each plugin: one limit for all its uses in a worker. */
function openWaiting() {
  const waiting = new Map<string, Waiting>()
  return {
    of(plugin: string): Waiting {
      const known = waiting.get(plugin) ?? nothingWaits()
      waiting.set(plugin, known)
      return known
    },
  }
}

/** How many entries wait under one name on one route, which may be in several buffers (facts core 8.3.13). */
function openPending(metrics: Metrics) {
  const family = metrics.gauge('batch_process_entries', 'Entries that wait for the sink of a logger', [
    'name',
    'route_id',
    'server_addr',
  ])
  const sums = new Map<string, number>()
  return {
    of(name: string, route: string): (change: number) => void {
      const key = `${route} ${name}`
      const series = family.of([name, route, ''])
      return change => {
        const sum = (sums.get(key) ?? 0) + change
        if (sum === 0) sums.delete(key)
        else sums.set(key, sum)
        series.set(sum)
      }
    },
  }
}
