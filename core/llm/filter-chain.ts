// Filters of events in a row, each with what it holds back; knows no stream and no plugin.
import { asError, ClientGone } from '../errors.ts'
import { type AnswerEvent, type EventFilter, Refused, type Verdict } from './answer-event.ts'

/** What a filter holds back, beyond which the answer ends. */
export const MAX_HELD = 1024 * 1024

export interface Chain {
  /** In the order in which events go through them. */
  readonly filters: readonly EventFilter[]
  /** What is promised, within its time. */
  within<T>(promise: Promise<T>): Promise<T>
  /** Told before filter `index` is called. */
  enter(index: number): void
  /** Told of what a filter has thrown that is no Refused; the answer ends with it. */
  failed(index: number, error: Error): void
}

/** One answer's way: each filter with what it holds. */
export class Way {
  readonly #chain: Chain
  readonly #held: Held[]

  constructor(chain: Chain) {
    this.#chain = chain
    this.#held = chain.filters.map(() => new Held())
  }

  /** Some filter holds something. */
  get holds(): boolean {
    return this.#held.some(({ events }) => events.length > 0)
  }

  /** What goes to the client of events that come to filter `at`; with `last` nothing comes after them. */
  async through(events: readonly AnswerEvent[], last: boolean): Promise<AnswerEvent[]> {
    let passing = [...events]
    for (let at = 0; at < this.#held.length; at++) {
      const passed: AnswerEvent[] = []
      for (const event of passing) passed.push(...(await this.#call(at, event)))
      if (last) passed.push(...(await this.#call(at, undefined)))
      passing = passed
    }
    return passing
  }

  async #call(at: number, event: AnswerEvent | undefined): Promise<readonly AnswerEvent[]> {
    const { filters, within, enter, failed } = this.#chain
    const held = this.#held[at]!
    try {
      enter(at)
      const called = filters[at]!(event, held.events)
      const verdict: Verdict | void = called instanceof Promise ? await within(called) : called
      if (verdict === 'hold' && event !== undefined) {
        held.add(event)
        return []
      }
      const all = held.release()
      if (verdict !== undefined && verdict !== 'hold') return verdict
      return event === undefined ? all : [...all, event]
    } catch (error) {
      if (!(error instanceof Refused || error instanceof ClientGone)) failed(at, asError(error))
      throw error
    }
  }
}

/** What one filter holds back. */
class Held {
  events: AnswerEvent[] = []
  #size = 0

  add(event: AnswerEvent): void {
    this.#size += event.bytes.length
    if (this.#size > MAX_HELD) throw new Error(`a filter of events holds more than ${MAX_HELD} bytes`)
    this.events.push(event)
  }

  release(): AnswerEvent[] {
    const { events } = this
    this.events = []
    this.#size = 0
    return events
  }
}
