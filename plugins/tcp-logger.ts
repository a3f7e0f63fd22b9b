// tcp-logger: writes entries in batches to a TCP or TLS connection (facts core B and C).
import { asArray, batchAttributes, batchLogger, batchMetadata } from '../core/observe/batch-logger.ts'
import { checkLine, lineAttributes } from '../core/observe/logger.ts'
import { checkPort, TcpSink } from '../core/observe/socket-sink.ts'
import { plugin, type Schema } from '../core/plugin.ts'

const schema = {
  type: 'object',
  properties: {
    host: { type: 'string' },
    port: { type: 'integer', minimum: 0 },
    tls: { type: 'boolean', default: false },
    tls_options: { type: 'string' },
    timeout: { type: 'integer', minimum: 1, default: 1000 },
    ...lineAttributes,
    ...batchAttributes('tcp logger'),
  },
  required: ['host', 'port'],
} as const satisfies Schema

export default plugin({
  name: 'tcp-logger',
  priority: 405,
  version: 0.1,
  schema,
  metadata: batchMetadata,
  check: config => checkPort(config.port) ?? checkLine(config),
  setup(config, env) {
    const { host, port, timeout: timeoutMs, tls, tls_options: serverName, batch_max_size } = config
    const { begin, between, end } = asArray(batch_max_size)
    return batchLogger(config, env, {
      plugin: 'tcp-logger',
      // Nothing else says where on a connection one batch ends.
      framing: { begin, between, end: `${end}\n` },
      sink: () => new TcpSink({ host, port, timeoutMs, tls, serverName, lookup: env.transport.lookup }),
    })
  },
})
