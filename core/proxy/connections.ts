// The connections to one origin: each serves one request at a time and rests between two; knows no clocks and no answers.
import type { LookupFunction } from 'node:net'
import { buildConnector, Client, type Dispatcher } from 'undici'

/** What becomes of connections that nobody uses. */
export interface KeepAlive {
  /** How many stay open; a moment longer, the others that the last second needed. */
  readonly size: number
  /** For how long; 0 means until the upstream closes them. An upstream that says so is believed when it is less. */
  readonly idleMs: number
  /** After so many requests a connection is closed; 0 is never. */
  readonly requests: number
}

/** What a client shows a server that asks who it is, in PEM. `id` is another for every other certificate. */
export interface ClientCert {
  readonly id: string
  readonly cert: string
  readonly key: string
}

export interface ConnectionOptions {
  /** scheme://host:port */
  origin: string
  /** Milliseconds after which a socket that is not connected is let go. */
  connectMs: number
  keepAlive: KeepAlive
  /** The longest an upstream may ask for a connection to be kept, in milliseconds. */
  maxIdleMs: number
  /** Finds the addresses of a name. */
  lookup: LookupFunction | undefined
  /** https: name for SNI and verification. */
  serverName: string | undefined
  /** https: refuse a certificate that does not verify. */
  verify: boolean
  clientCert: ClientCert | undefined
}

// Closed as soon as they rest, connections above `size` are missed by the next burst: with 256 requests at once and 30
// kept, 57 of 100 requests opened a connection (seen), of which each to a provider is a TLS handshake.
const SURPLUS_MS = 1_000
// A response head larger than this is refused as malformed.
const MAX_RESPONSE_HEAD = 64 * 1024
/** Node's longest timer. */
const FOREVER_MS = 2 ** 31 - 1

/**
 * undici's own Pool looks through all its connections for a free one, and keeps as many as there ever were at once: with
 * thousands of streams to one origin that is thousands of steps for each request.
 */
export class Connections {
  readonly #options: ConnectionOptions
  readonly #connect: ReturnType<typeof buildConnector>
  readonly #all = new Set<Connection>()
  /** The last used is the first to be used again: it is the least likely to be closed meanwhile. */
  readonly #resting: Connection[] = []
  /** Runs while more rest than shall be kept. */
  #surplus: NodeJS.Timeout | undefined
  /** How many rested at least since then: so many were not needed. */
  #fewest = 0

  constructor(options: ConnectionOptions) {
    const { connectMs, lookup, serverName, verify, clientCert } = options
    this.#options = options
    this.#connect = buildConnector({
      allowH2: false,
      timeout: connectMs,
      rejectUnauthorized: verify,
      ...(lookup && { lookup }),
      ...(serverName !== undefined && { servername: serverName }),
      ...(clientCert && { cert: clientCert.cert, key: clientCert.key }),
    })
  }

  /** Nobody uses any. */
  get resting(): boolean {
    return this.#resting.length === this.#all.size
  }

  /** Sends a request on a connection of its own. Throws for one that cannot be sent as it is. */
  dispatch(request: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    const connection = this.#resting.pop() ?? this.#open()
    connection.rests = false
    if (this.#resting.length < this.#fewest) this.#fewest = this.#resting.length
    try {
      connection.client.dispatch(request, handler)
    } catch (error) {
      this.#rest(connection)
      throw error
    }
  }

  /** Closes all of them; requests under way fail. */
  async destroy(): Promise<void> {
    const all = [...this.#all]
    clearTimeout(this.#surplus)
    this.#all.clear()
    this.#resting.length = 0
    await Promise.all(all.map(({ client }) => client.destroy()))
  }

  #open(): Connection {
    const { origin, keepAlive, maxIdleMs } = this.#options
    const idleMs = keepAlive.idleMs || FOREVER_MS
    const client = new Client(origin, {
      connect: this.#connect,
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: Math.max(idleMs, maxIdleMs),
      maxRequestsPerClient: keepAlive.requests,
      maxHeaderSize: MAX_RESPONSE_HEAD,
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    const connection: Connection = { client, rests: false }
    client.on('drain', () => this.#rest(connection))
    // With something left to send it connects again by itself.
    client.on('disconnect', () => {
      if (client.stats.size === 0) this.#drop(connection)
    })
    client.on('connectionError', () => this.#drop(connection))
    this.#all.add(connection)
    return connection
  }

  #rest(connection: Connection): void {
    if (connection.rests || !this.#all.has(connection)) return
    connection.rests = true
    this.#resting.push(connection)
    if (this.#surplus === undefined) this.#watchSurplus()
  }

  #watchSurplus(): void {
    const { size } = this.#options.keepAlive
    this.#surplus = undefined
    this.#fewest = this.#resting.length
    if (this.#resting.length <= size) return
    this.#surplus = setTimeout(() => {
      for (let unneeded = this.#fewest - size; unneeded > 0; unneeded--) this.#drop(this.#resting[0]!)
      this.#watchSurplus()
    }, SURPLUS_MS).unref()
  }

  #drop(connection: Connection): void {
    if (!this.#all.delete(connection)) return
    if (connection.rests) this.#resting.splice(this.#resting.indexOf(connection), 1)
    if (this.#resting.length < this.#fewest) this.#fewest = this.#resting.length
    void connection.client.destroy().catch(() => {})
  }
}

interface Connection {
  readonly client: Client
  rests: boolean
}
