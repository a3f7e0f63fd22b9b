// How a plugin's config says where its limits are counted (facts core 8.3.0): attributes, their check, and the ledger they name.
// biome-ignore-all lint/suspicious/noThenProperty: a keyword of JSON Schema

import type { Ledger } from '../ledger/ledger.ts'
import type { RedisServers, WhenAway } from '../ledger/ledgers.ts'
import type { Env, Schema } from '../plugin.ts'

export type Policy = 'local' | 'redis' | 'redis-cluster' | 'redis-sentinel'

const count = { type: 'integer', minimum: 1 } as const
const text = { type: 'string', minLength: 1 } as const

// Ours: what is answered while Redis is away, and after how many milliseconds without an answer it is.
const away = {
  redis_away: { type: 'string', enum: ['refuse', 'allow', 'local_share'] },
  redis_share: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
  redis_answer_ms: { type: 'integer', minimum: 1, default: 50 },
} as const

const single = {
  properties: {
    redis_host: { type: 'string', minLength: 2 },
    redis_port: { ...count, default: 6379 },
    redis_username: text,
    redis_password: { type: 'string' },
    redis_database: { type: 'integer', minimum: 0, default: 0 },
    redis_timeout: { ...count, default: 1000 },
    redis_ssl: { type: 'boolean', default: false },
    redis_ssl_verify: { type: 'boolean', default: false },
    redis_keepalive_timeout: { type: 'integer', minimum: 1000, default: 10_000 },
    redis_keepalive_pool: { ...count, default: 100 },
    ...away,
  },
  required: ['redis_host'],
} as const satisfies Schema

const cluster = {
  properties: {
    redis_cluster_nodes: { type: 'array', minItems: 1, items: { type: 'string', minLength: 2, maxLength: 100 } },
    redis_cluster_name: { type: 'string' },
    redis_password: { type: 'string' },
    redis_timeout: { ...count, default: 1000 },
    redis_cluster_ssl: { type: 'boolean', default: false },
    redis_cluster_ssl_verify: { type: 'boolean', default: false },
    redis_keepalive_timeout: { type: 'integer', minimum: 1000, default: 10_000 },
    redis_keepalive_pool: { ...count, default: 100 },
    ...away,
  },
  required: ['redis_cluster_nodes', 'redis_cluster_name'],
} as const satisfies Schema

const sentinel = {
  properties: {
    redis_sentinels: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        properties: {
          host: { type: 'string', minLength: 2 },
          port: { type: 'integer', minimum: 1, maximum: 65_535 },
        },
        required: ['host', 'port'],
        additionalProperties: false,
      },
    },
    redis_master_name: text,
    redis_role: { type: 'string', enum: ['master', 'slave'], default: 'master' },
    redis_username: text,
    redis_password: { type: 'string' },
    redis_database: { type: 'integer', minimum: 0, default: 0 },
    redis_connect_timeout: { ...count, default: 1000 },
    redis_read_timeout: { ...count, default: 1000 },
    redis_keepalive_timeout: { ...count, default: 60_000 },
    sentinel_username: text,
    sentinel_password: { type: 'string' },
    ...away,
  },
  required: ['redis_sentinels', 'redis_master_name'],
} as const satisfies Schema

const is = (policy: Policy): Schema => ({ properties: { policy: { const: policy } } })

/** To be spread into a schema whose `policy` may be all four. */
export const redisAttributes = {
  if: is('redis'),
  then: single,
  else: { if: is('redis-cluster'), then: cluster, else: { if: is('redis-sentinel'), then: sentinel } },
} as const

export const redisSecrets = ['redis_password', 'sentinel_password'] as const
/** Connections are kept and shared as ioredis does it. */
export const redisInert = ['redis_keepalive_timeout', 'redis_keepalive_pool'] as const

/** What a config that fits the schema above may have; what belongs to its policy is filled in. */
interface BackingConfig {
  policy: string
  allow_degradation: boolean
  redis_host: string
  redis_port: number
  redis_username?: string
  redis_password?: string
  redis_database: number
  redis_timeout: number
  redis_ssl: boolean
  redis_ssl_verify: boolean
  redis_cluster_nodes: string[]
  redis_cluster_name: string
  redis_cluster_ssl: boolean
  redis_cluster_ssl_verify: boolean
  redis_sentinels: { host: string; port: number }[]
  redis_master_name: string
  redis_role: string
  redis_connect_timeout: number
  redis_read_timeout: number
  sentinel_username?: string
  sentinel_password?: string
  redis_away?: WhenAway['answer']
  redis_share?: number
  redis_answer_ms: number
}

type Given = Pick<BackingConfig, 'policy' | 'allow_degradation'>

/** What the schema cannot say of where limits are counted. */
export function backingProblem(given: Given): string | undefined {
  if (given.policy === 'local') return undefined
  const config = given as BackingConfig
  if (config.redis_role === 'slave') return 'redis_role slave is not supported: limits are written'
  if (config.redis_away === 'local_share' && config.redis_share === undefined)
    return 'redis_share is required when redis_away is local_share'
  const bad = config.policy === 'redis-cluster' && config.redis_cluster_nodes.find(node => nodeOf(node) === undefined)
  return typeof bad === 'string' ? `redis_cluster_nodes: ${bad} is not host:port` : undefined
}

/** The ledger that the config names, and what to do when the config is gone. `config` has passed `backingProblem`. */
export function openBacking(
  config: Given,
  { ledger }: Pick<Env, 'ledger'>,
): { ledger: Ledger; servers?: RedisServers; close?: () => Promise<void> } {
  const servers = serversOf(config)
  if (servers === undefined) return { ledger: ledger.own }
  return { ...ledger.redis(servers, whenAway(config as BackingConfig)), servers }
}

function whenAway({ redis_away, redis_share, allow_degradation }: BackingConfig): WhenAway {
  const answer = redis_away ?? (allow_degradation ? 'allow' : 'refuse')
  return answer === 'local_share' ? { answer, share: redis_share! } : { answer }
}

/** Those that a config names which has passed `backingProblem`; undefined without any. */
export function serversOf(given: Given): RedisServers | undefined {
  if (given.policy === 'local') return undefined
  const config = given as BackingConfig
  const isCluster = config.policy === 'redis-cluster'
  const usesTls = isCluster ? config.redis_cluster_ssl : config.redis_ssl === true
  const verify = isCluster ? config.redis_cluster_ssl_verify : config.redis_ssl_verify
  const readMs = config.redis_read_timeout ?? config.redis_timeout
  return {
    at: placeOf(config),
    username: isCluster ? undefined : config.redis_username,
    password: config.redis_password,
    database: isCluster ? 0 : config.redis_database,
    tls: usesTls ? { verify } : undefined,
    connectMs: config.redis_connect_timeout ?? config.redis_timeout,
    answerMs: Math.min(readMs, config.redis_answer_ms),
  }
}

function placeOf(config: BackingConfig): RedisServers['at'] {
  switch (config.policy) {
    case 'redis-cluster':
      return {
        kind: 'cluster',
        name: config.redis_cluster_name,
        nodes: config.redis_cluster_nodes.map(node => nodeOf(node)!),
      }
    case 'redis-sentinel':
      return {
        kind: 'sentinel',
        master: config.redis_master_name,
        sentinels: config.redis_sentinels,
        username: config.sentinel_username,
        password: config.sentinel_password,
      }
    default:
      return { kind: 'single', host: config.redis_host, port: config.redis_port }
  }
}

function nodeOf(text: string): { host: string; port: number } | undefined {
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(text) ?? []
  return host === undefined ? undefined : { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) }
}
