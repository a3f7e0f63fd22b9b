// Answers of the admin, control and status servers: how one is sent, and the one place where what went wrong becomes one.
import { Readable } from 'node:stream'
import Koa, { type Context, type Middleware } from 'koa'
import { asError } from '../core/errors.ts'
import type { Logger } from '../core/observe/log.ts'
import { PluginCodeError } from '../core/plugin-code/load.ts'
import { Conflict, StoreUnavailable } from '../core/store/store.ts'

/** Ends a request with this answer; thrown from anywhere, sent by `answering`. A string body is sent as it is. */
export class Refused extends Error {
  readonly status: number
  readonly body: object | string

  constructor(status: number, body: object | string) {
    super(`refused with ${status}`)
    this.name = 'Refused'
    this.status = status
    this.body = body
  }
}

/** The usual shape of an error: `{"error_msg": ...}`. */
export function refuse(status: number, error_msg: string): Refused {
  return new Refused(status, { error_msg })
}

/** What is asked for is not in the store. */
export function keyNotFound(): Refused {
  return new Refused(404, { message: 'Key not found' })
}

/** Sends an object as JSON with a newline, text as it is; all as application/json, as APISIX does (facts core 4.1). */
export function send(ctx: Context, status: number, body: Readonly<object> | string | Readable): void {
  ctx.status = status
  ctx.set('Content-Type', 'application/json')
  ctx.body = typeof body === 'string' || body instanceof Readable ? body : `${JSON.stringify(body)}\n`
}

/** Says what was accepted without effect. */
export function warn(ctx: Context, warnings: readonly string[]): void {
  // What may stand in a header field.
  if (warnings.length > 0)
    ctx.set(
      'X-Sluice-Warning',
      warnings
        .join('; ')
        .replace(/[^ -~]/g, '?')
        .slice(0, 2000),
    )
}

/**
 * Answers for everything below it: what nobody routed is 404, a refusal is itself, a store that cannot is 503. Anything
 * else is a bug: 500 without its message outside. Logs never hold what a request brought.
 */
export function answering(log: Logger): Middleware {
  return async (ctx, next) => {
    try {
      await next()
      if (ctx.status === 404 && ctx.body === undefined) throw refuse(404, 'not found')
    } catch (thrown) {
      const { status, body } = refusalOf(thrown)
      // Nobody is there to hear: the client left while it was sending.
      if (!ctx.writable) return
      if (status === 500) log.error({ err: asError(thrown), method: ctx.method }, 'request of an admin server failed')
      // A body that was cut off: what still comes of it is not the next request.
      if (ctx.req.destroyed && !ctx.req.complete) ctx.set('Connection', 'close')
      send(ctx, status, body)
    }
  }
}

function refusalOf(thrown: unknown): Refused {
  if (thrown instanceof Refused) return thrown
  if (thrown instanceof PluginCodeError) return refuse(400, thrown.message)
  if (thrown instanceof Conflict || thrown instanceof StoreUnavailable) return refuse(503, thrown.message)
  return refuse(500, 'internal error, see the error log')
}

/** A koa app that names itself, answers for everything and says nothing of connections that break. */
export function openApp({ log, serverName }: { log: Logger; serverName: string }): Koa {
  const app = new Koa()
  app.on('error', err => log.debug({ err }, 'connection of an admin server broke'))
  app.use((ctx, next) => {
    ctx.set('Server', serverName)
    return next()
  })
  app.use(answering(log))
  return app
}
