// The course of one request over the instances: the first, and after each failure the next or an honest end (facts ai-plugins 7).
import type { Context } from '../../core/context.ts'
import { pause } from '../../core/limits/pause.ts'
import { type Course, given } from '../../core/llm/call.ts'
import type { Exchange } from '../../core/llm/exchange.ts'
import { instanceQuota } from '../../core/llm/instance-quota.ts'
import type { Failed } from '../../core/llm/outcome.ts'
import { protocolNamed } from '../../core/llm/protocols/detect.ts'
import { restAsked } from '../../core/llm/rest-asked.ts'
import type { Target } from '../../core/llm/target.ts'
import type { Logger } from '../../core/observe/log.ts'
import { discard, type Reply, reply } from '../../core/reply.ts'
import type { MakesGood } from './fallback.ts'
import type { Instance, Instances } from './instances.ts'

/** What all requests of one config have in common. */
export interface Policy {
  readonly instances: Instances
  /** Undefined: no failure is made good. */
  readonly makesGood: MakesGood | undefined
  /** Instances whose own limit of tokens is reached are passed over. */
  readonly mindsLimits: boolean
  readonly maxRetries: number
  /** Only an instance that failed as fast as this is followed by another. */
  readonly withinMs: number
  /** How long a request may wait for an instance while all are at rest. */
  readonly patienceMs: number
  readonly log: Logger
  /** Milliseconds since the epoch. */
  now(): number
  /** Another instance is asked in the place of the one that `failed`. */
  fellBack(ctx: Context, failed: { instance: string; status: number; reason: string }): void
}

/** As much of a provider's error as the log is told. */
const MAX_LOGGED = 4_096

/** For somebody whose rest has just ended. */
const MOST_LOOKS = 3

export class InstanceCourse implements Course {
  readonly #ctx: Context
  readonly #call: Exchange
  readonly #policy: Policy
  readonly #asked = new Map<Instance, 'asked already' | 'its limit is reached'>()
  #current: Instance | undefined
  #target: Target | undefined
  #retries = 0
  #patienceMs: number

  constructor(ctx: Context, call: Exchange, policy: Policy) {
    this.#ctx = ctx
    this.#call = call
    this.#policy = policy
    this.#patienceMs = policy.patienceMs
  }

  /** Chooses whom to ask first, or returns why nobody can be asked. */
  async begin(): Promise<Reply | undefined> {
    const { instances } = this.#policy
    const first = await this.#next()
    this.#policy.log.info(this.#about, `picked instance: ${first?.name ?? 'nil'}`)
    if (first !== undefined) return undefined
    // Nobody was asked, so whoever could be is at rest, though a rest may have ended since.
    const resting = this.#asked.size === 0 && instances.hasOther(this.#asked, true)
    return this.#restReply(resting ? 1 : undefined) ?? reply(503, 'all servers tried')
  }

  get first(): Target {
    if (this.#target === undefined) throw new Error('nobody has been chosen')
    return this.#target
  }

  get hasMore(): boolean {
    const { instances, makesGood, maxRetries } = this.#policy
    return (
      makesGood !== undefined && this.#retries < maxRetries && instances.hasOther(this.#asked, this.#patienceMs > 0)
    )
  }

  async after(failure: Failed): Promise<Target | Reply> {
    const { instances, now, log, fellBack } = this.#policy
    const failed = this.#current!
    if (instances.only !== undefined) return given(this.#ctx, failure)
    const rest = failure.said && restAsked(failure.status, failure.said, now())
    if (rest !== undefined) failed.rest.ask(rest)
    if (!this.#mayGoOn(failed, failure.status)) return given(this.#ctx, failure)
    const next = await this.#next()
    const about = { ...this.#about, instance: failed.name, ms: this.#call.upstreamMs ?? 0 }
    if (next === undefined) {
      log.warn(about, 'failed to pick new AI instance: all servers tried')
      return this.#exhausted(failure)
    }
    log.warn(
      about,
      `ai instance ${failed.name} returned status ${failure.status}, falling back to ${next.name}. upstream error body: ${errorText(failure)}`,
    )
    fellBack(this.#ctx, { instance: failed.name, status: failure.status, reason: this.#call.cutBy ?? 'status' })
    return this.first
  }

  get #about(): { route: string | undefined; request_id: string } {
    return { route: this.#ctx.route?.id, request_id: this.#ctx.id }
  }

  /** The rules in APISIX's order. */
  #mayGoOn(failed: Instance, status: number): boolean {
    const { makesGood, maxRetries, withinMs, log } = this.#policy
    if (makesGood?.(status) !== true) return false
    const ms = this.#call.upstreamMs ?? 0
    const about = { ...this.#about, instance: failed.name }
    if (ms > withinMs) {
      log.warn(
        about,
        `ai instance failed after ${ms}ms, exceeding retry_on_failure_within_ms ${withinMs}, not retrying`,
      )
      return false
    }
    if (++this.#retries > maxRetries) {
      log.warn(about, `reached max_retries ${maxRetries}, not retrying`)
      return false
    }
    return true
  }

  /** Picks. A rest may end between two looks: then there is somebody after all. */
  async #next(): Promise<Instance | undefined> {
    for (let looks = 0; ; looks++) {
      const picked = await this.#look()
      if (picked !== undefined || looks === MOST_LOOKS || !this.#policy.instances.hasOther(this.#asked, false))
        return picked
    }
  }

  /** Picks, and waits for somebody to end a rest where that is allowed. */
  async #look(): Promise<Instance | undefined> {
    const { instances } = this.#policy
    for (;;) {
      const picked = instances.pick(this.#ctx, this.#asked)
      if (picked !== undefined && !(await this.#hasRoom(picked))) {
        this.#asked.set(picked, 'its limit is reached')
        continue
      }
      if (instances.only === undefined) this.#call.choices.push(instances.candidates(picked, this.#asked))
      if (picked !== undefined) {
        this.#asked.set(picked, 'asked already')
        this.#current = picked
        this.#target = await instances.targetOf(picked)
        this.#call.instance = picked.name
        return picked
      }
      const rest = instances.shortestRest(this.#asked)
      if (rest === undefined || rest > this.#patienceMs || this.#ctx.aborted !== undefined) return undefined
      this.#patienceMs -= rest
      await pause(this.#ctx, rest)
    }
  }

  /** A single instance is asked whatever its limit says: that is for whoever limits to refuse. */
  async #hasRoom({ name }: Instance): Promise<boolean> {
    const { mindsLimits, instances } = this.#policy
    const quota = mindsLimits && instances.only === undefined ? instanceQuota.get(this.#ctx) : undefined
    return quota === undefined || (await quota(name))
  }

  /** Nobody is left: what the last one said, as a bad gateway, unless all of them only ask for time. */
  #exhausted(failure: Failed): Reply {
    const resting = this.#restReply()
    if (resting !== undefined) {
      if (failure.reply !== undefined) discard(failure.reply, new Error('nobody is left to ask'))
      return resting
    }
    const last = given(this.#ctx, failure)
    // A stream that was held back says by itself that it failed.
    return Buffer.isBuffer(last.body) ? { ...last, status: 502 } : last
  }

  /** When all instances have asked for rest: when the first can be asked again, in the client's protocol. */
  #restReply(least?: number): Reply | undefined {
    const ms = this.#policy.instances.shortestRest() ?? least
    if (ms === undefined) return undefined
    const seconds = String(Math.ceil(ms / 1000))
    const error = {
      status: 429,
      code: 'rate_limit_exceeded',
      message: `every AI service has asked not to be asked for now; try again in ${seconds} s`,
    }
    const body = protocolNamed(this.#call.protocol)?.errorBody(error) ?? { error_msg: error.message }
    return reply(429, body, {
      'Content-Type': 'application/json',
      'Retry-After': seconds,
      'retry-after-ms': String(Math.ceil(ms)),
    })
  }
}

function errorText({ reply: last }: Failed): string {
  return Buffer.isBuffer(last?.body) ? last.body.subarray(0, MAX_LOGGED).toString('utf8') : ''
}
