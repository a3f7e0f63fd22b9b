// The Prometheus page as a worker may send it to a client: main prints it slice by slice, each when it is asked for.
import type { ToMain, ToWorker } from './messages.ts'

/** What a worker asks of main: the next slice of a page, the first time a new one; or that it wants no more of it. */
export type PageRequest = { type: 'next_slice'; page: number } | { type: 'leave_page'; page: number }
/** Undefined after the last slice; `fault` says why there is none. */
export type PageAnswer = { type: 'slice'; page: number; text: string | undefined; fault?: string }

/** Of one worker at once; a page that nobody reads on stands here until its worker is gone. */
const MAX_OPEN = 16

/** Main's side, for one worker. */
export class PageServer {
  readonly #print: () => AsyncIterable<string>
  readonly #send: (answer: Extract<ToWorker, PageAnswer>) => void
  readonly #pages = new Map<number, AsyncIterator<string>>()

  constructor(print: () => AsyncIterable<string>, send: (answer: PageAnswer) => void) {
    this.#print = print
    this.#send = send
  }

  async receive({ type, page }: PageRequest): Promise<void> {
    if (type === 'leave_page') {
      void this.#pages.get(page)?.return?.()
      this.#pages.delete(page)
      return
    }
    try {
      const known = this.#pages.get(page)
      if (known === undefined && this.#pages.size >= MAX_OPEN) throw new Error('too many pages are being read')
      const slices = known ?? this.#print()[Symbol.asyncIterator]()
      this.#pages.set(page, slices)
      const { done, value } = await slices.next()
      if (done) this.#pages.delete(page)
      this.#send({ type: 'slice', page, text: done ? undefined : value })
    } catch (error) {
      this.#pages.delete(page)
      this.#send({ type: 'slice', page, text: undefined, fault: String(error) })
    }
  }
}

type Waiting = { resolve(text: string | undefined): void; reject(error: Error): void }

/** A worker's side. */
export class PageClient {
  readonly #send: (request: Extract<ToMain, PageRequest>) => void
  readonly #waiting = new Map<number, Waiting>()
  #opened = 0

  constructor(send: (request: PageRequest) => void) {
    this.#send = send
  }

  /** A page as it is when it is read. Throws when main cannot print it. */
  async *open(): AsyncIterable<string> {
    const page = this.#opened++
    let ended = false
    try {
      for (;;) {
        const text = await this.#next(page)
        ended = text === undefined
        if (text === undefined) return
        yield text
      }
    } finally {
      if (!ended) this.#send({ type: 'leave_page', page })
    }
  }

  receive({ page, text, fault }: PageAnswer): void {
    const waiting = this.#waiting.get(page)
    this.#waiting.delete(page)
    if (fault === undefined) waiting?.resolve(text)
    else waiting?.reject(new Error(fault))
  }

  #next(page: number): Promise<string | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(page, { resolve, reject })
      this.#send({ type: 'next_slice', page })
    })
  }
}
