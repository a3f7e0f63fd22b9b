// ai-proxy: the request is a call to an LLM, and one provider will answer it (facts ai-plugins 6); knows how to ask nobody.
import type { Context } from '../core/context.ts'
import { GatewayError } from '../core/errors.ts'
import { activeConnectionLabels, activeConnections } from '../core/llm/active-connections.ts'
import type { Auth } from '../core/llm/auth/auth.ts'
import { awsAuth } from '../core/llm/auth/aws.ts'
import { gcpAuth } from '../core/llm/auth/gcp-tokens.ts'
import { serviceAccountProblem } from '../core/llm/auth/service-account.ts'
import { type CallLimits, llmCall } from '../core/llm/call.ts'
import { exchange, openExchange } from '../core/llm/exchange.ts'
import type { JsonObject } from '../core/llm/json.ts'
import { detectProtocol, protocolNamed } from '../core/llm/protocols/detect.ts'
import { providers } from '../core/llm/providers/table.ts'
import { openTarget } from '../core/llm/target.ts'
import { type Env, type Infer, plugin, type Schema } from '../core/plugin.ts'
import { type Reply, reply } from '../core/reply.ts'
import { isReference } from '../core/schema.ts'

const patch = { type: 'object' } as const
const milliseconds = { type: 'integer', minimum: 0 } as const

const schema = {
  type: 'object',
  properties: {
    provider: {
      enum: [...providers.keys()],
    },
    provider_conf: {
      type: 'object',
      properties: { project_id: { type: 'string' }, region: { type: 'string', minLength: 1 } },
    },
    auth: {
      type: 'object',
      properties: {
        header: {
          type: 'object',
          patternProperties: { '^[a-zA-Z0-9._-]+$': { type: 'string' } },
          additionalProperties: false,
        },
        query: { type: 'object', additionalProperties: { type: 'string' } },
        gcp: {
          type: 'object',
          properties: {
            service_account_json: { type: 'string' },
            max_ttl: { type: 'integer', minimum: 1 },
            expire_early_secs: { type: 'integer', minimum: 0, default: 60 },
          },
        },
        aws: {
          type: 'object',
          properties: {
            access_key_id: { type: 'string', minLength: 1 },
            secret_access_key: { type: 'string', minLength: 1 },
            session_token: { type: 'string', minLength: 1 },
            endpoint_prefix: { type: 'string', minLength: 1 },
          },
          required: ['access_key_id', 'secret_access_key'],
        },
      },
      additionalProperties: false,
    },
    options: { type: 'object', properties: { model: { type: 'string' } } },
    override: {
      type: 'object',
      properties: {
        endpoint: { type: 'string', minLength: 1 },
        llm_options: {
          type: 'object',
          properties: { max_tokens: { type: 'integer', minimum: 1 } },
          additionalProperties: false,
        },
        request_body: {
          type: 'object',
          properties: {
            'openai-chat': patch,
            'openai-responses': patch,
            'openai-embeddings': patch,
            'anthropic-messages': patch,
            'bedrock-converse': patch,
            passthrough: patch,
          },
          additionalProperties: false,
        },
        request_body_force_override: { type: 'boolean', default: false },
      },
    },
    logging: {
      type: 'object',
      properties: {
        summaries: { type: 'boolean', default: false },
        payloads: { type: 'boolean', default: false },
      },
    },
    timeout: { type: 'integer', minimum: 1, maximum: 600_000, default: 30_000 },
    // Ours: each clock by itself, in milliseconds, 0 for none. What is not said is `timeout`; for `first_content` ten minutes,
    // for `total` no limit.
    timeouts: {
      type: 'object',
      properties: {
        connect: milliseconds,
        headers: milliseconds,
        first_content: milliseconds,
        idle: milliseconds,
        total: milliseconds,
      },
      additionalProperties: false,
    },
    max_req_body_size: { type: 'integer', minimum: 1, default: 67_108_864 },
    max_stream_duration_ms: { type: 'integer', minimum: 1 },
    max_response_bytes: { type: 'integer', minimum: 1 },
    keepalive: { type: 'boolean', default: true },
    keepalive_timeout: { type: 'integer', minimum: 1000, default: 60_000 },
    keepalive_pool: { type: 'integer', minimum: 1, default: 30 },
    streaming_flush_interval_ms: { type: 'integer', minimum: 0, default: 10 },
    ssl_verify: { type: 'boolean', default: true },
    // Ours: `safe` sends a provider nothing of a client by which it could be known.
    forward_headers: { enum: ['all', 'safe'], default: 'all' },
  },
  required: ['provider', 'auth'],
} as const satisfies Schema

type Config = Infer<typeof schema>

export default plugin({
  name: 'ai-proxy',
  priority: 1040,
  version: 0.5,
  schema,
  encrypt: [
    'auth.header',
    'auth.query',
    'auth.gcp.service_account_json',
    'auth.aws.secret_access_key',
    'auth.aws.session_token',
  ],
  // Every event is flushed as it comes.
  inert: ['streaming_flush_interval_ms'],
  check(config) {
    const { provider, auth, provider_conf: conf, override } = config
    const account = auth.gcp?.service_account_json
    const wrong = account === undefined || isReference(account) ? undefined : serviceAccountProblem(account)
    if (wrong !== undefined) return `invalid gcp service_account_json: ${wrong}`
    if (provider === 'vertex-ai' && !(conf?.project_id && conf.region) && override?.endpoint === undefined) {
      return 'vertex-ai requires either provider_conf (project_id + region) or override.endpoint'
    }
    if (provider === 'bedrock' && conf?.region === undefined) return 'bedrock requires provider_conf.region'
    if (provider === 'bedrock' && auth.aws === undefined) return 'bedrock requires auth.aws'
    if (provider !== 'bedrock' && auth.aws !== undefined) return `auth.aws is for bedrock, not for ${provider}`
    for (const [name, value] of Object.entries(auth.header ?? {})) {
      if (!isFieldValue(value as string)) return `auth.header.${name} has characters that no header field can carry`
    }
    return undefined
  },
  setup(config, env) {
    const target = openTarget({
      provider: providers.get(config.provider)!,
      instance: `ai-proxy-${config.provider}`,
      endpoint: config.override?.endpoint,
      // Strings by the schema: every name matches its pattern.
      headers: (config.auth.header ?? {}) as Record<string, string>,
      query: config.auth.query ?? {},
      conf: config.provider_conf ?? {},
      auth: authOf(config, env),
      options: config.options ?? {},
      maxTokens: config.override?.llm_options?.max_tokens,
      requestBody: config.override?.request_body ?? {},
      force: config.override?.request_body_force_override ?? false,
      verify: config.ssl_verify,
      keepAlive: config.keepalive && {
        size: config.keepalive_pool,
        idleMs: config.keepalive_timeout,
        requests: REQUESTS_PER_CONNECTION,
      },
      safeHeaders: config.forward_headers === 'safe',
    })
    if (target.place === undefined) {
      env.log.warn(
        { plugin: 'ai-proxy', owner: env.owner },
        `every request will fail: override.endpoint must say where provider ${config.provider} is, with http:// or https://`,
      )
    }
    const cut = env.metrics.counter('sluice_llm_cut_total', 'Attempts at an LLM that did not come to their end', [
      'route_id',
      'node',
      'reason',
    ])
    const { name, help, labels } = activeConnections
    const active = env.metrics.liveGauge(name, help, labels)
    const call = llmCall(target, callLimits(config), {
      transport: env.transport,
      enter: (ctx, current) => active.enter(activeConnectionLabels(ctx, current, env.metrics)),
      cut: (ctx, { instance }, reason) => cut.add([ctx.route?.id ?? '', instance, reason]),
    })
    const logging = { summaries: config.logging?.summaries ?? false, payloads: config.logging?.payloads ?? false }

    return {
      async access(ctx) {
        const type = ctx.request.headers.get('content-type') ?? 'application/json'
        if (!type.startsWith('application/json'))
          return reply(400, `unsupported content-type: ${type}, only application/json is supported`)
        const read = await readJson(ctx, config.max_req_body_size)
        if ('refusal' in read) {
          if (read.refusal.status === 413)
            env.log.error({ route: ctx.route?.id, request_id: ctx.id }, 'failed to read request body')
          return read.refusal
        }
        const protocol = detectProtocol(read.json, ctx.request.path)
        if (protocol === undefined) return reply(400, 'no matching AI protocol for the request')
        // A protocol was found: it is an object or an array, or nothing at all.
        const body = (read.json ?? {}) as JsonObject
        const { path } = ctx.request
        const spoken = protocolNamed(protocol)
        const streaming = spoken?.isStreaming(body, path) ?? body.stream === true
        exchange.set(
          ctx,
          openExchange({
            protocol,
            requestType: streaming ? 'ai_stream' : 'ai_chat',
            requestModel: body.model ?? spoken?.pathModel?.(path),
            instance: target.instance,
            logging,
          }),
        )
        ctx.upstream = call
        return undefined
      },
      close: env.metrics.configured('llm_model', config.options?.model ?? ''),
    }
  },
})

/** The parsed body, or what APISIX answers when there is none (facts ai-plugins 1.3, 6.2). */
async function readJson(ctx: Context, max: number): Promise<{ json: unknown } | { refusal: Reply }> {
  try {
    const bytes = await ctx.body.bytes(max)
    if (bytes.length === 0 && asksForModels(ctx)) return { json: undefined }
    if (bytes.length === 0) return { refusal: reply(400, { message: 'could not get body: request body is empty' }) }
    return { json: await ctx.body.json(max) }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    if (error.code === 'body_too_large')
      return { refusal: reply(413, { message: `could not get body: ${error.message}` }) }
    if (error.code === 'body_not_json')
      return { refusal: reply(400, { message: `could not parse JSON request body: ${error.message}` }) }
    throw error
  }
}

// As many as upstreams get by default (nginx_config.http.upstream.keepalive_requests).
const REQUESTS_PER_CONNECTION = 1_000

function authOf({ auth: { aws, gcp }, provider_conf }: Config, env: Env): Auth | undefined {
  if (aws !== undefined) {
    const { access_key_id, secret_access_key, session_token, endpoint_prefix: service = 'bedrock' } = aws
    return awsAuth(
      { accessKeyId: access_key_id, secretAccessKey: secret_access_key, sessionToken: session_token },
      // `check` asks for it.
      { region: provider_conf!.region!, service },
      env.now,
    )
  }
  if (gcp === undefined) return undefined
  const { service_account_json: account, max_ttl, expire_early_secs } = gcp
  const maxMs = max_ttl === undefined ? Number.POSITIVE_INFINITY : max_ttl * 1000
  return gcpAuth(env.gcpTokens, account, { earlyMs: expire_early_secs * 1000, maxMs })
}

/** Only looks: the same path deletes a model, with the operator's key. */
function asksForModels({ request: { method, path } }: Context): boolean {
  return (method === 'GET' || method === 'HEAD') && detectProtocol(undefined, path) !== undefined
}

/** As long as `timeout` may be at most. */
const FIRST_CONTENT_MS = 600_000

function callLimits({ timeout, timeouts, max_stream_duration_ms, max_response_bytes }: Config): CallLimits {
  return {
    clocks: {
      connect: timeouts?.connect ?? timeout,
      send: timeouts?.headers ?? timeout,
      headers: timeouts?.headers ?? timeout,
      // A model may think for long while it pings; what sends nothing at all is ended by `idle`.
      firstContent: timeouts?.first_content ?? FIRST_CONTENT_MS,
      idle: timeouts?.idle ?? timeout,
      total: timeouts?.total ?? 0,
    },
    maxStreamMs: max_stream_duration_ms ?? 0,
    maxResponseBytes: max_response_bytes,
  }
}

/** RFC 9110 5.5, with the obsolete bytes above ASCII that clients send too. */
function isFieldValue(value: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(value)
}
