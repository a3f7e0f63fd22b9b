// A koa app on a socket of its own, with TLS where it is asked for.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type Koa from 'koa'
import { type Address, stop } from '../core/listener.ts'

// Requests of operators take milliseconds; a connection that stalls must not hold up the end.
const CLOSE_WITHIN_MS = 3_000

/** Paths of files in PEM form. */
export interface TlsFiles {
  readonly cert: string
  readonly key: string
  /** Who signs the certificates that clients must show; undefined: they need none. */
  readonly ca: string | undefined
}

export interface Served {
  readonly address: Address
  /** Reads the certificates again, for connections from now on. Throws when they cannot be used, and keeps those it has. */
  renew(): void
  /** Ends accepting and idle connections; resolves when the requests in hand are answered, within seconds. */
  close(): Promise<void>
}

/** Listens. Rejects with the system's error when it cannot, or when the files of `tls` cannot be used. */
export async function serve(app: Koa, address: Address, tls?: TlsFiles): Promise<Served> {
  const handle = app.callback()
  // koa answers for every error of its middleware, so this promise never rejects.
  const { server, renew } = serverFor((message, response) => void handle(message, response), tls)
  server.listen(address)
  await once(server, 'listening')
  const { address: host, port } = server.address() as AddressInfo
  return {
    address: { host, port },
    renew,
    close: () => stop(server, CLOSE_WITHIN_MS),
  }
}

function serverFor(handle: RequestListener, tls: TlsFiles | undefined): { server: Server; renew: () => void } {
  if (tls === undefined) return { server: createHttpServer(handle), renew() {} }
  const server: HttpsServer = createHttpsServer(contextOf(tls), handle)
  return { server, renew: () => server.setSecureContext(contextOf(tls)) }
}

function contextOf({ cert, key, ca }: TlsFiles) {
  return {
    cert: readFileSync(cert),
    key: readFileSync(key),
    minVersion: 'TLSv1.2' as const,
    ...(ca !== undefined && { ca: readFileSync(ca), requestCert: true, rejectUnauthorized: true }),
  }
}
