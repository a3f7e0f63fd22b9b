// Streams side by side to their end: when each first event came, and how late every event was.
import { setTimeout as wait } from 'node:timers/promises'
import { percentile } from '../statistics.ts'
import { EVENTS, micros, requestOf } from '../workload.ts'
import { type Connection, type Connections, expect200, timeLimit } from './connection.ts'
import type { Streams, StreamsJob } from './job.ts'
import { Stamps } from './stamps.ts'

// All at once would be a burst of more requests than a core can take, and the first event would tell of the queue.
const START_MS = 1

/** Rejects for anything but 200 and for a stream that does not come whole. */
export async function runStreams(connections: Connections, job: StreamsJob): Promise<Streams> {
  const { target, streams, within } = job
  const taken = await connections.take(target, streams)
  const request = requestOf(target, 'stream')
  const delays: number[] = []
  const firsts: number[] = []
  const limit = timeLimit(within)
  try {
    const ends: Promise<void>[] = []
    const began = performance.now()
    for (const connection of taken) {
      const due = ends.length * START_MS - (performance.now() - began)
      if (due > 0) await Promise.race([wait(due), limit.up])
      ends.push(follow(connection, request, { delays, firsts }))
    }
    await Promise.race([Promise.all(ends), limit.up])
  } finally {
    limit.stop()
  }
  connections.give(target, taken)
  delays.sort((a, b) => a - b)
  firsts.sort((a, b) => a - b)
  return {
    events: delays.length,
    firstP50: percentile(firsts, 0.5),
    firstP99: percentile(firsts, 0.99),
    delayP50: percentile(delays, 0.5),
    delayP99: percentile(delays, 0.99),
  }
}

function follow(connection: Connection, request: Buffer, seen: { delays: number[]; firsts: number[] }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const began = micros()
  const stamps = new Stamps()
  let events = 0
  let begun = false
  connection.send(request, {
    read(chunk) {
      const now = micros()
      const text = chunk.toString('latin1')
      if (!begun) {
        begun = true
        try {
          expect200(text)
        } catch (error) {
          return reject(error as Error)
        }
      }
      stamps.feed(text, sent => {
        if (events++ === 0) seen.firsts.push(now - began)
        seen.delays.push(now - sent)
      })
      if (!stamps.ended) return
      if (events === EVENTS) resolve()
      else reject(new Error(`a stream brought ${events} events instead of ${EVENTS}`))
    },
    fail: reject,
  })
  return promise
}
