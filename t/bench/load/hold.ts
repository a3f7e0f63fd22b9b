// Streams that stay open: each has brought its first event and will bring no other.
import { requestOf } from '../workload.ts'
import { type Connection, type Connections, timeLimit } from './connection.ts'
import type { HoldJob } from './job.ts'
import { Stamps } from './stamps.ts'

// Opened at the same time: more would measure the queue of new connections.
const AT_ONCE = 50

/** Resolves when all are open. */
export async function hold(connections: Connections, { target, streams, within }: HoldJob): Promise<void> {
  const request = requestOf(target, 'hold')
  const limit = timeLimit(within)
  try {
    for (let open = 0; open < streams; open += AT_ONCE) {
      const taken = await connections.take(target, Math.min(AT_ONCE, streams - open))
      await Promise.race([Promise.all(taken.map(connection => firstEvent(connection, request))), limit.up])
    }
  } finally {
    limit.stop()
  }
}

function firstEvent(connection: Connection, request: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const stamps = new Stamps()
  connection.send(request, {
    read: chunk => stamps.feed(chunk.toString('latin1'), () => resolve()),
    fail: reject,
  })
  return promise
}
