// Large bodies, one way: how long it takes until so many bytes have come or gone on each of some connections.
import { once } from 'node:events'
import { micros, type Target } from '../workload.ts'
import { type Connection, type Connections, expect200, timeLimit } from './connection.ts'
import type { Transfer, TransferJob } from './job.ts'

const PIECE = Buffer.alloc(64 * 1024, 'x')

/** Rejects for anything but 200, and for a body that does not come or go whole. */
export async function runTransfer(connections: Connections, job: TransferJob): Promise<Transfer> {
  const { target, direction, bytes, concurrency, within } = job
  const taken = await connections.take(target, concurrency)
  const limit = timeLimit(within)
  const began = micros()
  try {
    const one = direction === 'down' ? download : upload
    await Promise.race([Promise.all(taken.map(connection => one(connection, target, bytes))), limit.up])
  } finally {
    limit.stop()
  }
  const seconds = (micros() - began) / 1e6
  connections.give(target, taken)
  return { bytes: bytes * concurrency, seconds }
}

/** Resolves when `bytes` of body have come. */
function download(connection: Connection, { host, port, path }: Target, bytes: number): Promise<void> {
  const request = Buffer.from(`GET ${path}/${bytes} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`)
  return answered(connection, request, bytes)
}

/** Resolves when the upstream says that it has `bytes` of body. */
async function upload(connection: Connection, { host, port, path }: Target, bytes: number): Promise<void> {
  const head = `POST ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\nContent-Type: application/octet-stream\r\nContent-Length: ${bytes}\r\n\r\n`
  const done = answered(connection, Buffer.from(head), 0)
  done.catch(() => {})
  const { socket } = connection
  for (let left = bytes; left > 0 && !socket.destroyed; left -= PIECE.length) {
    if (!socket.write(left < PIECE.length ? PIECE.subarray(0, left) : PIECE)) await once(socket, 'drain')
  }
  await done
}

/** Sends a head and resolves when the answer's has come, and at least so many bytes behind it. */
function answered(connection: Connection, request: Buffer, bytes: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let head = ''
  let body = -1
  connection.send(request, {
    read(chunk) {
      if (body < 0) {
        head += chunk.toString('latin1')
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        try {
          expect200(head)
        } catch (error) {
          return reject(error as Error)
        }
        body = head.length - end - 4
      } else body += chunk.length
      if (body >= bytes) resolve()
    },
    fail: reject,
  })
  return promise
}
