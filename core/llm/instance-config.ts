// How an operator writes down a provider to be asked (facts ai-plugins 6.1): the schema, what it cannot say, and the target.
import type { Infer, Schema } from '../json-schema.ts'
import { isReference } from '../schema.ts'
import type { Auth } from './auth/auth.ts'
import { awsAuth } from './auth/aws.ts'
import { type GcpTokens, gcpAuth } from './auth/gcp-tokens.ts'
import { serviceAccountProblem } from './auth/service-account.ts'
import type { CallConfig } from './call-config.ts'
import { providers } from './providers/table.ts'
import { openTarget, type Target } from './target.ts'

const patch = { type: 'object' } as const

export const instanceProperties = {
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
  options: { type: 'object', properties: { model: { type: 'string' } }, additionalProperties: true },
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
} as const satisfies Record<string, Schema>

export type InstanceConfig = Infer<{
  readonly type: 'object'
  readonly properties: typeof instanceProperties
  readonly required: readonly ['provider', 'auth']
}>

/** Where secrets stand in it. */
export const instanceSecrets = [
  'auth.header',
  'auth.query',
  'auth.gcp.service_account_json',
  'auth.aws.secret_access_key',
  'auth.aws.session_token',
] as const

/** What is wrong with a service account that stands in the config, in APISIX's words. */
export function accountProblem({ auth }: InstanceConfig): string | undefined {
  const account = auth.gcp?.service_account_json
  const wrong = account === undefined || isReference(account) ? undefined : serviceAccountProblem(account)
  return wrong && `invalid gcp service_account_json: ${wrong}`
}

/** What else a provider's place and proof need, in APISIX's words. */
export function providerProblem({ provider, auth, provider_conf: conf, override }: InstanceConfig): string | undefined {
  if (provider === 'vertex-ai' && !(conf?.project_id && conf.region) && override?.endpoint === undefined) {
    return 'vertex-ai requires either provider_conf (project_id + region) or override.endpoint'
  }
  if (provider === 'bedrock' && conf?.region === undefined) return 'bedrock requires provider_conf.region'
  if (provider === 'bedrock' && auth.aws === undefined) return 'bedrock requires auth.aws'
  if (provider !== 'bedrock' && auth.aws !== undefined) return `auth.aws is for bedrock, not for ${provider}`
  return headerProblem(auth.header)
}

/** Of the fields that prove who asks. */
export function headerProblem(header: Readonly<Record<string, unknown>> = {}): string | undefined {
  for (const [name, value] of Object.entries(header)) {
    if (!isFieldValue(value as string)) return `auth.header.${name} has characters that no header field can carry`
  }
  return undefined
}

/** What instances are opened with. */
export interface InstanceEnv {
  now(): number
  readonly gcpTokens: GcpTokens
}

/** `name` is what labels and logs call it. */
export function openInstance(name: string, config: InstanceConfig, call: CallConfig, env: InstanceEnv): Target {
  return openTarget({
    provider: providers.get(config.provider)!,
    instance: name,
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
    verify: call.ssl_verify,
    keepAlive: call.keepalive && {
      size: call.keepalive_pool,
      idleMs: call.keepalive_timeout,
      // Nothing limits them (facts ai-plugins 5), and each new one to a provider is a TLS handshake.
      requests: 0,
    },
    safeHeaders: call.forward_headers === 'safe',
  })
}

function authOf({ auth: { aws, gcp }, provider_conf }: InstanceConfig, env: InstanceEnv): Auth | undefined {
  if (aws !== undefined) {
    const { access_key_id, secret_access_key, session_token, endpoint_prefix: service = 'bedrock' } = aws
    return awsAuth(
      { accessKeyId: access_key_id, secretAccessKey: secret_access_key, sessionToken: session_token },
      // `providerProblem` asks for it.
      { region: provider_conf!.region!, service },
      env.now,
    )
  }
  if (gcp === undefined) return undefined
  const { service_account_json: account, max_ttl, expire_early_secs } = gcp
  const maxMs = max_ttl === undefined ? Number.POSITIVE_INFINITY : max_ttl * 1000
  return gcpAuth(env.gcpTokens, account, { earlyMs: expire_early_secs * 1000, maxMs })
}

/** RFC 9110 5.5, with the obsolete bytes above ASCII that clients send too. */
function isFieldValue(value: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(value)
}
