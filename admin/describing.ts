// The paths of the admin API that tell what can be configured (facts core 4.9); knows no item.
import Router from '@koa/router'
import type { Context } from 'koa'
import type { Plugin } from '../core/plugin.ts'
import { Refused, refuse, send } from './answer.ts'
import { parameter } from './listing.ts'
import { openApi } from './openapi.ts'
import { readJson } from './request-body.ts'
import { pluginEntries, pluginNames, schemaNamed, schemaOfPlugin, validateAgainst } from './schemas.ts'

export interface DescribingDeps {
  plugins: ReadonlyMap<string, Plugin>
  /** Sluice's own version. */
  version: string
  /** Whether all resources are one document. */
  standalone: boolean
  /** Brings fresh code to new requests; resolves when it is there. Rejects with PluginCodeError: everything stays as it was. */
  reload(): Promise<void>
}

/** Paths that are not here fall through. */
export function describing({ plugins, version, standalone, reload }: DescribingDeps, prefix: string): Router {
  const router = new Router({ prefix })
  const subsystem = (ctx: Context) => parameter(ctx.query, 'subsystem') ?? 'http'
  const sendPlugin = (ctx: Context, name = '') => {
    const type = parameter(ctx.query, 'schema_type')
    const which = { subsystem: subsystem(ctx), ...(type !== undefined && { type }) }
    send(ctx, 200, schemaOfPlugin(plugins, name, which))
  }
  router.get('/openapi.json', ctx => send(ctx, 200, openApi(plugins, { base: prefix, version, standalone })))
  router.post('/schema/validate/:collection', async ctx => {
    validateAgainst(plugins, ctx.params.collection ?? '', await readJson(ctx.req))
    send(ctx, 200, '')
  })
  router.get('/schema/plugins/:name', ctx => sendPlugin(ctx, ctx.params.name))
  router.get('/schema/:resource', ctx => send(ctx, 200, schemaNamed(ctx.params.resource ?? '')))
  router.get('/plugins/list', ctx => {
    const wanted = subsystem(ctx)
    if (wanted !== 'http' && wanted !== 'stream') throw new Refused(400, 'invalid subsystem passed')
    send(ctx, 200, pluginNames(plugins, wanted))
  })
  router.put('/plugins/reload', async ctx => {
    await reload()
    send(ctx, 200, 'done')
  })
  router.all('/plugins/reload', ctx => {
    throw refuse(405, `please use PUT method to reload the plugins, ${ctx.method} method is not allowed.`)
  })
  router.get('/plugins/:name', ctx => sendPlugin(ctx, ctx.params.name))
  router.get('/plugins', (ctx, next) => {
    if (parameter(ctx.query, 'all') !== 'true') return next()
    send(ctx, 200, pluginEntries(plugins, subsystem(ctx)))
  })
  return router
}
