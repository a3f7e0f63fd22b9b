// The data plane's sockets: a node:http server per address in front of a gateway; also hears what never becomes a request.
import { once } from 'node:events'
import { createServer, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net'
import type { Gateway } from './gateway.ts'
import type { Logger } from './observe/log.ts'
import type { Counter } from './observe/metrics.ts'
import type { Traffic } from './observe/traffic.ts'
import { Pipelining } from './pipelining.ts'

export interface ListenerLimits {
  /** Milliseconds for the whole request head; 408 after it. */
  headerTimeout: number
  /** Milliseconds for the whole request, body and all; 0 means no limit. */
  requestTimeout: number
  /** Milliseconds an idle keep-alive connection stays open. */
  keepAliveTimeout: number
  /** Bytes of the request head, and fields in it; 431 above. */
  maxHeaderSize: number
  maxHeaderFields: number
  /** Open connections; one more is answered 503 and closed. */
  maxConnections: number
  /** Requests on one connection behind one that is being answered; one more is answered 503 and closes it. */
  maxPipelined: number
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
  /** What takes requests: the gateway, or what stands before it. */
  serve?: Gateway['handle'] | undefined
  limits: ListenerLimits
  log: Logger
  /** Counts requests that could not be parsed, by reason. */
  refused: Counter
  traffic: Traffic
  /** Others of our threads listen there too. */
  reusePort?: boolean
}

/** A listening server. `stop` ends accepting and idle connections; requests in flight are the gateway's to drain. */
export interface Listener {
  readonly address: Address
  /**
   * Accepts nothing more, and every answer closes its connection. Resolves when the last one is gone; what lasts longer
   * than `graceMs` is cut. Idle connections end at once; `gently` lets them stay until their next answer or their
   * keep-alive time, because closing them loses the requests that are on their way.
   */
  stop(order: { graceMs: number; gently: boolean }): Promise<void>
}

// How often node:http looks for heads that take too long; 30 s if it is not told.
const CHECK_HEADS_MS = 1_000

/** Listens. Rejects with the system's error (EADDRINUSE, EACCES) when it cannot. */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const { gateway, limits, traffic, serve = gateway.handle } = options
  const handle: Gateway['handle'] = (message, response) => {
    if (message.rawHeaders.length > 2 * limits.maxHeaderFields) {
      refuse({ code: 'HPE_HEADER_OVERFLOW' }, message.socket, options)
      return
    }
    traffic.request()
    gateway.options.breadcrumb.beat()
    serve(message, response)
  }
  const pipelining = new Pipelining({
    handle,
    max: limits.maxPipelined,
    refuse: socket => turnAway(socket, options, 'pipelined_requests'),
  })
  const server = createServer(
    {
      noDelay: true,
      keepAlive: true,
      maxHeaderSize: limits.maxHeaderSize,
      headersTimeout: limits.headerTimeout,
      connectionsCheckingInterval: CHECK_HEADS_MS,
      requestTimeout: limits.requestTimeout,
      keepAliveTimeout: limits.keepAliveTimeout,
      // The gateway refuses such a request itself, and so it is logged like any other.
      requireHostHeader: false,
      shouldUpgradeCallback: pipelining.upgrade,
    },
    pipelining.receive,
  )
  // Left to itself node:http passes over fields beyond 2,000 without a word.
  server.maxHeadersCount = limits.maxHeaderFields + 1
  server.on('connection', (socket: Socket) => {
    const taken = traffic.open < limits.maxConnections
    traffic.opened(taken)
    socket.once('close', () => traffic.closed())
    if (!taken) turnAway(socket, options, 'connections')
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => refuse(error, socket, options))
  server.on('connect', (_message, socket) => refuse({ code: 'CONNECT' }, socket as Socket, options))
  // Other than 100-continue there is none; as in nginx the request is served all the same.
  server.on('checkExpectation', pipelining.receive)
  server.listen({ ...options.address, reusePort: options.reusePort ?? false })
  await once(server, 'listening')
  const { address, port } = server.address() as AddressInfo
  return {
    address: { host: address, port },
    async stop({ graceMs, gently }) {
      if (gently) await acceptQueued(server)
      // Not before: whose connection we end opens another, and it is for the others.
      gateway.endKeepAlive()
      await (gently ? stopGently(server, graceMs) : stop(server, graceMs))
    },
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
  const cut = setTimeout(() => server.closeAllConnections(), graceMs)
  // node:http's own close would close idle connections too.
  await new Promise(resolve => NetServer.prototype.close.call(server, resolve))
  clearTimeout(cut)
}

// As many as node:net lets the kernel queue.
const MAX_QUEUED = 511
const MAX_STRAGGLERS = 8

/**
 * Accepts what the kernel has queued for us: it would be lost with the socket (unless `net.ipv4.tcp_migrate_req` is 1). In
 * the end the queue takes no more than one, so that one is lost at most, however long the system keeps us from closing it
 * (seen: 1 instead of 16 where that was 20 ms under load). Who finds it full tries again a second later, with the others.
 */
async function acceptQueued(server: Server): Promise<void> {
  const empty = await acceptUntilQuiet(server, MAX_QUEUED)
  // node:net has no other way to call listen(2) again.
  const { _handle: handle } = server as Server & { _handle?: { listen?(backlog: number): number } }
  handle?.listen?.(0)
  await acceptUntilQuiet(server, empty ? MAX_STRAGGLERS : MAX_QUEUED)
}

/** Resolves with true when a turn of the loop has brought no connection, or with false after `most` connections. */
async function acceptUntilQuiet(server: Server, most: number): Promise<boolean> {
  let accepted = 0
  const count = () => void accepted++
  server.on('connection', count)
  // One is accepted per turn of the loop, and the polling of this turn may be over.
  await turnOfLoop()
  let seen = -1
  while (seen < accepted && accepted < most) {
    seen = accepted
    await turnOfLoop()
  }
  server.off('connection', count)
  return seen === accepted
}

function turnOfLoop(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

/** What is told by what there is too much of. */
const TOO_MANY = {
  connections: { status: 503, code: 'too_many_connections' },
  pipelined_requests: { status: 503, code: 'too_many_pipelined_requests' },
} as const

/** More connections than we take, or more requests on one: told so, and closed. */
function turnAway(socket: Socket, { gateway }: ListenerOptions, reason: keyof typeof TOO_MANY): void {
  // It was told so before.
  if (!socket.writable) return
  gateway.options.overload.count(reason)
  socket.on('error', () => {})
  tell(socket, gateway, TOO_MANY[reason], 'Retry-After: 1\r\n')
}

/** What is told by the code of the error. */
const REFUSALS: Readonly<Record<string, Refusal>> = {
  CONNECT: { status: 405, code: 'method_not_allowed' },
  HPE_HEADER_OVERFLOW: { status: 431, code: 'head_too_large' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, code: 'head_timeout' },
}
const UNPARSABLE: Refusal = { status: 400, code: 'bad_request' }

interface Refusal {
  readonly status: number
  /** Of docs/errors.md. */
  readonly code: string
}

// How long a client that was refused may take to read why, and to close its side.
const LINGER_MS = 1_000

/** One log line, one count, one answer if the connection can still take it. */
function refuse(error: Partial<NodeJS.ErrnoException>, socket: Socket, options: ListenerOptions): void {
  // It is gone, or it was refused before and goes on sending.
  if (!socket.writable) return
  // It left in the middle. If a request of its was under way, that logs itself.
  if (error.code === 'HPE_INVALID_EOF_STATE') {
    socket.destroy()
    return
  }
  const refusal = REFUSALS[error.code ?? ''] ?? UNPARSABLE
  const { status } = refusal
  options.refused.add([String(status)])
  options.traffic.request()
  options.gateway.options.accessLog?.refused({ status, client: socket.remoteAddress })
  // The error carries the raw bytes of the request, credentials included: only its code may be logged.
  options.log.info(
    { code: error.code, status, client: socket.remoteAddress },
    'client sent something that is no request',
  )
  tell(socket, options.gateway, refusal)
}

/** An answer on a socket that has no request, and the end of it. `headers` are whole lines. */
function tell(socket: Socket, gateway: Gateway, { status, code }: Refusal, headers = ''): void {
  // Nothing of this may get into an answer to an earlier request. node:http's own handler asks the same private field.
  if ((socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage?.headersSent) {
    socket.destroy()
    return
  }
  const title = `${status} ${STATUS_CODES[status]}`
  const body = `${JSON.stringify({ error_msg: title, code })}\n`
  const { serverName } = gateway.options
  socket.end(
    `HTTP/1.1 ${title}\r\nServer: ${serverName}\r\n${headers}Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  )
  const cut = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(cut))
}
