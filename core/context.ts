// Everything known about one request. Few fixed fields with one writer each; everything else is a slot.
import { randomUUID } from 'node:crypto'
import type { RequestBody } from './body.ts'
import type { Trail } from './explain/trail.ts'
import type { Hold, HoldBook, HoldEnd } from './holds.ts'
import type { Overload } from './overload.ts'
import type { Awaitable } from './plugin.ts'
import type { Reply } from './reply.ts'
import type { Request } from './request.ts'

/** Whoever answers the request: the plain proxy, an LLM call, or what a plugin wrapped around either. */
export interface Upstream {
  send(ctx: Context): Awaitable<Reply>
}

/** The matched route as plugins may know it. */
export interface RouteFacts {
  readonly id: string
  readonly name: string | undefined
  /** The pattern and the host that matched, as configured: labels of metrics. */
  readonly matchedUri: string
  readonly matchedHost: string
  readonly service: { readonly id: string; readonly name: string | undefined } | undefined
}

export interface Consumer {
  readonly username: string
  readonly labels: Readonly<Record<string, string>>
  /** Of the group whose plugins join below the consumer's. */
  readonly groupId?: string | undefined
  /** Of the credential by which it was recognised, if it was by one. */
  readonly credentialId?: string | undefined
  /** The consumer's or the credential's config of the plugin that identified it. */
  readonly auth: unknown
}

/** Finds consumers of the request's own snapshot. */
export interface ConsumerIndex {
  /** The consumer with this credential: in its own config of auth plugin `plugin`, or in one of its credentials. */
  find(plugin: string, credential: string): Consumer | undefined
  named(username: string): Consumer | undefined
  /** Lower-case names of header fields and arguments in which some route or rule looks for credentials. */
  readonly carriers?: ReadonlySet<string>
}

/** One try at an upstream: written by the transport, read by logs and metrics. Times are milliseconds since its start. */
export interface Attempt {
  /** `host:port` as configured. */
  address: string
  status: number | undefined
  connectMs: number | undefined
  headerMs: number | undefined
  responseMs: number | undefined
  bytesReceived: number
  /** Why it failed: an UpstreamFault, or `client_gone`. */
  fault: string | undefined
}

/** What goes upstream instead of what the client sent; undefined means the client's own. */
export interface Outbound {
  method?: string
  /** Path and query as they go on the wire. */
  target?: string
  host?: string
  /** What the last attempt was sent to, once there was one. */
  sent?: { readonly scheme: string; readonly host: string }
}

/** How a response ended: whole, because the client left, or because its source broke. */
export type Ending = 'complete' | 'client_gone' | 'broken'

/** A value of one module's own on every request; `get` is undefined until `set`. */
export interface Slot<T> {
  get(ctx: Context): T | undefined
  set(ctx: Context, value: T): void
}

let slots = 0

/** Makes a slot. Only a module that imports it can name it. Call it at module level: slots are never given back. */
export function slot<T>(): Slot<T> {
  const at = slots++
  return {
    get: ctx => ctx.slots[at] as T | undefined,
    set: (ctx, value) => {
      ctx.slots[at] = value
    },
  }
}

type AbortListener = (reason: Error) => void

/** Tell the upstream who asks: username, credential, the consumer's own id (facts core 1.5). */
export const IDENTITY_FIELDS = ['X-Consumer-Username', 'X-Credential-Identifier', 'X-Consumer-Custom-ID'] as const

const MAX_ID = 128

export class Context {
  /** Milliseconds since the epoch, and on the monotonic clock. */
  readonly start: number
  readonly startTick: number
  readonly request: Request
  readonly body: RequestBody
  readonly consumers: ConsumerIndex
  readonly outbound: Outbound = {}
  readonly attempts: Attempt[] = []
  /** Storage of slots; not for use by name. */
  readonly slots: unknown[] = []
  route: RouteFacts | undefined
  consumer: Consumer | undefined
  /** Who will answer; undefined when neither route, service nor plugin named anyone. */
  upstream: Upstream | undefined
  /** The answer, once there is one. */
  reply: Reply | undefined
  /** What went wrong in the turn or while the body was sent. */
  error: unknown
  /** Written when the response has closed. */
  ending: Ending | undefined
  endTick = 0
  bodyBytesSent = 0
  /** What it went through; undefined where nobody wants to know, and once it has been kept. Of the kernel. */
  trail: Trail | undefined

  readonly #book: HoldBook
  readonly #overload: Overload
  #buffered = 0
  readonly #holds: Hold[] = []
  #over = false
  #id: string | undefined
  #abort: AbortController | undefined
  #aborted: Error | undefined
  readonly #listeners: AbortListener[] = []

  constructor(
    request: Request,
    body: RequestBody,
    shared: {
      consumers: ConsumerIndex
      book: HoldBook
      overload: Overload
      now: number
      tick: number
      trail?: Trail | undefined
    },
  ) {
    this.request = request
    this.body = body
    this.consumers = shared.consumers
    this.#book = shared.book
    this.#overload = shared.overload
    this.start = shared.now
    this.startTick = shared.tick
    this.trail = shared.trail
  }

  /** What lines about the request have in common: 32 hexadecimal digits, as nginx's `$request_id`, or what was set. */
  get id(): string {
    // Every line of the access log has it: Node draws UUIDs in advance, which costs a fortieth of as many random bytes.
    this.#id ??= randomUUID().replaceAll('-', '')
    return this.#id
  }

  /** The id if anybody has asked for it: nobody else can know it. */
  get knownId(): string | undefined {
    return this.#id
  }

  /** As others know the request. It may be the client's word: so much of it is kept as can be looked for. */
  set id(id: string) {
    this.#id = id.slice(0, MAX_ID)
  }

  /** Why the request is being given up, if it is: the client left, or the gateway is going down. */
  get aborted(): Error | undefined {
    return this.#aborted
  }

  /** Aborts when the client leaves. Made when first asked for (4 us); inside the gateway `onAbort` is cheaper. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      const controller = new AbortController()
      this.#abort = controller
      this.onAbort(reason => controller.abort(reason))
    }
    return this.#abort.signal
  }

  /** Calls `listener` once when the request is given up, at once if it already is; `offAbort` takes it back. */
  onAbort(listener: AbortListener): void {
    if (this.#aborted === undefined) this.#listeners.push(listener)
    else listener(this.#aborted)
  }

  offAbort(listener: AbortListener): void {
    const at = this.#listeners.indexOf(listener)
    if (at >= 0) this.#listeners.splice(at, 1)
  }

  /** Gives the request up. The kernel calls this; the first reason stays. Errors of listeners are returned, not thrown. */
  abort(reason: Error): unknown[] {
    if (this.#aborted !== undefined) return []
    this.#aborted = reason
    const errors: unknown[] = []
    for (let listener = this.#listeners.shift(); listener !== undefined; listener = this.#listeners.shift()) {
      try {
        listener(reason)
      } catch (error) {
        errors.push(error)
      }
    }
    return errors
  }

  /** Takes something that must be given back: `give` runs exactly once, at the latest when the response has closed. */
  hold(kind: string, give: (end: HoldEnd, actual: number | undefined) => void): Hold {
    const hold = this.#book.open(kind, give)
    // A hook that comes back after the request has logged can take nothing along.
    if (this.#over) hold.release()
    else this.#holds.push(hold)
    return hold
  }

  /**
   * Takes room for bytes that are held in memory until the request has logged. Throws GatewayError 503 when the worker holds
   * too many already. Whoever buffers a body asks first.
   */
  buffer(bytes: number): void {
    if (this.#over) return
    this.#overload.take(bytes)
    this.#buffered += bytes
  }

  /** Releases what is still open. The kernel calls this before the log phase. Errors of `give` are returned, not thrown. */
  releaseHolds(): unknown[] {
    this.#over = true
    this.#overload.give(this.#buffered)
    const errors: unknown[] = []
    for (const hold of this.#holds) {
      try {
        hold.release()
      } catch (error) {
        errors.push(error)
      }
    }
    return errors
  }

  /** Everything that was taken, also what has ended. */
  get holds(): readonly Hold[] {
    return this.#holds
  }

  /**
   * Makes a consumer the one who asks: its plugins join after rewrite, and the upstream learns who it is. Fields of these
   * names that the client sent are dropped (facts core 1.5).
   */
  identify(consumer: Consumer): void {
    this.consumer = consumer
    const [username, credential, customId] = IDENTITY_FIELDS
    this.#tell(username, consumer.username)
    this.#tell(credential, consumer.credentialId)
    this.#tell(customId, consumer.labels.custom_id)
  }

  #tell(field: string, value: string | undefined): void {
    if (value === undefined) this.request.headers.delete(field)
    else this.request.headers.set(field, value)
  }

  /** Milliseconds since the request began. */
  elapsed(): number {
    return performance.now() - this.startTick
  }
}
