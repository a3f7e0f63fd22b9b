// The data plane's sockets: a node:http server per address in front of a gateway; also hears what never becomes a request.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Gateway } from './gateway.ts'
import type { Logger } from './observe/log.ts'
import type { Counter } from './observe/metrics.ts'

export interface ListenerLimits {
  /** Milliseconds for the whole request head; 408 after it. */
  headerTimeout: number
  /** Milliseconds for the whole request, body and all; 0 means no limit. */
  requestTimeout: number
  /** Milliseconds an idle keep-alive connection stays open. */
  keepAliveTimeout: number
  /** Bytes of the request head; 431 above. */
  maxHeaderSize: number
}

export interface Address {
  host: string
  port: number
  /** For `::`: leave IPv4 alone. */
  ipv6Only?: boolean
}

export interface ListenerOptions {
  address: Address
  gateway: Gateway
  limits: ListenerLimits
  log: Logger
  /** Counts requests that could not be parsed, by reason. */
  refused: Counter
}

/** A listening server. `stop` ends accepting and idle connections; requests in flight are the gateway's to drain. */
export interface Listener {
  readonly address: Address
  stop(): Promise<void>
}

/** Listens. Rejects with the system's error (EADDRINUSE, EACCES) when it cannot. */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const { gateway, limits } = options
  const server = createServer(
    {
      noDelay: true,
      keepAlive: true,
      maxHeaderSize: limits.maxHeaderSize,
      headersTimeout: limits.headerTimeout,
      requestTimeout: limits.requestTimeout,
      keepAliveTimeout: limits.keepAliveTimeout,
      requireHostHeader: true,
    },
    gateway.handle,
  )
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => refuse(error, socket, options))
  server.listen(options.address)
  await once(server, 'listening')
  const { address, port } = server.address() as AddressInfo
  return { address: { host: address, port }, stop: () => stop(server) }
}

// How often connections that have turned idle are looked for while stopping.
const SWEEP_MS = 50

/** Ends accepting and idle connections; resolves when the requests in hand are answered. */
export async function stop(server: Server): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  server.closeIdleConnections()
  // A response whose head left before the drain kept its connection alive: that ends when it has turned idle.
  const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
  await closed
  clearInterval(sweep)
}

const STATUS: Record<string, [number, string]> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
}

/** One log line, one count, one answer if the connection can still take it. */
function refuse(error: NodeJS.ErrnoException, socket: Socket, { log, refused }: ListenerOptions): void {
  const [status, title] = STATUS[error.code ?? ''] ?? [400, 'Bad Request']
  refused.add([String(status)])
  // The error carries the raw bytes of the request, credentials included: only its code may be logged.
  log.info({ code: error.code, status, client: socket.remoteAddress }, 'client sent something that is no request')
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const body = `{"error_msg":"${status} ${title}"}\n`
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  )
}
