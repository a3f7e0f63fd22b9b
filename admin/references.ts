// What resources say of each other (facts core 4.8): checked before a write and before a delete; changes nothing.
import { hash } from 'node:crypto'
import type { Keyring } from '../core/keyring.ts'
import type { Plugin } from '../core/plugin.ts'
import { configProblem, isDisabled } from '../core/resource/plugin-configs.ts'
import { fillPlugin, type ServedKind } from '../core/resource.ts'
import { isObject } from '../core/schema.ts'
import type { Item, Kind, Revision, Store } from '../core/store/store.ts'
import { refuse } from './answer.ts'

type Value = Readonly<Record<string, unknown>>

export interface References {
  /** Throws 400 when `value` (in clear) names what does not exist, or takes what another item has. */
  checkWrite(kind: ServedKind, id: string, value: Value): Promise<void>
  /** Throws 400 when another item needs this one. */
  checkDelete(kind: ServedKind, id: string): Promise<void>
}

export function references(deps: {
  store: Pick<Store, 'list' | 'get'>
  plugins: ReadonlyMap<string, Plugin>
  keyring: Keyring
}): References {
  const { store, plugins, keyring } = deps

  async function othersOf(kind: Kind, id: string): Promise<Item[]> {
    const { items } = await store.list()
    return items.filter(item => item.kind === kind && item.id !== id)
  }

  async function mustExist(kind: 'services' | 'upstreams', name: string, id: unknown): Promise<void> {
    if (id === undefined || (await store.get(kind, String(id))) !== undefined) return
    throw refuse(400, `failed to fetch ${name} info by ${name} id [${String(id)}], response code: 404`)
  }

  /** Digests of what each plugin knows a consumer by. A config that is wrong or disabled identifies nobody. */
  function credentialsOf(consumer: Value): ReadonlyMap<string, string> {
    const found = new Map<string, string>()
    for (const [name, config] of Object.entries(isObject(consumer.plugins) ? consumer.plugins : {})) {
      const plugin = plugins.get(name)
      if (plugin?.credential === undefined || !isObject(config) || isDisabled(config)) continue
      if (configProblem(plugin, 'consumer', config) !== undefined) continue
      found.set(name, hash('sha256', plugin.credential(fillPlugin(plugin, config, 'consumer')), 'base64'))
    }
    return found
  }

  /** By username: decrypting and checking all consumers again for each of many writes would take its time. */
  let known = new Map<string, { revision: Revision; credentials: ReadonlyMap<string, string> }>()

  async function checkCredentials(username: string, value: Value): Promise<void> {
    const own = credentialsOf(value)
    if (own.size === 0) return
    const others = new Map<string, { revision: Revision; credentials: ReadonlyMap<string, string> }>()
    for (const { id, value: sealed, modRevision } of await othersOf('consumers', username)) {
      const before = known.get(id)
      const current =
        before?.revision === modRevision
          ? before
          : { revision: modRevision, credentials: credentialsOf(keyring.openItem('consumers', sealed, plugins)) }
      others.set(id, current)
    }
    known = others
    for (const [id, { credentials }] of others) {
      const twice = [...own].find(([name, credential]) => credentials.get(name) === credential)
      if (twice !== undefined) throw refuse(400, `duplicate key of plugin ${twice[0]} found with consumer: ${id}`)
    }
  }

  async function checkGlobalPlugins(id: string, value: Value): Promise<void> {
    for (const other of await othersOf('global_rules', id)) {
      const theirs = isObject(other.value.plugins) ? other.value.plugins : {}
      const both = Object.keys(value.plugins as object).find(name => Object.hasOwn(theirs, name))
      if (both !== undefined) throw refuse(400, `plugin '${both}' already exists in global rule with id '${other.id}'`)
    }
  }

  async function mustNotName(
    id: string,
    attribute: string,
    where: readonly (readonly [Kind, string])[],
    message: string,
  ) {
    const { items } = await store.list()
    for (const [kind, name] of where) {
      const user = items.find(item => item.kind === kind && namesId(item.value[attribute], id))
      if (user !== undefined) throw refuse(400, `${message}, ${name} [${user.id}] is still using it now`)
    }
  }

  return {
    async checkWrite(kind, id, value) {
      if (kind === 'routes') await mustExist('services', 'service', value.service_id)
      if (kind === 'routes' || kind === 'services') await mustExist('upstreams', 'upstream', value.upstream_id)
      if (kind === 'consumers') await checkCredentials(id, value)
      if (kind === 'global_rules') await checkGlobalPlugins(id, value)
    },
    async checkDelete(kind, id) {
      const route = ['routes', 'route'] as const
      if (kind === 'services') await mustNotName(id, 'service_id', [route], 'can not delete this service directly')
      if (kind === 'upstreams') {
        await mustNotName(id, 'upstream_id', [route, ['services', 'service']], 'can not delete this upstream')
      }
    },
  }
}

function namesId(value: unknown, id: string): boolean {
  return (typeof value === 'string' || typeof value === 'number') && String(value) === id
}
