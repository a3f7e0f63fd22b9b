// What a ledger answers that others keep too while it cannot reach them: nothing, yes, or what its own share allows.
import { type Ledger, LedgerError, type Limit, type Taken, type Ticket, type Wish } from './ledger.ts'

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
      if (!(error instanceof LedgerError) || error.reason !== 'away') throw error
      this.#answered()
      if (this.#when.answer === 'refuse') throw error
      const owed = wish.ticket === true ? this.#shared.owe(key, limit) : undefined
      return this.#when.answer === 'allow' ? granted(limit, owed) : this.#share(key, limit, { wish, owed })
    }
  }

  async #share(key: string, limit: Limit, { wish, owed }: { wish: Wish; owed: Ticket | undefined }): Promise<Taken> {
    const share = this.#when.answer === 'local_share' ? this.#when.share : 1
    const part: Limit = { ...limit, limit: Math.max(1, Math.floor(limit.limit * share)) }
    const smaller = 'rate' in part ? { ...part, rate: part.rate * share } : part
    const taken = await this.#own.take(`share ${key}`, smaller, wish)
    if (taken.ticket === undefined || owed === undefined) {
      await owed?.release()
      return taken
    }
    return { ...taken, ticket: both(taken.ticket, owed) }
  }
}

/** Nothing is known of what others have taken. */
function granted({ limit }: Limit, ticket: Ticket | undefined): Taken {
  return { allowed: true, remaining: limit, used: 0, resetMs: 0, delayMs: 0, retryMs: 0, ticket }
}

function both(one: Ticket, other: Ticket): Ticket {
  return {
    async settle(actual) {
      await Promise.all([one.settle(actual), other.settle(actual)])
    },
    async release() {
      await Promise.all([one.release(), other.release()])
    },
  }
}
