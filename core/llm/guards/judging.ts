// A guard's judgement of one request or one answer: what becomes of what it finds, and of its own failures (facts ai-plugins
// 15 to 17); knows no service and no stream.
import { randomUUID } from 'node:crypto'
import type { Context } from '../../context.ts'
import { GatewayError } from '../../errors.ts'
import { Denied, Refused } from '../answer-event.ts'
import type { Exchange } from '../exchange.ts'
import type { JsonObject } from '../json.ts'
import type { Guarding, GuardSide } from './guarding.ts'
import { ServiceError } from './service.ts'

/** Why something is not to go on. */
export interface Finding {
  /** For the log: nothing of what was said. */
  readonly reason: string
  /** What the client reads in the model's place. */
  readonly told: string
}

/** What a service thinks of a text. */
export interface Opinion {
  /** How risky it is, where the service has words for that. */
  readonly level?: string
  readonly finding?: Finding | undefined
}

export interface Judged {
  readonly side: GuardSide
  readonly streams: boolean
}

export interface GuardPolicy {
  readonly guarding: Guarding
  /** Who is told of what is found, where that has another effect than failures have. */
  readonly finds?: Guarding | undefined
  /** Verdicts have no effect: nobody waits for them. */
  readonly watches: boolean
  /** Status of a refusal, while it can be said. */
  denyCode(of: Judged): number
  /** What becomes of what could not be judged: it passes, ends with an error, or is refused. */
  failure(of: Judged): 'pass' | 'error' | Finding
}

/** Opinions that nobody waits for: a service that has stopped to answer must not be asked about every part of a long stream. */
const MAX_UNAWAITED = 16

export class Judging {
  /** What the answer has used, as far as it is known: a refusal in its place says it. */
  usage: JsonObject | undefined
  readonly #ctx: Context
  readonly #call: Exchange
  readonly #of: Judged
  readonly #policy: GuardPolicy
  /** Opinions that nobody waits for. */
  #unawaited = 0
  #over = false
  /** A verdict has been counted: it is the last. */
  #settled = false
  /** A part could not be judged: of the whole nothing can be said. */
  #failed = false

  constructor(ctx: Context, call: Exchange, of: Judged, policy: GuardPolicy) {
    this.#ctx = ctx
    this.#call = call
    this.#of = of
    this.#policy = policy
  }

  /**
   * Takes an opinion, about all of it or the next part. Undefined where there is none (yet). Throws Denied or Refused, with
   * which the request or the answer ends.
   */
  async ask(look: () => Promise<Opinion>): Promise<Opinion | undefined> {
    if (this.#settled) return undefined
    const { watches, guarding } = this.#policy
    if (watches) {
      this.#watch(look)
      return undefined
    }
    const began = performance.now()
    try {
      return await this.#judge(look)
    } finally {
      guarding.took(this.#of.side, performance.now() - began)
    }
  }

  /** Something was found without asking anybody. Throws Denied, unless verdicts have no effect. */
  find(finding: Finding): void {
    if (this.#settled) return
    this.#settled = true
    const { guarding, finds = guarding } = this.#policy
    if (finds.denies(this.#ctx, this.#of.side, finding.reason)) throw this.#denied(finding)
  }

  /** Nothing more comes: what has not been denied is allowed. */
  end(): void {
    this.#over = true
    if (this.#settled || this.#failed || this.#unawaited > 0) return
    this.#settled = true
    this.#policy.guarding.allows(this.#ctx, this.#of.side)
  }

  async #judge(look: () => Promise<Opinion>): Promise<Opinion | undefined> {
    let opinion: Opinion
    try {
      opinion = await look()
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error
      this.#fail(error.message)
      return undefined
    }
    if (opinion.finding !== undefined) this.find(opinion.finding)
    return opinion
  }

  #fail(reason: string): void {
    this.#failed = true
    const { guarding, failure } = this.#policy
    const then = failure(this.#of)
    if (!guarding.failed(this.#ctx, this.#of.side, reason) || then === 'pass') return
    this.#settled = true
    throw then === 'error' ? new Refused(500, 'guard_failed', reason) : this.#denied(then)
  }

  #watch(look: () => Promise<Opinion>): void {
    if (this.#unawaited === MAX_UNAWAITED) {
      if (!this.#failed) this.#policy.guarding.failed(this.#ctx, this.#of.side, 'verdicts come slower than the answer')
      this.#failed = true
      return
    }
    this.#unawaited++
    void this.#judge(look)
      .catch((error: unknown) => {
        // That the client left, or a bug of ours, whose words may be the client's.
        this.#failed = true
        if (!(error instanceof GatewayError)) this.#policy.guarding.failed(this.#ctx, this.#of.side, 'internal error')
      })
      .then(() => {
        this.#unawaited--
        if (this.#over) this.end()
      })
  }

  #denied({ told }: Finding): Denied {
    const { requestModel } = this.#call
    const model = typeof requestModel === 'string' ? requestModel : ''
    return new Denied(this.#policy.denyCode(this.#of), { text: told, model, id: randomUUID(), usage: this.usage })
  }
}
