// One request, from first byte to log line. Knows the pipeline and the snapshot; knows no threads, no plugin, no provider.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type BodyLimits, RequestBody } from './body.ts'
import { Context } from './context.ts'
import { breakOff, type DeliveryLimits, deliver } from './delivery.ts'
import { ClientGone, errorReply, GatewayError, UpstreamError } from './errors.ts'
import type { HoldBook } from './holds.ts'
import type { Logger } from './observe/log.ts'
import type { Plan, Step } from './pipeline.ts'
import type { TurnHook } from './plugin.ts'
import { discard, type Filter, HeaderList, type Reply, reply } from './reply.ts'
import { Request } from './request.ts'
import type { Snapshot } from './snapshot.ts'

export interface GatewayOptions {
  /** The configuration as it is now; a request keeps the one it started with. */
  snapshot(): Snapshot
  book: HoldBook
  log: Logger
  limits: DeliveryLimits &
    BodyLimits & {
      /** Milliseconds that the log phase waits for a hook which has not returned when the response is long closed. */
      turnGrace: number
    }
  /** The Server header of every response. */
  serverName: string
  /** Send X-APISIX-Upstream-Status always, not only when the upstream's status is 5xx. */
  showUpstreamStatus: boolean
}

export class Gateway {
  readonly options: GatewayOptions
  /** Requests that have not logged yet. */
  readonly #turns = new Set<Turn>()
  #idle: (() => void)[] = []
  #draining = false

  constructor(options: GatewayOptions) {
    this.options = options
  }

  /** The request listener of a node:http server. Never throws; every call ends in exactly one log phase. */
  readonly handle = (message: IncomingMessage, response: ServerResponse): void => {
    const turn = new Turn(this, message, response)
    this.#turns.add(turn)
    void turn.run()
  }

  get inFlight(): number {
    return this.#turns.size
  }

  /** From now on every response closes its connection. */
  get draining(): boolean {
    return this.#draining
  }

  /** Stops keep-alive and resolves when every request has logged; after `graceMs` the rest is given up. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true
    if (this.#turns.size === 0) return
    const idle = new Promise<void>(resolve => this.#idle.push(resolve))
    const timer = setTimeout(() => {
      for (const turn of this.#turns)
        turn.giveUp(new GatewayError(503, 'shutting_down', 'the gateway is shutting down'))
    }, graceMs)
    await idle
    clearTimeout(timer)
  }

  /** A turn is over; only turns call this. */
  done(turn: Turn): void {
    this.#turns.delete(turn)
    if (this.#turns.size > 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}

/** A request that could not be understood still gets a context, so that it is answered and logged like any other. */
function understand(message: IncomingMessage): { request: Request; refused: GatewayError | undefined } {
  try {
    return { request: new Request(message), refused: undefined }
  } catch (error) {
    message.url = '/'
    message.rawHeaders = message.rawHeaders.filter((_, at, raw) => raw[at - (at % 2)]!.toLowerCase() !== 'host')
    return { request: new Request(message), refused: error as GatewayError }
  }
}

/**
 * The life of one request: rewrite, the consumer joins, access, before_proxy, upstream, filters, socket, log. The log
 * phase waits for two things, the turn and the response's `close`, and runs once however they come.
 */
class Turn {
  readonly #gateway: Gateway
  readonly #response: ServerResponse
  readonly #snapshot: Snapshot
  readonly #ctx: Context
  readonly #refused: GatewayError | undefined
  /** Whose response hooks run: global rules only, until the route's plugins are attached (facts core 1.4). */
  #plan: Plan
  #turnOver = false
  #closed = false
  #logged = false
  /** The plugin whose hook is running. */
  #plugin: string | undefined
  #grace: NodeJS.Timeout | undefined

  constructor(gateway: Gateway, message: IncomingMessage, response: ServerResponse) {
    const { options } = gateway
    this.#gateway = gateway
    this.#response = response
    this.#snapshot = options.snapshot()
    this.#snapshot.enter()
    this.#plan = this.#snapshot.globalOnly
    const { request, refused } = understand(message)
    let body: RequestBody
    let tooLarge: GatewayError | undefined
    try {
      body = new RequestBody(message, request.headers, options.limits)
    } catch (error) {
      tooLarge = error as GatewayError
      body = new RequestBody(message, request.headers, { ...options.limits, maxBodySize: 0 })
    }
    this.#refused = refused ?? tooLarge
    this.#ctx = new Context(request, body, {
      consumers: this.#snapshot,
      book: options.book,
      now: Date.now(),
      tick: performance.now(),
    })
    // `finish` misses broken responses, and a keep-alive socket closes minutes later: `close` of the response is the end.
    response.once('close', () => this.#onClose())
    response.on('error', () => {})
    message.on('error', () => {})
  }

  async run(): Promise<void> {
    let answer: Reply
    try {
      answer = await this.#answer()
    } catch (error) {
      answer = this.#failed(error)
    }
    if (this.#closed) discard(answer, new ClientGone())
    else await this.#send(answer)
    this.#turnOver = true
    this.#logWhenOver()
  }

  giveUp(reason: Error): void {
    this.#ctx.error ??= reason
    this.#ctx.abort(reason)
    breakOff(this.#response)
  }

  async #answer(): Promise<Reply> {
    const ctx = this.#ctx
    if (this.#refused !== undefined) throw this.#refused
    const match = this.#snapshot.match(ctx)
    if (match === undefined) {
      return (
        (await this.#walk(this.#plan.globalRewrite)) ??
        (await this.#walk(this.#plan.access)) ??
        reply(404, { error_msg: '404 Route Not Found' })
      )
    }
    const { route } = match
    ctx.route = match.facts
    const plan = route.plan
    let exit = await this.#walk(plan.globalRewrite)
    if (exit !== undefined) return exit
    this.#plan = plan
    exit = await this.#walk(plan.rewrite)
    if (exit !== undefined) return exit
    if (ctx.consumer !== undefined) {
      this.#plan = route.planFor(ctx.consumer)
      exit = await this.#walk(this.#plan.consumerRewrite)
      if (exit !== undefined) return exit
    }
    exit = await this.#walk(this.#plan.access)
    if (exit !== undefined) return exit
    ctx.upstream ??= route.upstream
    exit = await this.#walk(this.#plan.beforeProxy)
    if (exit !== undefined) return exit
    return await (ctx.upstream ?? route.upstream).send(ctx)
  }

  /** Flat, and waits only for what is a promise. */
  async #walk(steps: readonly Step<TurnHook>[]): Promise<Reply | undefined> {
    for (const step of steps) {
      this.#plugin = step.plugin
      const exit = step.hook(this.#ctx)
      const answer = exit instanceof Promise ? await exit : exit
      if (answer !== undefined) return answer
      if (this.#ctx.aborted !== undefined) throw this.#ctx.aborted
    }
    this.#plugin = undefined
    return undefined
  }

  #failed(error: unknown): Reply {
    const ctx = this.#ctx
    const { log } = this.#gateway.options
    ctx.error ??= error
    if (error instanceof UpstreamError) {
      const upstream = ctx.attempts.map(attempt => attempt.address).join(', ')
      log.warn({ route: ctx.route?.id, request_id: ctx.id, upstream, code: error.code }, error.message)
    } else if (!(error instanceof GatewayError)) {
      log.error({ plugin: this.#plugin, route: ctx.route?.id, request_id: ctx.id, err: error }, 'request failed')
    }
    return errorReply(error, ctx.request.headers.get('accept'))
  }

  async #send(answer: Reply): Promise<void> {
    const ctx = this.#ctx
    const { log, limits } = this.#gateway.options
    ctx.reply = answer
    for (const { plugin, hook } of this.#plan.headerFilter)
      this.#guard(plugin, 'header_filter', () => hook(ctx, answer))
    this.#nameOurselves(answer)
    const filters: Step<Filter>[] = []
    for (const { plugin, hook } of this.#plan.bodyFilter) {
      this.#guard(plugin, 'body_filter', () => {
        const filter = hook(ctx, answer)
        if (filter !== undefined) filters.push({ plugin, hook: filter })
      })
    }
    try {
      await deliver(ctx, this.#response, filters, { log, limits })
    } catch (error) {
      // A head that node:http refuses (an invalid field, a status out of range) is a bug of whoever made it.
      log.error({ route: ctx.route?.id, request_id: ctx.id, err: error }, 'response could not be sent')
      discard(answer, error as Error)
      ctx.error ??= error
      if (this.#response.headersSent) breakOff(this.#response)
      else {
        ctx.reply = errorReply(error, undefined)
        this.#nameOurselves(ctx.reply)
        this.#response.writeHead(500, ctx.reply.headers.raw).end(ctx.reply.body)
      }
    }
  }

  #nameOurselves({ headers }: Reply): void {
    const { serverName, showUpstreamStatus } = this.#gateway.options
    const { attempts } = this.#ctx
    headers.set('Server', serverName)
    const last = attempts.at(-1)?.status
    if (last !== undefined && (showUpstreamStatus || last >= 500)) {
      headers.set('X-APISIX-Upstream-Status', attempts.map(attempt => attempt.status ?? '-').join(', '))
    }
    if (this.#gateway.draining) headers.set('Connection', 'close')
  }

  #onClose(): void {
    const ctx = this.#ctx
    this.#closed = true
    const whole = this.#response.writableFinished
    ctx.ending ??= whole ? 'complete' : 'client_gone'
    ctx.endTick = performance.now()
    if (!whole) {
      ctx.error ??= new ClientGone()
      if (ctx.reply !== undefined) discard(ctx.reply, new ClientGone())
      ctx.abort(new ClientGone())
    }
    if (!this.#turnOver) {
      this.#grace = setTimeout(() => {
        this.#gateway.options.log.error(
          { plugin: this.#plugin, route: ctx.route?.id, request_id: ctx.id },
          'a hook has not returned though the response is closed; the request is logged without it',
        )
        this.#turnOver = true
        this.#logWhenOver()
      }, this.#gateway.options.limits.turnGrace)
    }
    this.#logWhenOver()
  }

  #logWhenOver(): void {
    if (!this.#closed || !this.#turnOver || this.#logged) return
    this.#logged = true
    clearTimeout(this.#grace)
    void this.#log()
  }

  async #log(): Promise<void> {
    const ctx = this.#ctx
    const { log } = this.#gateway.options
    for (const error of ctx.releaseHolds())
      log.error({ request_id: ctx.id, err: error }, 'a hold could not be released')
    // What a client that left early never got is still a status for the log, as nginx has it.
    ctx.reply ??= { status: 499, headers: new HeaderList(), body: null, source: 'gateway' }
    const pending: Promise<void>[] = []
    for (const { plugin, hook } of this.#plan.log) {
      const failed = (error: unknown) =>
        log.error({ plugin, phase: 'log', request_id: ctx.id, err: error }, 'log hook failed')
      try {
        const logged = hook(ctx)
        if (logged instanceof Promise) pending.push(logged.catch(failed))
      } catch (error) {
        failed(error)
      }
    }
    if (pending.length > 0) await withinGrace(Promise.all(pending), this.#gateway.options.limits.turnGrace)
    this.#snapshot.leave()
    this.#gateway.done(this)
  }

  /** Runs a response hook: its failure is logged and changes nothing else (facts core 1.4). */
  #guard(plugin: string, phase: string, run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#gateway.options.log.error({ plugin, phase, request_id: this.#ctx.id, err: error }, 'response hook failed')
    }
  }
}

/** Waits for `work`, but not for ever: a log hook that never returns must not keep its snapshot alive. */
async function withinGrace(work: Promise<unknown>, graceMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([
    work,
    new Promise(resolve => {
      timer = setTimeout(resolve, graceMs)
    }),
  ])
  clearTimeout(timer)
}
