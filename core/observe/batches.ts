// Log entries on their way to a sink: gathered into batches, sent one at a time, tried again, bounded; knows no sink's protocol.
import { asError } from '../errors.ts'
import type { Backlog } from './backlog.ts'
import { JsonBytes } from './json-bytes.ts'
import type { Logger } from './log.ts'
import type { Put } from './logger.ts'

export interface Sink {
  /**
   * Resolves when the sink has taken a batch, with how many of its entries it says it has refused. Rejects with an error
   * whose message may be logged, at the latest after a time of its own, and at once when `signal` aborts.
   */
  send(batch: Buffer, signal: AbortSignal): Promise<number>
  close(): Promise<void>
}

/** The sink will not take this batch, however often it is sent. Its message may be logged. */
export class Refusal extends Error {}

/** What stands before, between and behind the entries of a batch. */
export interface Framing {
  readonly begin: string
  readonly between: string
  readonly end: string
}

export interface BatchOptions {
  /** As logs call it: `http logger`. */
  name: string
  plugin: string
  owner: object
  sink: Sink
  framing: Framing
  /** Entries of a batch, and bytes after which it takes no more. */
  maxEntries: number
  enoughBytes: number
  /** Bytes that a batch may not have: an entry that brings it there begins another. */
  maxBytes?: number | undefined
  /** Bytes that may wait here, beside what the backlog allows. */
  maxWaiting?: number | undefined
  /** A batch is sent when so much time has passed since its last entry, or since its first. */
  inactiveMs: number
  durationMs: number
  /** How long it may go on sending when it closes; five seconds without it. */
  flushMs?: number
  /** How often a batch is sent again, and how long it waits before, at first. */
  retries: number
  retryDelayMs: number
  /** Bounds what waits, all together, in all buffers of the plugin. */
  backlog: Backlog
  log: Logger
  /** Told when the number of entries that wait here changes. */
  pending(change: number): void
}

// Room for some entries; a batch grows as it must.
const PAGE = 8 << 10
const MAX_RETRY_DELAY_MS = 60_000
const FLUSH_MS = 5_000

interface Batch {
  readonly bytes: JsonBytes
  readonly firstAt: number
  lastAt: number
  entries: number
}

export class Batches {
  readonly #options: BatchOptions
  readonly #stop = new AbortController()
  #open: Batch | undefined
  #full: Batch[] = []
  /** Bytes that are here, those under way among them. */
  #bytes = 0
  #sending: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #closing = false

  constructor(options: BatchOptions) {
    this.#options = options
  }

  /** Queues an entry, or drops it: never waits. A `put` that throws has queued nothing. */
  write(put: Put): void {
    const { backlog, maxEntries, enoughBytes } = this.#options
    if (this.#closing) return backlog.drop(1, 'shutdown')
    if (!backlog.hasRoom()) return backlog.refuse()
    const batch = this.#append(put)
    if (batch !== undefined && (batch.entries >= maxEntries || batch.bytes.length >= enoughBytes)) this.#seal()
    this.#send()
    if (this.#open !== undefined && this.#sending === undefined)
      this.#timer ??= setTimeout(this.#ring, this.#untilDue(this.#open))
  }

  /** Sends what is left, for `flushMs` at most; what is not sent by then is lost. Resolves when nothing is under way. */
  async close(): Promise<void> {
    this.#closing = true
    clearTimeout(this.#timer)
    this.#seal()
    this.#send()
    const last = setTimeout(() => this.#stop.abort(), this.#options.flushMs ?? FLUSH_MS)
    await this.#sending
    clearTimeout(last)
    await this.#options.sink.close()
  }

  /** The batch that the entry is in now; undefined where it was dropped. */
  #append(put: Put): Batch | undefined {
    const {
      framing,
      maxBytes = Number.POSITIVE_INFINITY,
      maxWaiting = Number.POSITIVE_INFINITY,
      backlog,
    } = this.#options
    const batch = this.#open ?? newBatch()
    const { bytes } = batch
    const before = bytes.length
    try {
      bytes.raw(batch.entries === 0 ? framing.begin : framing.between)
      put(bytes)
    } catch (error) {
      bytes.rewind(before)
      throw error
    }
    const size = bytes.length - before
    if (bytes.length + framing.end.length > maxBytes) {
      bytes.rewind(before)
      if (batch.entries === 0) backlog.drop(1, 'too_large')
      else {
        this.#seal()
        return this.#append(put)
      }
      return undefined
    }
    if (this.#bytes + size > maxWaiting || !backlog.take(size)) {
      bytes.rewind(before)
      backlog.refuse()
      return undefined
    }
    batch.entries++
    batch.lastAt = performance.now()
    this.#open = batch
    this.#count(1, size)
    return batch
  }

  #count(entries: number, bytes: number): void {
    this.#bytes += bytes
    this.#options.pending(entries)
  }

  #seal(): void {
    if (this.#open === undefined) return
    this.#full.push(this.#open)
    this.#open = undefined
  }

  #untilDue({ firstAt, lastAt }: Batch): number {
    const { inactiveMs, durationMs } = this.#options
    return Math.max(0, Math.min(lastAt + inactiveMs, firstAt + durationMs) - performance.now())
  }

  readonly #ring = (): void => {
    this.#timer = undefined
    // While one is under way the next goes on growing: a slow sink is asked less often.
    if (this.#open === undefined || this.#sending !== undefined) return
    const left = this.#untilDue(this.#open)
    if (left > 0) {
      this.#timer = setTimeout(this.#ring, Math.ceil(left))
      return
    }
    this.#seal()
    this.#send()
  }

  #send(): void {
    if (this.#full.length > 0) this.#sending ??= this.#sendAll()
  }

  async #sendAll(): Promise<void> {
    for (let batch = this.#full.shift(); batch !== undefined; batch = this.#full.shift()) {
      await this.#deliver(batch)
      this.#options.backlog.give(batch.entries, batch.bytes.length)
      this.#count(-batch.entries, -batch.bytes.length)
    }
    this.#sending = undefined
    this.#ring()
  }

  async #deliver(batch: Batch): Promise<void> {
    const { sink, framing, retries, backlog, log, name, plugin, owner } = this.#options
    const { entries, bytes } = batch
    const before = bytes.length
    bytes.raw(framing.end)
    const whole = bytes.written()
    bytes.rewind(before)
    const who = { plugin, owner, entries }
    const { signal } = this.#stop
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        // What it says may be anything; more than it was sent it has not refused.
        const refused = Math.min(await sink.send(whole, signal), entries)
        if (refused > 0) {
          backlog.drop(refused, 'refused')
          log.error({ ...who, refused }, `Batch Processor[${name}] was told that entries are refused`)
        }
        return
      } catch (error) {
        const reason = asError(error).message
        if (signal.aborted) break
        if (error instanceof Refusal) {
          backlog.drop(entries, 'refused')
          return log.error({ ...who, reason }, `Batch Processor[${name}] was told that a batch is refused`)
        }
        if (attempt >= retries) {
          backlog.drop(entries, 'failed')
          const said = `Batch Processor[${name}] exceeded the max_retry_count[${retries}] dropping the entries`
          return log.error({ ...who, reason }, said)
        }
        log.warn({ ...who, reason }, `Batch Processor[${name}] failed to process entries; trying again`)
        await this.#pause(attempt)
      }
    }
    backlog.drop(entries, 'shutdown')
    log.error(who, `Batch Processor[${name}] had no time to flush, dropping the entries`)
  }

  /** Twice as long after every attempt. */
  async #pause(attempt: number): Promise<void> {
    const { retryDelayMs } = this.#options
    const { signal } = this.#stop
    await new Promise<void>(resolve => {
      const over = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', over)
        resolve()
      }
      const delay = Math.min(retryDelayMs * 2 ** attempt, Math.max(retryDelayMs, MAX_RETRY_DELAY_MS))
      const timer = setTimeout(over, delay)
      signal.addEventListener('abort', over)
    })
  }
}

function newBatch(): Batch {
  const now = performance.now()
  return { bytes: new JsonBytes(PAGE), firstAt: now, lastAt: now, entries: 0 }
}
