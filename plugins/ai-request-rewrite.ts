// ai-request-rewrite: a model writes the request's body anew, as the operator's prompt tells it (facts ai-plugins 12).
import type { Context } from '../core/context.ts'
import { GatewayError, UpstreamError } from '../core/errors.ts'
import { headerProblem, instanceProperties } from '../core/llm/instance-config.ts'
import { providers } from '../core/llm/providers/table.ts'
import { errandOf, Sidecar } from '../core/llm/sidecar.ts'
import { simpleRequest } from '../core/llm/simple-request.ts'
import { endpointUrl, openTarget } from '../core/llm/target.ts'
import { parsed } from '../core/llm/whole-body.ts'
import { plugin } from '../core/plugin.ts'
import { type Reply, reply } from '../core/reply.ts'
import { isReference } from '../core/schema.ts'

const { header, query } = instanceProperties.auth.properties

export default plugin({
  name: 'ai-request-rewrite',
  priority: 1073,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      prompt: { type: 'string' },
      provider: instanceProperties.provider,
      auth: { type: 'object', properties: { header, query }, additionalProperties: false },
      options: instanceProperties.options,
      timeout: { type: 'integer', minimum: 1, maximum: 60_000, default: 30_000 },
      keepalive: { type: 'boolean', default: true },
      keepalive_timeout: { type: 'integer', minimum: 1000, default: 60_000 },
      keepalive_pool: { type: 'integer', minimum: 1, default: 30 },
      ssl_verify: { type: 'boolean', default: true },
      override: { type: 'object', properties: { endpoint: { type: 'string' } } },
      max_req_body_size: { type: 'integer', minimum: 1, default: 67_108_864 },
    },
    required: ['prompt', 'provider', 'auth'],
  },
  // APISIX keeps them in clear.
  encrypt: ['auth.header', 'auth.query'],
  check({ provider, override, auth }) {
    const endpoint = override?.endpoint
    if (endpoint === undefined && provider === 'openai-compatible')
      return 'override.endpoint is required for openai-compatible provider'
    if (endpoint !== undefined && !isReference(endpoint) && endpointUrl(endpoint) === undefined)
      return 'invalid override.endpoint'
    return headerProblem(auth.header)
  },
  setup(config, env) {
    const { log, owner } = env
    const provider = providers.get(config.provider)!
    const options = config.options ?? {}
    const target = openTarget({
      provider,
      instance: 'ai-request-rewrite',
      endpoint: config.override?.endpoint,
      // Strings by the schema: every name matches its pattern.
      headers: (config.auth.header ?? {}) as Record<string, string>,
      query: config.auth.query ?? {},
      options,
      maxTokens: undefined,
      requestBody: {},
      force: false,
      verify: config.ssl_verify,
      keepAlive: false,
    })
    const sidecar = new Sidecar('ai-request-rewrite', env, {
      timeoutMs: config.timeout,
      verify: config.ssl_verify,
      keepAlive: config.keepalive && { size: config.keepalive_pool, idleMs: config.keepalive_timeout, requests: 0 },
    })
    const questionTo = (user: string) => simpleRequest(provider, { system: config.prompt, user, options })
    const { protocol, body } = questionTo('')
    if (errandOf(target, protocol, body) === undefined) {
      const what = `override.endpoint must say where provider ${provider.name} is, with its path`
      log.warn({ plugin: 'ai-request-rewrite', owner }, `every request will fail: ${what}`)
    }

    function refused(ctx: Context, status: number, why: string): Reply {
      log.error({ route: ctx.route?.id, request_id: ctx.id }, why)
      return reply(status)
    }

    return {
      async access(ctx) {
        let original: Buffer
        try {
          original = await ctx.body.bytes(config.max_req_body_size)
        } catch (error) {
          if (!(error instanceof GatewayError) || error.code !== 'body_too_large') throw error
          return refused(ctx, 400, `failed to get request body: ${error.message}`)
        }
        if (original.length === 0) return refused(ctx, 400, 'missing request body')
        const question = questionTo(original.toString('utf8'))
        const errand = errandOf(target, protocol, question.body)
        if (errand === undefined) return refused(ctx, 500, 'failed to request LLM: it is not said where it is')
        try {
          const answer = await sidecar.ask(ctx, errand)
          if (answer.status !== 200) return refused(ctx, 500, `LLM service returned error status: ${answer.status}`)
          const json = parsed(answer.body)
          const text = json === undefined ? undefined : protocol.answerFacts(json).text
          if (text) {
            ctx.body.replace(Buffer.from(text))
            return undefined
          }
          sidecar.failed('malformed')
          const why = json === undefined ? 'failed to decode LLM response' : 'failed to extract text from LLM response'
          return refused(ctx, 500, why)
        } catch (error) {
          if (!(error instanceof UpstreamError)) throw error
          return refused(ctx, 500, `failed to request LLM: ${error.message}`)
        }
      },
    }
  },
})
