// The control API (facts core 5.6): what this node knows and serves, for operators of the machine; shows no secrets.
import { isIP } from 'node:net'
import { Readable } from 'node:stream'
import Router from '@koa/router'
import type Koa from 'koa'
import { type Keyring, lockedReason } from '../core/keyring.ts'
import type { KnownPlugins } from '../core/known-plugins.ts'
import type { Logger } from '../core/observe/log.ts'
import type { PluginCodeStatus } from '../core/plugin-code/own-plugins.ts'
import type { CheckedUpstream } from '../core/proxy/health/keeper.ts'
import { useOf } from '../core/resource/plugin-configs.ts'
import {
  checkResource,
  fillPlugin,
  prepareResource,
  type ResourceKind,
  resourceKind,
  type ServedKind,
  warnings,
} from '../core/resource.ts'
import { isObject } from '../core/schema.ts'
import type { FileStatus } from '../core/standalone/config-file.ts'
import type { Currency } from '../core/store/backing.ts'
import type { Item, Revision } from '../core/store/store.ts'
import { type OnUnknown, unknownIn } from '../core/unknown-plugins.ts'
import { openApp, refuse, send } from './answer.ts'
import type { Catalogue } from './catalogue.ts'
import { shownCurrency } from './currency.ts'
import { type ExplainDeps, explain } from './explain.ts'
import { healthcheck } from './healthcheck.ts'
import { inPieces } from './in-pieces.ts'
import { kinds } from './kinds.ts'
import { pluginEntries, schemas } from './schemas.ts'

/** What one worker serves. `rejected` are items that it does not serve as they stand in the store. */
export interface WorkerStatus {
  id: number
  /** The revision it has applied; undefined before the first. */
  revision: Revision | undefined
  /** Since when, in milliseconds since the epoch. */
  appliedAt?: number | undefined
  rejected: readonly { kind: string; id: string; revision: Revision; reason: string; servesOlder: boolean }[]
}

export interface ControlDeps {
  catalogue: Catalogue
  plugins: KnownPlugins
  keyring: Keyring
  onUnknownPlugin: OnUnknown
  /** What keys begin with: `/apisix`, or what etcd's begin with. */
  prefix?: string
  workers(): readonly WorkerStatus[]
  /** The paths of references in an item, in clear, that stand for nothing known. */
  unresolved?(item: Pick<Item, 'kind' | 'id' | 'value'>): readonly string[]
  /** Of a configuration that comes from elsewhere. */
  currency?: (() => Currency) | undefined
  /** Of a configuration that is in a file. */
  file?: (() => FileStatus) | undefined
  /** The user's own plugins. */
  pluginCode(): PluginCodeStatus
  /** Every upstream that is checked. */
  checked(): readonly CheckedUpstream[]
  /** Brings fresh code to new requests; resolves when it is there. */
  reload(): Promise<void>
  /** Of workers. */
  asked: Pick<ExplainDeps, 'decision' | 'rehearse'>
  /** Gives back what the main thread no longer needs; workers would stand still for it. */
  collectGarbage(): void
  log: Logger
  serverName: string
}

export function controlApi(deps: ControlDeps): Koa {
  const { catalogue, plugins, keyring, onUnknownPlugin, prefix = '/apisix' } = deps
  const { workers, currency, file, log, serverName } = deps
  const { pluginCode, reload, collectGarbage } = deps
  const router = new Router()

  router.get('/v1/schema', ctx => {
    send(ctx, 200, { main: Object.fromEntries(schemas), plugins: pluginEntries(plugins), stream_plugins: {} })
  })
  router.get('/v1/config/status', ctx => {
    const { revision } = catalogue
    const known = currency?.()
    const config = known && { config: { ...shownCurrency(known, Date.now()), strangers: known.strangers } }
    const served = workers().map(({ appliedAt, ...rest }) => ({
      ...rest,
      ...(appliedAt !== undefined && { applied_at: new Date(appliedAt).toISOString() }),
    }))
    const status = JSON.stringify({ revision, ...config, document: file?.(), plugins: pluginCode(), workers: served })
    const head = `${status.slice(0, -1)},"warnings":`
    const items = kinds.flatMap(({ kind }) => catalogue.of(kind))
    send(ctx, 200, Readable.from(inPieces(items, warned, { before: head, after: '}\n' })))
  })
  router.put('/v1/plugins/reload', async ctx => {
    await reload()
    send(ctx, 200, 'done')
  })
  router.post('/v1/gc', ctx => {
    collectGarbage()
    send(ctx, 200, '')
  })
  router.get('/v1/plugin_metadatas', ctx => send(ctx, 200, catalogue.of('plugin_metadata').map(metadata)))
  router.get('/v1/plugin_metadata/:name', ctx => {
    const name = ctx.params.name ?? ''
    const item = catalogue.get('plugin_metadata', name)
    if (item === undefined) throw refuse(404, `plugin metadata[${name}] not found`)
    send(ctx, 200, metadata(item))
  })
  for (const name of ['route', 'service', 'upstream'] as const) {
    const kind = `${name}s` as const
    router.get(`/v1/${kind}`, ctx => {
      send(ctx, 200, Readable.from(inPieces(catalogue.of(kind), item => shown(kind, item))))
    })
    router.get(`/v1/${name}/:id`, ctx => {
      const id = ctx.params.id ?? ''
      const item = catalogue.get(kind, id)
      if (item === undefined) throw refuse(404, `${name}[${id}] not found`)
      send(ctx, 200, shown(kind, item))
    })
  }

  const metadata = (item: Item) => keyring.maskItem(item, plugins)

  /** Looking for them takes as long as checking the item; items never change, plugins when they are reloaded. */
  let found = new WeakMap<Item, readonly string[]>()
  let foundAt = 0

  /** What of an item has no effect; undefined when all of it has. */
  function warned(item: Item): object | undefined {
    const { reloads } = pluginCode()
    if (reloads !== foundAt) found = new WeakMap()
    foundAt = reloads
    const kind = resourceKind(item)
    const known = found.get(item) ?? saidOf(kind, item)
    found.set(item, known)
    const lost = (path: string) => `what ${path} refers to is not known: it is not used`
    const said = [...known, ...(deps.unresolved?.(item) ?? []).map(lost)]
    return said.length === 0 ? undefined : { kind, id: item.id, warnings: said }
  }

  function saidOf(kind: ResourceKind, item: Item): string[] {
    const { value, locked, stale } = keyring.openItem(item, plugins)
    return [
      ...warnings(kind, value, plugins),
      ...unknownIn(value, plugins, onUnknownPlugin),
      ...locked.map(lockedReason),
      ...stale,
    ]
  }

  function shown(kind: 'routes' | 'services' | 'upstreams', item: Item): object {
    const { id, createRevision, modRevision } = item
    const inUse = withDefaults(kind, keyring.openItem(item, plugins).value)
    return {
      key: `${prefix}/${kind}/${id}`,
      value: keyring.maskItem({ kind, id, value: inUse }, plugins),
      createdIndex: createRevision,
      modifiedIndex: modRevision,
      orig_modifiedIndex: modRevision,
      update_count: 0,
      has_domain: hasDomain(kind === 'upstreams' ? inUse : inUse.upstream),
    }
  }

  /** As the data plane has it; what that would not take is as it is. */
  function withDefaults(kind: ServedKind, value: Item['value']): Item['value'] {
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
  app.use(healthcheck(deps).routes())
  app.use(explain({ ...deps, ...deps.asked }).routes())
  return app
}

/** Whether a node of an upstream is a name that has to be resolved. */
function hasDomain(upstream: unknown): boolean {
  const nodes = isObject(upstream) && Array.isArray(upstream.nodes) ? upstream.nodes : []
  return nodes.some(node => isObject(node) && typeof node.host === 'string' && isIP(node.host) === 0)
}
