// ai-budget: what principals may spend on LLMs, in tokens or money (facts metering 1, 2, 5); reserved first, charged when it is known.

import { LearnedOutput } from '../../core/budgets/learned-output.ts'
import { alertsOf, budgetMetadata, budgetMetadataProblem, budgetSecrets } from '../../core/budgets/metadata.ts'
import { formatNano } from '../../core/budgets/money.ts'
import type { PriceRow } from '../../core/budgets/prices.ts'
import { PriceTable } from '../../core/budgets/prices.ts'
import { type Context, slot } from '../../core/context.ts'
import { openBacking, redisInert, redisSecrets } from '../../core/limits/backing.ts'
import { clientBody } from '../../core/llm/client-body.ts'
import { exchange } from '../../core/llm/exchange.ts'
import { plugin } from '../../core/plugin.ts'
import type { Reply } from '../../core/reply.ts'
import { problem, rulesOf, schema } from './config.ts'
import { ownAccounts } from './own-accounts.ts'
import { SpendMetrics } from './spend-metrics.ts'
import { type Policy, type Shown, Spending } from './spending.ts'

/** Principals and models whose outputs are remembered: about 500 bytes each. */
const LEARNED = 2_000

/** Of all configurations that a request meets. */
const spendings = slot<Spending[]>()

export default plugin({
  name: 'ai-budget',
  // Behind everybody who may refuse a request or change what it asks for.
  priority: 1025,
  version: 1,
  schema,
  metadata: budgetMetadata,
  encrypt: [...redisSecrets, ...budgetSecrets],
  inert: [...redisInert],
  endpoints: [ownAccounts],
  check: problem,
  checkMetadata: budgetMetadataProblem,
  setup(config, env) {
    const { ledger, servers, close } = openBacking(config, env)
    const { currency = 'USD', prices = [] as PriceRow[] } = env.metadata ?? {}
    const alerts = alertsOf(env.metadata)
    const { bytes_per_token, default_output, limit_output, output_at_most, learned } = config.reserve
    const policy: Policy = {
      rules: rulesOf(config, currency),
      ledger,
      touched: account => env.accounts.touched({ account, servers, alerts }),
      prices: new PriceTable(prices),
      currency,
      reserve: {
        bytesPerToken: bytes_per_token,
        defaultOutput: default_output,
        outputAtMost: output_at_most ?? Number.POSITIVE_INFINITY,
        learned: learned && new LearnedOutput({ ...learned, keys: LEARNED }),
      },
      stops: config.stop_at_cap,
      onAbandon: config.on_abandon,
      passes: config.allow_degradation,
      metrics: new SpendMetrics(env.metrics),
      log: env.log,
      now: env.now,
    }
    return {
      // Also for a global rule's, whose access comes before the route's: who makes the call is known only now.
      async before_proxy(ctx) {
        const call = exchange.get(ctx)
        if (call === undefined) return undefined
        call.countsText = true
        if (limit_output) call.outputLimit = Math.min(call.outputLimit ?? default_output, default_output)
        const { json = {} } = await clientBody(ctx)
        const all = spendings.get(ctx) ?? []
        const spending = new Spending(ctx, call, policy, { body: json, before: all })
        spendings.set(ctx, [...all, spending])
        call.admissions.push(sending => spending.admit(sending))
        call.over.push(ended => spending.over(ended))
        return undefined
      },
      ...(config.stop_at_cap && {
        event_filter: (ctx: Context) => spendings.get(ctx)?.find(spending => spending.isOf(policy))?.filter,
      }),
      header_filter(ctx, reply) {
        for (const { shown } of spendings.get(ctx) ?? []) for (const each of shown.values()) tell(reply, each)
      },
      ...(close && { close }),
    }
  },
})

/** Money with its decimals, tokens as they are, seconds; a balance is never reset. */
function tell({ headers }: Reply, { rule: { budget, fields }, remaining, resetMs }: Shown): void {
  if (fields === undefined || budget.cap === undefined) return
  const amount = (value: number) => (budget.unit === 'tokens' ? String(value) : formatNano(value))
  headers.set(fields.limit, amount(budget.cap))
  headers.set(fields.remaining, amount(remaining))
  if (Number.isFinite(resetMs)) headers.set(fields.reset, String(Math.ceil(resetMs / 1000)))
}
