// A plugin that writes down which of its hooks ran, and does in each of them what its config says.
import type { Context } from '../../core/context.ts'
import { type Plugin, plugin } from '../../core/plugin.ts'
import { reply } from '../../core/reply.ts'

export interface Traced {
  plugin: Plugin
  /** `name.phase` in the order in which they ran, over all requests. */
  trace: string[]
}

const phases = ['rewrite', 'access', 'before_proxy'] as const

/**
 * Config: `{ exit: { <phase>: status } }` ends the turn there with body `<name>.<phase>`; `throw` and `reject` name the
 * phase in which the hook fails; `tag` is put behind the name in the trace.
 */
export function tracer(name: string, priority: number, trace: string[], extra: Partial<Plugin> = {}): Plugin {
  const made = plugin({
    name,
    priority,
    version: 0.1,
    schema: {
      type: 'object',
      properties: {
        exit: { type: 'object', additionalProperties: { type: 'integer' } },
        throw: { type: 'string' },
        reject: { type: 'string' },
        tag: { type: 'string' },
      },
    },
    setup(config) {
      const said = config.tag === undefined ? name : `${name}:${config.tag}`
      const fail = (phase: string): void => {
        trace.push(`${said}.${phase}`)
        if (config.throw === phase) throw new Error(`${said} throws in ${phase}`)
      }
      const turn = (phase: (typeof phases)[number]) => (_ctx: Context) => {
        fail(phase)
        if (config.reject === phase) return Promise.reject(new Error(`${said} rejects in ${phase}`))
        const status = config.exit?.[phase]
        return status === undefined ? undefined : reply(status, `${said}.${phase}`)
      }
      return {
        rewrite: turn('rewrite'),
        access: turn('access'),
        before_proxy: turn('before_proxy'),
        header_filter: () => fail('header_filter'),
        body_filter() {
          fail('body_filter')
          if (config.reject === 'body_filter') return () => Promise.reject(new Error('rejects in body_filter'))
          return undefined
        },
        log() {
          fail('log')
          return config.reject === 'log' ? Promise.reject(new Error('rejects in log')) : undefined
        },
        close: () => void trace.push(`${said}.close`),
      }
    },
  })
  return { ...made, ...extra }
}
