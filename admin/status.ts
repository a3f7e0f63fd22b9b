// The status server (facts core 5.5): whether the process is there, and whether it serves a configuration.
import Router from '@koa/router'
import type Koa from 'koa'
import type { Logger } from '../core/observe/log.ts'
import type { Currency } from '../core/store/backing.ts'
import { openApp, Refused, send } from './answer.ts'
import { shownCurrency } from './currency.ts'

export interface StatusDeps {
  /** Why requests cannot be served yet, or nothing. */
  ready(): string | undefined
  /** Of a configuration that comes from elsewhere; shown in every answer. */
  currency?: (() => Currency) | undefined
  log: Logger
  serverName: string
}

export function statusApi({ ready, currency, log, serverName }: StatusDeps): Koa {
  const router = new Router()
  const ok = { status: 'ok' }
  router.get('/status', ctx => send(ctx, 200, ok))
  router.get('/status/ready', ctx => {
    const error = ready()
    const config = currency && { config: shownCurrency(currency(), Date.now()) }
    if (error !== undefined) throw new Refused(503, { status: 'error', error, ...config })
    send(ctx, 200, { ...ok, ...config })
  })
  const app = openApp({ log, serverName })
  app.use(router.routes())
  return app
}
