// A connection to Redis, or to a cluster or what sentinels name: one script at a time, in its time or not at all; knows no ledger.
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { LedgerError } from '../ledger.ts'
import type { Script } from './scripts.ts'

export interface RedisServers {
  /** One server, the nodes of a cluster, or sentinels that know the master of that name. */
  readonly at:
    | { readonly kind: 'single'; readonly host: string; readonly port: number }
    | { readonly kind: 'cluster'; readonly name: string; readonly nodes: readonly { host: string; port: number }[] }
    | {
        readonly kind: 'sentinel'
        readonly master: string
        readonly sentinels: readonly { host: string; port: number }[]
        readonly username: string | undefined
        readonly password: string | undefined
      }
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  /** Undefined without TLS. */
  readonly tls: { readonly verify: boolean } | undefined
  /** Milliseconds. */
  readonly connectMs: number
  /** Milliseconds that an answer may take. */
  readonly answerMs: number
}

export interface LinkEvents {
  /** It cannot be reached any more, or can be again; told once each time. */
  away(error: Error): void
  back(): void
}

const MAX_BACKOFF_MS = 1_000

/** Nothing waits in a queue: whoever asks while there is no connection hears so at once. */
export class RedisLink {
  readonly #client: Redis | Cluster
  readonly #events: LinkEvents
  /** Over when the first connection stands, or does not. */
  readonly #opening: Promise<void>
  #opened = false
  #away = false

  constructor(servers: RedisServers, events: LinkEvents) {
    this.#events = events
    this.#client = connect(servers)
    this.#opening = new Promise(resolve => {
      const over = () => {
        this.#opened = true
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(over, servers.connectMs)
      this.#client.once('ready', over).once('close', over)
    })
    this.#client.on('ready', () => this.#isBack())
    this.#client.on('error', (error: Error) => this.#isAway(error))
    this.#client.on('close', () => this.#isAway(new Error('the connection was closed')))
  }

  /** Whether a script would be sent now. */
  get ready(): boolean {
    return this.#client.status === 'ready'
  }

  /**
   * Runs a script. Rejects with LedgerError when there is no connection (it was not run), and when no answer came in time (it
   * may have been run).
   */
  async run(script: Script, keys: readonly string[], values: readonly (string | number)[]): Promise<unknown> {
    if (!this.#opened) await this.#opening
    if (!this.ready) throw new LedgerError('away', 'Redis is away')
    try {
      const answer = await this.#evaluate(script, keys, values)
      this.#isBack()
      return answer
    } catch (cause) {
      this.#isAway(cause as Error)
      throw new LedgerError('away', 'Redis did not answer', { cause })
    }
  }

  close(): void {
    this.#client.removeAllListeners('close')
    this.#client.disconnect()
  }

  async #evaluate(
    { sha, text }: Script,
    keys: readonly string[],
    values: readonly (string | number)[],
  ): Promise<unknown> {
    try {
      return await this.#client.evalsha(sha, keys.length, ...keys, ...values)
    } catch (error) {
      if (!(error as Error).message.startsWith('NOSCRIPT')) throw error
      return await this.#client.eval(text, keys.length, ...keys, ...values)
    }
  }

  #isAway(error: Error): void {
    if (!this.#away) this.#events.away(error)
    this.#away = true
  }

  #isBack(): void {
    if (this.#away) this.#events.back()
    this.#away = false
  }
}

/** By default ioredis keeps commands and tries them again for as long as a dead server needs (facts dependencies 4). */
function connect({ at, username, password, database, tls, connectMs, answerMs }: RedisServers): Redis | Cluster {
  const again = (times: number) => Math.min(MAX_BACKOFF_MS, 20 * 2 ** Math.min(times, 10))
  const options: RedisOptions = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && password !== '' && { password }),
    ...(tls !== undefined && { tls: { rejectUnauthorized: tls.verify } }),
    connectTimeout: connectMs,
    commandTimeout: answerMs,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: again,
    // What was the master is none any more.
    reconnectOnError: error => error.message.startsWith('READONLY'),
  }
  switch (at.kind) {
    case 'single':
      return new Redis({ ...options, host: at.host, port: at.port, db: database })
    case 'sentinel':
      return new Redis({
        ...options,
        sentinels: [...at.sentinels],
        name: at.master,
        db: database,
        ...(at.username !== undefined && { sentinelUsername: at.username }),
        ...(at.password !== undefined && { sentinelPassword: at.password }),
        sentinelRetryStrategy: again,
        failoverDetector: true,
      })
    case 'cluster':
      return new Cluster([...at.nodes], {
        redisOptions: options,
        // Else what comes while a node is being connected to, which is on first use, would fail. The clock runs all the same.
        enableOfflineQueue: true,
        clusterRetryStrategy: again,
        // What may have been run is not run again.
        retryDelayOnFailover: 0,
        retryDelayOnClusterDown: 0,
        maxRedirections: 4,
      })
  }
}
