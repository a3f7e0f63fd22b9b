// A scripted upstream on a real socket: answers, streams, cuts, stalls, drips, lies and resets as a test tells it.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

/** One request as it arrived, with the means to answer it badly. */
export class Received {
  readonly method: string
  readonly target: string
  readonly headers: IncomingMessage['headers']
  readonly rawHeaders: string[]
  readonly socket: Socket
  readonly response: ServerResponse
  /** The whole body; rejects when the sender goes away before its end. */
  readonly body: Promise<Buffer>
  /** Resolves when the connection is closed or the exchange is over; `gone` tells whether it was cut before its end. */
  readonly closed: Promise<void>

  constructor(message: IncomingMessage, response: ServerResponse) {
    this.method = message.method ?? ''
    this.target = message.url ?? ''
    this.headers = message.headers
    this.rawHeaders = message.rawHeaders
    this.socket = message.socket
    this.response = response
    this.body = (async () => {
      const chunks: Buffer[] = []
      for await (const chunk of message) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks)
    })()
    this.body.catch(() => {})
    this.closed = new Promise(resolve => {
      response.once('close', () => resolve())
    })
  }

  /** True when the peer left before the response was whole. */
  get gone(): boolean {
    return this.response.closed && !this.response.writableFinished
  }

  json(status: number, value: unknown, headers: Record<string, string> = {}): void {
    this.response.writeHead(status, { 'content-type': 'application/json', ...headers })
    this.response.end(JSON.stringify(value))
  }

  /** Starts an SSE response. */
  startStream(headers: Record<string, string> = {}): void {
    this.response.writeHead(200, { 'content-type': 'text/event-stream', ...headers })
    this.response.flushHeaders()
  }

  /** Sends one SSE event and resolves when it is on the wire. */
  event(data: unknown): Promise<void> {
    return this.write(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`)
  }

  write(bytes: string | Buffer): Promise<void> {
    return new Promise(resolve => this.response.write(bytes, () => resolve()))
  }

  /** Closes the connection in an orderly way, wherever the response is. */
  cut(): void {
    this.socket.destroy()
  }

  /** Closes it with RST. */
  reset(): void {
    this.socket.resetAndDestroy()
  }

  /** Puts bytes on the wire that need not be HTTP, and closes. */
  lie(bytes: string): void {
    this.socket.end(bytes)
  }
}

export interface ScriptedUpstream {
  readonly origin: string
  readonly port: number
  /** What a route or an upstream names: `{ '127.0.0.1:port': 1 }`. */
  readonly nodes: Record<string, number>
  readonly received: Received[]
  /** Replaces the script for the requests to come. */
  script: (received: Received) => unknown
  /** Resolves with request number `n` (from 0) when it has arrived. */
  request(n: number): Promise<Received>
  openConnections(): number
  close(): Promise<void>
}

/** Starts an upstream on a free port of the loopback interface, or at another of its addresses and on that port. */
export async function startUpstream(
  script: (received: Received) => unknown = received => received.json(200, { ok: true }),
  at: { address: string; port: number } = { address: '127.0.0.1', port: 0 },
): Promise<ScriptedUpstream> {
  const sockets = new Set<Socket>()
  const waiting: { n: number; resolve: (received: Received) => void }[] = []
  const server = createServer((message, response) => {
    const received = new Received(message, response)
    upstream.received.push(received)
    for (const waiter of waiting.filter(({ n }) => n === upstream.received.length - 1)) waiter.resolve(received)
    void (async () => upstream.script(received))().catch(error => received.json(599, { scriptFailed: String(error) }))
  })
  server.keepAliveTimeout = 60_000
  server.on('connection', socket => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(at.port, at.address)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const upstream: ScriptedUpstream = {
    origin: `http://${at.address}:${port}`,
    port,
    nodes: { [`${at.address}:${port}`]: 1 },
    received: [],
    script,
    request: n =>
      upstream.received[n] === undefined
        ? new Promise(resolve => waiting.push({ n, resolve }))
        : Promise.resolve(upstream.received[n]),
    openConnections: () => sockets.size,
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
  return upstream
}
