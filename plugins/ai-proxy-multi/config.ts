// The config of ai-proxy-multi (facts ai-plugins 7.1): the schema, and what it cannot say.
import { callProperties } from '../../core/llm/call-config.ts'
import {
  accountProblem,
  type InstanceConfig,
  instanceProperties,
  instanceSecrets,
  providerProblem,
} from '../../core/llm/instance-config.ts'
import type { Infer, Schema } from '../../core/plugin.ts'
import { hashKeyProblem } from '../../core/proxy/balancer/hash-key.ts'
import type { WrittenChecks } from '../../core/proxy/health/checks.ts'
import { activeChecksSchema, checksProblem } from '../../core/resource/upstream-checks.ts'

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

export const secrets = instanceSecrets.map(path => `instances.${path}`)

/** In APISIX's words and order, then ours. */
export function problem(config: Config): string | undefined {
  return instancesProblem(config) ?? balancerProblem(config) ?? unserved(config)
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

/** What APISIX has and we have not. */
function unserved(config: Config): string | undefined {
  const { balancer, instances } = config
  const notServed = (what: string) => `${what} is not served by this version of Sluice`
  if (balancer.algorithm === 'semantic') return notServed('balancer.algorithm "semantic"')
  if (Object.hasOwn(config, 'semantic_opts')) return notServed('semantic_opts')
  for (const instance of instances) {
    const found = ['examples', 'threshold'].find(name => Object.hasOwn(instance, name))
    if (found !== undefined) return notServed(`instance '${instance.name}': ${found}`)
  }
  return undefined
}
