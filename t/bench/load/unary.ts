// Whole answers as fast as they come, a fixed number under way.
import { percentile } from '../statistics.ts'
import { micros, requestOf } from '../workload.ts'
import { type Connection, type Connections, expect200, type Reader, timeLimit } from './connection.ts'
import type { Unary, UnaryJob } from './job.ts'

// How long answers under way may still take when time is up.
const LAST_ANSWERS_MS = 10_000

/** Rejects for anything but 200, for a connection that breaks, and for an answer that does not come. */
export async function runUnary(connections: Connections, job: UnaryJob): Promise<Unary> {
  const { kind = 'unary', target, concurrency, requests, within } = job
  const taken = await connections.take(target, concurrency)
  const limit = timeLimit(within + LAST_ANSWERS_MS)
  try {
    const run = new Run(taken, requestOf(target, kind), { requests, until: micros() + within * 1e3 })
    const result = await Promise.race([run.done, limit.up])
    connections.give(target, taken)
    return result
  } finally {
    limit.stop()
  }
}

class Run {
  readonly done: Promise<Unary>
  readonly #finish: { resolve: (result: Unary) => void; reject: (error: Error) => void }
  readonly #request: Buffer
  readonly #bound: { requests: number; until: number }
  readonly #took: Float64Array
  readonly #began = micros()
  #sent = 0
  #answered = 0

  constructor(connections: readonly Connection[], request: Buffer, bound: { requests: number; until: number }) {
    const { promise, resolve, reject } = Promise.withResolvers<Unary>()
    this.done = promise
    this.#finish = { resolve, reject }
    this.#request = request
    this.#bound = bound
    this.#took = new Float64Array(bound.requests)
    for (const connection of connections) this.#next(connection)
  }

  #next(connection: Connection): void {
    const now = micros()
    if (this.#sent < this.#bound.requests && now < this.#bound.until) {
      this.#sent++
      connection.send(this.#request, this.#reader(connection, now))
    } else if (this.#answered === this.#sent) this.#finish.resolve(this.#result(now))
  }

  #reader(connection: Connection, began: number): Reader {
    let before = ''
    return {
      read: chunk => {
        const text = before + chunk.toString('latin1')
        try {
          if (!isWhole(text)) {
            before = text
            return
          }
        } catch (error) {
          return this.#finish.reject(error as Error)
        }
        this.#took[this.#answered++] = micros() - began
        this.#next(connection)
      },
      fail: this.#finish.reject,
    }
  }

  #result(now: number): Unary {
    const took = this.#took.subarray(0, this.#answered).sort()
    return {
      requests: this.#answered,
      seconds: (now - this.#began) / 1e6,
      p50: percentile(took, 0.5),
      p99: percentile(took, 0.99),
    }
  }
}

function isWhole(text: string): boolean {
  const head = text.indexOf('\r\n\r\n')
  if (head < 0) return false
  expect200(text)
  const length = /\r\ncontent-length: *(\d+)/i.exec(text)
  return length === null ? text.endsWith('\r\n0\r\n\r\n') : text.length >= head + 4 + Number(length[1])
}
