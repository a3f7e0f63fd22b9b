// The config of ai-proxy-multi (facts ai-plugins 7.1): the schema, and what it cannot say.
import { callProperties } from '../../core/llm/call-config.ts'
import {
  accountProblem,
  headerProblem,
  type InstanceConfig,
  instanceProperties,
  instanceSecrets,
  providerProblem,
} from '../../core/llm/instance-config.ts'
import { endpointUrl } from '../../core/llm/target.ts'
import type { Infer, Schema } from '../../core/plugin.ts'
import { hashKeyProblem } from '../../core/proxy/balancer/hash-key.ts'
import type { WrittenChecks } from '../../core/proxy/health/checks.ts'
import { activeChecksSchema, checksProblem } from '../../core/resource/upstream-checks.ts'
import { isReference } from '../../core/schema.ts'

const similarity = { type: 'number', minimum: -1, maximum: 1 } as const
const strings = { type: 'object', additionalProperties: { type: 'string' } } as const

export const schema = {
  type: 'object',
  properties: {
    ...callProperties,
    instances: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        properties: {
          ...instanceProperties,
          name: { type: 'string', minLength: 1, maxLength: 100 },
          weight: { type: 'integer', minimum: 0 },
          priority: { type: 'integer', default: 0 },
          examples: { type: 'array', minItems: 1, maxItems: 64, items: { type: 'string', minLength: 1 } },
          threshold: similarity,
          checks: { type: 'object', properties: { active: activeChecksSchema }, required: ['active'] },
        },
        required: ['name', 'provider', 'auth', 'weight'],
      },
    },
    balancer: {
      type: 'object',
      properties: {
        algorithm: { type: 'string', enum: ['chash', 'roundrobin', 'semantic'] },
        hash_on: {
          type: 'string',
          enum: ['vars', 'header', 'cookie', 'consumer', 'vars_combinations'],
          default: 'vars',
        },
        key: { type: 'string' },
      },
      default: { algorithm: 'roundrobin' },
    },
    semantic_opts: {
      type: 'object',
      properties: {
        embeddings: {
          type: 'object',
          properties: {
            provider: { type: 'string', enum: ['openai', 'azure-openai'] },
            model: { type: 'string', minLength: 1 },
            endpoint: { type: 'string' },
            auth: { type: 'object', properties: { header: strings, query: strings }, additionalProperties: false },
            timeout: { type: 'integer', minimum: 1, default: 3000 },
            ssl_verify: { type: 'boolean', default: true },
          },
          required: ['provider', 'model', 'auth'],
        },
        threshold: { ...similarity, default: 0 },
        fallback: { type: 'string', minLength: 1 },
        debugging: { type: 'boolean', default: false },
      },
      required: ['embeddings'],
    },
    fallback_strategy: {
      anyOf: [
        { type: 'string', enum: ['instance_health_and_rate_limiting', 'http_429', 'http_5xx'] },
        { type: 'array', items: { type: 'string', enum: ['rate_limiting', 'http_429', 'http_5xx'] } },
      ],
    },
    fallback_http_statuses: {
      type: 'array',
      minItems: 1,
      uniqueItems: true,
      items: { type: 'integer', minimum: 400, maximum: 599 },
    },
    max_retries: { type: 'integer', minimum: 0 },
    retry_on_failure_within_ms: { type: 'integer', minimum: 1 },
    // Ours: how long a request may wait for an instance while all of them have asked not to be asked.
    wait_for_capacity_ms: { type: 'integer', minimum: 0, maximum: 600_000, default: 0 },
  },
  required: ['instances'],
} as const satisfies Schema

export type Config = Infer<typeof schema>
type Embeddings = NonNullable<Config['semantic_opts']>['embeddings']

export const secrets = [
  ...instanceSecrets.map(path => `instances.${path}`),
  'semantic_opts.embeddings.auth.header',
  'semantic_opts.embeddings.auth.query',
]

/** In APISIX's words and order. */
export function problem(config: Config): string | undefined {
  return instancesProblem(config) ?? balancerProblem(config) ?? semanticProblem(config)
}

// As APISIX looks at it; what is no URL all the same is found when the instance is opened.
const ENDPOINT = /^(https?):\/\/([^:/]+):?(\d*)\/?.*$/

function instancesProblem({ instances }: Config): string | undefined {
  const seen = new Map<string, number>()
  for (const [at, instance] of instances.entries()) {
    const { name, override, checks } = instance
    const first = seen.get(name)
    if (first !== undefined) return `duplicate instance name '${name}' at instances[${first}] and instances[${at + 1}]`
    seen.set(name, at + 1)
    if (override?.endpoint !== undefined && !ENDPOINT.test(override.endpoint)) return 'invalid endpoint'
    const account = accountProblem(instance as InstanceConfig)
    if (account !== undefined) return account
    const wrong = providerProblem(instance as InstanceConfig)
    if (wrong !== undefined) return `instance '${name}': ${wrong}`
    const unfit = checksProblem(checks as WrittenChecks | undefined)
    if (unfit !== undefined) return `instance '${name}': ${unfit}`
    if (Object.hasOwn(checks ?? {}, 'passive')) return `instance '${name}': checks are active, not passive`
  }
  return undefined
}

function balancerProblem({ balancer: { algorithm, hash_on: hashOn, key } }: Config): string | undefined {
  if (algorithm !== 'chash' || hashOn === 'consumer') return undefined
  if (key === undefined) return 'must configure `hash_key` when balancer `hash_on` is not set to cookie'
  const unfit = hashKeyProblem(hashOn ?? 'vars', key)
  return unfit && `invalid configuration: ${unfit}`
}

function semanticProblem({ balancer, instances, semantic_opts: options }: Config): string | undefined {
  if (balancer.algorithm !== 'semantic') return undefined
  if (options === undefined) return 'must configure `semantic_opts.embeddings` when balancer algorithm is semantic'
  const { embeddings, fallback } = options
  const wrong = embeddingsProblem(embeddings)
  if (wrong !== undefined) return wrong
  const idle = instances.find(({ examples }) => examples === undefined)
  if (idle !== undefined)
    return `instance '${idle.name}': must configure non-empty \`examples\` for the semantic algorithm`
  const isKnown = fallback === undefined || instances.some(({ name }) => name === fallback)
  return isKnown ? undefined : `\`semantic_opts.fallback\` names unknown instance '${fallback}'`
}

function embeddingsProblem({ provider, endpoint, auth }: Embeddings): string | undefined {
  const name = '`semantic_opts.embeddings.endpoint`'
  const isAzure = provider === 'azure-openai'
  if (endpoint === undefined && isAzure) return `must configure ${name} when embeddings provider is azure-openai`
  if (endpoint !== undefined && !isReference(endpoint)) {
    const url = ENDPOINT.test(endpoint) ? endpointUrl(endpoint) : undefined
    if (url === undefined) return `invalid ${name}`
    if (isAzure && url.pathname === '/')
      return `${name} for azure-openai must include the full deployment path, e.g. https://{resource}.openai.azure.com/openai/deployments/{deployment}/embeddings?api-version=...`
  }
  return headerProblem(auth.header)
}
