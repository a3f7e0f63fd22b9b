// What apps import as `sluice/koa`: the gateway as a koa middleware; knows neither the app nor what else is in it.
import { once } from 'node:events'
import type { Middleware } from 'koa'
import { type InProcess, type InProcessOptions, openInProcess } from './in-process.ts'

export type { InProcessOptions as KoaGatewayOptions, Resources } from './in-process.ts'

export interface KoaGateway extends Pick<InProcess, 'rejected' | 'put' | 'scrape'> {
  /**
   * Answers everything that gets here; `next` is never called. The request must not have been read: it stands before body
   * parsers. Routes match the whole path, whatever part of it the app has matched already.
   */
  readonly middleware: Middleware
  /** Resolves when the requests in flight have ended, or been given up after `graceMs`, and nothing of it is left. */
  close(graceMs?: number): Promise<void>
}

/** A gateway with these resources. What is wrong with one is in `rejected`; it is then not served. */
export async function koaGateway(options: InProcessOptions): Promise<KoaGateway> {
  const opened = await openInProcess(options)
  return {
    get rejected() {
      return opened.rejected
    },
    put: opened.put,
    scrape: opened.scrape,
    async middleware(ctx) {
      if (ctx.req.readableDidRead) throw new Error('the body was read before the gateway: mount it before body parsers')
      // The response is the gateway's, from its status to its end.
      ctx.respond = false
      const closed = once(ctx.res, 'close')
      opened.gateway.handle(ctx.req, ctx.res)
      await closed
    },
    async close(graceMs = 0) {
      await opened.drain(graceMs)
      await opened.close()
    },
  }
}
