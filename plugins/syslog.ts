// syslog: sends entries as messages of RFC 5424, over TCP, TLS or UDP (facts core B and C).
import { hostname } from 'node:os'
import type { Context } from '../core/context.ts'
import { batchAttributes, batchLogger, batchMetadata } from '../core/observe/batch-logger.ts'
import { checkLine, lineAttributes } from '../core/observe/logger.ts'
import { latencyMs } from '../core/observe/measures.ts'
import { checkPort, MAX_DATAGRAM, TcpSink, UdpSink } from '../core/observe/socket-sink.ts'
import { plugin, type Schema } from '../core/plugin.ts'

const schema = {
  type: 'object',
  properties: {
    host: { type: 'string' },
    port: { type: 'integer' },
    sock_type: { type: 'string', enum: ['tcp', 'udp'], default: 'tcp' },
    tls: { type: 'boolean', default: false },
    timeout: { type: 'integer', minimum: 1, default: 3000 },
    flush_limit: { type: 'integer', minimum: 1, default: 4096 },
    drop_limit: { type: 'integer', default: 1_048_576 },
    pool_size: { type: 'integer', minimum: 5, default: 5 },
    ...lineAttributes,
    ...batchAttributes('sys logger'),
  },
  required: ['host', 'port'],
} as const satisfies Schema

// RFC 5424 6.2.1: facility 5 (syslogd), severity 6 (informational). APP-NAME is what log pipelines of APISIX look for.
const PRIORITY = 5 * 8 + 6
const SENDER = `${hostname().slice(0, 255)} apisix ${process.pid} - -`

export default plugin({
  name: 'syslog',
  priority: 401,
  version: 0.1,
  schema,
  metadata: batchMetadata,
  // One connection is enough for one batch at a time.
  inert: ['pool_size'],
  check: config =>
    checkPort(config.port) ??
    (config.tls && config.sock_type === 'udp' ? 'tls needs sock_type tcp' : undefined) ??
    checkLine(config),
  setup(config, env) {
    const { host, port, sock_type, timeout: timeoutMs, tls, flush_limit, drop_limit } = config
    const where = { host, port, lookup: env.transport.lookup }
    const udp = sock_type === 'udp'
    return batchLogger(config, env, {
      plugin: 'syslog',
      framing: { begin: '', between: '', end: '' },
      dress: (ctx, put) => line => {
        line.raw(`<${PRIORITY}>1 ${endOf(ctx)} ${SENDER} `)
        put(line)
        line.raw('\n')
      },
      enoughBytes: flush_limit,
      maxWaiting: drop_limit,
      // RFC 5426 3.1: a datagram is one message.
      ...(udp && { maxEntries: 1, maxBytes: MAX_DATAGRAM }),
      sink: () => (udp ? new UdpSink(where) : new TcpSink({ ...where, timeoutMs, tls })),
    })
  },
})

function endOf(ctx: Context): string {
  return new Date(ctx.start + latencyMs(ctx)).toISOString()
}
