// limit-conn: so many requests per key at the same time; some more wait before they go on (facts core 8.3.8).
import type { Context } from '../core/context.ts'
import { backingProblem, openBacking, redisAttributes, redisInert } from '../core/limits/backing.ts'
import { counterName, keyOf, numberOf, ruleKeyOf } from '../core/limits/counted.ts'
import { after, firstOf, unlessUncounted } from '../core/limits/in-order.ts'
import { pause } from '../core/limits/pause.ts'
import { refusal, uncounted } from '../core/limits/refusal.ts'
import { type Awaitable, type Infer, plugin, type Schema } from '../core/plugin.ts'
import type { Reply } from '../core/reply.ts'

const conn = { anyOf: [{ type: 'integer', exclusiveMinimum: 0 }, { type: 'string' }] } as const
const burst = { anyOf: [{ type: 'integer', minimum: 0 }, { type: 'string' }] } as const

const schema = {
  type: 'object',
  properties: {
    conn,
    burst,
    default_conn_delay: { type: 'number', exclusiveMinimum: 0 },
    only_use_default_delay: { type: 'boolean', default: false },
    key: { type: 'string' },
    key_type: { type: 'string', enum: ['var', 'var_combination'], default: 'var' },
    rules: {
      type: 'array',
      items: {
        type: 'object',
        properties: { conn, burst, key: { type: 'string' } },
        required: ['conn', 'burst', 'key'],
      },
    },
    policy: { type: 'string', enum: ['local', 'redis', 'redis-cluster'], default: 'local' },
    // Without meaning here: leases are renewed as long as their requests last.
    key_ttl: { type: 'integer', default: 3600 },
    rejected_code: { type: 'integer', minimum: 200, maximum: 599, default: 503 },
    rejected_msg: { type: 'string', minLength: 1 },
    allow_degradation: { type: 'boolean', default: false },
  },
  oneOf: [{ required: ['conn', 'burst', 'default_conn_delay', 'key'] }, { required: ['default_conn_delay', 'rules'] }],
  ...redisAttributes,
} as const satisfies Schema

type Config = Infer<typeof schema>

interface Rule {
  readonly key: (ctx: Context) => string | undefined
  readonly conn: (ctx: Context) => number | undefined
  readonly burst: (ctx: Context) => number | undefined
}

const one = { amount: 1, ticket: true }

export default plugin({
  name: 'limit-conn',
  priority: 1003,
  version: 0.1,
  schema,
  encrypt: ['redis_password'],
  inert: [...redisInert, 'key_ttl'],
  check: backingProblem,
  setup(config, env) {
    const { ledger, close } = openBacking(config, env)
    const uncountable = uncounted(env, { plugin: 'limit-conn', what: 'conn', passes: config.allow_degradation })
    const { rejected_code, rejected_msg } = config
    const name = counterName('limit-conn', env.owner, config)
    const rules = rulesOf(config)
    const delays = new Delays(config)

    function enter(ctx: Context): Awaitable<Reply | undefined> {
      let applied = 0
      const turn = { admitted: false, delayMs: 0 }
      const leave = () => {
        if (turn.admitted) delays.learn(upstreamMs(ctx) ?? ctx.elapsed() - turn.delayMs)
      }
      const refused = firstOf(rules, (rule, at) => {
        const key = rule.key(ctx)
        if (key === undefined) return undefined
        applied++
        const most = rule.conn(ctx)
        const more = rule.burst(ctx)
        if (most === undefined || more === undefined) return uncountable(ctx, 'conn or burst is no number')
        return after(ledger.take(`${name}${at}:${key}`, { kind: 'slots', limit: most + more }, one), taken => {
          const { ticket, used } = taken
          if (ticket === undefined) return refusal(ctx, rejected_code, rejected_msg)
          ctx.hold('limit-conn', () => {
            void ticket.release()
            leave()
          })
          turn.delayMs += delays.of(used, most)
          return undefined
        })
      })
      return after(refused, reply => {
        if (applied === 0) return uncountable(ctx, 'no rule applies')
        if (reply !== undefined) return reply
        turn.admitted = true
        return turn.delayMs < 1 ? undefined : pause(ctx, turn.delayMs)
      })
    }

    return {
      access: ctx =>
        unlessUncounted(
          () => enter(ctx),
          error => uncountable(ctx, error.message),
        ),
      ...(close && { close }),
    }
  },
})

/** How long those wait who are more than `conn`. The unit follows what requests take, unless it may not. */
class Delays {
  #unitMs: number
  readonly #fixed: boolean

  constructor({ default_conn_delay, only_use_default_delay }: Config) {
    // The schema has it in both of its shapes.
    this.#unitMs = default_conn_delay! * 1000
    this.#fixed = only_use_default_delay
  }

  of(used: number, conn: number): number {
    return used > conn ? this.#unitMs * Math.floor((used - 1) / conn) : 0
  }

  learn(latencyMs: number): void {
    if (!this.#fixed) this.#unitMs = (latencyMs + this.#unitMs) / 2
  }
}

/** What the upstream took; undefined when none was asked, or has not answered. */
function upstreamMs({ attempts }: Context): number | undefined {
  return attempts.at(-1)?.responseMs
}

function rulesOf({ conn, burst, key, key_type, rules }: Config): Rule[] {
  if (rules === undefined) return [{ key: keyOf(key_type, key!), conn: numberOf(conn!), burst: numberOf(burst!, 0) }]
  return rules.map(({ conn, burst, key }) => ({ key: ruleKeyOf(key), conn: numberOf(conn), burst: numberOf(burst, 0) }))
}
