// What a consumer may know of its own budgets, where a route exposes it; knows no ledger, and of others nothing.
import { principalOf } from '../../core/budgets/principal.ts'
import type { Endpoint } from '../../core/plugin.ts'
import { reply } from '../../core/reply.ts'

/** Of a group's budget a member would learn what others spend. */
const own = [principalOf('consumer'), principalOf('credential')]

export const ownAccounts: Endpoint = {
  methods: ['GET'],
  path: '/apisix/plugin/ai-budget',
  async answer(ctx, { accounts }) {
    if (ctx.consumer === undefined)
      return reply(401, { message: 'nobody was identified: the route needs authentication' })
    const principals = own.flatMap(principal => principal(ctx) ?? [])
    const budgets = [...(await accounts.standings(principals))]
    budgets.sort((one, other) => (one.budget < other.budget ? -1 : 1))
    return reply(200, { consumer: ctx.consumer.username, budgets }, { 'Cache-Control': 'no-store' })
  },
}
