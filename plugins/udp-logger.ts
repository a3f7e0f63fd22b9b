// udp-logger: sends entries in batches, a datagram each (facts core B and C).
import { asArray, batchAttributes, batchLogger, batchMetadata } from '../core/observe/batch-logger.ts'
import { checkLine, lineAttributes } from '../core/observe/logger.ts'
import { checkPort, MAX_DATAGRAM, UdpSink } from '../core/observe/socket-sink.ts'
import { plugin, type Schema } from '../core/plugin.ts'

const schema = {
  type: 'object',
  properties: {
    host: { type: 'string' },
    port: { type: 'integer', minimum: 0 },
    timeout: { type: 'integer', minimum: 1, default: 3 },
    ...lineAttributes,
    ...batchAttributes('udp logger'),
  },
  required: ['host', 'port'],
} as const satisfies Schema

export default plugin({
  name: 'udp-logger',
  priority: 400,
  version: 0.1,
  schema,
  metadata: batchMetadata,
  // Nothing is waited for.
  inert: ['timeout'],
  check: config => checkPort(config.port) ?? checkLine(config),
  setup(config, env) {
    const { host, port, batch_max_size } = config
    return batchLogger(config, env, {
      plugin: 'udp-logger',
      framing: asArray(batch_max_size),
      maxBytes: MAX_DATAGRAM,
      sink: () => new UdpSink({ host, port, lookup: env.transport.lookup }),
    })
  },
})
