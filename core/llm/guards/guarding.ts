// What guards of LLM traffic have in common: enforcing or only watching, what cannot be looked at, verdicts and time as
// metrics; knows no guard and no text.
import type { Context } from '../../context.ts'
import type { Counter, Histogram, HistogramSeries, Metrics } from '../../observe/metrics.ts'

/** Attributes of every guard's config. `mode` is ours, `fail_mode` is facts ai-plugins 1.4. */
export const guardAttributes = {
  mode: { type: 'string', enum: ['enforce', 'monitor'], default: 'enforce' },
  fail_mode: { type: 'string', enum: ['skip', 'warn', 'error'], default: 'skip' },
} as const

export interface GuardConfig {
  readonly mode: 'enforce' | 'monitor'
  readonly fail_mode: 'skip' | 'warn' | 'error'
}

export type GuardSide = 'request' | 'response'

/**
 * `would_deny` is what `deny` is called in monitor mode; `error`: the guard itself has failed, whatever became of the request;
 * `skipped`: it could not look, whatever became of the request.
 */
export type GuardVerdict = 'allow' | 'deny' | 'would_deny' | 'error' | 'skipped'

export interface GuardLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

const MAX_REASON = 256

/** One per config. Reasons come to the log as they are, so they say nothing of what was said. */
export class Guarding {
  readonly #plugin: string
  readonly #log: GuardLog
  readonly #config: GuardConfig
  readonly #verdicts: Counter
  readonly #seconds: Record<GuardSide, HistogramSeries>

  constructor(plugin: string, { log, metrics }: { log: GuardLog; metrics: Metrics }, config: GuardConfig) {
    this.#plugin = plugin
    this.#log = log
    this.#config = config
    const { verdicts, seconds } = metrics.once(openFamilies)
    this.#verdicts = verdicts
    this.#seconds = { request: seconds.of([plugin, 'request']), response: seconds.of([plugin, 'response']) }
  }

  /** Nothing was found. */
  allows(ctx: Context, side: GuardSide): void {
    this.#count(ctx, side, 'allow')
  }

  /** Something was found. Whether it is to be refused: in monitor mode it goes on, and the log says what would have been. */
  denies(ctx: Context, side: GuardSide, reason: string): boolean {
    const enforced = this.#config.mode === 'enforce'
    this.#count(ctx, side, enforced ? 'deny' : 'would_deny')
    if (enforced) this.#say('info', ctx, [`denied a ${side}`, reason])
    else this.#say('warn', ctx, [`would deny a ${side}`, reason])
    return enforced
  }

  /**
   * The guard could not find out, because of itself or of the service it asks. Whether what its config has for that, where
   * it is a refusal, may be done: never in monitor mode.
   */
  failed(ctx: Context, side: GuardSide, reason: string): boolean {
    this.#count(ctx, side, 'error')
    this.#say('warn', ctx, [`failed on a ${side}`, reason])
    return this.#config.mode === 'enforce'
  }

  /** This cannot be looked at. Whether it is to be refused, as `fail_mode` says (facts ai-plugins 1.4). */
  skips(ctx: Context, side: GuardSide, reason: string): boolean {
    this.#count(ctx, side, 'skipped')
    if (this.#config.fail_mode === 'error' && this.#config.mode === 'enforce') return true
    this.#say(this.#config.fail_mode === 'skip' ? 'info' : 'warn', ctx, ['skipped', reason])
    return false
  }

  /** It has kept a request, or an answer, for so many milliseconds. */
  took(side: GuardSide, ms: number): void {
    this.#seconds[side].observe(ms / 1000)
  }

  #count(ctx: Context, side: GuardSide, verdict: GuardVerdict): void {
    this.#verdicts.add([this.#plugin, ctx.route?.id ?? '', side, verdict])
  }

  #say(level: keyof GuardLog, ctx: Context, [what, reason]: readonly [what: string, reason: string]): void {
    const said = reason.replace(/\p{Cc}/gu, ' ').slice(0, MAX_REASON)
    this.#log[level](
      { plugin: this.#plugin, route: ctx.route?.id, request_id: ctx.id },
      `${this.#plugin} ${what}: ${said}`,
    )
  }
}

const BUCKETS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

function openFamilies(metrics: Metrics): { verdicts: Counter; seconds: Histogram } {
  return {
    verdicts: metrics.counter('sluice_guard_verdicts_total', 'Requests and answers that guards have judged', [
      'plugin',
      'route_id',
      'side',
      'verdict',
    ]),
    seconds: metrics.histogram(
      'sluice_guard_seconds',
      'How long guards have kept requests and answers',
      ['plugin', 'side'],
      BUCKETS,
    ),
  }
}
