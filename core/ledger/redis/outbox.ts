// What Redis must still be told: tried again until it has arrived; knows not what it means.

/** What became of a try: done, surely not done, or nobody knows. */
export type Sent = 'arrived' | 'not_sent' | 'unknown'

export interface OutboxOptions<T> {
  /** Must not reject. */
  send(letter: T): Promise<Sent>
  /** Milliseconds in which a letter may arrive twice without being counted twice. */
  forgivenMs: number
  /** Milliseconds between two tries. */
  againMs: number
  /** A letter was given up: it would have been too many, or may be counted twice. */
  lost(letter: T): void
}

interface Waiting<T> {
  readonly letter: T
  /** Since when it may have arrived, on a monotonic clock. */
  unknownSince: number | undefined
}

/** More than these would be memory without end while Redis is away. */
const MOST = 10_000
/** So many are tried at once. */
const BATCH = 100

export class Outbox<T> {
  readonly #options: OutboxOptions<T>
  readonly #waiting: Waiting<T>[] = []
  /** On their way just now. */
  #sending = 0
  #running = false
  #closed = false

  constructor(options: OutboxOptions<T>) {
    this.#options = options
  }

  /** How many have not arrived, as far as is known. */
  get size(): number {
    return this.#waiting.length + this.#sending
  }

  /** Resolves when it has arrived or waits for its next try. */
  async post(letter: T): Promise<void> {
    this.#sending++
    const sent = await this.#options.send(letter)
    this.#sending--
    if (sent === 'arrived') return
    if (this.#closed || this.#waiting.length >= MOST) return this.#options.lost(letter)
    this.#waiting.push({ letter, unknownSince: sent === 'unknown' ? performance.now() : undefined })
    if (!this.#running) void this.#run()
  }

  /** Resolves when everything has arrived, or is given up after `withinMs`. */
  async close(withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs
    while (this.size > 0 && performance.now() < deadline) await new Promise(resolve => setTimeout(resolve, 10))
    this.#closed = true
    for (const { letter } of this.#waiting.splice(0)) this.#options.lost(letter)
  }

  async #run(): Promise<void> {
    this.#running = true
    while (this.#waiting.length > 0) {
      await new Promise(resolve => setTimeout(resolve, this.#options.againMs))
      const batch = this.#waiting.splice(0, BATCH)
      this.#sending += batch.length
      const again = await Promise.all(batch.map(waiting => this.#again(waiting)))
      this.#sending -= batch.length
      for (const waiting of again) {
        if (waiting === undefined) continue
        if (this.#closed) this.#options.lost(waiting.letter)
        else this.#waiting.push(waiting)
      }
    }
    this.#running = false
  }

  async #again(waiting: Waiting<T>): Promise<Waiting<T> | undefined> {
    const { letter } = waiting
    const { send, forgivenMs, lost } = this.#options
    if (waiting.unknownSince !== undefined && performance.now() - waiting.unknownSince > forgivenMs) {
      lost(letter)
      return undefined
    }
    const sent = await send(letter)
    if (sent === 'arrived') return undefined
    if (sent === 'unknown') waiting.unknownSince ??= performance.now()
    return waiting
  }
}
