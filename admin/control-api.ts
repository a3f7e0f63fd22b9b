// The control API (facts core 5.6): what this node knows and serves, for operators of the machine; shows no secrets.
import Router from '@koa/router'
import type Koa from 'koa'
import type { Keyring } from '../core/keyring.ts'
import type { Logger } from '../core/observe/log.ts'
import type { Plugin } from '../core/plugin.ts'
import { useOf } from '../core/resource/plugin-configs.ts'
import { checkResource, fillPlugin, prepareResource, type ServedKind } from '../core/resource.ts'
import { isObject } from '../core/schema.ts'
import type { Item, Revision, Store } from '../core/store/store.ts'
import { openApp, refuse, send } from './answer.ts'
import { schemaNames } from './kinds.ts'
import { pluginEntries, resourceSchema } from './schemas.ts'

/** What one worker serves. `rejected` are items that it does not serve as they stand in the store. */
export interface WorkerStatus {
  id: number
  /** The revision it has applied; undefined before the first. */
  revision: Revision | undefined
  rejected: readonly { kind: string; id: string; revision: Revision; reason: string; servesOlder: boolean }[]
}

export interface ControlDeps {
  store: Pick<Store, 'list' | 'get'>
  plugins: ReadonlyMap<string, Plugin>
  keyring: Keyring
  workers(): readonly WorkerStatus[]
  log: Logger
  serverName: string
}

export function controlApi(deps: ControlDeps): Koa {
  const { store, plugins, keyring, workers, log, serverName } = deps
  const router = new Router()

  router.get('/v1/schema', ctx => {
    const main = Object.fromEntries([...schemaNames.keys()].map(name => [name, resourceSchema(name)]))
    send(ctx, 200, { main, plugins: pluginEntries(plugins), stream_plugins: {} })
  })
  router.get('/v1/config/status', ctx => send(ctx, 200, { workers: workers() }))
  // No version has health checks yet, so nothing is checked.
  router.get('/v1/healthcheck', ctx => send(ctx, 200, []))
  for (const name of ['route', 'service', 'upstream'] as const) {
    const kind = `${name}s` as const
    router.get(`/v1/${kind}`, async ctx => {
      const { items } = await store.list()
      const own = items.filter(item => item.kind === kind)
      send(
        ctx,
        200,
        own.map(item => shown(kind, item)),
      )
    })
    router.get(`/v1/${name}/:id`, async ctx => {
      const id = ctx.params.id ?? ''
      const item = await store.get(kind, id)
      if (item === undefined) throw refuse(404, `${name}[${id}] not found`)
      send(ctx, 200, shown(kind, item))
    })
  }

  function shown(kind: ServedKind, { id, value, createRevision, modRevision }: Item): object {
    const inUse = withDefaults(kind, keyring.openItem(kind, value, plugins))
    return {
      key: `/apisix/${kind}/${id}`,
      value: keyring.maskItem(kind, inUse, plugins),
      createdIndex: createRevision,
      modifiedIndex: modRevision,
    }
  }

  /** As the data plane has it; what that would not take is as it is. */
  function withDefaults(kind: ServedKind, value: Record<string, unknown>): Record<string, unknown> {
    if (checkResource(kind, value, plugins) !== undefined) return value
    const prepared: Record<string, unknown> = { ...prepareResource(kind, value) }
    if (!isObject(prepared.plugins)) return prepared
    const filled = Object.entries(prepared.plugins).map(([name, config]) => {
      const plugin = plugins.get(name)
      return [name, plugin === undefined ? config : fillPlugin(plugin, config, useOf(plugin, kind))]
    })
    return { ...prepared, plugins: Object.fromEntries(filled) }
  }

  const app = openApp({ log, serverName })
  app.use(router.routes())
  return app
}
