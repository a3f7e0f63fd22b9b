// Plans of routes with a consumer's plugins in them: a bounded number, made again when anything they are made of has changed.
import { LRUCache } from 'lru-cache'
import { type Assembly, merged } from './assembly.ts'
import { type Attached, type Instance, type Plan, plan } from './pipeline.ts'

/** What a consumer brings along: its group's plugins, and its own above them. */
export interface Joining {
  group: Attached
  own: Attached
}

interface MadeOf {
  assembly: Assembly
  joining: Joining
  rules: readonly Instance[]
}

// A pair of route and consumer that fell out is merged again.
const MAX_PLANS = 10_000

export class ConsumerPlans {
  readonly #plans = new LRUCache<string, MadeOf & { plan: Plan }>({ max: MAX_PLANS })

  of(username: string, { assembly, joining, rules }: MadeOf): Plan {
    const key = `${assembly.id}\0${username}`
    const known = this.#plans.get(key)
    if (known?.assembly === assembly && known.rules === rules && areEqual(known.joining, joining)) return known.plan
    const made = plan(rules, assembly.plugins, merged(joining.group, joining.own))
    this.#plans.set(key, { assembly, joining, rules, plan: made })
    return made
  }
}

function areEqual(one: Joining, other: Joining): boolean {
  return one.group === other.group && one.own === other.own
}
