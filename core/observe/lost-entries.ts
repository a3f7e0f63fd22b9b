// How many log entries were lost, by plugin and reason; knows no sink.
import type { Metrics } from './metrics.ts'

/**
 * Why an entry was lost: too many waited; the sink failed too often; the sink took the batch and refused this one; it is
 * larger than a datagram; the time to flush was over.
 */
export type Loss = 'queue_full' | 'failed' | 'refused' | 'too_large' | 'shutdown'

export type CountLost = (entries: number, why: Loss) => void

/** Counts what a plugin loses. */
export function lostEntries(metrics: Metrics, plugin: string): CountLost {
  const lost = metrics.counter('sluice_log_entries_dropped_total', 'Log entries that never reached their sink', [
    'plugin',
    'reason',
  ])
  return (entries, why) => lost.add([plugin, why], entries)
}
