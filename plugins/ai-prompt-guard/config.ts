// The attributes of ai-prompt-guard (facts ai-plugins 9, and ours), and what is wrong with them.
import { guardAttributes } from '../../core/llm/guards/guarding.ts'
import { patternProblem } from '../../core/patterns/matcher.ts'
import type { Infer } from '../../core/plugin.ts'

const patterns = { type: 'array', items: { type: 'string' }, default: [] } as const
const some = { type: 'array', minItems: 1, uniqueItems: true } as const

/** Who may be looked at; what tools say is a kind of its own. */
export const roles = ['user', 'system', 'assistant'] as const

export const schema = {
  type: 'object',
  properties: {
    match_all_roles: { type: 'boolean', default: false },
    match_all_conversation_history: { type: 'boolean', default: false },
    allow_patterns: patterns,
    deny_patterns: patterns,
    max_req_body_size: { type: 'integer', minimum: 1, default: 67_108_864 },
    ...guardAttributes,
    // Ours, from here on.
    request_check_roles: { ...some, items: { enum: roles } },
    request_check_kinds: { ...some, items: { enum: ['text', 'tool_result', 'tool_arguments', 'reasoning'] } },
    not_text: { enum: ['pass', 'log', 'deny'], default: 'log' },
    not_text_allowed: { ...some, items: { type: 'string', minLength: 1 } },
    response_deny_patterns: patterns,
    response_check_kinds: {
      ...some,
      items: { enum: ['text', 'reasoning', 'tool_arguments'] },
      default: ['text', 'reasoning'],
    },
    response_window: { type: 'integer', minimum: 1, maximum: 8192, default: 128 },
    deny_as: { enum: ['message', 'error', 'answer'], default: 'message' },
  },
} as const

export type Config = Infer<typeof schema>

export function problemOf(config: Config): string | undefined {
  if (config.match_all_roles && config.request_check_roles !== undefined)
    return 'request_check_roles means nothing beside match_all_roles'
  if (config.not_text !== 'deny' && config.not_text_allowed !== undefined)
    return 'not_text_allowed means nothing unless not_text is deny'
  return (
    badPattern('allow_pattern', config.allow_patterns) ??
    badPattern('deny_pattern', config.deny_patterns) ??
    badPattern('response_deny_pattern', config.response_deny_patterns)
  )
}

/** APISIX says no more than which it is; why, where its pattern would compile there. */
function badPattern(what: string, patterns: readonly string[]): string | undefined {
  for (const pattern of patterns) {
    const problem = patternProblem(pattern)
    if (problem !== undefined) return `invalid ${what}: ${pattern}${problem.startsWith('it ') ? `: ${problem}` : ''}`
  }
  return undefined
}
