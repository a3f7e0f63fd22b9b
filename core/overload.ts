// How much a worker takes on: requests in flight, bytes it holds in memory for them, how late its loop may run; counts refusals.
import { GatewayError } from './errors.ts'
import type { Counter, Metrics } from './observe/metrics.ts'

export interface OverloadLimits {
  maxRequestsInFlight: number
  /** Bytes of request and response bodies that are held in memory. */
  maxBufferedBytes: number
  /** Milliseconds that the loop may be late, on average over the last beats. */
  maxLoopLag: number
}

// Weight of the newest beat: a single long pause sheds nothing, one that lasts does within half a second.
const NEWEST = 0.2
/** Codes of errors by which a request went past a limit in time or size. */
const PAST_A_LIMIT = new Set(['body_too_large', 'body_timeout', 'send_timeout'])

/** Refuses what is too much with 503 and Retry-After, and counts it, before the worker has no memory or time left. */
export class Overload {
  readonly #limits: OverloadLimits
  readonly #shed: Counter
  #buffered = 0
  #lag = 0
  #late = false

  constructor(limits: OverloadLimits, metrics: Metrics) {
    this.#limits = limits
    this.#shed = metrics.counter('sluice_shed_total', 'Requests and connections that went past a limit', ['reason'])
  }

  get buffered(): number {
    return this.#buffered
  }

  /** Why a request is not taken on beside so many others; undefined when it is. */
  refusal(inFlight: number): GatewayError | undefined {
    if (inFlight >= this.#limits.maxRequestsInFlight) return this.#refuse('requests_in_flight')
    return this.#late ? this.#refuse('loop_lag') : undefined
  }

  /** Takes room for bytes that will be held. Throws GatewayError 503 when there is none; then nothing was taken. */
  take(bytes: number): void {
    if (this.#buffered + bytes > this.#limits.maxBufferedBytes) throw this.#refuse('buffered_bytes')
    this.#buffered += bytes
  }

  give(bytes: number): void {
    this.#buffered -= bytes
  }

  /** Counts what was refused elsewhere. */
  count(reason: string): void {
    this.#shed.add([reason])
  }

  /** Counts a request that has ended with this error, if that means that its client went past a limit. */
  ended(error: unknown): void {
    if (error instanceof GatewayError && PAST_A_LIMIT.has(error.code)) this.count(error.code)
  }

  /** How late the loop came to its last beat, in milliseconds. It recovers at half the limit, so as not to flutter. */
  late(ms: number): void {
    this.#lag += (ms - this.#lag) * NEWEST
    this.#late = this.#lag > (this.#late ? this.#limits.maxLoopLag / 2 : this.#limits.maxLoopLag)
  }

  #refuse(reason: string): GatewayError {
    this.count(reason)
    return new GatewayError(503, 'overloaded', 'the gateway is overloaded, try again', {
      headers: { 'Retry-After': '1' },
    })
  }
}
