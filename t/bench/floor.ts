// The floor: node:http in front, undici's dispatch behind, written straight to the response. The least a Node proxy can cost.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Dispatcher, Pool } from 'undici'
import { ready } from './peer.ts'

// Connections as core/proxy/transport.ts and core/listener.ts keep them.
const pool = new Pool(process.argv[2]!, {
  connections: null,
  pipelining: 1,
  allowH2: false,
  keepAliveTimeout: 4_000,
  keepAliveMaxTimeout: 25_000,
  headersTimeout: 0,
  bodyTimeout: 0,
})

class Handler implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse

  constructor(response: ServerResponse) {
    this.#response = response
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#response.once('close', () => {
      if (!this.#response.writableFinished) controller.abort(new Error('the client is gone'))
    })
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Record<string, string | string[]>): void {
    this.#response.writeHead(status, headers)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#response.write(chunk)) return
    controller.pause()
    this.#response.once('drain', () => controller.resume())
  }

  onResponseEnd(): void {
    this.#response.end()
  }

  onResponseError(): void {
    this.#response.destroy()
  }
}

const streams = process.argv[3] === 'streams'

// The body is collected, as who looks into bodies must: a stream handed to undici would cost a quarter more (39.4 us against 31.0).
// Large ones stream.
const server = createServer({ noDelay: true, keepAlive: true, keepAliveTimeout: 60_000 }, (request, response) => {
  if (streams && request.method !== 'GET') {
    const { method, url, rawHeaders } = request
    pool.dispatch(
      { method: method as Dispatcher.HttpMethod, path: url!, headers: rawHeaders, body: request },
      new Handler(response),
    )
    return
  }
  let body: Buffer | null = null
  request.on('data', (chunk: Buffer) => {
    body = body === null ? chunk : Buffer.concat([body, chunk])
  })
  request.on('end', () => {
    const { method, url, rawHeaders } = request
    pool.dispatch(
      { method: method as Dispatcher.HttpMethod, path: url!, headers: rawHeaders, body },
      new Handler(response),
    )
  })
})
server.listen({ port: 0, host: '127.0.0.1' })
await once(server, 'listening')
ready((server.address() as AddressInfo).port)
