// limit-count: so many requests per key and window (facts core 8.3.6).
import type { Context } from '../core/context.ts'
import { backingProblem, openBacking, redisAttributes, redisInert, redisSecrets } from '../core/limits/backing.ts'
import { counterName, keyOf, numberOf, ruleKeyOf } from '../core/limits/counted.ts'
import { after, firstOf, unlessUncounted } from '../core/limits/in-order.ts'
import { noteQuota, type QuotaNames, quotaNames, showQuotas } from '../core/limits/quota.ts'
import { refusal, uncounted } from '../core/limits/refusal.ts'
import { type Awaitable, type Infer, plugin, type Schema } from '../core/plugin.ts'
import type { Reply } from '../core/reply.ts'

/** What a field's name may be made of (RFC 9110 5.6.2). */
const TOKEN = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

const amount = { anyOf: [{ type: 'integer', exclusiveMinimum: 0 }, { type: 'string' }] } as const

const schema = {
  type: 'object',
  properties: {
    count: amount,
    time_window: amount,
    window_type: { type: 'string', enum: ['fixed', 'sliding'], default: 'fixed' },
    key: { type: 'string', default: 'remote_addr' },
    key_type: { type: 'string', enum: ['var', 'var_combination', 'constant'], default: 'var' },
    group: { type: 'string' },
    rules: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          count: amount,
          time_window: amount,
          key: { type: 'string' },
          header_prefix: { type: 'string', pattern: TOKEN },
        },
        required: ['count', 'time_window', 'key'],
      },
    },
    policy: { type: 'string', enum: ['local', 'redis', 'redis-cluster', 'redis-sentinel'], default: 'local' },
    rejected_code: { type: 'integer', minimum: 200, maximum: 599, default: 503 },
    rejected_msg: { type: 'string', minLength: 1 },
    allow_degradation: { type: 'boolean', default: false },
    show_limit_quota_header: { type: 'boolean', default: true },
    sync_interval: { type: 'number', default: -1 },
  },
  oneOf: [{ required: ['count', 'time_window'] }, { required: ['rules'] }],
  ...redisAttributes,
} as const satisfies Schema

const metadata = {
  type: 'object',
  properties: {
    limit_header: { type: 'string', pattern: TOKEN, default: 'X-RateLimit-Limit' },
    remaining_header: { type: 'string', pattern: TOKEN, default: 'X-RateLimit-Remaining' },
    reset_header: { type: 'string', pattern: TOKEN, default: 'X-RateLimit-Reset' },
  },
} as const satisfies Schema

type Config = Infer<typeof schema>
type FieldNames = Infer<typeof metadata>

/** A limit as one request meets it; undefined when it does not apply, `bad` when its numbers are none. */
interface Rule {
  readonly key: (ctx: Context) => string | undefined
  readonly count: (ctx: Context) => number | undefined
  readonly window: (ctx: Context) => number | undefined
  readonly names: QuotaNames | undefined
}

export default plugin({
  name: 'limit-count',
  priority: 1002,
  version: 0.4,
  schema,
  metadata,
  encrypt: [...redisSecrets],
  inert: [...redisInert],
  check(config) {
    const { group, rules = [], policy, sync_interval, time_window } = config
    if (group !== undefined && rules.length > 0) return 'group and rules cannot be specified at the same time'
    const repeated = rules.find(({ key }, at) => rules.findIndex(other => other.key === key) !== at)
    if (repeated !== undefined) return `duplicate key '${repeated.key}' in rules`
    if (policy !== 'local' && sync_interval !== -1) {
      if (sync_interval < 0.1) return 'sync_interval should not be smaller than 0.1'
      if (typeof time_window === 'number' && sync_interval >= time_window)
        return 'sync_interval should be smaller than time_window'
      return 'sync_interval is not supported: every request is counted at once, in one round trip'
    }
    return backingProblem(config)
  },
  setup(config, env) {
    const { ledger, close } = openBacking(config, env)
    const uncountable = uncounted(env, { plugin: 'limit-count', what: 'count', passes: config.allow_degradation })
    const { group, rejected_code, rejected_msg, window_type } = config
    const name = group === undefined ? counterName('limit-count', env.owner, config) : `limit-count group ${group}:`
    const kind = window_type === 'sliding' ? 'sliding_window' : 'fixed_window'
    const rules = rulesOf(config, env.metadata)

    function count(ctx: Context): Awaitable<Reply | undefined> {
      let applied = 0
      const refused = firstOf(rules, (rule, at) => {
        const key = rule.key(ctx)
        if (key === undefined) return undefined
        applied++
        const limit = rule.count(ctx)
        const seconds = rule.window(ctx)
        if (limit === undefined || seconds === undefined) return uncountable(ctx, 'count or time_window is no number')
        const full = `${name}${rules.length > 1 ? `${at}:` : ''}${key}`
        return after(ledger.take(full, { kind, limit, windowMs: seconds * 1000 }, one), taken => {
          noteQuota(ctx, { key: full, limit, taken }, rule.names)
          return taken.allowed ? undefined : refusal(ctx, rejected_code, rejected_msg)
        })
      })
      return after(refused, reply => (applied === 0 ? uncountable(ctx, 'no rule applies') : reply))
    }

    return {
      access: ctx =>
        unlessUncounted(
          () => count(ctx),
          error => uncountable(ctx, error.message),
        ),
      header_filter: showQuotas,
      ...(close && { close }),
    }
  },
})

const one = { amount: 1 }

function rulesOf(config: Config, metadata: FieldNames | undefined): Rule[] {
  const { count, time_window, key, key_type, rules, show_limit_quota_header: shows } = config
  if (rules === undefined) {
    const names = {
      limit: metadata?.limit_header ?? 'X-RateLimit-Limit',
      remaining: metadata?.remaining_header ?? 'X-RateLimit-Remaining',
      reset: metadata?.reset_header ?? 'X-RateLimit-Reset',
    }
    const keyed = keyOf(key_type, key)
    return [{ key: keyed, count: numberOf(count!), window: numberOf(time_window!), names: shows ? names : undefined }]
  }
  return rules.map(({ count, time_window, key, header_prefix }, at) => ({
    key: ruleKeyOf(key),
    count: numberOf(count),
    window: numberOf(time_window),
    names: shows ? quotaNames(`X-${header_prefix ?? at + 1}-`) : undefined,
  }))
}
