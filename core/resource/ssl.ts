// SSL objects (facts core 3.8): certificates by server name, and certificates for upstreams; schema, and what it cannot say.
// biome-ignore-all lint/suspicious/noThenProperty: a keyword of JSON Schema
import type { Schema } from '../plugin.ts'
import { desc, host, id, labels, times } from './attributes.ts'
import { authorityProblem, pairProblem } from './certificate.ts'
import type { Definition } from './definition.ts'
import { notServed } from './unserved.ts'

const cert = { type: 'string', minLength: 128, maxLength: 65536 } as const
const key = { type: 'string', minLength: 64, maxLength: 65536 } as const

const schema: Schema = {
  type: 'object',
  properties: {
    id,
    type: { type: 'string', enum: ['server', 'client'], default: 'server' },
    cert,
    key,
    sni: host,
    snis: { type: 'array', minItems: 1, items: host },
    certs: { type: 'array', items: cert },
    keys: { type: 'array', items: key },
    client: {
      type: 'object',
      properties: {
        ca: cert,
        depth: { type: 'integer', minimum: 0, default: 1 },
        skip_mtls_uri_regex: { type: 'array', minItems: 1, uniqueItems: true, items: { type: 'string' } },
      },
      required: ['ca'],
    },
    status: { type: 'integer', enum: [1, 0], default: 1 },
    ssl_protocols: {
      type: 'array',
      maxItems: 3,
      uniqueItems: true,
      items: { type: 'string', enum: ['TLSv1.1', 'TLSv1.2', 'TLSv1.3'] },
    },
    desc,
    labels,
    ...times,
  },
  required: ['cert', 'key'],
  if: { properties: { type: { enum: ['server'] } } },
  then: { oneOf: [{ required: ['sni'] }, { required: ['snis'] }] },
  additionalProperties: false,
}

/** An SSL object as the data plane uses it. */
export interface Ssl {
  type: 'server' | 'client'
  cert: string
  key: string
  certs?: string[]
  keys?: string[]
  client?: { ca: string }
}

export const ssl: Definition = {
  schema,
  references: true,
  problem(value) {
    const { cert, key, certs = [], keys = [], client } = sslOf(value)
    const bad = pairProblem(cert, key)
    if (bad !== undefined) return bad
    if (certs.length !== keys.length) return 'mismatched number of certs and keys'
    for (const [at, each] of certs.entries()) {
      const problem = pairProblem(each, keys[at]!)
      if (problem !== undefined) return `failed to handle cert-key pair[${at + 1}]: ${problem}`
    }
    const unfit = client && authorityProblem(client.ca)
    return unfit && `failed to validate client_cert: ${unfit}`
  },
  ineffective: value => (sslOf(value).type === 'client' ? [] : [notServed('ssl of type "server"')]),
}

/** It fits its schema. */
function sslOf(value: object): Ssl {
  return value as Ssl
}
