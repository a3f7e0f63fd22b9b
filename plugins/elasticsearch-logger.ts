// elasticsearch-logger: indexes entries in batches by the bulk API of Elasticsearch and OpenSearch (facts core B and C).
import { batchAttributes, batchLogger, batchMetadata } from '../core/observe/batch-logger.ts'
import { checkHeaders, checkSinkUrl, HttpSink } from '../core/observe/http-sink.ts'
import { loggedVariable } from '../core/observe/logged-variable.ts'
import { checkLine, lineAttributes } from '../core/observe/logger.ts'
import { plugin, type Schema } from '../core/plugin.ts'
import { compileTemplate, resolveTemplate } from '../core/router/template.ts'

const endpoint = { type: 'string', pattern: '[^/]$' } as const

const schema = {
  type: 'object',
  properties: {
    endpoint_addr: endpoint,
    endpoint_addrs: { type: 'array', minItems: 1, items: endpoint },
    field: { type: 'object', properties: { index: { type: 'string' } }, required: ['index'] },
    auth: {
      type: 'object',
      properties: { username: { type: 'string', minLength: 1 }, password: { type: 'string', minLength: 1 } },
      oneOf: [{ required: ['username', 'password'] }],
    },
    headers: {
      type: 'object',
      minProperties: 1,
      patternProperties: { '^[^:]+$': { type: 'string', minLength: 1 } },
      additionalProperties: false,
    },
    timeout: { type: 'integer', minimum: 1, default: 10 },
    ssl_verify: { type: 'boolean', default: true },
    ...lineAttributes,
    ...batchAttributes('elasticsearch-logger'),
  },
  oneOf: [{ required: ['endpoint_addr', 'field'] }, { required: ['endpoint_addrs', 'field'] }],
} as const satisfies Schema

export default plugin({
  name: 'elasticsearch-logger',
  priority: 413,
  version: 0.1,
  schema,
  metadata: batchMetadata,
  encrypt: ['auth.password', 'headers'],
  check(config) {
    for (const url of config.endpoint_addrs ?? [config.endpoint_addr!]) {
      const problem = checkSinkUrl(url)
      if (problem !== undefined) return problem
    }
    return checkIndex(config.field!.index) ?? checkHeaders(config.headers) ?? checkLine(config)
  },
  setup(config, env) {
    const { endpoint_addr, endpoint_addrs, field, auth, headers, timeout, ssl_verify } = config
    const basic = auth && Buffer.from(`${auth.username}:${auth.password}`).toString('base64')
    const indexOf = compileIndex(field!.index)
    return batchLogger(config, env, {
      plugin: 'elasticsearch-logger',
      framing: { begin: '', between: '', end: '' },
      dress: (ctx, put) => line => {
        line.raw('{"index":{"_index":')
        line.quoted(indexOf(new Date(env.now()), name => loggedVariable(ctx, name)))
        line.raw('}}\n')
        put(line)
        line.raw('\n')
      },
      sink: () =>
        new HttpSink({
          urls: (endpoint_addrs ?? [endpoint_addr!]).map(addr => `${addr}/_bulk`),
          headers: {
            ...(headers as Record<string, string> | undefined),
            'Content-Type': 'application/x-ndjson',
            ...(basic !== undefined && { Authorization: `Basic ${basic}` }),
          },
          timeoutMs: timeout * 1000,
          verify: ssl_verify,
          lookup: env.transport.lookup,
          random: env.random,
          refused: refusedItems,
        }),
    })
  },
})

const two = (n: number): string => String(n).padStart(2, '0')

/** What of strftime an index may be named by. */
const DATE_PARTS: Readonly<Record<string, (now: Date) => string>> = {
  Y: now => String(now.getFullYear()),
  m: now => two(now.getMonth() + 1),
  d: now => two(now.getDate()),
  H: now => two(now.getHours()),
  M: now => two(now.getMinutes()),
  S: now => two(now.getSeconds()),
}

// `{%Y.%m.%d}`, but not the braces of a variable, `${name}`.
const DATE = /(?<!\$)\{([^}]*)\}/g

function checkIndex(index: string): string | undefined {
  for (const [, format = ''] of index.matchAll(DATE))
    for (const [whole, letter = ''] of format.matchAll(/%(.?)/g))
      if (DATE_PARTS[letter] === undefined) return `field.index: ${whole} is none of %Y %m %d %H %M %S`
  return undefined
}

/** The index of an entry: dates in braces, in local time, and variables are filled in. */
function compileIndex(index: string): (now: Date, get: (name: string) => unknown) => string {
  if (!/[{$]/.test(index)) return () => index
  const dated = (now: Date) =>
    index.replace(DATE, (_, format: string) => format.replace(/%(.)/g, (_, part: string) => DATE_PARTS[part]!(now)))
  return (now, get) => resolveTemplate(compileTemplate(dated(now)), get).text
}

/** The bulk API answers 200 also when it has refused entries. */
function refusedItems(answer: string): number {
  // As every answer begins that has nothing to say.
  if (/^[^[]*"errors"\s*:\s*false/.test(answer)) return 0
  try {
    const { items = [] } = JSON.parse(answer) as { items?: Record<string, { error?: unknown }>[] }
    return items.filter(item => Object.values(item).some(({ error }) => error !== undefined)).length
  } catch {
    return 0
  }
}
