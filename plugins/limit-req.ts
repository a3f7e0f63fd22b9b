// limit-req: requests per key flow at a rate; a burst waits for its turn, what is more is refused (facts core 8.3.7).
import type { Context } from '../core/context.ts'
import type { Limit, Taken } from '../core/ledger/ledger.ts'
import { backingProblem, openBacking, redisAttributes, redisInert } from '../core/limits/backing.ts'
import { counterName, keyOf } from '../core/limits/counted.ts'
import { after, unlessUncounted } from '../core/limits/in-order.ts'
import { pause } from '../core/limits/pause.ts'
import { refusal, uncounted } from '../core/limits/refusal.ts'
import { type Awaitable, plugin } from '../core/plugin.ts'
import type { Reply } from '../core/reply.ts'

const one = { amount: 1 }

export default plugin({
  name: 'limit-req',
  priority: 1001,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      rate: { type: 'number', exclusiveMinimum: 0 },
      burst: { type: 'number', minimum: 0 },
      key: { type: 'string' },
      key_type: { type: 'string', enum: ['var', 'var_combination'], default: 'var' },
      policy: { type: 'string', enum: ['local', 'redis', 'redis-cluster'], default: 'local' },
      rejected_code: { type: 'integer', minimum: 200, maximum: 599, default: 503 },
      rejected_msg: { type: 'string', minLength: 1 },
      nodelay: { type: 'boolean', default: false },
      allow_degradation: { type: 'boolean', default: false },
    },
    required: ['rate', 'burst', 'key'],
    ...redisAttributes,
  },
  encrypt: ['redis_password'],
  inert: [...redisInert],
  check: backingProblem,
  setup(config, env) {
    const { ledger, close } = openBacking(config, env)
    const uncountable = uncounted(env, { plugin: 'limit-req', what: 'req', passes: config.allow_degradation })
    const { rate, burst, nodelay, rejected_code, rejected_msg } = config
    const bucket: Limit = { kind: 'leaky_bucket', limit: burst, rate }
    const name = counterName('limit-req', env.owner, config)
    const keyed = keyOf(config.key_type, config.key)

    function turn(ctx: Context, { allowed, delayMs }: Taken): Awaitable<Reply | undefined> {
      if (!allowed) return refusal(ctx, rejected_code, rejected_msg)
      return nodelay || delayMs < 1 ? undefined : pause(ctx, delayMs)
    }

    return {
      access: ctx =>
        unlessUncounted(
          () => after(ledger.take(name + keyed(ctx), bucket, one), taken => turn(ctx, taken)),
          error => uncountable(ctx, error.message),
        ),
      ...(close && { close }),
    }
  },
})
