// ai-prompt-guard: prompts must match one of the allow patterns and none of the deny patterns (facts ai-plugins 9).
import type { Context } from '../core/context.ts'
import { GatewayError } from '../core/errors.ts'
import type { JsonObject } from '../core/llm/json.ts'
import { detectProtocol, protocolNamed } from '../core/llm/protocols/detect.ts'
import { compilePattern, PatternError } from '../core/pattern.ts'
import { plugin } from '../core/plugin.ts'
import { type Reply, reply } from '../core/reply.ts'

const patterns = { type: 'array', items: { type: 'string' }, default: [] } as const

export default plugin({
  name: 'ai-prompt-guard',
  priority: 1072,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      match_all_roles: { type: 'boolean', default: false },
      match_all_conversation_history: { type: 'boolean', default: false },
      allow_patterns: patterns,
      deny_patterns: patterns,
      max_req_body_size: { type: 'integer', minimum: 1, default: 67_108_864 },
      fail_mode: { type: 'string', enum: ['skip', 'warn', 'error'], default: 'skip' },
    },
  },
  check({ allow_patterns, deny_patterns }) {
    const badAllow = badPattern(allow_patterns)
    if (badAllow !== undefined) return `invalid allow_pattern: ${badAllow}`
    const badDeny = badPattern(deny_patterns)
    return badDeny === undefined ? undefined : `invalid deny_pattern: ${badDeny}`
  },
  setup(config, { log }) {
    const allow = config.allow_patterns.map(pattern => compilePattern(pattern))
    const deny = config.deny_patterns.map(pattern => compilePattern(pattern))

    /** A request that cannot be looked at goes on, unless `fail_mode` says otherwise (facts ai-plugins 1.4). */
    function unreadable(ctx: Context, message: string): Reply | undefined {
      if (config.fail_mode === 'error') return reply(400, { message })
      const reason = message.replace(/\p{Cc}/gu, ' ').slice(0, 256)
      const level = config.fail_mode === 'warn' ? 'warn' : 'info'
      log[level]({ route: ctx.route?.id, request_id: ctx.id }, `ai-prompt-guard skipped: ${reason}`)
      return undefined
    }

    return {
      async access(ctx) {
        let body: unknown
        try {
          const bytes = await ctx.body.bytes(config.max_req_body_size)
          if (bytes.length === 0) return reply(400, { message: 'Empty request body' })
          body = await ctx.body.json(config.max_req_body_size)
        } catch (error) {
          if (!(error instanceof GatewayError)) throw error
          if (error.code === 'body_too_large') return reply(400, { message: 'Empty request body' })
          if (error.code === 'body_not_json') return unreadable(ctx, error.message)
          throw error
        }
        const name = detectProtocol(body, ctx.request.path)
        const protocol = name && protocolNamed(name)
        if (protocol === undefined || name === 'passthrough')
          return unreadable(ctx, 'Request format not recognized by ai-prompt-guard')

        let messages = protocol.messages(body as JsonObject)
        // Of a response's input any item may be the one that asks (facts ai-plugins 9).
        if (!config.match_all_conversation_history && name !== 'openai-responses') messages = messages.slice(-1)
        if (!config.match_all_roles) messages = messages.filter(({ role }) => role === 'user')
        // APISIX answers with an empty 200 here, which breaks every turn of an agent that follows a tool's result.
        if (messages.length === 0) return undefined
        const prompt = messages.map(({ content }) => content).join(' ')
        if (allow.length > 0 && !allow.some(pattern => pattern.test(prompt)))
          return reply(400, { message: "Request doesn't match allow patterns" })
        if (deny.some(pattern => pattern.test(prompt)))
          return reply(400, { message: 'Request contains prohibited content' })
        return undefined
      },
    }
  },
})

/** The first pattern that does not compile. */
function badPattern(patterns: readonly string[]): string | undefined {
  return patterns.find(pattern => {
    try {
      compilePattern(pattern)
      return false
    } catch (error) {
      if (error instanceof PatternError) return true
      throw error
    }
  })
}
