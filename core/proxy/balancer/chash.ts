// Consistent hashing: requests of one key go to one node, as long as it is there (facts core 6.1).
import type { Context } from '../../context.ts'
import { compileTemplate, resolveTemplate } from '../../router/template.ts'
import { variable } from '../../router/vars.ts'
import type { Balancer, Except } from './balancer.ts'
import type { HashRing } from './hash-ring.ts'
import type { Node } from './node.ts'

export type HashOn = 'vars' | 'header' | 'cookie' | 'consumer' | 'vars_combinations'

export class ConsistentHash implements Balancer {
  readonly #ring: HashRing
  readonly #keyOf: (ctx: Context) => string

  constructor(ring: HashRing, keyOf: (ctx: Context) => string) {
    this.#ring = ring
    this.#keyOf = keyOf
  }

  /** The key's node, or the next on the ring that has not been tried. */
  pick(tried: Except, ctx: Context): Node | undefined {
    for (const node of this.#ring.after(this.#keyOf(ctx))) if (!tried.has(node)) return node
    return undefined
  }
}

/** What a request is hashed by: what `key` names, or the client's address where that has no value. */
export function hashKey(hashOn: HashOn, key: string): (ctx: Context) => string {
  const value = valueFor(hashOn, key)
  return ctx => {
    const found = value(ctx)
    return found === undefined || found === '' ? ctx.request.remoteAddress : String(found)
  }
}

function valueFor(hashOn: HashOn, key: string): (ctx: Context) => string | number | undefined {
  switch (hashOn) {
    case 'vars':
      return ctx => variable(ctx, key)
    case 'header':
      return ctx => variable(ctx, `http_${key}`)
    case 'cookie':
      return ctx => variable(ctx, `cookie_${key}`)
    case 'consumer':
      return ctx => ctx.consumer?.username
    case 'vars_combinations': {
      const template = compileTemplate(key)
      return ctx => {
        const { text, resolved } = resolveTemplate(template, name => variable(ctx, name))
        return resolved === 0 ? undefined : text
      }
    }
  }
}
