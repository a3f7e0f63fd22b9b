// http-logger: posts entries in batches to an HTTP server (facts core 8.3.21 and C).
import { asArray, asLines, batchAttributes, batchLogger, batchMetadata } from '../core/observe/batch-logger.ts'
import { checkHeaders, checkSinkUrl, HttpSink } from '../core/observe/http-sink.ts'
import { checkLine, lineAttributes } from '../core/observe/logger.ts'
import { plugin, type Schema } from '../core/plugin.ts'

const schema = {
  type: 'object',
  properties: {
    uri: { type: 'string', pattern: '^[^\\/]+:\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?' },
    auth_header: { type: 'string' },
    timeout: { type: 'integer', minimum: 1, default: 3 },
    concat_method: { type: 'string', enum: ['json', 'new_line'], default: 'json' },
    ssl_verify: { type: 'boolean', default: false },
    ...lineAttributes,
    ...batchAttributes('http logger'),
  },
  required: ['uri'],
} as const satisfies Schema

export default plugin({
  name: 'http-logger',
  priority: 410,
  version: 0.1,
  schema,
  metadata: batchMetadata,
  encrypt: ['auth_header'],
  check: ({ auth_header = '', ...config }) =>
    checkSinkUrl(config.uri) ?? checkHeaders({ auth_header }) ?? checkLine(config),
  setup(config, env) {
    const { uri, auth_header, concat_method, timeout, ssl_verify, batch_max_size } = config
    const json = concat_method === 'json'
    const headers = {
      'Content-Type': json ? 'application/json' : 'text/plain',
      ...(auth_header !== undefined && { Authorization: auth_header }),
    }
    return batchLogger(config, env, {
      plugin: 'http-logger',
      framing: json ? asArray(batch_max_size) : asLines,
      unmatched: 'no-matched',
      sink: () =>
        new HttpSink({
          urls: [uri],
          headers,
          timeoutMs: timeout * 1000,
          verify: ssl_verify,
          lookup: env.transport.lookup,
          random: env.random,
        }),
    })
  },
})
