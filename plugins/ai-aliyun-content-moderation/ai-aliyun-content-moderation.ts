// ai-aliyun-content-moderation: what is said to a model and what it says is judged by Aliyun, and refused from a level of risk on (facts ai-plugins 15).
import { randomUUID } from 'node:crypto'
import { type Context, slot } from '../../core/context.ts'
import { firstHit } from '../../core/llm/guards/first-hit.ts'
import { guardProblem, moderationAttributes } from '../../core/llm/guards/guard-config.ts'
import type { Opinion } from '../../core/llm/guards/judging.ts'
import { type Asked, moderationHooks } from '../../core/llm/guards/moderation.ts'
import { reaches, riskier, riskLevel } from '../../core/llm/guards/risk-level.ts'
import { ServiceError } from '../../core/llm/guards/service.ts'
import { textPieces } from '../../core/llm/guards/text-pieces.ts'
import { plugin } from '../../core/plugin.ts'
import { isReference } from '../../core/schema.ts'
import { type Judgement, TextModeration } from './text-moderation.ts'

const NAME = 'ai-aliyun-content-moderation'
const DENIED = 'Your request violate our content policy.'

const text = { type: 'string', minLength: 1 } as const
const length = { type: 'integer', minimum: 1 } as const

/** What Aliyun is told that its questions about one request have in common. */
const session = slot<string>()

export default plugin({
  name: NAME,
  priority: 1029,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      endpoint: text,
      region_id: text,
      access_key_id: text,
      access_key_secret: text,
      request_check_mode: { type: 'string', enum: ['last', 'all'], default: 'last' },
      request_check_roles: {
        type: 'array',
        items: { type: 'string', enum: ['user', 'tool', 'system'] },
        minItems: 1,
        uniqueItems: true,
        default: ['user'],
      },
      request_check_service: { ...text, default: 'llm_query_moderation' },
      request_check_length_limit: { ...length, default: 2000 },
      response_check_service: { ...text, default: 'llm_response_moderation' },
      response_check_length_limit: { ...length, default: 5000 },
      risk_level_bar: { type: 'string', enum: ['none', 'low', 'medium', 'high', 'max'], default: 'high' },
      keepalive_pool: { type: 'integer', minimum: 1, default: 30 },
      ssl_verify: { type: 'boolean', default: true },
      ...moderationAttributes,
    },
    required: ['endpoint', 'region_id', 'access_key_id', 'access_key_secret'],
  },
  encrypt: ['access_key_secret'],
  check: config =>
    isReference(config.endpoint) || (URL.canParse(config.endpoint) && /^https?:\/\//i.test(config.endpoint))
      ? guardProblem(config)
      : 'endpoint is no URL of http or https',
  setup(config, env) {
    const moderation = new TextModeration(NAME, config, env)
    const questions = {
      request: { service: config.request_check_service, limit: config.request_check_length_limit },
      response: { service: config.response_check_service, limit: config.response_check_length_limit },
    }

    /** Asks about all pieces of a text, also when about one nothing can be said. */
    async function look(ctx: Context, { side, wisher: client }: Asked, content: string): Promise<Opinion> {
      const { service, limit } = questions[side]
      const known = session.get(ctx) ?? randomUUID()
      session.set(ctx, known)
      let worst: string | undefined
      let failure: ServiceError | undefined
      const pieces = Buffer.byteLength(content) <= limit ? [content] : textPieces(content, limit, 'characters')
      const hit = await firstHit<string, Judgement>(client, pieces, async (piece, wisher) => {
        try {
          const judged = await moderation.judge(wisher, { content: piece, service, session: known })
          worst = riskier(worst, judged.level)
          return reaches(judged.level, config.risk_level_bar) ? judged : undefined
        } catch (error) {
          if (!(error instanceof ServiceError)) throw error
          failure ??= new ServiceError(`failed to check content: ${error.message}`, { cause: error })
          return undefined
        }
      })
      const level = hit?.level ?? worst
      if (level !== undefined) riskLevel.set(ctx, level)
      if (hit === undefined && failure !== undefined) throw failure
      return {
        ...(level !== undefined && { level }),
        finding: hit && { reason: `risk level ${hit.level}`, told: config.deny_message ?? hit.answer ?? DENIED },
      }
    }

    return moderationHooks(
      {
        plugin: NAME,
        deniedText: DENIED,
        failure: () => (config.fail_mode === 'error' ? 'error' : 'pass'),
        look,
      },
      config,
      env,
    )
  },
})
