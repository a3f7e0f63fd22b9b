// When main looks for series that have not moved for as long as their family may keep them; knows not how they are withdrawn.
import { inSlices } from '../slices.ts'
import type { MetricSettings } from './family-traits.ts'
import type { MetricsReader, WriterId } from './metrics-reader.ts'

// Between two looks, in milliseconds: a tenth of the shortest expiry, within these.
const SOONEST = 1_000
const LATEST = 60_000

export interface SeriesExpiryOptions {
  reader: Pick<MetricsReader, 'expire'>
  settings: MetricSettings
  /** Told which series a writer is to withdraw. */
  withdraw(writer: WriterId, ids: readonly number[]): void
  /** Milliseconds. */
  now(): number
}

/** Looks from now on, in slices, until the returned function is called; never where no family expires. */
export function expireSeries({ reader, settings, withdraw, now }: SeriesExpiryOptions): () => void {
  const expiries = Object.values(settings).flatMap(({ expireMs = 0 }) => (expireMs > 0 ? [expireMs] : []))
  if (expiries.length === 0) return () => {}
  let looking = false
  const look = async () => {
    // A look that takes longer than the time between two is not overtaken.
    if (looking) return
    looking = true
    const idle = new Map<WriterId, number[]>()
    await inSlices(
      reader.expire(now(), (writer, id) => {
        const ids = idle.get(writer)
        if (ids === undefined) idle.set(writer, [id])
        else ids.push(id)
      }),
    )
    for (const [writer, ids] of idle) withdraw(writer, ids)
    looking = false
  }
  const timer = setInterval(() => void look(), Math.min(LATEST, Math.max(SOONEST, Math.min(...expiries) / 10)))
  timer.unref()
  return () => clearInterval(timer)
}
