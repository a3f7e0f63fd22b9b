// Whom a limit counts and how far: keys, and numbers that may be variables (facts core 8.3.6); knows no ledger.
import { hash } from 'node:crypto'
import type { Context } from '../context.ts'
import type { Owner } from '../plugin.ts'
import { compileTemplate, resolveTemplate } from '../router/template.ts'
import { variable } from '../router/vars.ts'

/** What stands before every key: edited configs count anew, and owners by themselves. */
export function counterName(plugin: string, owner: Owner, config: unknown): string {
  return `${plugin}:${owner.kind}/${owner.id}:${hash('sha256', JSON.stringify(config)).slice(0, 16)}:`
}

/** The value by which a limit tells requests apart; the client's address when it has none. */
export function keyOf(type: 'var' | 'var_combination' | 'constant', key: string): (ctx: Context) => string {
  if (type === 'constant') return () => key
  const template = type === 'var_combination' ? compileTemplate(key) : undefined
  return ctx => {
    const get = (name: string) => variable(ctx, name)
    const found = template === undefined ? get(key) : resolved(resolveTemplate(template, get))
    return found === undefined || found === '' ? ctx.request.remoteAddress : String(found)
  }
}

/** The key of a rule; undefined when no variable in it has a value: the rule does not apply. */
export function ruleKeyOf(key: string): (ctx: Context) => string | undefined {
  const template = compileTemplate(key)
  return ctx => resolved(resolveTemplate(template, name => variable(ctx, name)))
}

/** A whole number from `least`, or a template that must become one; undefined when it does not. */
export function numberOf(value: number | string, least = 1): (ctx: Context) => number | undefined {
  if (typeof value === 'number') return () => value
  const template = compileTemplate(value)
  return ctx => {
    const { text } = resolveTemplate(template, name => variable(ctx, name))
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
    return number >= least && Number.isSafeInteger(number) ? number : undefined
  }
}

function resolved({ text, resolved }: { text: string; resolved: number }): string | undefined {
  return resolved === 0 ? undefined : text
}
