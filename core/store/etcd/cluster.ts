// The members of an etcd cluster as one: whom to ask, when to ask another, who we are; knows no resources.
import { setTimeout as delay } from 'node:timers/promises'
import { status } from '@grpc/grpc-js'
import type { Logger } from '../../observe/log.ts'
import { StoreUnavailable } from '../store.ts'
import { type Call, CallFailed, type Header, Link, type TlsFiles, type WatchStream } from './link.ts'

export interface ClusterOptions {
  /** URLs of the members, at least one. */
  hosts: readonly string[]
  user: string | undefined
  password: string | undefined
  tls: TlsFiles
  /** Milliseconds that a call may take in all. */
  timeout: number
  /** Milliseconds without an answer after which etcd counts as away. */
  healthCheckTimeout: number
  log: Logger
  /** Milliseconds since the epoch. */
  now: () => number
  random: () => number
}

/** Milliseconds for one member to answer: an election takes about two seconds. */
const ATTEMPT_MS = 3_000
/** While etcd is away a call is let through this often; the others fail at once. */
const TRY_EVERY_MS = 1_000
/** Milliseconds between attempts, doubled each time; the least and the most. */
const PAUSE_MS = [50, 1_000] as const

interface Member {
  readonly url: string
  link: Link | undefined
  /** When it last failed us, by performance.now(). */
  failed: number
}

/** A member for one stream and what belongs to it, on a connection of their own. */
export interface Connection {
  watch(): WatchStream
  /** One attempt; rejects with CallFailed. */
  call<T extends { header: Header }>(call: Call, within?: number): Promise<T>
  /** `failed` when another member should be taken next. */
  close(failed: boolean): void
}

export class Cluster {
  readonly #options: ClusterOptions
  readonly #members: Member[]
  #token: Promise<string | undefined> | undefined
  #closed = false
  /** When etcd last answered, in milliseconds since the epoch; undefined before the first time. */
  lastContact: number | undefined
  /** The highest revision that a reply has named. */
  revision = 0
  #failingSince: number | undefined
  #lastTried = 0
  /** What went wrong last. */
  #fault = 'it has not been asked yet'
  #told = false

  constructor(options: ClusterOptions) {
    this.#options = options
    // Gateways of a fleet begin with different members.
    const turned = Math.floor(options.random() * options.hosts.length)
    this.#members = [...options.hosts.slice(turned), ...options.hosts.slice(0, turned)].map(url => ({
      url,
      link: undefined,
      failed: Number.NEGATIVE_INFINITY,
    }))
  }

  /** Whether etcd has not answered for longer than it may. */
  get away(): boolean {
    const { healthCheckTimeout } = this.#options
    return this.#failingSince !== undefined && performance.now() - this.#failingSince > healthCheckTimeout
  }

  /** Whether the last call was answered. */
  get reachable(): boolean {
    return this.lastContact !== undefined && this.#failingSince === undefined
  }

  /** What went wrong last; undefined when nothing does. */
  get fault(): string | undefined {
    return this.reachable ? undefined : this.#fault
  }

  /** Throws StoreUnavailable when the call would only wait for nobody. */
  worthTrying(): void {
    if (this.#closed) throw new StoreUnavailable('the store is closed', 'not_written')
    const tried = performance.now() - this.#lastTried < TRY_EVERY_MS
    if (this.away && tried) throw new StoreUnavailable(`etcd is away: ${this.#fault}`, 'not_written')
  }

  /** Makes a call to every member up to `times` times, until one answers; no is an answer too. */
  async answers(call: Call, times: number): Promise<boolean> {
    for (let left = times * this.#members.length; left > 0 && !this.#closed; left--) {
      await this.attempt(call, this.deadline()).catch(() => {})
      if (this.reachable) return true
    }
    return false
  }

  /**
   * A call that may be made twice, to one member after the other until one answers. Rejects with CallFailed when etcd says
   * no, with StoreUnavailable when nobody answers within the configured time.
   */
  async ask<T extends { header: Header }>(call: Call, deadline = this.deadline()): Promise<T> {
    let why: unknown
    for (let pause: number = PAUSE_MS[0]; ; pause = Math.min(2 * pause, PAUSE_MS[1])) {
      try {
        return await this.attempt<T>(call, deadline)
      } catch (error) {
        const { refused, code } = error as Partial<CallFailed>
        if (refused) throw error
        // That there was no time left says less than what took it.
        if (why === undefined || code !== status.DEADLINE_EXCEEDED) why = error
        if (this.#closed || performance.now() + 2 * pause > deadline) {
          throw new StoreUnavailable(`etcd cannot be reached: ${(why as Error).message}`, 'not_written', why)
        }
        await delay(pause)
      }
    }
  }

  /** One attempt at the member that is best now. Rejects with CallFailed. */
  async attempt<T extends { header: Header }>(call: Call, deadline: number): Promise<T> {
    const member = this.#best()
    try {
      if (this.#closed) throw new CallFailed(status.CANCELLED, 'the store is closed')
      member.link ??= new Link(member.url, this.#options.tls)
      const within = Math.min(ATTEMPT_MS, deadline - performance.now())
      return await this.#call<T>(member.link, call, within)
    } catch (error) {
      if (!(error as CallFailed).refused) this.#drop(member)
      throw error
    }
  }

  /** A connection of its own to the member that is best now. Rejects with CallFailed when there is none to be had. */
  async connect(): Promise<Connection> {
    const member = this.#best()
    let link: Link | undefined
    try {
      const own = new Link(member.url, this.#options.tls)
      link = own
      const token = await this.#login(own)
      return {
        watch: () => own.watch(token),
        call: (call, within = ATTEMPT_MS) => this.#call(own, call, within),
        close: failed => {
          own.close()
          if (failed) member.failed = performance.now()
        },
      }
    } catch (error) {
      link?.close()
      member.failed = performance.now()
      this.#failing(error as CallFailed)
      throw error
    }
  }

  /** etcd has answered on a stream. */
  heard(header: Header): void {
    this.revision = Math.max(this.revision, Number(header.revision))
    this.#answers()
  }

  /** Who we were to etcd does not count any more: the next call logs in. */
  forgetToken(): void {
    this.#token = undefined
  }

  /** When a call that begins now has taken too long, by performance.now(). */
  deadline(): number {
    return performance.now() + this.#options.timeout
  }

  close(): void {
    this.#closed = true
    for (const member of this.#members) member.link?.close()
  }

  #best(): Member {
    return this.#members.reduce((best, each) => (each.failed < best.failed ? each : best))
  }

  /** Its connection is given up with it: one that hangs would be waited for again. */
  #drop(member: Member): void {
    member.failed = performance.now()
    member.link?.close()
    member.link = undefined
  }

  async #call<T extends { header: Header }>(link: Link, call: Call, within: number): Promise<T> {
    this.#lastTried = performance.now()
    try {
      for (let first = true; ; first = false) {
        const token = await this.#login(link)
        try {
          const reply = await link.call<T>(call, token, within)
          this.heard(reply.header)
          return reply
        } catch (error) {
          // Tokens die with a restart of etcd (defect 5); a call that was refused for it has done nothing.
          if (!first || !isTokenRefused(error as CallFailed)) throw error
          this.forgetToken()
        }
      }
    } catch (error) {
      this.#failing(error as CallFailed)
      throw error
    }
  }

  #answers(): void {
    this.lastContact = this.#options.now()
    this.#failingSince = undefined
    if (this.#told) this.#options.log.warn({}, 'etcd answers again')
    this.#told = false
  }

  #failing(error: CallFailed): void {
    this.#fault = error.message
    // To be told no is an answer, but not to be let in is none.
    if (error.refused && !isTokenRefused(error) && !/authentication failed/.test(error.message)) return this.#answers()
    this.#failingSince ??= performance.now()
    // An election or a member that restarts is nothing to wake anybody for.
    const brief = !error.refused && performance.now() - this.#failingSince < ATTEMPT_MS
    if (this.#told || this.#closed || brief) return
    this.#told = true
    this.#options.log.error({ reason: error.message }, 'etcd cannot be reached')
  }

  async #login(link: Link): Promise<string | undefined> {
    const { user, password } = this.#options
    if (user === undefined) return undefined
    const asked = this.#token ?? authenticate(link, user, password ?? '')
    this.#token = asked
    try {
      return await asked
    } catch (error) {
      if (this.#token === asked) this.#token = undefined
      throw error
    }
  }
}

async function authenticate(link: Link, name: string, password: string): Promise<string | undefined> {
  const call: Call = { service: 'Auth', method: 'authenticate', request: { name, password } }
  try {
    const { token } = await link.call<{ token: string }>(call, undefined, ATTEMPT_MS)
    return token
  } catch (error) {
    // A user may be configured before etcd asks for one.
    if ((error as CallFailed).code === status.FAILED_PRECONDITION) return undefined
    throw error
  }
}

/** Whether a call was refused for who we were, and may be made again by whom we are. */
export function isTokenRefused({ code, message }: { code?: status; message: string }): boolean {
  return code === status.UNAUTHENTICATED || /invalid auth token|user name is empty|auth store is old/.test(message)
}
