// The upstream of large bodies: sends as many bytes as the path says, or swallows what comes; checks nothing.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { ready } from '../peer.ts'

const PIECE = Buffer.alloc(64 * 1024, 'x')
const SWALLOWED = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

const server = createServer({ noDelay: true }, socket => {
  let head = ''
  let swallowing = 0
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk: Buffer) => {
    let body = chunk
    if (swallowing === 0) {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      body = chunk.subarray(chunk.length - (head.length - end - 4))
      swallowing = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
      const asked = Number(/^GET \S*\/(\d+) /.exec(head)?.[1] ?? 0)
      head = ''
      if (swallowing === 0) {
        void send(socket, asked)
        return
      }
    }
    swallowing -= body.length
    if (swallowing <= 0) {
      swallowing = 0
      socket.write(SWALLOWED)
    }
  })
})

async function send(socket: Socket, bytes: number): Promise<void> {
  socket.write(`HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ${bytes}\r\n\r\n`)
  for (let left = bytes; left > 0 && !socket.destroyed; left -= PIECE.length) {
    if (!socket.write(left < PIECE.length ? PIECE.subarray(0, left) : PIECE))
      await once(socket, 'drain').catch(() => {})
  }
}

server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 })
await once(server, 'listening')
ready((server.address() as AddressInfo).port)
