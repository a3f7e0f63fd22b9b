// What waits in all buffers of one logger plugin, bounded in entries and bytes (facts core C.2); knows no entry.
import type { Logger } from './log.ts'
import type { CountLost, Loss } from './lost-entries.ts'

/** Bytes that wait for the sinks of a plugin, per worker. */
export const MAX_WAITING_BYTES = 32 << 20
const COMPLAIN_EVERY_MS = 10_000

export interface Waiting {
  entries: number
  bytes: number
  complainedAt: number
}

export const nothingWaits = (): Waiting => ({ entries: 0, bytes: 0, complainedAt: Number.NEGATIVE_INFINITY })

export interface BacklogOptions {
  plugin: string
  /** Shared by all uses of the plugin. */
  waiting: Waiting
  maxEntries: number
  lost: CountLost
  log: Logger
}

/** One use's view of what waits: the limit is its metadata's. */
export class Backlog {
  readonly #options: BacklogOptions

  constructor(options: BacklogOptions) {
    this.#options = options
  }

  hasRoom(): boolean {
    const { waiting, maxEntries } = this.#options
    return waiting.entries < maxEntries && waiting.bytes < MAX_WAITING_BYTES
  }

  /** Room for one more entry of so many bytes, if there is. */
  take(bytes: number): boolean {
    const { waiting } = this.#options
    if (waiting.bytes + bytes > MAX_WAITING_BYTES) return false
    waiting.entries++
    waiting.bytes += bytes
    return true
  }

  give(entries: number, bytes: number): void {
    const { waiting } = this.#options
    waiting.entries -= entries
    waiting.bytes -= bytes
  }

  drop(entries: number, why: Loss): void {
    this.#options.lost(entries, why)
  }

  /** An entry for which there is no room. */
  refuse(): void {
    const { waiting, plugin, log } = this.#options
    this.drop(1, 'queue_full')
    const now = performance.now()
    if (now - waiting.complainedAt < COMPLAIN_EVERY_MS) return
    waiting.complainedAt = now
    log.error({ plugin, waiting: waiting.entries }, 'max pending entries limit exceeded. discarding entry.')
  }
}
