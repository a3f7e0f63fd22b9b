// One request, from first byte to log line, in one place, for its promises are about order. Knows the pipeline and the snapshot; knows no threads, no plugin, no provider.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type BodyLimits, dropRest, RequestBody } from './body.ts'
import { Context } from './context.ts'
import type { DebugKey } from './debug-key.ts'
import { breakOff, type DeliveryLimits, deliver } from './delivery.ts'
import { asError, ClientGone, errorReply, GatewayError, UpstreamError } from './errors.ts'
import type { Decision } from './explain/decision.ts'
import type { Decisions } from './explain/decisions.ts'
import { PLUGINS_FIELD, pluginsOf, TRACE_FIELD, traceOf } from './explain/trace-fields.ts'
import { stepCode } from './explain/trail.ts'
import type { Forwarding } from './forwarding.ts'
import type { HoldBook } from './holds.ts'
import { HookClock, PluginTimeout } from './hook-clock.ts'
import type { EventFilter } from './llm/answer-event.ts'
import { exchange } from './llm/exchange.ts'
import { filteredAnswer } from './llm/filtered-answer.ts'
import { protocolNamed } from './llm/protocols/detect.ts'
import type { MinRevision } from './min-revision.ts'
import type { AccessLog } from './observe/access-log.ts'
import type { Logger } from './observe/log.ts'
import type { PluginFailures } from './observe/plugin-failures.ts'
import type { Overload } from './overload.ts'
import type { Plan, Step } from './pipeline.ts'
import type { Awaitable, TurnHook } from './plugin.ts'
import { discard, type Filter, HeaderList, isReply, type Reply } from './reply.ts'
import { Request } from './request.ts'
import { type Listed, Roster } from './roster.ts'
import type { Snapshot } from './snapshot.ts'
import type { Breadcrumb } from './workers/breadcrumb.ts'

const UPSTREAM = stepCode('upstream')
const ANSWER = stepCode('answer')
const HEAD = stepCode('head')

export interface GatewayOptions {
  /** The configuration as it is now; a request keeps the one it started with. */
  snapshot(): Snapshot
  book: HoldBook
  overload: Overload
  /** Where requests may ask for a revision of the configuration. */
  minRevision?: Pick<MinRevision, 'refusal'> | undefined
  log: Logger
  accessLog?: Pick<AccessLog, 'record' | 'refused'> | undefined
  failures: PluginFailures
  /** What requests went through, for whoever asks. */
  decisions: Decisions
  /** Whoever shows it sees in the response what the request went through. */
  debugKey: DebugKey
  /** Every response says which plugins the request went through. */
  debugMode: boolean
  limits: DeliveryLimits &
    BodyLimits & {
      /** Milliseconds in which a plugin must keep a promise; 0 means for ever. */
      hookTimeout: number
      /** Milliseconds that the log phase waits for a hook which has not returned when the response is long closed. */
      turnGrace: number
      /** See Filtering.keepAliveMs. */
      keepAlive?: number | undefined
    }
  forwarding: Forwarding
  /** The Server header of every response. */
  serverName: string
  /** Told before every hook, so that somebody else can see where a worker stands still. */
  breadcrumb: Pick<Breadcrumb, 'at' | 'beat'>
  /** Send X-APISIX-Upstream-Status always, not only when the upstream's status is 5xx. */
  showUpstreamStatus: boolean
}

export class Gateway {
  readonly options: GatewayOptions
  readonly clock: HookClock
  /** Requests that have not logged yet. */
  readonly #turns = new Roster<Turn>()
  #idle: (() => void)[] = []
  #draining = false

  constructor(options: GatewayOptions) {
    this.options = options
    this.clock = new HookClock(options.limits.hookTimeout)
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

  /** Every response closes its connection. */
  get draining(): boolean {
    return this.#draining
  }

  /** From now on every response closes its connection. */
  endKeepAlive(): void {
    this.#draining = true
  }

  /** Ends keep-alive and resolves when every request has logged; after `graceMs` the rest is given up. */
  async drain(graceMs: number): Promise<void> {
    this.endKeepAlive()
    if (this.#turns.size === 0) return
    const idle = new Promise<void>(resolve => this.#idle.push(resolve))
    const timer = setTimeout(() => {
      for (const turn of this.#turns)
        turn.giveUp(new GatewayError(503, 'shutting_down', 'the gateway is shutting down'))
    }, graceMs)
    await idle
    clearTimeout(timer)
  }

  /** What the request with that id went through, or has until now; undefined when it is not known. */
  explain(id: string): Decision | undefined {
    for (const turn of this.#turns) {
      const underWay = turn.explain(id)
      if (underWay !== undefined) return underWay
    }
    return this.options.decisions.find(id)
  }

  /** The plugin whose hook ran last, on whatever request: what an unhandled rejection can be blamed on at best. */
  plugin: string | undefined

  /** A turn is over; only turns call this. */
  done(turn: Turn): void {
    this.#turns.delete(turn)
    if (this.#turns.size > 0 || this.#idle.length === 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}

/**
 * The life of one request: rewrite, the consumer joins, access, before_proxy, upstream, filters, socket, log. The log
 * phase waits for two things, the turn and the response's `close`, and runs once however they come.
 */
class Turn implements Listed {
  place = -1
  readonly #gateway: Gateway
  readonly #message: IncomingMessage
  readonly #response: ServerResponse
  readonly #snapshot: Snapshot
  readonly #ctx: Context
  readonly #refused: GatewayError | undefined
  /** Whoever asks may see what it went through. */
  readonly #isTraced: boolean
  /** Whose response hooks run: global rules only, until the route's plugins are attached (facts core 1.4). */
  #plan: Plan
  #turnOver = false
  #closed = false
  #logged = false
  /** The plugin whose hook is running. */
  #plugin: string | undefined
  #routeMark = 0
  #grace: NodeJS.Timeout | undefined

  constructor(gateway: Gateway, message: IncomingMessage, response: ServerResponse) {
    const { options } = gateway
    this.#gateway = gateway
    this.#message = message
    this.#response = response
    this.#snapshot = options.snapshot()
    this.#snapshot.enter()
    this.#plan = this.#snapshot.globalOnly
    const request = new Request(message, options.forwarding)
    this.#isTraced = options.debugKey.takenFrom(request.headers)
    const body = new RequestBody(message, request.headers, options.limits, bytes => this.#ctx.buffer(bytes))
    this.#refused =
      request.refused ??
      body.refused ??
      options.overload.refusal(gateway.inFlight) ??
      options.minRevision?.refusal(message, request.headers, this.#snapshot.revision)
    this.#ctx = new Context(request, body, {
      consumers: this.#snapshot,
      book: options.book,
      overload: options.overload,
      now: Date.now(),
      tick: performance.now(),
      trail: options.decisions.begin(this.#isTraced || options.debugMode),
    })
    // `finish` misses broken responses, and a keep-alive socket closes minutes later: `close` of the response is the end.
    response.on('close', () => this.#onClose())
    response.on('error', ignored)
  }

  /** Never rejects. */
  async run(): Promise<void> {
    try {
      let answer: Reply
      try {
        answer = await this.#answer()
      } catch (error) {
        answer = this.#failed(error)
      }
      if (this.#closed) discard(answer, new ClientGone())
      else {
        const sent = this.#send(answer)
        if (sent instanceof Promise) await sent
      }
    } catch (error) {
      // Nothing of ours is left to be told; the client is, by the end of its connection.
      this.#report(error, 'response could not be sent')
      breakOff(this.#response)
    }
    this.#turnOver = true
    this.#logWhenOver()
  }

  /** What the request went through until now, if that is its id. */
  explain(id: string): Decision | undefined {
    const ctx = this.#ctx
    return ctx.trail === undefined || ctx.knownId !== id ? undefined : this.#gateway.options.decisions.describe(ctx)
  }

  giveUp(reason: Error): void {
    this.#ctx.error ??= reason
    this.#abort(reason)
    breakOff(this.#response)
  }

  #abort(reason: Error): void {
    for (const error of this.#ctx.abort(reason)) this.#report(error, 'a listener of the abort failed')
  }

  #report(error: unknown, what: string): void {
    const { log } = this.#gateway.options
    log.error({ plugin: this.#plugin, route: this.#ctx.route?.id, request_id: this.#ctx.id, err: error }, what)
  }

  async #answer(): Promise<Reply> {
    const ctx = this.#ctx
    if (this.#refused !== undefined) throw this.#refused
    const matching = this.#snapshot.matchWhenKnown(ctx)
    const match = matching instanceof Promise ? await matching : matching
    if (match === undefined) {
      return (
        (await this.#walk(this.#plan.globalRewrite)) ??
        (await this.#walk(this.#plan.access)) ??
        errorReply(new GatewayError(404, 'route_not_found', '404 Route Not Found'), ctx.request.headers.get('accept'))
      )
    }
    const { route } = match
    ctx.route = match.facts
    this.#routeMark = route.mark
    const plan = route.plan
    let exit = this.#walk(plan.globalRewrite)
    if (exit instanceof Promise) exit = await exit
    if (exit !== undefined) return exit
    this.#plan = plan
    exit = this.#walk(plan.rewrite)
    if (exit instanceof Promise) exit = await exit
    if (exit !== undefined) return exit
    if (ctx.consumer !== undefined) {
      this.#plan = route.planFor(ctx.consumer)
      exit = this.#walk(this.#plan.consumerRewrite)
      if (exit instanceof Promise) exit = await exit
      if (exit !== undefined) return exit
    }
    exit = this.#walk(this.#plan.access)
    if (exit instanceof Promise) exit = await exit
    if (exit !== undefined) return exit
    ctx.upstream ??= route.upstream
    exit = this.#walk(this.#plan.beforeProxy)
    if (exit instanceof Promise) exit = await exit
    if (exit !== undefined) return exit
    this.#plugin = undefined
    ctx.trail?.enter(UPSTREAM)
    const answer = checked(await (ctx.upstream ?? route.upstream).send(ctx))
    ctx.trail?.enter(ANSWER)
    return this.#plan.eventFilter.length === 0 ? answer : await this.#filterEvents(answer)
  }

  /** Only answers of LLMs that are no errors have events. */
  async #filterEvents(answer: Reply): Promise<Reply> {
    const ctx = this.#ctx
    const call = exchange.get(ctx)
    const protocol = call && protocolNamed(call.protocol)
    if (protocol === undefined || answer.status >= 400 || answer.body === null) return answer
    const steps: Step<EventFilter>[] = []
    // Until there is something to send, whoever waits for this hears of it.
    let sending = false
    try {
      for (const step of this.#plan.eventFilter) {
        this.#begin(step)
        const hook = step.hook(ctx, call!)
        if (hook !== undefined) steps.push({ ...step, hook })
      }
      if (steps.length === 0) return answer
      const filtered = await filteredAnswer(answer, {
        protocol,
        filters: steps.map(({ hook }) => hook),
        within: promise => this.#gateway.clock.within(promise, () => false),
        enter: at => this.#enter(steps[at]!),
        failed: (at, error) => {
          if (sending) this.#hookFailed(steps[at]!, { phase: 'event_filter', error }, 'event filter failed')
        },
        keepAliveMs: this.#gateway.options.limits.keepAlive,
      })
      sending = true
      return filtered
    } catch (error) {
      discard(answer, asError(error))
      throw error
    }
  }

  /** Flat, and a promise only when one of the hooks gave one: a hop through the queue for each step would cost 0.1 us. */
  #walk(steps: readonly Step<TurnHook>[], from = 0): Awaitable<Reply | undefined> {
    for (let at = from; at < steps.length; at++) {
      const step = steps[at]!
      this.#begin(step)
      const exit = step.hook(this.#ctx)
      if (exit instanceof Promise) return this.#walkOn(exit, steps, at + 1)
      if (exit !== undefined) return this.#answered(exit)
      if (this.#ctx.aborted !== undefined) throw this.#ctx.aborted
    }
    this.#plugin = undefined
    return undefined
  }

  async #walkOn(
    exit: Promise<Reply | void>,
    steps: readonly Step<TurnHook>[],
    next: number,
  ): Promise<Reply | undefined> {
    const answer = await this.#kept(exit)
    if (answer !== undefined) return this.#answered(answer)
    if (this.#ctx.aborted !== undefined) throw this.#ctx.aborted
    return this.#walk(steps, next)
  }

  /** The hook of the last step ends the turn. */
  #answered(exit: Reply): Reply {
    this.#ctx.trail?.end('answered')
    return checked(exit)
  }

  /** What a hook promised, within its time. One that comes later finds the request given up. */
  async #kept(exit: Promise<Reply | void>): Promise<Reply | void> {
    const late = (answer: Reply | void) => {
      if (isReply(answer)) discard(answer, new PluginTimeout())
    }
    try {
      return await this.#gateway.clock.within(exit, () => this.#ctx.body.awaited, late)
    } catch (error) {
      if (error instanceof PluginTimeout) this.#abort(error)
      throw error
    }
  }

  /** A hook begins: a step of the request. */
  #begin(step: Step<unknown>): void {
    this.#ctx.trail?.enter(step.code, step.mark)
    this.#enter(step)
  }

  /** A hook of this plugin is about to run, or a filter that it has made, which is no step of its own. */
  #enter(step: Step<unknown>): void {
    this.#plugin = step.plugin
    this.#gateway.plugin = step.plugin
    this.#gateway.options.breadcrumb.at(step, this.#routeMark)
  }

  #failed(error: unknown): Reply {
    const ctx = this.#ctx
    ctx.error ??= error
    if (!(error instanceof GatewayError) || error instanceof PluginTimeout) this.#report(error, 'request failed')
    // Of what is decided between hooks nobody is to blame.
    if (this.#plugin !== undefined || ctx.trail?.last === UPSTREAM) ctx.trail?.end('failed')
    if (this.#plugin !== undefined) this.#gateway.options.failures.failed(this.#plugin, error)
    return errorReply(error, ctx.request.headers.get('accept'))
  }

  /** A promise only where a header filter gives one, or filters are asked for a whole body first. */
  #send(answer: Reply): Awaitable<void> {
    this.#ctx.reply = answer
    const pending = this.#filterHead(answer)
    if (pending === undefined) return this.#deliver(answer)
    // Where the client has left meanwhile, the answer has been let go.
    return pending.then(() => (this.#closed ? undefined : this.#deliver(answer)))
  }

  #filterHead(answer: Reply, from = 0): Promise<void> | undefined {
    const steps = this.#plan.headerFilter
    for (let at = from; at < steps.length; at++) {
      const step = steps[at]!
      const pending = this.#guard(step, 'header_filter', () => step.hook(this.#ctx, answer))
      if (pending !== undefined) return pending.then(() => this.#filterHead(answer, at + 1))
    }
    return undefined
  }

  #deliver(answer: Reply): Awaitable<void> {
    const ctx = this.#ctx
    const { limits } = this.#gateway.options
    this.#nameOurselves(answer)
    const filters: Step<Filter>[] = []
    for (const step of this.#plan.bodyFilter) {
      void this.#guard(step, 'body_filter', () => {
        const hook = step.hook(ctx, answer)
        if (hook !== undefined) filters.push({ ...step, hook })
      })
    }
    ctx.trail?.enter(HEAD)
    if (this.#isTraced || this.#gateway.options.debugMode) this.#tell(answer)
    try {
      const delivered = deliver(ctx, this.#response, filters, {
        limits,
        clock: this.#gateway.clock,
        enter: step => this.#enter(step),
        failed: (step, error) => this.#hookFailed(step, { phase: 'body_filter', error }, 'body filter failed'),
      })
      return delivered instanceof Promise ? delivered.catch(error => this.#sendFailed(answer, error)) : undefined
    } catch (error) {
      this.#sendFailed(answer, error)
    }
  }

  /** What is known when the head leaves. */
  #tell({ headers }: Reply): void {
    // Whoever sees it wants to find it again.
    if (this.#isTraced) void this.#ctx.id
    const decision = this.#gateway.options.decisions.describe(this.#ctx)
    if (this.#isTraced) headers.set(TRACE_FIELD, traceOf(decision))
    headers.set(PLUGINS_FIELD, pluginsOf(decision, this.#plan))
  }

  /** A head that node:http refuses (an invalid field, a status out of range) is a bug of whoever made it. */
  #sendFailed(answer: Reply, error: unknown): void {
    const ctx = this.#ctx
    this.#report(error, 'response could not be sent')
    discard(answer, asError(error))
    ctx.error ??= error
    if (this.#response.headersSent) return breakOff(this.#response)
    ctx.reply = errorReply(error, undefined)
    this.#nameOurselves(ctx.reply)
    this.#response.writeHead(500, ctx.reply.headers.raw).end(ctx.reply.body)
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
    if (whole) dropRest(this.#message)
    else {
      ctx.error ??= new ClientGone()
      if (ctx.reply !== undefined) discard(ctx.reply, new ClientGone())
      this.#abort(new ClientGone())
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
    if (ctx.error instanceof UpstreamError) this.#reportUpstream(ctx.error)
    else if (ctx.error !== undefined) this.#gateway.options.overload.ended(ctx.error)
    const pending: Promise<void>[] = []
    for (const step of this.#plan.log) {
      this.#begin(step)
      const failed = (error: unknown) => this.#hookFailed(step, { phase: 'log', error }, 'log hook failed')
      try {
        const logged = step.hook(ctx)
        if (logged instanceof Promise) pending.push(logged.catch(failed))
      } catch (error) {
        failed(error)
      }
    }
    this.#record()
    if (pending.length > 0) await withinGrace(Promise.all(pending), this.#gateway.options.limits.turnGrace)
    this.#snapshot.leave()
    this.#gateway.done(this)
  }

  /** After the hooks, which may have changed what is known of the request. */
  #record(): void {
    const { accessLog, decisions } = this.#gateway.options
    try {
      accessLog?.record(this.#ctx)
      decisions.keep(this.#ctx)
    } catch (error) {
      this.#report(error, 'a request could not be recorded')
    }
  }

  /** One line per request whose upstream failed, wherever that was: before the headers, in the body, in an LLM call. */
  #reportUpstream(error: UpstreamError): void {
    const { route, id, attempts, reply } = this.#ctx
    const upstream = attempts.map(attempt => attempt.address).join(', ')
    const cause = (error.cause as NodeJS.ErrnoException | undefined)?.code
    this.#gateway.options.log.warn(
      { route: route?.id, request_id: id, status: reply?.status, upstream, code: error.code, cause },
      error.message,
    )
  }

  /** Runs a response hook: its failure is logged and changes nothing else (facts core 1.4). */
  #guard(step: Step<unknown>, phase: string, run: () => Awaitable<void>): Promise<void> | undefined {
    const failed = (error: unknown) => this.#hookFailed(step, { phase, error }, 'response hook failed')
    try {
      this.#begin(step)
      const pending = run()
      return pending instanceof Promise ? this.#gateway.clock.within(pending, () => false).catch(failed) : undefined
    } catch (error) {
      failed(error)
      return undefined
    }
  }

  #hookFailed(
    { plugin, code, mark }: Step<unknown>,
    { phase, error }: { phase: string; error: unknown },
    what: string,
  ): void {
    const { log, failures } = this.#gateway.options
    this.#ctx.trail?.failed(code, mark)
    log.error({ plugin, phase, request_id: this.#ctx.id, err: error }, what)
    failures.failed(plugin, error)
  }
}

/** A broken response closes, which is what we listen for. */
function ignored(): void {}

/** A plugin of somebody's may return anything. */
function checked(answer: Reply): Reply {
  if (!isReply(answer)) throw new Error('what was returned is no Reply')
  return answer
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
