// Memory: what an open stream holds, and how resident memory grows over many requests. In fresh processes, one after the other.
import { setTimeout as wait } from 'node:timers/promises'
import type { Started } from './contender.ts'
import type { HoldJob, Unary, UnaryJob } from './load/job.ts'
import type { Peer } from './peer.ts'
import { residentBytes } from './process-cost.ts'
import { type Spread, slope, spread } from './statistics.ts'
import { CONCURRENCY } from './unary-phase.ts'

export interface MemoryAmounts {
  openStreams: number
  /** Fresh processes per contender. */
  repetitions: number
  /** Of the long run, and per sample of it. */
  requests: number
  sample: number
}

export interface MemoryResult {
  readonly name: string
  /** Bytes of a fresh process that has served WARM_UP requests. */
  readonly resident: number
  /** Bytes. */
  readonly perOpenStream: Spread
  /** Of the last fresh process: least squares over the samples behind the first fifth of the requests. */
  readonly growth: {
    readonly requests: number
    readonly bytesPer100000: number
    readonly first: number
    readonly last: number
  }
}

const WARM_UP = 5_000
const SETTLE_MS = 1_000
const WITHIN_MS = 60_000

/** Measures the last contender of what `start` starts anew. Undefined where resident memory cannot be read. */
export async function memoryPhase(
  load: Peer,
  start: () => Promise<Started>,
  amounts: MemoryAmounts,
): Promise<MemoryResult | undefined> {
  const perStream: number[] = []
  for (let repetition = 1; ; repetition++) {
    await using fresh = await start()
    const { name, target, pid } = fresh.contenders.at(-1)!
    const resident = async () => {
      await wait(SETTLE_MS)
      return residentBytes(pid!) ?? Number.NaN
    }
    const ask = (requests: number) =>
      load.ask<Unary>({ do: 'unary', target, concurrency: CONCURRENCY, requests, within: WITHIN_MS } satisfies UnaryJob)

    await ask(WARM_UP)
    const before = await resident()
    if (Number.isNaN(before)) return undefined
    await load.ask({ do: 'hold', target, streams: amounts.openStreams, within: WITHIN_MS } satisfies HoldJob)
    perStream.push(((await resident()) - before) / amounts.openStreams)
    await load.ask({ do: 'close' })
    if (repetition < amounts.repetitions) continue

    const samples: { x: number; y: number }[] = []
    for (let done = 0; done < amounts.requests; done += amounts.sample) {
      await ask(amounts.sample)
      samples.push({ x: done + amounts.sample, y: residentBytes(pid!)! })
    }
    await load.ask({ do: 'close' })
    const counted = samples.filter(({ x }) => x >= amounts.requests / 5)
    return {
      name,
      resident: before,
      perOpenStream: spread(perStream),
      growth: {
        requests: amounts.requests,
        bytesPer100000: slope(counted) * 100_000,
        first: counted[0]!.y,
        last: counted.at(-1)!.y,
      },
    }
  }
}
