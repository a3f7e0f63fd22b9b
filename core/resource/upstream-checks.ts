// An upstream's health checks (facts core 3.4): the schema, and what it cannot say.
import type { Schema } from '../plugin.ts'
import type { WrittenChecks } from '../proxy/health/checks.ts'
import { host, methods } from './attributes.ts'

const threshold = (fallback: number, minimum: 0 | 1) =>
  ({ type: 'integer', minimum, maximum: 254, default: fallback }) as const

const statuses = (fallback: readonly number[]) =>
  ({
    type: 'array',
    minItems: 1,
    uniqueItems: true,
    items: { type: 'integer', minimum: 200, maximum: 599 },
    default: fallback,
  }) as const

const type = { type: 'string', enum: ['http', 'https', 'tcp'], default: 'http' } as const
const interval = { type: 'integer', minimum: 1, default: 1 } as const

/** facts core 3.4, and of an instance of ai-proxy-multi facts ai-plugins 7.4.1, which are the same. */
export const activeChecksSchema = {
  type: 'object',
  properties: {
    type,
    timeout: { type: 'number', default: 1 },
    concurrency: { type: 'integer', default: 10 },
    host,
    port: { type: 'integer', minimum: 1, maximum: 65535 },
    http_method: { type: 'string', enum: methods, default: 'GET' },
    http_path: { type: 'string', default: '/' },
    http_req_body: { type: 'string', default: '' },
    https_verify_certificate: { type: 'boolean', default: true },
    req_headers: { type: 'array', minItems: 1, items: { type: 'string' } },
    healthy: {
      type: 'object',
      properties: { interval, http_statuses: statuses([200, 302]), successes: threshold(2, 1) },
    },
    unhealthy: {
      type: 'object',
      properties: {
        interval,
        http_statuses: statuses([429, 404, 500, 501, 502, 503, 504, 505]),
        http_failures: threshold(5, 1),
        tcp_failures: threshold(2, 1),
        timeouts: threshold(3, 1),
      },
    },
  },
} as const

const good = [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308] as const

const passive = {
  type: 'object',
  properties: {
    type,
    healthy: { type: 'object', properties: { http_statuses: statuses(good), successes: threshold(5, 0) } },
    unhealthy: {
      type: 'object',
      properties: {
        http_statuses: statuses([429, 500, 503]),
        tcp_failures: threshold(2, 0),
        timeouts: threshold(7, 0),
        http_failures: threshold(5, 0),
      },
    },
  },
} as const

export const checksSchema = {
  type: 'object',
  properties: {
    active: activeChecksSchema,
    passive,
    /** Ours: seconds in which a node that came back gets more and more of its share. */
    slow_start: { type: 'number', minimum: 0, default: 0 },
  },
  anyOf: [{ required: ['active'] }, { required: ['active', 'passive'] }],
} as const satisfies Schema

const FIELD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*$/

/** What could not be sent as a probe, which would be a failure of every node. */
export function checksProblem({ active }: Partial<WrittenChecks> = {}): string | undefined {
  const { http_path: path = '/', req_headers: fields = [] } = active ?? {}
  if (!/^[!-~]+$/.test(path)) return `invalid http_path ${JSON.stringify(path).slice(0, 256)}`
  const unfit = fields.find(field => !FIELD.test(field))
  return unfit && `invalid req_headers ${JSON.stringify(unfit).slice(0, 256)}`
}
