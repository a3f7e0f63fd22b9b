// Upstreams (facts core 3.3), of their own or embedded in a route or service: schema, type, and what a schema cannot say.
import { isIPv6 } from 'node:net'
import type { Schema } from '../plugin.ts'
import { type BalancerType, balancerTypes } from '../proxy/balancer/balancing.ts'
import type { HashOn } from '../proxy/balancer/chash.ts'
import { hashKeyProblem } from '../proxy/balancer/hash-key.ts'
import type { WrittenChecks } from '../proxy/health/checks.ts'
import { isObject } from '../schema.ts'
import { type Described, described, host, id, type Timeout, timeout } from './attributes.ts'
import { pairProblem } from './certificate.ts'
import type { Definition } from './definition.ts'
import { notServed, unserved } from './unserved.ts'
import { checksProblem, checksSchema } from './upstream-checks.ts'

export interface UpstreamNode {
  /** A name or an IP; IPv6 without brackets. */
  host: string
  port: number
  weight: number
  /** Higher is tried first. */
  priority: number
}

/** An upstream as the data plane uses it: defaults filled, nodes as a list. Times are seconds. */
export interface Upstream extends Described {
  /** Absent where a service is discovered. */
  nodes?: UpstreamNode[]
  /** Discovered by DNS. */
  service_name?: string
  type: BalancerType
  hash_on: HashOn
  /** There when type is `chash` and hash_on is not `consumer`. */
  key?: string
  scheme: 'http' | 'https'
  pass_host: 'pass' | 'node' | 'rewrite'
  /** There when pass_host is `rewrite`. */
  upstream_host?: string
  /** Absent: one less than there are nodes. */
  retries?: number
  /** Absent or 0: no limit. */
  retry_timeout?: number
  timeout?: Timeout
  keepalive_pool?: { size: number; idle_timeout: number; requests: number }
  tls?: {
    client_cert?: string
    client_key?: string
    /** In the place of the two. */
    client_cert_id?: string | number
    verify: boolean
  }
  checks?: WrittenChecks
}

const weight = { type: 'integer', minimum: 0 } as const

const nodesSchema = {
  anyOf: [
    { type: 'object', additionalProperties: weight },
    {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          host,
          port: { type: 'integer', minimum: 1, maximum: 65535 },
          weight,
          priority: { type: 'integer', default: 0 },
          metadata: { type: 'object' },
        },
        required: ['host', 'weight'],
      },
    },
  ],
} as const satisfies Schema

const tlsSchema = {
  type: 'object',
  properties: {
    client_cert: { type: 'string', minLength: 128, maxLength: 65536 },
    client_key: { type: 'string', minLength: 64, maxLength: 65536 },
    client_cert_id: id,
    verify: { type: 'boolean', default: false },
  },
  dependencies: {
    client_cert: { required: ['client_key'], not: { required: ['client_cert_id'] } },
    client_key: { required: ['client_cert'], not: { required: ['client_cert_id'] } },
    client_cert_id: { not: { anyOf: [{ required: ['client_cert'] }, { required: ['client_key'] }] } },
  },
} as const satisfies Schema

export const upstreamSchema = {
  type: 'object',
  properties: {
    ...described,
    nodes: nodesSchema,
    service_name: { type: 'string', minLength: 1, maxLength: 256 },
    discovery_type: { type: 'string' },
    discovery_args: {
      type: 'object',
      properties: { namespace_id: { type: 'string' }, group_name: { type: 'string' } },
    },
    type: { type: 'string', default: 'roundrobin' },
    hash_on: {
      type: 'string',
      enum: ['vars', 'header', 'cookie', 'consumer', 'vars_combinations'],
      default: 'vars',
    },
    key: { type: 'string' },
    retries: { type: 'integer', minimum: 0 },
    retry_timeout: { type: 'number', minimum: 0 },
    timeout,
    keepalive_pool: {
      type: 'object',
      properties: {
        size: { type: 'integer', minimum: 1, default: 320 },
        idle_timeout: { type: 'number', minimum: 0, default: 60 },
        requests: { type: 'integer', minimum: 1, default: 1000 },
      },
    },
    scheme: {
      type: 'string',
      enum: ['http', 'https', 'grpc', 'grpcs', 'tcp', 'tls', 'udp', 'kafka'],
      default: 'http',
    },
    pass_host: { type: 'string', enum: ['pass', 'node', 'rewrite'], default: 'pass' },
    upstream_host: host,
    tls: tlsSchema,
    checks: checksSchema,
  },
  oneOf: [{ required: ['nodes'] }, { required: ['service_name', 'discovery_type'] }],
  additionalProperties: false,
} as const satisfies Schema

export const upstream: Definition = {
  schema: upstreamSchema,
  problem: upstreamProblem,
  unserved: value => upstreamUnserved(value, ''),
}

/** What is wrong with an upstream that fits its schema. */
export function upstreamProblem(upstream: Readonly<Record<string, unknown>>): string | undefined {
  if (upstream.pass_host === 'rewrite' && upstream.upstream_host === undefined) {
    return "`upstream_host` can't be empty when `pass_host` is `rewrite`"
  }
  const { nodes = [] } = upstream
  const addresses = Array.isArray(nodes) ? nodes.map(node => String(node.host)) : Object.keys(nodes as object)
  return (
    hashProblem(upstream) ??
    addresses.map(address => addressProblem(address)).find(problem => problem !== undefined) ??
    tlsProblem(upstream.tls as { client_cert?: string; client_key?: string } | undefined) ??
    checksProblem(upstream.checks as WrittenChecks | undefined)
  )
}

function hashProblem({ type, hash_on = 'vars', key }: Readonly<Record<string, unknown>>): string | undefined {
  if (type !== 'chash' || hash_on === 'consumer') return undefined
  if (key === undefined) return 'missing key'
  const unfit = hashKeyProblem(String(hash_on), key)
  return unfit && `type is chash, err: ${unfit}`
}

function tlsProblem({
  client_cert,
  client_key,
}: {
  client_cert?: string
  client_key?: string
} = {}): string | undefined {
  return client_cert === undefined || client_key === undefined ? undefined : pairProblem(client_cert, client_key)
}

/** What of an upstream this version does not serve. `at` is `upstream.` for an embedded one, else empty. */
export function upstreamUnserved(upstream: Readonly<Record<string, unknown>>, at: string): string | undefined {
  const { type = 'roundrobin', scheme = 'http', discovery_type: discovery = 'dns', nodes, service_name } = upstream
  const says = (name: string, value: unknown) => notServed(`${at}${name} ${JSON.stringify(value).slice(0, 256)}`)
  if (!balancerTypes.some(each => each === type)) return says('type', type)
  if (scheme !== 'http' && scheme !== 'https') return says('scheme', scheme)
  if (discovery !== 'dns') return says('discovery_type', discovery)
  if (nodes !== undefined) return unserved(upstream, ['discovery_type', 'service_name'], at)
  return SERVICE.test(String(service_name)) ? undefined : says('service_name', service_name)
}

/** What DNS can be asked for: a name, with a port or without. */
const SERVICE = /^[\w-]+(\.[\w-]+)*\.?(:\d{1,5})?$/

/** `[IPv6]` or a host, and a port if there is one. */
const addressForm = /^(?:\[(?<ip>[^\]]*)\]|(?<name>[^:[\]]+))(?::(?<port>\d+))?$/

function addressProblem(address: string): string | undefined {
  if (isIPv6(address)) return "IPv6 address must be enclosed with '[' and ']'"
  const { ip, name, port } = addressForm.exec(address)?.groups ?? {}
  if (ip === undefined ? name === undefined || !/^[\w.*-]+$/.test(name) : !isIPv6(ip)) {
    return `invalid node address ${address.slice(0, 256)}`
  }
  return port !== undefined && (Number(port) < 1 || Number(port) > 65535) ? `invalid port ${port}` : undefined
}

/** Makes `nodes` of a checked upstream, which must be ours to change, a list with every port. */
export function normaliseNodes(upstream: Record<string, unknown>): void {
  const { nodes } = upstream
  if (nodes === undefined) return
  const fallback = upstream.scheme === 'https' ? 443 : 80
  const list = Array.isArray(nodes)
    ? nodes
    : Object.entries(nodes as Record<string, number>).map(([host, weight]) => ({ host, weight, priority: 0 }))
  upstream.nodes = list.map(({ host, port, ...rest }) => {
    const address = addressForm.exec(host)?.groups ?? {}
    return { host: address.ip ?? address.name, port: port ?? Number(address.port ?? fallback), ...rest }
  })
}

/** Attributes that are accepted without effect. */
export function upstreamWarnings(upstream: unknown, at: string): string[] {
  if (!isObject(upstream)) return []
  const { scheme = 'http', tls, discovery_args } = upstream
  return [
    ...(tls !== undefined && scheme === 'http' ? [`${at}tls has no effect with scheme "http"`] : []),
    ...(discovery_args === undefined ? [] : [`${at}discovery_args has no effect`]),
  ]
}
