// Batches written to a TCP or TLS connection, or sent as datagrams; knows no entry, and hears nothing of what became of it.
import { createSocket } from 'node:dgram'
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Sink } from './batches.ts'

export interface SocketSinkOptions {
  host: string
  port: number
  lookup: LookupFunction | undefined
}

export interface TcpSinkOptions extends SocketSinkOptions {
  /** Milliseconds for the connection, and for the kernel to take a batch. */
  timeoutMs: number
  /** TLS, with a certificate that is not verified: none of these plugins can be told whom to believe (facts core B). */
  tls: boolean
  /** The name asked for, if it is not the host. */
  serverName?: string | undefined
}

// A connection that rests longer may have been forgotten on its way.
const IDLE_MS = 4_000
/** The largest payload of a UDP datagram over IPv4. */
export const MAX_DATAGRAM = 65_507

/** What is wrong with the port of a sink that its schema lets pass, or nothing. */
export function checkPort(port: number): string | undefined {
  return port >= 0 && port <= 65_535 ? undefined : `${port} is no port`
}

/** A connection that is kept while batches follow each other. */
export class TcpSink implements Sink {
  readonly #options: TcpSinkOptions
  #socket: Socket | undefined

  constructor(options: TcpSinkOptions) {
    this.#options = options
  }

  send(batch: Buffer, signal: AbortSignal): Promise<number> {
    const { host, port, timeoutMs } = this.#options
    const socket = this.#current()
    return new Promise((resolve, reject) => {
      const failed = (why: string) => {
        over()
        this.#drop(socket)
        reject(new Error(`failed to send: ${why} host[${host}] port[${port}]`))
      }
      const onError = (error: NodeJS.ErrnoException) => failed(error.code ?? 'unknown')
      const onClose = () => failed('closed')
      const onAbort = () => failed('aborted')
      const timer = setTimeout(() => failed(`not taken within ${timeoutMs} ms`), timeoutMs)
      const over = () => {
        clearTimeout(timer)
        socket.off('error', onError).off('close', onClose)
        signal.removeEventListener('abort', onAbort)
      }
      socket.on('error', onError).on('close', onClose)
      signal.addEventListener('abort', onAbort)
      socket.write(batch, error => {
        if (error) return
        over()
        resolve(0)
      })
    })
  }

  /** What the kernel has taken goes out; then the connection ends, as soon as the other side ends it too. */
  async close(): Promise<void> {
    const socket = this.#socket
    if (socket === undefined) return
    this.#socket = undefined
    socket.setTimeout(0)
    await new Promise<void>(resolve => {
      const cut = setTimeout(() => socket.destroy(), this.#options.timeoutMs)
      socket.once('close', () => {
        clearTimeout(cut)
        resolve()
      })
      socket.end()
    })
  }

  #current(): Socket {
    if (this.#socket !== undefined) return this.#socket
    const { host, port, lookup, tls, serverName = host } = this.#options
    const where = { host, port, ...(lookup && { lookup }) }
    const named = isIP(serverName) === 0 ? { servername: serverName } : {}
    const socket = tls ? connectTls({ ...where, ...named, rejectUnauthorized: false }) : connectTcp(where)
    this.#socket = socket
    socket.setKeepAlive(true)
    socket.on('error', () => {})
    socket.on('close', () => this.#drop(socket))
    // The other side wants no more: what is written from now on would be lost without a word.
    socket.on('end', () => this.#drop(socket))
    socket.setTimeout(IDLE_MS, () => this.#retire(socket))
    // What it says is of no interest, and would stop the connection if nobody read it.
    socket.resume()
    return socket
  }

  /** The last batch is with the kernel; it is delivered before the connection ends. */
  #retire(socket: Socket): void {
    if (socket.connecting || socket.writableLength > 0) return
    if (this.#socket === socket) this.#socket = undefined
    socket.end()
    socket.setTimeout(this.#options.timeoutMs, () => socket.destroy())
  }

  #drop(socket: Socket): void {
    if (this.#socket === socket) this.#socket = undefined
    socket.destroy()
  }
}

/** One datagram per batch, on a socket of its own: who reads the other end may change, and names with it. */
export class UdpSink implements Sink {
  readonly #options: SocketSinkOptions

  constructor(options: SocketSinkOptions) {
    this.#options = options
  }

  async send(batch: Buffer): Promise<number> {
    const { host, port } = this.#options
    try {
      const { address, family } = await this.#locate()
      const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
      await new Promise<void>((resolve, reject) => {
        socket.on('error', reject)
        socket.send(batch, port, address, error => (error ? reject(error) : resolve()))
      }).finally(() => socket.close())
      return 0
    } catch (error) {
      const { code = 'unknown' } = error as NodeJS.ErrnoException
      throw new Error(`failed to send: ${code} host[${host}] port[${port}]`)
    }
  }

  async close(): Promise<void> {}

  #locate(): Promise<{ address: string; family: number }> {
    const { host, lookup } = this.#options
    const family = isIP(host)
    if (family !== 0 || lookup === undefined) return Promise.resolve({ address: host, family: family || 4 })
    return new Promise((resolve, reject) => {
      lookup(host, {}, (error, address, found = 4) =>
        error ? reject(error) : resolve({ address: address as string, family: found }),
      )
    })
  }
}
