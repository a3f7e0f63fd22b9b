// A reply on its way to the client: body filters, back-pressure, the socket; knows no pipeline and no upstream.
import type { ServerResponse } from 'node:http'
import type { Context } from './context.ts'
import { GatewayError } from './errors.ts'
import { type HookClock, PluginTimeout } from './hook-clock.ts'
import type { Step } from './pipeline.ts'
import type { Awaitable } from './plugin.ts'
import type { Filter, Sink, Source } from './reply.ts'

export interface DeliveryLimits {
  /** Milliseconds a client may refuse to read before its connection is closed; 0 means for ever. */
  sendTimeout: number
}

export interface Surroundings {
  limits: DeliveryLimits
  /** Of what filters promise. */
  clock: HookClock
  /** Told before a filter runs. */
  enter(step: Step<unknown>): void
  /** A filter threw, or did not keep its promise. */
  failed(step: Step<unknown>, error: unknown): void
}

/** What can be paused: a source, or the filters before it. */
interface Flow {
  pause(): void
  resume(): void
}

const nothing = Buffer.alloc(0)

/**
 * Writes the head and everything of the body to the client. The response's `close` tells the end; a promise comes back only
 * when filters are asked for a whole body first.
 */
export function deliver(
  ctx: Context,
  response: ServerResponse,
  filters: Step<Filter>[],
  surroundings: Surroundings,
): Awaitable<void> {
  const { status, headers, body, source } = ctx.reply!
  const head = ctx.request.method === 'HEAD'
  // These have no body, whatever a plugin gave them, and 204 no length either (RFC 9110 8.6).
  const bodiless = status === 204 || status === 304
  if (status === 204) headers.delete('content-length')
  if (body === null || Buffer.isBuffer(body)) {
    // What an upstream says to HEAD is about a body that it has not sent.
    const silent = bodiless || (head && source === 'upstream')
    const finish = (bytes: Buffer) => {
      const told = silent || (bytes.length === 0 && head && headers.has('content-length'))
      if (!told) headers.set('Content-Length', String(bytes.length))
      response.writeHead(status, headers.raw)
      if (!head) ctx.bodyBytesSent = bytes.length
      response.end(bytes)
      waitForReader(ctx, response, surroundings.limits)
    }
    if (silent) return finish(nothing)
    if (filters.length === 0) return finish(body ?? nothing)
    return filterWhole(ctx, body ?? nothing, filters, surroundings).then(finish)
  }
  if (filters.length > 0) headers.delete('content-length')
  response.writeHead(status, headers.raw)
  const sink = new ResponseSink(ctx, response, surroundings.limits)
  if (filters.length > 0 && !head && !bodiless) {
    const chain = new FilterSink(ctx, body, { filters, surroundings, next: sink })
    sink.flow = chain
    body.pipe(chain)
  } else {
    sink.flow = body
    body.pipe(sink)
  }
  // Nothing was there yet to send the head along with: the client learns at once that the upstream has answered.
  if (!sink.wrote && !response.writableEnded) response.flushHeaders()
  return undefined
}

/**
 * Closes the connection under a response that cannot become whole. One that waits behind others of a pipelining client has
 * no socket yet, and node:http would leave that client waiting for ever.
 */
export function breakOff(response: ServerResponse): void {
  if (response.socket === null) response.once('socket', socket => socket.destroy())
  response.destroy()
}

/** After the end: what is left leaves as the client reads. node:http tells when for so long nothing of it has. */
function waitForReader(ctx: Context, response: ServerResponse, { sendTimeout }: DeliveryLimits): void {
  if (sendTimeout === 0 || response.writableLength === 0) return
  response.setTimeout(sendTimeout, () => fail(ctx, response, notRead()))
}

/** A body that broke must not look whole: the connection is closed under it. */
function fail(ctx: Context, response: ServerResponse, error: Error): void {
  ctx.error ??= error
  ctx.ending ??= 'broken'
  breakOff(response)
}

const notRead = () => new GatewayError(408, 'send_timeout', 'the client did not read the response')

/** A body that is there already, through the filters: for them it is one chunk and the end. */
async function filterWhole(
  ctx: Context,
  body: Buffer,
  filters: Step<Filter>[],
  { clock, enter, failed }: Surroundings,
): Promise<Buffer> {
  let bytes = body
  for (const step of filters) {
    const filtered = async (chunk: Buffer, last: boolean) => {
      enter(step)
      try {
        const out = step.hook(chunk, last)
        return (out instanceof Promise ? await kept(ctx, out, clock) : out) ?? chunk
      } catch (error) {
        failed(step, error)
        if (error instanceof PluginTimeout) throw error
        return chunk
      }
    }
    const changed = bytes.length === 0 ? bytes : await filtered(bytes, false)
    const added = await filtered(nothing, true)
    bytes = added.length === 0 ? changed : Buffer.concat([changed, added])
  }
  return bytes
}

/** A filter that throws changes nothing; one that does not answer would hold the response up again for every chunk. */
function kept<T>(ctx: Context, promised: Promise<T>, clock: HookClock): Promise<T> {
  return clock.within(promised, () => ctx.body.awaited)
}

/** The client's socket. */
class ResponseSink implements Sink {
  /** What is held back while the client does not read. */
  flow: Flow | undefined
  wrote = false
  readonly #ctx: Context
  readonly #response: ServerResponse
  readonly #limits: DeliveryLimits
  #waiting: NodeJS.Timeout | undefined
  #blocked = false

  constructor(ctx: Context, response: ServerResponse, limits: DeliveryLimits) {
    this.#ctx = ctx
    this.#response = response
    this.#limits = limits
    response.once('close', () => clearTimeout(this.#waiting))
  }

  write(chunk: Buffer): void {
    this.wrote = true
    this.#ctx.bodyBytesSent += chunk.length
    if (this.#response.write(chunk) || this.#blocked || this.#response.destroyed) return
    this.#blocked = true
    this.flow?.pause()
    if (this.#limits.sendTimeout > 0) {
      this.#waiting = setTimeout(() => {
        // Its turn has not come yet: others that the client has asked for are before it.
        if (this.#response.socket === null) this.#waiting?.refresh()
        else this.fail(notRead())
      }, this.#limits.sendTimeout)
    }
    this.#response.once('drain', () => {
      clearTimeout(this.#waiting)
      this.#blocked = false
      this.flow?.resume()
    })
  }

  end(): void {
    this.wrote = true
    this.#response.end()
    // There is no `drain` any more.
    clearTimeout(this.#waiting)
    waitForReader(this.#ctx, this.#response, this.#limits)
  }

  fail(error: Error): void {
    fail(this.#ctx, this.#response, error)
  }
}

/** Takes chunks through the filters in order. While a filter thinks, the source is paused and what still comes is queued. */
class FilterSink implements Sink, Flow {
  readonly #ctx: Context
  readonly #source: Source
  readonly #filters: Step<Filter>[]
  readonly #surroundings: Surroundings
  readonly #next: Sink
  #queue: Buffer[] = []
  #endComes = false
  #busy = false
  #clientBlocked = false
  #over = false

  constructor(
    ctx: Context,
    source: Source,
    chain: { filters: Step<Filter>[]; surroundings: Surroundings; next: Sink },
  ) {
    this.#ctx = ctx
    this.#source = source
    this.#filters = chain.filters
    this.#surroundings = chain.surroundings
    this.#next = chain.next
  }

  write(chunk: Buffer): void {
    if (this.#over) return
    if (this.#busy) this.#queue.push(chunk)
    else this.#run(chunk, false)
  }

  end(): void {
    if (this.#over) return
    if (this.#busy) this.#endComes = true
    else this.#run(nothing, true)
  }

  fail(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#next.fail(error)
  }

  pause(): void {
    this.#clientBlocked = true
    this.#source.pause()
  }

  resume(): void {
    this.#clientBlocked = false
    if (!this.#busy) this.#source.resume()
  }

  /** Synchronous filters cost a call each; only a promise makes the chunk wait. */
  #run(chunk: Buffer, last: boolean): void {
    let bytes = chunk
    for (let at = 0; at < this.#filters.length; at++) {
      const step = this.#filters[at]!
      let out: ReturnType<Filter>
      this.#surroundings.enter(step)
      try {
        out = step.hook(bytes, last)
      } catch (error) {
        this.#surroundings.failed(step, error)
        continue
      }
      if (out instanceof Promise) {
        this.#busy = true
        this.#source.pause()
        void this.#finishLater(out, bytes, { at, last })
        return
      }
      bytes = out ?? bytes
    }
    this.#emit(bytes, last)
  }

  async #finishLater(first: Promise<Buffer | void>, chunk: Buffer, from: { at: number; last: boolean }): Promise<void> {
    let bytes = chunk
    let pending: ReturnType<Filter> = first
    for (let at = from.at; ; ) {
      try {
        bytes =
          (pending instanceof Promise ? await kept(this.#ctx, pending, this.#surroundings.clock) : pending) ?? bytes
      } catch (error) {
        this.#surroundings.failed(this.#filters[at]!, error)
        if (error instanceof PluginTimeout) {
          this.#source.cancel(error)
          return this.fail(error)
        }
      }
      if (++at >= this.#filters.length) break
      this.#surroundings.enter(this.#filters[at]!)
      try {
        pending = this.#filters[at]!.hook(bytes, from.last)
      } catch (error) {
        pending = Promise.reject(error)
      }
    }
    if (this.#over) return
    this.#busy = false
    this.#emit(bytes, from.last)
    while (!this.#busy && this.#queue.length > 0) this.#run(this.#queue.shift()!, false)
    if (this.#busy || this.#over) return
    if (this.#endComes) this.#run(nothing, true)
    else if (!this.#clientBlocked) this.#source.resume()
  }

  #emit(bytes: Buffer, last: boolean): void {
    if (bytes.length > 0) this.#next.write(bytes)
    if (last) {
      this.#over = true
      this.#next.end()
    }
  }
}
