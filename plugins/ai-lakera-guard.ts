// ai-lakera-guard: what is said to a model and what it says are shown to Lakera Guard, which may refuse either (facts ai-plugins 17).
import type { Context } from '../core/context.ts'
import { guardAnswer } from '../core/llm/guards/answer-guard.ts'
import { guardProblem, serviceGuardAttributes } from '../core/llm/guards/guard-config.ts'
import { Guarding } from '../core/llm/guards/guarding.ts'
import type { GuardPolicy, Opinion } from '../core/llm/guards/judging.ts'
import type { Asked } from '../core/llm/guards/moderation.ts'
import { requestHooks } from '../core/llm/guards/request-guard.ts'
import { askService, MAX_ANSWER, type ServiceAnswer, ServiceError, useless } from '../core/llm/guards/service.ts'
import { isObject, type JsonObject } from '../core/llm/json.ts'
import { objects } from '../core/llm/json-parts.ts'
import type { Prompt } from '../core/llm/prompt.ts'
import { errandTo, Sidecar, type Wisher } from '../core/llm/sidecar.ts'
import { plugin } from '../core/plugin.ts'
import { isReference } from '../core/schema.ts'

const NAME = 'ai-lakera-guard'

/** Streams are held until all has been said, or as much as may be held. */
const UNTIL_THE_END = { bytes: Number.POSITIVE_INFINITY, intervalMs: Number.POSITIVE_INFINITY, holds: true }

const MAX_LOGGED = 4096

export default plugin({
  name: NAME,
  priority: 1028,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      api_key: { type: 'string', minLength: 1 },
      lakera_endpoint: { type: 'string', pattern: '^https?://', default: 'https://api.lakera.ai/v2/guard' },
      project_id: { type: 'string' },
      direction: { type: 'string', enum: ['input', 'output', 'both'], default: 'input' },
      action: { type: 'string', enum: ['block', 'alert'], default: 'block' },
      fail_open: { type: 'boolean', default: false },
      timeout: { type: 'integer', minimum: 1, default: 5000 },
      ssl_verify: { type: 'boolean', default: true },
      reveal_failure_categories: { type: 'boolean', default: false },
      deny_code: { type: 'integer', minimum: 200, maximum: 599, default: 200 },
      request_failure_message: { type: 'string', default: 'Request blocked by Lakera Guard' },
      response_failure_message: { type: 'string', default: 'Response blocked by Lakera Guard' },
      ...serviceGuardAttributes,
    },
    required: ['api_key'],
  },
  encrypt: ['api_key'],
  check: config =>
    isReference(config.lakera_endpoint) || URL.canParse(config.lakera_endpoint)
      ? guardProblem(config)
      : 'lakera_endpoint is no URL',
  setup(config, env) {
    const { fail_open: failOpen, direction, action, mode } = config
    const sidecar = new Sidecar(NAME, env, {
      timeoutMs: config.timeout,
      verify: config.ssl_verify,
      maxBytes: MAX_ANSWER,
    })
    const errand = errandTo(config.lakera_endpoint, { Authorization: `Bearer ${config.api_key}` })
    const told = { request: config.request_failure_message, response: config.response_failure_message }
    const policy: GuardPolicy = {
      guarding: new Guarding(NAME, env, config),
      finds: action === 'alert' ? new Guarding(NAME, env, { ...config, mode: 'monitor' }) : undefined,
      watches: mode === 'monitor' || (action === 'alert' && failOpen),
      // The head of a stream that is held has left by then, or might have.
      denyCode: ({ side, streams }) => (side === 'response' && streams ? 200 : config.deny_code),
      failure: ({ side }) => (failOpen ? 'pass' : { reason: 'not judged', told: told[side] }),
    }

    async function look(ctx: Context, { side, wisher }: Asked, messages: readonly object[]): Promise<Opinion> {
      const { project_id } = config
      const body = Buffer.from(JSON.stringify({ messages, breakdown: true, project_id }))
      let answer: JsonObject
      try {
        answer = answerOf(sidecar, await asked(wisher, body))
      } catch (error) {
        if (!(error instanceof ServiceError)) throw error
        const then = failOpen ? 'allowing' : 'blocking'
        throw new ServiceError(`${error.message}; fail_open=${failOpen}, ${then} ${side}`, { cause: error })
      }
      if (answer.flagged !== true) return {}
      const { breakdown = [], metadata } = answer
      const uuid = isObject(metadata) ? String(metadata.request_uuid) : 'none'
      env.log.warn(
        { route: ctx.route?.id, request_id: ctx.id },
        `${NAME}: ${side} flagged by Lakera Guard, breakdown: ${JSON.stringify(breakdown).slice(0, MAX_LOGGED)}, request_uuid: ${uuid}`,
      )
      const categories = objects(breakdown).filter(({ detected }) => detected === true)
      const named = categories.map(({ detector_type: type, result }) =>
        result === undefined ? String(type) : `${String(type)} (${String(result)})`,
      )
      const more = config.reveal_failure_categories ? `. Flagged categories: ${named.join(', ')}` : ''
      return { finding: { reason: `flagged: ${named.join(', ')}`, told: told[side] + more } }
    }

    async function asked(wisher: Wisher, body: Buffer): Promise<ServiceAnswer> {
      try {
        return await askService(sidecar, wisher, { ...errand, body })
      } catch (error) {
        if (!(error instanceof ServiceError)) throw error
        throw new ServiceError(`failed to request Lakera Guard: ${error.message}`, { cause: error })
      }
    }

    const requests = {
      plugin: NAME,
      policy,
      checks: direction !== 'output',
      scope: {
        roles: new Set(['system', 'user', 'assistant', 'tool'] as const),
        kinds: new Set(config.request_check_kinds),
        mode: 'all',
      },
      notText: config.not_text,
      notTextAllowed: new Set(config.not_text_allowed),
      log: env.log,
      deniedText: config.request_failure_message,
      unreadable: 'unsupported protocol: passthrough',
      look: (ctx: Context, said: readonly Prompt[], wisher: Wisher) =>
        look(ctx, { side: 'request', wisher }, messagesOf(said)),
    } as const
    const answers = {
      policy,
      kinds: new Set(config.response_check_kinds),
      streams: { ...UNTIL_THE_END, now: () => 0 },
      look: (ctx: Context, content: string) =>
        look(ctx, { side: 'response', wisher: ctx }, [{ role: 'assistant', content }]),
    }
    return {
      ...requestHooks(requests, config, env),
      ...(direction !== 'input' && { event_filter: (ctx, call) => guardAnswer(ctx, call, answers) }),
    }
  },
})

/** In the order of the conversation; what one message says is one text. */
function messagesOf(said: readonly Prompt[]): { role: string; content: string }[] {
  const messages: { role: string; content: string; turn: number }[] = []
  for (const { role, text, turn } of said.toSorted((a, b) => a.turn - b.turn)) {
    const last = messages.at(-1)
    if (last?.role === role && last.turn === turn) last.content += ` ${text}`
    else messages.push({ role, content: text, turn })
  }
  return messages.map(({ role, content }) => ({ role, content }))
}

function answerOf(sidecar: Sidecar, { status, json }: ServiceAnswer): JsonObject {
  if (status !== 200) throw new ServiceError(`Lakera Guard returned status ${status}`)
  if (json === undefined) throw useless(sidecar, 'failed to decode Lakera Guard response: it is no JSON')
  if (!isObject(json)) throw useless(sidecar, 'unexpected Lakera Guard response: expected a JSON object')
  return json
}
