// loki-logger: pushes entries in batches to Grafana Loki, as lines of streams by their labels (facts core B and C).
import type { Context } from '../core/context.ts'
import { batchAttributes, batchLogger, batchMetadata } from '../core/observe/batch-logger.ts'
import type { Framing } from '../core/observe/batches.ts'
import { checkHeaders, checkSinkUrl, HttpSink } from '../core/observe/http-sink.ts'
import { JsonBytes } from '../core/observe/json-bytes.ts'
import { loggedVariable } from '../core/observe/logged-variable.ts'
import { checkLine, lineAttributes, type Put } from '../core/observe/logger.ts'
import { plugin, type Schema } from '../core/plugin.ts'
import { compileTemplate, resolveTemplate } from '../core/router/template.ts'

const texts = { type: 'object', patternProperties: { '.*': { type: 'string', minLength: 1 } } } as const

const schema = {
  type: 'object',
  properties: {
    endpoint_addrs: {
      type: 'array',
      minItems: 1,
      items: { type: 'string', pattern: '^[^\\/]+:\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?' },
    },
    endpoint_uri: { type: 'string', minLength: 1, default: '/loki/api/v1/push' },
    tenant_id: { type: 'string', default: 'fake' },
    headers: texts,
    log_labels: { ...texts, default: { job: 'apisix' } },
    ssl_verify: { type: 'boolean', default: false },
    timeout: { type: 'integer', minimum: 1, maximum: 60_000, default: 3000 },
    keepalive: { type: 'boolean', default: true },
    keepalive_timeout: { type: 'integer', minimum: 1000, default: 60_000 },
    keepalive_pool: { type: 'integer', minimum: 1, default: 5 },
    ...lineAttributes,
    ...batchAttributes('loki logger'),
  },
  required: ['endpoint_addrs'],
} as const satisfies Schema

export default plugin({
  name: 'loki-logger',
  priority: 414,
  version: 0.1,
  schema,
  metadata: batchMetadata,
  encrypt: ['headers'],
  // One connection is enough for one batch at a time.
  inert: ['keepalive_pool'],
  check(config) {
    for (const url of urlsOf(config)) {
      const problem = checkSinkUrl(url)
      if (problem !== undefined) return problem
    }
    return checkHeaders({ ...config.headers, tenant_id: config.tenant_id }) ?? checkLine(config)
  },
  setup(config, env) {
    const { log_labels, tenant_id, headers, timeout, keepalive, keepalive_timeout, ssl_verify } = config
    return batchLogger(config, env, {
      plugin: 'loki-logger',
      ...linesOf(log_labels as Record<string, string>),
      sink: () =>
        new HttpSink({
          urls: urlsOf(config),
          headers: {
            ...(headers as Record<string, string> | undefined),
            'X-Scope-OrgID': tenant_id,
            'Content-Type': 'application/json',
          },
          timeoutMs: timeout,
          verify: ssl_verify,
          idleMs: keepalive ? keepalive_timeout : 0,
          lookup: env.transport.lookup,
          random: env.random,
        }),
    })
  },
})

function urlsOf({ endpoint_addrs, endpoint_uri }: { endpoint_addrs: string[]; endpoint_uri: string }): string[] {
  return endpoint_addrs.map(addr => addr.replace(/\/+$/, '') + endpoint_uri)
}

/** Labels that are always the same are said once per batch; with variables in them every entry is a stream of its own. */
function linesOf(labels: Record<string, string>): { framing: Framing; dress(ctx: Context, put: Put): Put } {
  const templates = Object.entries(labels).map(([name, text]) => [name, compileTemplate(text)] as const)
  const streamOf = (get: (name: string) => unknown) =>
    JSON.stringify(Object.fromEntries(templates.map(([name, text]) => [name, resolveTemplate(text, get).text])))
  const fixed = templates.every(([, parts]) => parts.every(part => typeof part === 'string'))
  if (fixed)
    return {
      framing: { begin: `{"streams":[{"stream":${streamOf(() => undefined)},"values":[`, between: ',', end: ']}]}' },
      dress: (ctx, put) => line => putValue(line, ctx, put),
    }
  return {
    framing: { begin: '{"streams":[', between: ',', end: ']}' },
    dress: (ctx, put) => line => {
      line.raw(`{"stream":${streamOf(name => loggedVariable(ctx, name))},"values":[`)
      putValue(line, ctx, put)
      line.raw(']}')
    },
  }
}

/** A pair of nanoseconds and the entry, both texts. */
function putValue(line: JsonBytes, ctx: Context, put: Put): void {
  const entry = new JsonBytes(1024)
  put(entry)
  line.raw(`["${ctx.start}000000",`)
  line.quoted(entry.written().toString())
  line.raw(']')
}
