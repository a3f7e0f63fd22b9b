// A client on a bare socket, for what no HTTP library would send: pipelining, halves of requests, rude goodbyes.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { until } from './until.ts'

export interface RawClient {
  readonly socket: Socket
  /** Everything received so far, as latin1. */
  readonly received: string
  readonly closed: boolean
  write(text: string): void
  /** Resolves when `text` has come; rejects when the connection closes without it. */
  reads(text: string): Promise<void>
  /** Number of status lines so far. */
  responses(): number
  close(): void
  reset(): void
}

export async function connectRaw(port: number): Promise<RawClient> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.setNoDelay(true)
  await once(socket, 'connect')
  let received = ''
  let closed = false
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => {
    received += text
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    closed = true
  })
  return {
    socket,
    get received() {
      return received
    },
    get closed() {
      return closed
    },
    write: text => void socket.write(text, 'latin1'),
    async reads(text) {
      await until(() => received.includes(text) || closed, `reading ${JSON.stringify(text)}`)
      if (!received.includes(text)) throw new Error(`closed before ${JSON.stringify(text)}; got ${received}`)
    },
    responses: () => received.match(/HTTP\/1\.1 \d{3} /g)?.filter(line => !line.includes(' 100 ')).length ?? 0,
    close: () => void socket.destroy(),
    reset: () => void socket.resetAndDestroy(),
  }
}
