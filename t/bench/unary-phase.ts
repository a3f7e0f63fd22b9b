// Whole answers: CPU per request, requests per second, latency at concurrency 64 and 1.
import type { Contender } from './contender.ts'
import type { Job, Unary } from './load/job.ts'
import type { Peer } from './peer.ts'
import { type Cost, type Latency, Rounds } from './rounds.ts'

export const CONCURRENCY = 64
// A slice takes a second. One that takes this long says that something is wrong, and is cut.
const SLICE_MS = 30_000

/** Per start of the contenders. */
export interface UnaryAmounts {
  /** Rounds at concurrency 64; those of `warmUp` come before and do not count. */
  warmUp: number
  rounds: number
  requests: number
  /** At concurrency 1. */
  singleRounds: number
  singleRequests: number
}

export interface UnaryResult {
  readonly name: string
  /** Per request. */
  readonly cost: Cost | undefined
  readonly requestsPerSecond: number
  readonly at64: { readonly p50: Latency; readonly p99: Latency }
  readonly at1: { readonly p50: Latency; readonly p99: Latency }
}

export class UnaryPhase {
  readonly #load: Peer
  readonly #amounts: UnaryAmounts
  readonly #at64 = new Rounds<Unary>()
  readonly #at1 = new Rounds<Unary>()

  constructor(load: Peer, amounts: UnaryAmounts) {
    this.#load = load
    this.#amounts = amounts
  }

  /** Measures contenders that have just been started. */
  async run(contenders: readonly Contender[]): Promise<void> {
    const { warmUp, rounds, requests, singleRounds, singleRequests } = this.#amounts
    const slices = (job: { concurrency: number; requests: number }) => ({
      slice: ({ target }: Contender) =>
        this.#load.ask<Unary>({ do: 'unary', target, within: SLICE_MS, ...job } satisfies Job),
    })
    const many = slices({ concurrency: CONCURRENCY, requests })
    const one = slices({ concurrency: 1, requests: singleRequests })
    const unmeasured = new Rounds<Unary>()
    await unmeasured.run(contenders, warmUp, many)
    await this.#at64.run(contenders, rounds, many)
    await unmeasured.run(contenders, 1, one)
    await this.#at1.run(contenders, singleRounds, one)
  }

  results(): UnaryResult[] {
    const latencies = (rounds: Rounds<Unary>, name: string) => ({
      p50: rounds.latency(name, slice => slice.p50),
      p99: rounds.latency(name, slice => slice.p99),
    })
    return this.#at64.names.map(name => ({
      name,
      cost: this.#at64.cost(name, slice => slice.requests),
      requestsPerSecond: this.#at64.median(name, slice => slice.requests / slice.seconds),
      at64: latencies(this.#at64, name),
      at1: latencies(this.#at1, name),
    }))
  }
}
