// clickhouse-logger: inserts entries in batches into a table of ClickHouse, over HTTP (facts core B and C).
import { batchAttributes, batchLogger, batchMetadata } from '../core/observe/batch-logger.ts'
import { checkHeaders, checkSinkUrl, HttpSink } from '../core/observe/http-sink.ts'
import { checkLine, lineAttributes } from '../core/observe/logger.ts'
import { plugin, type Schema } from '../core/plugin.ts'

const endpoint = {
  type: 'string',
  pattern: '^[^\\/]+:\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?',
} as const

const schema = {
  type: 'object',
  properties: {
    endpoint_addr: endpoint,
    endpoint_addrs: { type: 'array', minItems: 1, items: endpoint },
    user: { type: 'string', default: '' },
    password: { type: 'string', default: '' },
    database: { type: 'string', default: '' },
    logtable: { type: 'string', default: '' },
    timeout: { type: 'integer', minimum: 1, default: 3 },
    ssl_verify: { type: 'boolean', default: true },
    ...lineAttributes,
    ...batchAttributes('clickhouse-logger'),
  },
  oneOf: [
    { required: ['endpoint_addr', 'user', 'password', 'database', 'logtable'] },
    { required: ['endpoint_addrs', 'user', 'password', 'database', 'logtable'] },
  ],
} as const satisfies Schema

export default plugin({
  name: 'clickhouse-logger',
  priority: 398,
  version: 0.1,
  schema,
  metadata: batchMetadata,
  encrypt: ['password'],
  check(config) {
    for (const url of config.endpoint_addrs ?? [config.endpoint_addr!]) {
      const problem = checkSinkUrl(url)
      if (problem !== undefined) return problem
    }
    const { user, password, database } = config
    return checkHeaders({ user, password, database }) ?? checkLine(config)
  },
  setup(config, env) {
    const { endpoint_addr, endpoint_addrs, user, password, database, logtable, timeout, ssl_verify } = config
    return batchLogger(config, env, {
      plugin: 'clickhouse-logger',
      framing: { begin: `INSERT INTO ${logtable} FORMAT JSONEachRow `, between: ' ', end: '' },
      sink: () =>
        new HttpSink({
          urls: endpoint_addrs ?? [endpoint_addr!],
          headers: {
            'Content-Type': 'application/json',
            'X-ClickHouse-User': user,
            'X-ClickHouse-Key': password,
            'X-ClickHouse-Database': database,
          },
          timeoutMs: timeout * 1000,
          verify: ssl_verify,
          lookup: env.transport.lookup,
          random: env.random,
        }),
    })
  },
})
