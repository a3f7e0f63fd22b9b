// ai-aws-content-moderation: what is said to a model and what it says is judged by Amazon Comprehend, and refused where it is too toxic (facts ai-plugins 16).
import type { Context } from '../../core/context.ts'
import { firstHit } from '../../core/llm/guards/first-hit.ts'
import { guardProblem, moderationAttributes } from '../../core/llm/guards/guard-config.ts'
import type { Opinion } from '../../core/llm/guards/judging.ts'
import { type Asked, moderationHooks } from '../../core/llm/guards/moderation.ts'
import { riskLevel } from '../../core/llm/guards/risk-level.ts'
import { textPieces } from '../../core/llm/guards/text-pieces.ts'
import { plugin } from '../../core/plugin.ts'
import { isReference } from '../../core/schema.ts'
import { Comprehend, type Toxicity } from './comprehend.ts'

const NAME = 'ai-aws-content-moderation'

const score = { type: 'number', minimum: 0, maximum: 1 } as const
const length = { type: 'integer', minimum: 4, maximum: 1024, default: 1000 } as const

/** What one call takes (facts ai-plugins 16.2). */
const MAX_SEGMENTS = 10
const MAX_BYTES = 10_000

export default plugin({
  name: NAME,
  priority: 1031,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      comprehend: {
        type: 'object',
        properties: {
          access_key_id: { type: 'string' },
          secret_access_key: { type: 'string' },
          session_token: { type: 'string', minLength: 1 },
          region: { type: 'string' },
          endpoint: { type: 'string', pattern: '^https?://' },
          ssl_verify: { type: 'boolean', default: true },
        },
        required: ['access_key_id', 'secret_access_key', 'region'],
      },
      moderation_categories: {
        type: 'object',
        properties: {
          PROFANITY: score,
          HATE_SPEECH: score,
          INSULT: score,
          HARASSMENT_OR_ABUSE: score,
          SEXUAL: score,
          VIOLENCE_OR_THREAT: score,
        },
        additionalProperties: false,
      },
      moderation_threshold: { ...score, default: 0.5 },
      request_check_mode: { type: 'string', enum: ['last', 'all'], default: 'all' },
      request_check_roles: {
        type: 'array',
        items: { type: 'string', enum: ['user', 'tool', 'system', 'assistant'] },
        minItems: 1,
        uniqueItems: true,
        default: ['user', 'tool', 'system', 'assistant'],
      },
      request_check_length_limit: length,
      response_check_length_limit: length,
      ...moderationAttributes,
    },
    required: ['comprehend'],
  },
  encrypt: ['comprehend.secret_access_key', 'comprehend.session_token'],
  check(config) {
    const { endpoint, region } = config.comprehend
    if (isReference(endpoint) || isReference(region)) return guardProblem(config)
    return URL.canParse(endpoint ?? `https://comprehend.${region}.amazonaws.com`)
      ? guardProblem(config)
      : 'comprehend: neither endpoint nor region makes a URL'
  },
  setup(config, env) {
    const comprehend = new Comprehend(NAME, config, env)
    const categories = new Map(Object.entries(config.moderation_categories ?? {}) as [string, number][])

    function excess({ overall, labels }: Toxicity): string | undefined {
      const over = labels.find(({ name, score }) => score > (categories.get(name) ?? Number.POSITIVE_INFINITY))
      if (over !== undefined) return `${over.name} threshold`
      return overall > config.moderation_threshold ? 'toxicity threshold' : undefined
    }

    async function look(ctx: Context, { side, wisher: client }: Asked, content: string): Promise<Opinion> {
      const limit = side === 'request' ? config.request_check_length_limit : config.response_check_length_limit
      const hit = await firstHit(client, batches(content, limit), async (texts, wisher) => {
        const judged = await comprehend.judge(wisher, texts)
        return judged.map(excess).find(over => over !== undefined)
      })
      const level = hit === undefined ? 'none' : 'high'
      if (riskLevel.get(ctx) !== 'high') riskLevel.set(ctx, level)
      if (hit === undefined) return { level }
      const reason = `${side} body exceeds ${hit}`
      return { level, finding: { reason, told: config.deny_message ?? reason } }
    }

    return moderationHooks(
      {
        plugin: NAME,
        deniedText: 'request body cannot be looked at',
        // What has left of a stream cannot be taken back: only where that is asked for does it end there.
        failure: ({ side, streams }) =>
          side === 'request' || !streams || config.fail_mode === 'error' ? 'error' : 'pass',
        look,
      },
      config,
      env,
    )
  },
})

/** What goes into one call each. */
function* batches(text: string, limit: number): Generator<string[]> {
  let batch: string[] = []
  let bytes = 0
  for (const segment of textPieces(text, limit, 'bytes')) {
    if (segment.trim() === '') continue
    const size = Buffer.byteLength(segment)
    if (batch.length === MAX_SEGMENTS || bytes + size > MAX_BYTES) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(segment)
    bytes += size
  }
  if (batch.length > 0) yield batch
}
