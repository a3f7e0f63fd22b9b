// Asks for a path over a few connections, in a process of its own, so that its CPU is not the gateway's.
import { connect, type Socket } from 'node:net'

const port = Number(process.argv[2])
const sockets = await Promise.all(
  Array.from(
    { length: 16 },
    () =>
      new Promise<Socket>(resolve => {
        const socket = connect(port, '127.0.0.1', () => resolve(socket.setNoDelay(true)))
      }),
  ),
)

process.on('message', async ({ path, count }: { path: string; count: number }) => {
  let left = count
  const asking = sockets.map(
    socket =>
      new Promise<void>(resolve => {
        const next = () => {
          if (left-- > 0) return socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`)
          socket.off('data', next)
          resolve()
        }
        socket.on('data', next)
        next()
      }),
  )
  await Promise.all(asking)
  process.send!('done')
})
process.send!('ready')
