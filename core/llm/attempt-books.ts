// The books of one try at a target: counted as under way until they are closed, once, with how it ended; knows no bytes.
import type { Context } from '../context.ts'
import { ClientGone, UpstreamError } from '../errors.ts'
import type { Hold } from '../holds.ts'
import type { Transport } from '../proxy/transport.ts'
import type { Aborted, Exchange } from './exchange.ts'

export interface CallServices {
  transport: Transport
  /** Counts an attempt as under way until the returned function is called. */
  enter(ctx: Context, call: Exchange): () => void
  /** Told once of an attempt that did not come to its end. */
  cut(ctx: Context, call: Exchange, reason: string): void
}

export class AttemptBooks {
  readonly #ctx: Context
  readonly #call: Exchange
  readonly #services: CallServices
  readonly #started = performance.now()
  readonly #hold: Hold
  #open = true
  /** The total clock is max_stream_duration_ms. */
  streamLimited = false
  /** The answer is leaving: what breaks it is the request's error. */
  begun = false

  /** `call` says who is asked, and for which model. */
  constructor(ctx: Context, call: Exchange, services: CallServices) {
    this.#ctx = ctx
    this.#call = call
    this.#services = services
    call.askedTick = this.#started
    this.#hold = ctx.hold('llm_active_connections', services.enter(ctx, call))
  }

  /** Only the first time counts. */
  close(error: Error | undefined, aborted: Aborted | undefined): void {
    if (!this.#open) return
    this.#open = false
    const call = this.#call
    call.upstreamMs = this.elapsed()
    call.done = true
    call.aborted = error === undefined ? aborted : this.#why(error, aborted)
    call.cutBy = cutBy(error, call.aborted)
    const record = call.tries.at(-1)!
    record.ms = call.upstreamMs
    record.reason = call.cutBy
    if (call.cutBy !== undefined) this.#services.cut(this.#ctx, call, call.cutBy)
    // That the client left is the kernel's to say.
    if (this.begun && error !== undefined && !(error instanceof ClientGone)) this.#ctx.error ??= error
    this.#hold.settle()
    for (const listener of call.over) listener(call)
  }

  /** Whole milliseconds since the try began. */
  elapsed(): number {
    return Math.floor(performance.now() - this.#started)
  }

  #why(error: Error, aborted: Aborted | undefined): Aborted | undefined {
    if (error instanceof ClientGone) return 'client_disconnect'
    const tookTooLong = error instanceof UpstreamError && error.fault === 'total_timeout'
    return tookTooLong && this.streamLimited ? 'max_stream_duration_ms' : aborted
  }
}

/** The most that can be said in one word. */
function cutBy(error: Error | undefined, aborted: Aborted | undefined): string | undefined {
  if (aborted !== undefined && aborted !== 'read_error') return aborted
  if (error instanceof UpstreamError) return error.fault
  return error === undefined ? aborted : 'error'
}
