// A stream that pays for its output as it comes, and ends in good order where no budget pays for more; knows no request.
import { type Claim, claim, type Reservation } from '../../core/budgets/account.ts'
import type { Price } from '../../core/budgets/prices.ts'
import type { Ledger } from '../../core/ledger/ledger.ts'
import { after, unlessUncounted } from '../../core/limits/in-order.ts'
import { EndsHere, type EventFilter } from '../../core/llm/answer-event.ts'
import type { Usage } from '../../core/llm/exchange.ts'
import { TokenEstimate } from '../../core/llm/token-estimate.ts'
import type { Awaitable } from '../../core/plugin.ts'
import { withOutput } from './estimate.ts'
import { amountOf, type Share } from './share.ts'

/** What is reserved at first, and at least at a time, in tokens of output. */
const FIRST = 256
/** When no budget pays for so many tokens more, the stream ends. */
const LEAST = 16

/** What such a stream reserves before it is asked for. */
export function firstOf(worst: Usage): Usage {
  return withOutput(worst, Math.min(worst.completion, FIRST))
}

export interface PayAsYouGoOptions {
  readonly ledger: Ledger
  /** Those that may end it. */
  readonly shares: readonly Share[]
  readonly price: Price | undefined
  readonly worst: Usage
  /** Told of each budget that has ended it. */
  stopped(budget: string): void
}

export class PayAsYouGo {
  readonly #options: PayAsYouGoOptions
  readonly #estimate = new TokenEstimate()
  readonly #more: Reservation[] = []
  /** Tokens of output. */
  #paid: number
  #closed = false

  /** `firstOf` has been reserved. */
  constructor(options: PayAsYouGoOptions) {
    this.#options = options
    this.#paid = firstOf(options.worst).completion
  }

  /** About how many tokens have come. */
  get delivered(): number {
    return this.#estimate.tokens
  }

  readonly filter: EventFilter = event => {
    for (const { text, again } of event?.pieces ?? []) if (again !== true) this.#estimate.add(text)
    return after(this.#pay(), paid => {
      if (!paid) throw new EndsHere('insufficient_quota', 'the budget does not pay for more', this.delivered)
      return undefined
    })
  }

  /** The attempt has been charged, or is charged for nothing. */
  close(): void {
    this.#closed = true
    for (const more of this.#more.splice(0)) void more.release()
  }

  /** False when what has come is not paid for. */
  #pay(): Awaitable<boolean> {
    if (this.#closed || this.delivered <= this.#paid) return true
    // Each time as much again: a stream of any length has few tickets.
    return this.#payFor(Math.max(FIRST, this.#paid))
  }

  /** For so many tokens more, or half of them, and so on. */
  #payFor(output: number): Awaitable<boolean> {
    const { ledger, shares, price, worst, stopped } = this.#options
    const more = withOutput({ ...worst, prompt: 0 }, output)
    const claims = shares.map(({ rule, claim }): Claim => {
      const amount = amountOf(rule, more, price)
      return { ...claim, expected: amount, worst: amount }
    })
    const pay = () =>
      after(claim(ledger, claims), ({ fits, reservation }): Awaitable<boolean> => {
        if (reservation === undefined) {
          if (output > LEAST) return this.#payFor(Math.floor(output / 2))
          for (const [at, { rule }] of shares.entries()) if (!fits[at]) stopped(rule.budget.name)
          return false
        }
        if (this.#closed) return after(reservation.release(), () => true)
        this.#more.push(reservation)
        this.#paid += output
        return this.#pay()
      })
    return unlessUncounted(pay, ({ reason }) => {
      if (reason !== 'away') return false
      // No stream is cut because Redis is away, nor waits for it with every event: what it costs counts when that is back.
      this.#paid += output
      return true
    })
  }
}
