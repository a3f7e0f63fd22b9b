// What a ledger answers that others keep too while it cannot reach them: nothing, yes, or what its own share allows.
import {
  type Adjustment,
  type Ledger,
  LedgerError,
  type Limit,
  type SharedFate,
  type Standing,
  type Taken,
  type TakenTogether,
  type Taking,
  type Ticket,
  type Wish,
} from './ledger.ts'

export type WhenAway =
  /** Whoever asks hears LedgerError. */
  | { readonly answer: 'refuse' }
  | { readonly answer: 'allow' }
  /** This gateway grants that share of every limit by itself: more than 0, at most 1. */
  | { readonly answer: 'local_share'; readonly share: number }

export interface SharedElsewhere extends Ledger {
  /** A ticket for what was not taken there; what is used in the end counts there. */
  owe(key: string, limit: Limit): Ticket
}

export class LedgerOrElse implements Ledger {
  readonly #shared: SharedElsewhere
  readonly #own: Ledger
  readonly #when: WhenAway
  readonly #answered: () => void

  /** `own` counts what is granted by itself; `answered` is told of each such answer. */
  constructor(shared: SharedElsewhere, own: Ledger, when: WhenAway, answered: () => void) {
    this.#shared = shared
    this.#own = own
    this.#when = when
    this.#answered = answered
  }

  async take(key: string, limit: Limit, wish: Wish): Promise<Taken> {
    try {
      return await this.#shared.take(key, limit, wish)
    } catch (error) {
      const { each, ticket } = await this.#instead([{ key, limit, wish }], error)
      const only = ticket && { settle: (actual: number) => ticket.settle([actual]), release: () => ticket.release() }
      return { ...each[0]!, ticket: wish.ticket === true ? only : undefined }
    }
  }

  async takeAll(takings: readonly Taking[]): Promise<TakenTogether> {
    try {
      return await this.#shared.takeAll(takings)
    } catch (error) {
      return await this.#instead(takings, error)
    }
  }

  /** What is not there can neither be looked at nor changed. */
  async look(key: string, limit: Limit): Promise<Standing> {
    return await this.#shared.look(key, limit)
  }

  async adjust(key: string, limit: Limit, change: Adjustment): Promise<Standing> {
    return await this.#shared.adjust(key, limit, change)
  }

  async #instead(takings: readonly Taking[], error: unknown): Promise<TakenTogether> {
    if (!(error instanceof LedgerError) || error.reason !== 'away') throw error
    this.#answered()
    if (this.#when.answer === 'refuse') throw error
    const shares =
      this.#when.answer === 'local_share' ? await this.#own.takeAll(partsOf(takings, this.#when.share)) : undefined
    const { allowed, each } = shares ?? { allowed: true, each: takings.map(granted) }
    if (!allowed) return { allowed, each, ticket: undefined }
    const owed: (Ticket | undefined)[] = []
    const ticket = together(shares?.ticket, owed)
    try {
      for (const { key, limit, wish } of takings) owed.push(wish.ticket ? this.#shared.owe(key, limit) : undefined)
    } catch (full) {
      await ticket.release()
      throw full
    }
    return { allowed, each, ticket }
  }
}

/** What this gateway grants by itself is counted under names of its own. */
function partsOf(takings: readonly Taking[], share: number): Taking[] {
  return takings.map(({ key, limit, wish }) => {
    const part: Limit = { ...limit, limit: Math.max(1, Math.floor(limit.limit * share)) }
    return { key: `share ${key}`, limit: 'rate' in part ? { ...part, rate: part.rate * share } : part, wish }
  })
}

/** Nothing is known of what others have taken. */
function granted({ limit: { limit }, wish: { amount } }: Taking): Taken {
  return {
    allowed: true,
    remaining: Math.max(0, limit - amount),
    used: 0,
    reserved: 0,
    excess: 0,
    resetMs: 0,
    delayMs: 0,
    retryMs: 0,
    ticket: undefined,
  }
}

function together(own: SharedFate | undefined, owed: readonly (Ticket | undefined)[]): SharedFate {
  return {
    async settle(actuals) {
      await Promise.all([own?.settle(actuals), ...owed.map((ticket, at) => ticket?.settle(actuals[at]!))])
    },
    async release() {
      await Promise.all([own?.release(), ...owed.map(ticket => ticket?.release())])
    },
  }
}
