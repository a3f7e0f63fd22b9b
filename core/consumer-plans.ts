// Plans of routes with a consumer's plugins in them: a bounded number, made again when anything they are made of has changed.
import { LRUCache } from 'lru-cache'
import type { Assembly } from './assembly.ts'
import { type Attached, type Instance, type Plan, plan } from './pipeline.ts'

interface MadeOf {
  assembly: Assembly
  /** What the consumer brings along. */
  joining: Attached
  rules: readonly Instance[]
}

// A pair of route and consumer that fell out is merged again.
const MAX_PLANS = 10_000

export class ConsumerPlans {
  readonly #plans = new LRUCache<string, MadeOf & { plan: Plan }>({ max: MAX_PLANS })

  of(username: string, { assembly, joining, rules }: MadeOf): Plan {
    const key = `${assembly.id}\0${username}`
    const known = this.#plans.get(key)
    if (known?.assembly === assembly && known.joining === joining && known.rules === rules) return known.plan
    const made = plan(rules, assembly.plugins, joining)
    this.#plans.set(key, { assembly, joining, rules, plan: made })
    return made
  }
}
