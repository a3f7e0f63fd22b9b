// ai-rate-limiting: so many tokens of LLMs per window, instance or key (facts ai-plugins 8); charged when it is known how many.
import type { Context } from '../core/context.ts'
import { asError } from '../core/errors.ts'
import type { Hold, HoldEnd } from '../core/holds.ts'
import type { Taken } from '../core/ledger/ledger.ts'
import { backingProblem, openBacking, redisAttributes, redisInert, redisSecrets } from '../core/limits/backing.ts'
import { CostExprError, compileCostExpr } from '../core/limits/cost-expr.ts'
import { counterName, numberOf, ruleKeyOf } from '../core/limits/counted.ts'
import { after, firstOf, unlessUncounted } from '../core/limits/in-order.ts'
import { noteQuota, type QuotaNames, quotaNames, showQuotas } from '../core/limits/quota.ts'
import { uncounted } from '../core/limits/refusal.ts'
import { chargeOf, reported, worstCase } from '../core/llm/charge.ts'
import { clientBody } from '../core/llm/client-body.ts'
import { type Exchange, exchange, type Usage } from '../core/llm/exchange.ts'
import { instanceQuota } from '../core/llm/instance-quota.ts'
import type { JsonObject } from '../core/llm/json.ts'
import { protocolNamed } from '../core/llm/protocols/detect.ts'
import { type Awaitable, type Infer, plugin, type Schema } from '../core/plugin.ts'
import { type Reply, reply } from '../core/reply.ts'

const positive = { anyOf: [{ type: 'integer', exclusiveMinimum: 0 }, { type: 'string' }] } as const
const token = { type: 'string', pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" } as const

const schema = {
  type: 'object',
  properties: {
    limit: positive,
    time_window: positive,
    limit_strategy: {
      type: 'string',
      enum: ['total_tokens', 'prompt_tokens', 'completion_tokens', 'expression'],
      default: 'total_tokens',
    },
    cost_expr: { type: 'string', minLength: 1 },
    instances: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        properties: { name: token, limit: positive, time_window: positive },
        required: ['name', 'limit', 'time_window'],
      },
    },
    rules: {
      type: 'array',
      items: {
        type: 'object',
        properties: { count: positive, time_window: positive, key: { type: 'string' }, header_prefix: token },
        required: ['count', 'time_window', 'key'],
      },
    },
    // Ours: `check` looks whether anything is left, `reserve` takes what the request may cost.
    admission: { type: 'string', enum: ['check', 'reserve'], default: 'check' },
    // Without both the client is told in its protocol, with 429.
    rejected_code: { type: 'integer', minimum: 200, maximum: 599 },
    rejected_msg: { type: 'string', minLength: 1 },
    show_limit_quota_header: { type: 'boolean', default: true },
    policy: { type: 'string', enum: ['local', 'redis', 'redis-cluster', 'redis-sentinel'], default: 'local' },
    allow_degradation: { type: 'boolean', default: false },
  },
  dependencies: { limit: ['time_window'], time_window: ['limit'] },
  oneOf: [{ anyOf: [{ required: ['limit', 'time_window'] }, { required: ['instances'] }] }, { required: ['rules'] }],
  ...redisAttributes,
} as const satisfies Schema

type Config = Infer<typeof schema>

interface Rule {
  /** Undefined when the rule does not apply. */
  readonly key: (ctx: Context) => string | undefined
  readonly limit: (ctx: Context) => number | undefined
  readonly window: (ctx: Context) => number | undefined
  readonly names: QuotaNames | undefined
}

export default plugin({
  name: 'ai-rate-limiting',
  priority: 1030,
  version: 0.1,
  schema,
  encrypt: [...redisSecrets],
  inert: [...redisInert],
  check(config) {
    if (config.limit_strategy === 'expression') {
      if (config.cost_expr === undefined) return "cost_expr is required when limit_strategy is 'expression'"
      try {
        compileCostExpr(config.cost_expr)
      } catch (error) {
        return `invalid cost_expr: ${asError(error).message}`
      }
    }
    return backingProblem(config)
  },
  setup(config, env) {
    const { ledger, close } = openBacking(config, env)
    const passes = config.allow_degradation
    const uncountable = uncounted(env, { plugin: 'ai-rate-limiting', what: 'count', passes })
    const reserves = config.admission === 'reserve'
    const name = counterName('ai-rate-limiting', env.owner, config)
    const rulesFor = rulesOf(config)
    const perInstance = (config.rules ?? []).length === 0
    const cost = costOf(config)
    const charged = env.metrics.counter(
      'sluice_llm_charged_total',
      'What limits were charged for calls to LLMs, as the provider reported it or estimated',
      ['route_id', 'counted'],
    )

    function admit(
      ctx: Context,
      call: Exchange,
      { body, bytes }: { body: JsonObject; bytes: number },
    ): Awaitable<Reply | undefined> {
      const rules = rulesFor(call.instance)
      const admitted = call.instance
      if (rules === undefined) {
        // Another instance, which has a limit, may answer in its place.
        call.over.push(ended => ended.instance !== admitted && settle(ctx, ended, { body, open: [], admitted }))
        return undefined
      }
      const open: Hold[] = []
      const most = reserves ? costIn(ctx, worstCase(body, bytes, { spoken: call.protocol })) : 0
      let applied = 0
      const refused = firstOf(rules, rule => {
        const key = rule.key(ctx)
        if (key === undefined) return undefined
        applied++
        const limit = rule.limit(ctx)
        const seconds = rule.window(ctx)
        if (limit === undefined || seconds === undefined) return uncountable(ctx, 'limit or time_window is no number')
        // What may need more than there ever is must find the window untouched.
        const amount = Math.min(most, limit)
        const wish = { amount, need: Math.max(1, amount), ticket: true }
        const full = name + key
        return after(ledger.take(full, { kind: 'fixed_window', limit, windowMs: seconds * 1000 }, wish), taken => {
          const { ticket, remaining } = taken
          noteQuota(ctx, { key: full, limit, taken: { ...taken, remaining: remaining + amount } }, rule.names)
          if (ticket === undefined) {
            for (const hold of open) hold.release()
            return refusal(call, config, taken)
          }
          const give = (end: HoldEnd, actual = 0) => void (end === 'settled' ? ticket.settle(actual) : ticket.release())
          open.push(ctx.hold('ai-rate-limiting', give))
          return undefined
        })
      })
      return after(refused, answer => {
        if (answer !== undefined) return answer
        if (applied === 0) return uncountable(ctx, 'no rule applies')
        call.over.push(ended => settle(ctx, ended, { body, open, admitted }))
        return undefined
      })
    }

    /** Nothing is known of an attempt that has failed: another may follow, and at the end what is open is released. */
    function settle(
      ctx: Context,
      call: Exchange,
      { body, open, admitted }: { body: JsonObject; open: readonly Hold[]; admitted: string },
    ): void {
      if (rulesFor(call.instance) === undefined) return
      const charge = chargeOf(call, body)
      if (charge === undefined) {
        const answered = call.cutBy === undefined && (ctx.attempts.at(-1)?.status ?? 500) < 400
        if (answered)
          env.log.warn(about(ctx), 'nothing is charged: the provider has not said how many tokens there were')
        return
      }
      const tokens = costIn(ctx, charge.usage)
      if (perInstance && call.instance !== admitted) {
        for (const hold of open) hold.release()
        chargeOther(ctx, call.instance, tokens)
      } else for (const hold of open) hold.settle(tokens)
      charged.add([ctx.route?.id ?? '', charge.estimated ? 'estimated' : 'reported'], tokens)
    }

    function costIn(ctx: Context, usage: Usage): number {
      try {
        return cost(usage)
      } catch (error) {
        if (!(error instanceof CostExprError)) throw error
        env.log.error({ ...about(ctx), reason: error.message }, 'nothing is charged: cost_expr has no result')
        return 0
      }
    }

    /** Whether an instance could be asked; a limit that cannot tell is for `access` to refuse (facts ai-plugins 8.4). */
    function hasRoom(ctx: Context, instance: string): Awaitable<boolean> {
      const spent = firstOf(rulesFor(instance) ?? [], rule => {
        const [key, limit, seconds] = [rule.key(ctx), rule.limit(ctx), rule.window(ctx)]
        if (key === undefined || limit === undefined || seconds === undefined) return undefined
        const full = name + key
        const looked = ledger.take(
          full,
          { kind: 'fixed_window', limit, windowMs: seconds * 1000 },
          { amount: 0, need: 1 },
        )
        return after(looked, taken => {
          noteQuota(ctx, { key: full, limit, taken }, rule.names)
          return taken.allowed ? undefined : true
        })
      })
      return after(spent, found => found === undefined)
    }

    /** Another instance has answered than the one that was admitted: what it cost counts for that one. */
    function chargeOther(ctx: Context, instance: string, tokens: number): void {
      const uncharged = (error: unknown) =>
        env.log.error({ ...about(ctx), reason: asError(error).message }, 'nothing is charged: the ledger cannot tell')
      try {
        for (const rule of rulesFor(instance) ?? []) {
          const [key, limit, seconds] = [rule.key(ctx), rule.limit(ctx), rule.window(ctx)]
          if (key === undefined || limit === undefined || seconds === undefined) continue
          const window = { kind: 'fixed_window', limit, windowMs: seconds * 1000 } as const
          const taken = ledger.take(name + key, window, { amount: tokens, need: 0 })
          if (taken instanceof Promise) taken.catch(uncharged)
        }
      } catch (error) {
        uncharged(error)
      }
    }

    const about = (ctx: Context) => ({ plugin: 'ai-rate-limiting', route: ctx.route?.id, request_id: ctx.id })

    return {
      // Before anybody chooses an instance.
      ...(perInstance && {
        rewrite(ctx: Context) {
          instanceQuota.set(ctx, instance =>
            unlessUncounted<boolean>(
              () => hasRoom(ctx, instance),
              () => true,
            ),
          )
        },
      }),
      async access(ctx) {
        const call = exchange.get(ctx)
        if (call === undefined) return undefined
        call.countsText = true
        // Whoever opened the exchange has read it already.
        const { json = {}, bytes } = await clientBody(ctx)
        return unlessUncounted(
          () => admit(ctx, call, { body: json, bytes: bytes.length }),
          error => uncountable(ctx, error.message),
        )
      },
      header_filter: showQuotas,
      ...(close && { close }),
    }
  },
})

/** What a request costs. Throws CostExprError. */
function costOf({ limit_strategy, cost_expr }: Config): (usage: Usage) => number {
  switch (limit_strategy) {
    case 'prompt_tokens':
      return usage => usage.prompt
    case 'completion_tokens':
      return usage => usage.completion
    case 'expression': {
      const compiled = compileCostExpr(cost_expr!)
      return usage => compiled(name => reported(usage, name))
    }
    default:
      return usage => usage.total
  }
}

/** The rules for requests to an instance: those of the config, or its own limit, or the one that every instance has by itself. */
function rulesOf(config: Config): (instance: string) => readonly Rule[] | undefined {
  const { limit, time_window, instances = [], rules = [], show_limit_quota_header: shows } = config
  if (rules.length > 0) {
    const all = rules.map(({ count, time_window, key, header_prefix }, at): Rule => {
      const keyed = ruleKeyOf(key)
      return {
        key: ctx => {
          const value = keyed(ctx)
          return value === undefined ? undefined : `${at}:${value}`
        },
        limit: numberOf(count),
        window: numberOf(time_window),
        names: shows ? quotaNames(`X-AI-${header_prefix ?? at + 1}-`) : undefined,
      }
    })
    return () => all
  }
  const made = new Map<string, readonly Rule[] | undefined>()
  const make = (instance: string): readonly Rule[] | undefined => {
    const own = instances.find(({ name }) => name === instance) ?? { limit, time_window }
    if (own.limit === undefined || own.time_window === undefined) return undefined
    const names = shows ? quotaNames('X-AI-', `-${instance}`) : undefined
    return [{ key: () => instance, limit: numberOf(own.limit), window: numberOf(own.time_window), names }]
  }
  // Instances are named by configurations: there are few.
  return instance => {
    if (!made.has(instance)) made.set(instance, make(instance))
    return made.get(instance)
  }
}

/** As the config has it, or in words of the client's protocol (facts metering 2); with when to come again. */
function refusal({ protocol }: Exchange, { rejected_code, rejected_msg }: Config, { retryMs }: Taken): Reply {
  const seconds = Math.max(1, Math.ceil(retryMs / 1000))
  const headers: Record<string, string> = Number.isFinite(seconds) ? { 'Retry-After': String(seconds) } : {}
  if (rejected_msg !== undefined) return reply(rejected_code ?? 503, { error_msg: rejected_msg }, headers)
  if (rejected_code !== undefined) return reply(rejected_code, null, headers)
  const error = { status: 429, code: 'rate_limit_exceeded', message: 'the limit of tokens is reached' }
  const body = protocolNamed(protocol)?.errorBody(error) ?? { error }
  return reply(429, body, { 'Content-Type': 'application/json', ...headers })
}
