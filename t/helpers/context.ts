// A Context without a gateway: for what only reads one.
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { RequestBody } from '../../core/body.ts'
import { type Attempt, type ConsumerIndex, Context } from '../../core/context.ts'
import { HoldBook } from '../../core/holds.ts'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'
import { Overload } from '../../core/overload.ts'
import { Request } from '../../core/request.ts'

const nobody: ConsumerIndex = { find: () => undefined, named: () => undefined }

/** A request as if it had just arrived; `body` is read already, so that it is in memory. */
export async function makeContext(
  given: {
    method?: string
    target?: string
    headers?: Record<string, string>
    body?: string
    consumers?: ConsumerIndex
    now?: number
    remoteAddress?: string
  } = {},
): Promise<Context> {
  const socket = new Socket()
  Object.defineProperty(socket, 'remoteAddress', { value: given.remoteAddress })
  const message = new IncomingMessage(socket)
  message.method = given.method ?? 'GET'
  message.url = given.target ?? '/'
  message.httpVersion = '1.1'
  const headers = { Host: 'gateway.test', ...given.headers }
  if (given.body !== undefined) Object.assign(headers, { 'Content-Length': String(Buffer.byteLength(given.body)) })
  message.rawHeaders = Object.entries(headers).flat()
  const request = new Request(message)
  const body = new RequestBody(message, request.headers, { maxBodySize: 0, bodyTimeout: 0 }, () => {})
  if (given.body !== undefined) {
    message.push(given.body)
    message.push(null)
    await body.bytes(1 << 20)
  }
  const metrics = new MetricsWriter({ publish: () => {} })
  return new Context(request, body, {
    consumers: given.consumers ?? nobody,
    book: new HoldBook(metrics),
    overload: new Overload({ maxRequestsInFlight: 1, maxBufferedBytes: 2 ** 30, maxLoopLag: 1 }, metrics),
    now: given.now ?? 1_700_000_000_123,
    tick: performance.now(),
  })
}

/** The record of one try at an upstream. */
export function attempt(fields: Partial<Attempt> = {}): Attempt {
  return {
    address: '127.0.0.1:1980',
    status: 200,
    connectMs: 1,
    headerMs: 2,
    responseMs: 4,
    bytesReceived: 10,
    fault: undefined,
    ...fields,
  }
}
