// A koa app on a socket of its own.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type Koa from 'koa'
import { type Address, stop } from '../core/listener.ts'

// Requests of operators take milliseconds; a connection that stalls must not hold up the end.
const CLOSE_WITHIN_MS = 3_000

export interface Served {
  readonly address: Address
  /** Ends accepting and idle connections; resolves when the requests in hand are answered, within seconds. */
  close(): Promise<void>
}

/** Listens. Rejects with the system's error when it cannot. */
export async function serve(app: Koa, address: Address): Promise<Served> {
  const handle = app.callback()
  // koa answers for every error of its middleware, so this promise never rejects.
  const server = createServer((message, response) => void handle(message, response))
  server.listen(address)
  await once(server, 'listening')
  const { address: host, port } = server.address() as AddressInfo
  return {
    address: { host, port },
    close: () => stop(server, CLOSE_WITHIN_MS),
  }
}
