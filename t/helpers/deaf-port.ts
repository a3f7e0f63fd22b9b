// A port on which a connection never comes about: its queue is full and nobody accepts.
import { connect, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'

export interface DeafPort {
  readonly port: number
  close(): Promise<void>
}

const listener = `
  const { parentPort } = require('node:worker_threads')
  const server = require('node:net').createServer()
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    parentPort.postMessage(server.address().port)
    // The thread stands still from here on: the kernel queues what it can and drops the rest.
    setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0))
  })
`

export async function startDeafPort(): Promise<DeafPort> {
  const worker = new Worker(listener, { eval: true })
  const port = await new Promise<number>(resolve => worker.once('message', resolve))
  const fillers: Socket[] = []
  // A filler that does not connect in time shows that the queue is full.
  for (let full = false; !full && fillers.length < 64; ) {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.on('error', () => {})
    fillers.push(socket)
    full = await new Promise<boolean>(resolve => {
      // On a busy machine the timer may come first: who is connected by then is heard in the same turn of the loop.
      const timer = setTimeout(() => setImmediate(() => resolve(true)), 100)
      socket.once('connect', () => {
        clearTimeout(timer)
        resolve(false)
      })
    })
  }
  return {
    port,
    async close() {
      for (const socket of fillers) socket.destroy()
      await worker.terminate()
    },
  }
}
