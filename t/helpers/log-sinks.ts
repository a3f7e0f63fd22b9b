// Sinks of logs on real sockets: what has come, by connection and datagram, and the means to behave badly.
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'

export interface StreamSink {
  readonly port: number
  /** All bytes that have come, as text. */
  readonly text: string
  readonly connections: number
  /** Reads nothing any more, from any connection. */
  deaf: boolean
  /** Ends every connection there is, with RST where `hard`. */
  cut(hard?: boolean): void
  close(): Promise<void>
}

/** A TCP server; with `tls` it speaks TLS. */
export async function startStreamSink(tls?: TlsOptions): Promise<StreamSink> {
  const sockets = new Set<Socket>()
  let text = ''
  let connections = 0
  let deaf = false
  const accept = (socket: Socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    if (deaf) return
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  }
  const server: Server = tls ? createTlsServer(tls, accept) : createServer(accept)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    get text() {
      return text
    },
    get connections() {
      return connections
    },
    get deaf() {
      return deaf
    },
    set deaf(value) {
      deaf = value
    },
    cut(hard = false) {
      for (const socket of sockets) hard ? socket.resetAndDestroy() : socket.end()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

export interface DatagramSink {
  readonly port: number
  readonly datagrams: string[]
  close(): Promise<void>
}

export async function startDatagramSink(): Promise<DatagramSink> {
  const socket: UdpSocket = createSocket('udp4')
  const datagrams: string[] = []
  socket.on('message', message => datagrams.push(message.toString()))
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    port: socket.address().port,
    datagrams,
    async close() {
      socket.close()
      await once(socket, 'close')
    },
  }
}
