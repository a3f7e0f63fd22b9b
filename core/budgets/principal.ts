// Who pays for a request: a name for a consumer, its group, a credential, a route, or what an expression makes of it; knows no budget.
import { hash } from 'node:crypto'
import type { Context } from '../context.ts'
import { ruleKeyOf } from '../limits/counted.ts'
import type { BudgetConfig } from './budget-config.ts'

/** Longer names are digests: they may be what clients send. */
const LONGEST = 128

/**
 * `consumer:jack`, `consumer_group:team`, `credential:jack/key-1`, `route:7`, or `expression:` and its value. Undefined where
 * there is none: nobody was identified, or no variable of the expression has a value.
 */
export function principalOf(of: BudgetConfig['principal']): (ctx: Context) => string | undefined {
  if (typeof of === 'object') {
    const value = ruleKeyOf(of.expression)
    return ctx => named('expression', value(ctx))
  }
  switch (of) {
    case 'consumer':
      return ({ consumer }) => named(of, consumer?.username)
    case 'consumer_group':
      return ({ consumer }) => named(of, consumer?.groupId)
    case 'credential':
      return ({ consumer }) => {
        if (consumer === undefined) return undefined
        const { username, credentialId } = consumer
        return named(of, credentialId === undefined ? username : `${username}/${credentialId}`)
      }
    case 'route':
      return ({ route }) => named(of, route?.id)
  }
}

/** What stands before the colon of principals' names: `consumer`, `expression`. */
export function principalKind(of: BudgetConfig['principal']): string {
  return typeof of === 'object' ? 'expression' : of
}

function named(kind: string, value: string | undefined): string | undefined {
  if (value === undefined || value === '') return undefined
  return `${kind}:${value.length <= LONGEST ? value : hash('sha256', value)}`
}
