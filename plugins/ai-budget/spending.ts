// What one request spends: reserved of all its budgets before an attempt is sent, settled when that is over; knows no configuration.
import { type Claimed, claim, type Left, type Reservation } from '../../core/budgets/account.ts'
import type { Account } from '../../core/budgets/budget.ts'
import { costOf, type Price, type PriceTable } from '../../core/budgets/prices.ts'
import type { Context } from '../../core/context.ts'
import type { Hold } from '../../core/holds.ts'
import type { Ledger, LedgerError } from '../../core/ledger/ledger.ts'
import { after, unlessUncounted } from '../../core/limits/in-order.ts'
import type { EventFilter } from '../../core/llm/answer-event.ts'
import { type Charge, chargeOf, type Parts, partsOf } from '../../core/llm/charge.ts'
import type { Exchange, Sending, Usage } from '../../core/llm/exchange.ts'
import type { JsonObject } from '../../core/llm/json.ts'
import { protocolNamed } from '../../core/llm/protocols/detect.ts'
import type { Logger } from '../../core/observe/log.ts'
import type { Awaitable } from '../../core/plugin.ts'
import type { Reply } from '../../core/reply.ts'
import type { Rule } from './config.ts'
import { expectedOf, outputKey, type ReservePolicy, unsaid, within, worstOf } from './estimate.ts'
import { firstOf, PayAsYouGo } from './pay-as-you-go.ts'
import { away, exhausted, unpriced } from './refusal.ts'
import { amountOf, reservedOf, type Share } from './share.ts'
import type { SpendMetrics } from './spend-metrics.ts'

/** What all requests of one config have in common. */
export interface Policy {
  readonly rules: readonly Rule[]
  readonly ledger: Ledger
  /** Something was reserved of it, or spent, or refused. */
  touched(account: Account): void
  readonly prices: PriceTable
  readonly currency: string
  readonly reserve: ReservePolicy
  /** Streams pay as they go. */
  readonly stops: boolean
  readonly onAbandon: 'delivered' | 'reserved' | 'zero'
  /** Requests pass that cannot be counted. */
  readonly passes: boolean
  readonly metrics: SpendMetrics
  readonly log: Logger
  /** Milliseconds since the epoch. */
  now(): number
}

/** How a budget stands, as the client is told. */
export interface Shown {
  readonly rule: Rule
  readonly remaining: number
  readonly resetMs: number
}

interface Wanted {
  readonly sending: Sending
  readonly shares: readonly Share[]
  readonly price: Price | undefined
  readonly worst: Usage
}

/** What is reserved for the attempt that is under way, or for the next. */
interface Open extends Wanted {
  readonly hold: Hold
  /** Of a stream that pays as it goes. */
  readonly goes: PayAsYouGo | undefined
  /** What was spent of each share, when the hold is settled. */
  actuals: readonly number[]
}

export class Spending {
  /** By the budget's name. */
  readonly shown = new Map<string, Shown>()
  readonly #ctx: Context
  readonly #call: Exchange
  readonly #policy: Policy
  readonly #stops: boolean
  /** Of the client's request, by which prompts are estimated. */
  readonly #body: JsonObject
  /** Of configurations that are asked before this one. */
  readonly #before: readonly Spending[]
  /** The request's price and period are those of this moment. */
  readonly #at: number
  #open: Open | undefined
  /** Attempts before the one that is under way. */
  #earlier = 0
  /** The last attempt that was charged, by those before it. */
  #charged: number | undefined

  constructor(
    ctx: Context,
    call: Exchange,
    policy: Policy,
    { body, before }: { body: JsonObject; before: readonly Spending[] },
  ) {
    this.#ctx = ctx
    this.#call = call
    this.#policy = policy
    this.#body = body
    this.#before = before
    this.#at = policy.now()
    const speech = protocolNamed(call.protocol)
    const canEnd = speech?.openBegun !== undefined && speech.pieces !== undefined
    this.#stops = policy.stops && call.requestType === 'ai_stream' && canEnd
  }

  /** Whether it is one of this configuration. */
  isOf(policy: Policy): boolean {
    return this.#policy === policy
  }

  /** Before an attempt is sent. One of which nothing was consumed leaves its reservation to the next that is like it. */
  admit(sending: Sending): Awaitable<Reply | undefined> {
    this.#earlier = this.#ctx.attempts.length
    // Nothing is asked of a model.
    if (sending.bytes === 0) return undefined
    if (this.#open !== undefined && isLike(this.#open.sending, sending)) return undefined
    this.#open?.hold.release()
    this.#open = undefined
    const { rules, prices, reserve, metrics, ledger } = this.#policy
    const { model, provider } = sending
    const price = typeof model === 'string' ? prices.find(model, provider, this.#at) : undefined
    const concerned = rules.filter(rule => rule.concerns(this.#call.requestModel, model))
    const payable = concerned.filter(({ budget }) => price !== undefined || budget.unit === 'tokens')
    const worst = worstOf(sending, reserve)
    const shares = payable.flatMap(rule => this.#share(rule, { sending, price, worst }))
    if (payable.length < concerned.length) {
      const lacking = concerned.filter(rule => !payable.includes(rule) && rule.principal(this.#ctx) !== undefined)
      if (lacking.length > 0) metrics.unpriced(this.#ctx)
      if (lacking.some(({ shadow }) => !shadow)) return unpriced(this.#call, model)
    }
    if (shares.length === 0) return undefined
    const claims = shares.map(({ claim }) => claim)
    return unlessUncounted(
      () => after(claim(ledger, claims), claimed => this.#claimed(claimed, { sending, shares, price, worst })),
      error => this.#uncounted(error),
    )
  }

  /** Of an attempt that is over. What has consumed nothing is released when the request is over, if no other follows. */
  over(call: Exchange): void {
    const open = this.#open
    const charge = open && this.#chargeOf(call, open)
    if (open === undefined || charge === undefined) return
    this.#open = undefined
    const { shares, price, worst } = open
    const usage = charge === 'reserved' ? worst : charge.usage
    const parts = partsOf(usage, call.spoken)
    const tokens = sumOf(parts)
    const cost = price && costOf(parts, price)
    open.actuals = shares.map(({ rule, claim }) => {
      if (charge === 'reserved') return reservedOf(claim)
      return rule.budget.unit === 'tokens' ? tokens : cost!
    })
    for (const [at, { rule }] of shares.entries()) this.#show(rule, open.actuals[at]!)
    if (charge !== 'reserved' && !charge.estimated) this.#learn(shares, usage)
    this.#charged = this.#earlier
    // Of several configurations the first that charges an attempt counts for the metrics.
    if (!this.#before.some(one => one.#charged === this.#charged)) {
      const { metrics, currency } = this.#policy
      metrics.spent(this.#ctx, usage, tokens)
      if (cost !== undefined) metrics.paid(this.#ctx, cost, currency)
    }
    open.hold.settle()
    for (const { claim } of shares) this.#policy.touched(claim.account)
  }

  /** Pays for a stream on its way to the client; undefined for what cannot be ended. */
  get filter(): EventFilter | undefined {
    return this.#call.streaming ? this.#open?.goes?.filter : undefined
  }

  #share(rule: Rule, { sending, price, worst }: Omit<Wanted, 'shares'>): Share[] {
    const principal = rule.principal(this.#ctx)
    if (principal === undefined) return []
    const { budget, shadow } = rule
    const account = { budget, principal, period: rule.period(this.#at) }
    const bound = this.#stops && !shadow ? firstOf(worst) : worst
    const usual = expectedOf(bound, this.#policy.reserve, outputKey(principal, sending.model))
    // More is paid for as it comes: nothing is left to chance.
    const expected = amountOf(rule, this.#stops ? bound : usual, price)
    return [{ rule, claim: { account, expected, worst: amountOf(rule, bound, price), unbound: shadow } }]
  }

  #claimed({ fits, left, reservation }: Claimed, wanted: Wanted): Reply | undefined {
    const { metrics, log, touched, now } = this.#policy
    const without: (Left & { name: string })[] = []
    for (const [at, { rule, claim }] of wanted.shares.entries()) {
      const { name } = rule.budget
      const { remaining, frozen } = left[at]!
      const resetMs = Math.max(0, claim.account.period.end - now())
      touched(claim.account)
      // As it was before this request.
      const own = reservation === undefined ? 0 : reservedOf(claim)
      this.shown.set(name, { rule, remaining: frozen ? 0 : Math.max(0, remaining + own), resetMs })
      if (fits[at]) continue
      metrics.refused(name, rule.shadow ? 'shadow' : 'enforce')
      if (!rule.shadow) without.push({ ...left[at]!, name })
      else {
        const about = { ...this.#about, budget: name, principal: claim.account.principal }
        log.warn(about, 'a request would have been refused by a budget in shadow mode')
      }
    }
    if (reservation === undefined) return exhausted(this.#call, without)
    this.#open = this.#opened(reservation, wanted)
    return undefined
  }

  #opened(reservation: Reservation, wanted: Wanted): Open {
    const { ledger, metrics } = this.#policy
    const shares = wanted.shares.filter(({ rule }) => !rule.shadow)
    const stopped = (budget: string) => metrics.refused(budget, 'stopped')
    const goes = this.#stops && shares.length > 0 ? new PayAsYouGo({ ...wanted, shares, ledger, stopped }) : undefined
    const hold = this.#ctx.hold('ai-budget', end => {
      void (end === 'settled' ? reservation.settle(open.actuals) : reservation.release())
      goes?.close()
    })
    const open: Open = { ...wanted, hold, goes, actuals: [] }
    return open
  }

  #uncounted(error: LedgerError): Reply | undefined {
    this.#policy.log.warn({ ...this.#about, reason: error.message }, 'a request was not counted')
    return this.#policy.passes ? undefined : away(this.#call)
  }

  /** `reserved` is all that was reserved; undefined is nothing. */
  #chargeOf(call: Exchange, { sending, worst, goes }: Open): Charge | 'reserved' | undefined {
    const textEstimate = Math.max(call.textEstimate, goes?.delivered ?? 0)
    // A report without numbers says nothing.
    const usage = call.usage && sumOf(partsOf(call.usage, call.spoken)) > 0 ? call.usage : undefined
    const delivered = { ...call, usage, textEstimate }
    const charge = chargeOf(delivered, this.#body)
    if (call.cutBy === 'client_disconnect' && charge?.estimated !== false) {
      const { onAbandon } = this.#policy
      // Nobody consumes what was not sent.
      if (this.#ctx.attempts[this.#earlier]?.connectMs === undefined) return undefined
      // What a stream that pays as it goes has reserved is what was delivered.
      if (onAbandon === 'reserved' && goes === undefined) return 'reserved'
      if (onAbandon === 'zero') return undefined
    }
    if (charge?.estimated === true) return { usage: within(charge.usage, worst), estimated: true }
    return charge ?? unsaid(this.#ctx, call, sending, worst)
  }

  #learn(shares: readonly Share[], { completion }: Usage): void {
    const { learned } = this.#policy.reserve
    const principals = new Set(shares.map(({ claim }) => claim.account.principal))
    for (const principal of principals) learned?.observe(outputKey(principal, this.#call.model), completion)
  }

  #show(rule: Rule, spent: number): void {
    const shown = this.shown.get(rule.budget.name)
    if (shown !== undefined)
      this.shown.set(rule.budget.name, { ...shown, remaining: Math.max(0, shown.remaining - spent) })
  }

  get #about(): { plugin: string; route: string | undefined; request_id: string } {
    return { plugin: 'ai-budget', route: this.#ctx.route?.id, request_id: this.#ctx.id }
  }
}

function isLike(one: Sending, other: Sending): boolean {
  return one.model === other.model && one.provider === other.provider && one.bytes === other.bytes
}

function sumOf({ input, cachedInput, cacheWrite, output, reasoning }: Parts): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.ceil(input + cachedInput + cacheWrite + output + reasoning))
}
