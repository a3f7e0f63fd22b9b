// The data plane's sockets: a node:http server per address in front of a gateway; also hears what never becomes a request.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net'
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
  /** Others of our threads listen there too. */
  reusePort?: boolean
}

/** A listening server. `stop` ends accepting and idle connections; requests in flight are the gateway's to drain. */
export interface Listener {
  readonly address: Address
  /**
   * Accepts nothing more. Resolves when the last connection is gone; what lasts longer than `graceMs` is cut. Idle
   * connections end at once; `gently` lets them stay until their next answer or their keep-alive time, because closing them
   * loses the requests that are on their way.
   */
  stop(order: { graceMs: number; gently: boolean }): Promise<void>
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
      // Upgrades are not served: such a request is one like any other, and what follows it on the connection too.
      shouldUpgradeCallback: () => false,
    },
    gateway.handle,
  )
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => refuse(error, socket, options))
  server.listen({ ...options.address, reusePort: options.reusePort ?? false })
  await once(server, 'listening')
  const { address, port } = server.address() as AddressInfo
  return {
    address: { host: address, port },
    stop: ({ graceMs, gently }) => (gently ? stopGently(server, graceMs) : stop(server, graceMs)),
  }
}

// How often connections that have turned idle are looked for while stopping.
const SWEEP_MS = 50

/** Ends accepting and idle connections; resolves when the requests in hand are answered, or cuts them after `graceMs`. */
export async function stop(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  server.closeIdleConnections()
  // A response whose head left before the drain kept its connection alive: that ends when it has turned idle.
  const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
  // node:http watches for slow request heads no longer: a client that never ends its own would keep us for ever.
  const cut = setTimeout(() => server.closeAllConnections(), graceMs)
  await closed
  clearInterval(sweep)
  clearTimeout(cut)
}

/** The same for a server that others have taken over from: idle connections may bring one more request. */
async function stopGently(server: Server, graceMs: number): Promise<void> {
  // What the kernel has queued for us is accepted first.
  await new Promise(resolve => setImmediate(resolve))
  const cut = setTimeout(() => server.closeAllConnections(), graceMs)
  // node:http's own close would close idle connections too.
  await new Promise(resolve => NetServer.prototype.close.call(server, resolve))
  clearTimeout(cut)
}

const STATUS: Record<string, [number, string]> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
}

/** One log line, one count, one answer if the connection can still take it. */
function refuse(error: NodeJS.ErrnoException, socket: Socket, { log, refused, gateway }: ListenerOptions): void {
  const [status, title] = STATUS[error.code ?? ''] ?? [400, 'Bad Request']
  refused.add([String(status)])
  // The error carries the raw bytes of the request, credentials included: only its code may be logged.
  log.info({ code: error.code, status, client: socket.remoteAddress }, 'client sent something that is no request')
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const { serverName } = gateway.options
  const body = `{"error_msg":"${status} ${title}"}\n`
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\nServer: ${serverName}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  )
}
