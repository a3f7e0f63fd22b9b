// The paths of the admin API that take the whole configuration as one document (facts core 4.9, 5.4).
import Router from '@koa/router'
import type { PluginChoice } from '../core/standalone/document.ts'
import { printYaml } from '../core/standalone/text.ts'
import type { Role } from './access.ts'
import { refuse, send, warn } from './answer.ts'
import { type Configs, validateConfigs } from './configs.ts'
import { isYaml, readDocumentBody } from './document-body.ts'
import { conditionOf } from './preconditions.ts'

export interface ConfiguringDeps {
  pluginChoice: PluginChoice
  /** Undefined where resources are kept one by one. */
  configs: Configs | undefined
}

/** Paths that are not here fall through. */
export function configuring({ pluginChoice, configs }: ConfiguringDeps, prefix: string): Router {
  const router = new Router({ prefix })
  router.post('/configs/validate', async ctx => {
    await validateConfigs(await readDocumentBody(ctx), pluginChoice)
    send(ctx, 200, {})
  })
  if (configs === undefined) return router

  router.get('/configs', async ctx => {
    const document = configs.get(ctx.state.role as Role)
    ctx.set(configs.headers())
    if (!isYaml(ctx.get('Accept'))) return send(ctx, 200, document)
    send(ctx, 200, await printYaml(document))
    ctx.set('Content-Type', 'application/yaml')
  })
  router.put('/configs', async ctx => {
    const digest = ctx.get('X-Digest')
    if (digest === '') throw refuse(400, 'missing digest header')
    const holds = conditionOf(ctx) ?? (() => true)
    const strangers = await configs.put(await readDocumentBody(ctx), { digest, holds })
    ctx.set(configs.headers())
    if (strangers !== undefined)
      warn(
        ctx,
        strangers.map(name => `${name} has no effect`),
      )
    ctx.body = null
    ctx.status = strangers === undefined ? 204 : 202
  })
  return router
}
