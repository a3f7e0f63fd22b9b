// A gateway in this process on a real socket, with resources given directly; every test makes its own.
import { type InProcess, type InProcessOptions, openInProcess } from '../../core/in-process.ts'
import { listen } from '../../core/listener.ts'
import { MinRevision, type MinRevisionLimits } from '../../core/min-revision.ts'
import { silent } from '../../core/observe/log.ts'
import { Traffic } from '../../core/observe/traffic.ts'
import { upstreamEnv } from './upstream-env.ts'

export type { Resources } from '../../core/in-process.ts'

export interface GatewayOptionsForTest extends Omit<InProcessOptions, 'minRevision' | 'upstreams'> {
  maxConnections?: number
  minRevision?: MinRevisionLimits
  upstreams?: Parameters<typeof upstreamEnv>[0]
}

export interface TestGateway extends Omit<InProcess, 'metrics' | 'drain'> {
  /** http://127.0.0.1:port */
  readonly url: string
  readonly port: number
}

export async function startGateway(options: GatewayOptionsForTest = {}): Promise<TestGateway> {
  const minRevision = options.minRevision && new MinRevision(options.minRevision)
  const upstreams = upstreamEnv({ ...(options.log && { log: options.log }), ...options.upstreams })
  const opened = await openInProcess({
    ...options,
    upstreams,
    minRevision,
    applied(revision) {
      minRevision?.applied(revision)
      options.applied?.(revision)
    },
    limits: { turnGrace: 2_000, ...options.limits },
    overload: { maxBufferedBytes: 2 ** 30, ...options.overload },
  })
  const { gateway, book, books, metrics, put, scrape } = opened
  const listener = await listen({
    address: { host: '127.0.0.1', port: 0 },
    gateway,
    serve: minRevision?.before(gateway.handle),
    limits: {
      headerTimeout: 60_000,
      requestTimeout: 0,
      keepAliveTimeout: 60_000,
      maxHeaderSize: 65_536,
      maxHeaderFields: 1_000,
      maxConnections: options.maxConnections ?? 10_000,
      maxPipelined: 100,
    },
    log: options.log ?? silent,
    traffic: new Traffic(metrics),
    refused: metrics.counter('sluice_requests_refused_total', 'Requests that could not be parsed', ['status']),
  })
  return {
    url: `http://127.0.0.1:${listener.address.port}`,
    port: listener.address.port,
    gateway,
    book,
    books,
    upstreams,
    get rejected() {
      return opened.rejected
    },
    put,
    scrape,
    async close() {
      gateway.endKeepAlive()
      await opened.drain(0)
      await listener.stop({ graceMs: 0, gently: false })
      await opened.close()
    },
  }
}
