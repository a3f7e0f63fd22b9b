// Attributes that the guards which ask a service have in common besides those of all guards; what they come to. Knows no service.

import type { Schema } from '../../json-schema.ts'
import { guardAttributes } from './guarding.ts'

const list = { type: 'array', minItems: 1, uniqueItems: true } as const

/** Of a config with these attributes: what the schema cannot say. */
export function guardProblem(config: { not_text: string; not_text_allowed?: unknown }): string | undefined {
  const means = config.not_text === 'deny' || config.not_text_allowed === undefined
  return means ? undefined : 'not_text_allowed means nothing unless not_text is deny'
}

/**
 * Ours but for `fail_mode`: what pieces are looked at, what becomes of an image, a file, or whatever is new, and whether a
 * request is looked at while other plugins work.
 */
export const serviceGuardAttributes = {
  ...guardAttributes,
  request_check_kinds: {
    ...list,
    items: { enum: ['text', 'tool_result', 'tool_arguments', 'reasoning'] },
    default: ['text', 'tool_result'],
  },
  response_check_kinds: { ...list, items: { enum: ['text', 'reasoning', 'tool_arguments'] }, default: ['text'] },
  not_text: { enum: ['pass', 'log', 'deny'], default: 'log' },
  not_text_allowed: { ...list, items: { type: 'string', minLength: 1 } },
  parallel: { type: 'boolean', default: false },
} as const satisfies Record<string, Schema>

/** Of the two content moderations (facts ai-plugins 15.1, 16.1). */
export const moderationAttributes = {
  ...serviceGuardAttributes,
  check_request: { type: 'boolean', default: true },
  check_response: { type: 'boolean', default: false },
  deny_code: { type: 'integer', minimum: 200, maximum: 599, default: 200 },
  deny_message: { type: 'string' },
  stream_check_mode: { type: 'string', enum: ['realtime', 'final_packet'], default: 'final_packet' },
  stream_check_cache_size: { type: 'integer', minimum: 1, default: 128 },
  stream_check_interval: { type: 'number', minimum: 0.1, default: 3 },
  // Ours: in `realtime`, a part waits for its verdict before it leaves.
  stream_hold: { type: 'boolean', default: false },
  timeout: { type: 'integer', minimum: 1, default: 10_000 },
  keepalive: { type: 'boolean', default: true },
  keepalive_timeout: { type: 'integer', minimum: 1000, default: 60_000 },
} as const satisfies Record<string, Schema>
