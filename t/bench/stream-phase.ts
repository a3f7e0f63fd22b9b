// Streams side by side: CPU per event, how late the first event comes and how late every event is.
import type { Contender } from './contender.ts'
import type { Job, Streams } from './load/job.ts'
import type { Peer } from './peer.ts'
import { type Cost, type Latency, Rounds } from './rounds.ts'

export const STREAMS = 200
// A slice takes a little more than EVENTS x INTERVAL_MS.
const SLICE_MS = 30_000

/** Per start of the contenders. */
export interface StreamAmounts {
  warmUp: number
  rounds: number
}

export interface StreamResult {
  readonly name: string
  /** Per event; the request and its end are in it. */
  readonly cost: Cost | undefined
  /** From the request to the first event. */
  readonly first: { readonly p50: Latency; readonly p99: Latency }
  /** From the mock's writing of an event to its arrival. */
  readonly delay: { readonly p50: Latency; readonly p99: Latency }
}

export class StreamPhase {
  readonly #load: Peer
  readonly #amounts: StreamAmounts
  readonly #rounds = new Rounds<Streams>()

  constructor(load: Peer, amounts: StreamAmounts) {
    this.#load = load
    this.#amounts = amounts
  }

  /** Measures contenders that have served whole answers. */
  async run(contenders: readonly Contender[]): Promise<void> {
    const ask = <R>(job: Job) => this.#load.ask<R>(job)
    const job = {
      // Connections to the mock have been closed since the last round: opening them is not what is measured.
      prepare: ({ target }: Contender) =>
        ask({ do: 'unary', target, concurrency: STREAMS, requests: 10 * STREAMS, within: SLICE_MS }),
      slice: ({ target }: Contender) => ask<Streams>({ do: 'streams', target, streams: STREAMS, within: SLICE_MS }),
    }
    await new Rounds<Streams>().run(contenders, this.#amounts.warmUp, job)
    await this.#rounds.run(contenders, this.#amounts.rounds, job)
  }

  results(): StreamResult[] {
    const rounds = this.#rounds
    return rounds.names.map(name => ({
      name,
      cost: rounds.cost(name, slice => slice.events),
      first: {
        p50: rounds.latency(name, slice => slice.firstP50),
        p99: rounds.latency(name, slice => slice.firstP99),
      },
      delay: {
        p50: rounds.latency(name, slice => slice.delayP50),
        p99: rounds.latency(name, slice => slice.delayP99),
      },
    }))
  }
}
