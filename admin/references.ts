// What resources say of each other (facts core 4.8): checked before a write and before a delete; changes nothing.
import { hash } from 'node:crypto'
import type { Keyring } from '../core/keyring.ts'
import type { Plugin } from '../core/plugin.ts'
import { configProblem, isDisabled, unfit } from '../core/resource/plugin-configs.ts'
import { fillPlugin, type ResourceKind, resourceKind } from '../core/resource.ts'
import { isObject, isReference } from '../core/schema.ts'
import type { Guards, Item, Kind, Store } from '../core/store/store.ts'
import { Refused, refuse } from './answer.ts'
import type { Catalogue } from './catalogue.ts'
import { kinds } from './kinds.ts'

type Value = Readonly<Record<string, unknown>>
type Plugins = ReadonlyMap<string, Plugin>

export interface References {
  /**
   * Throws 400 when `value` (in clear) names what does not exist, or takes what another item has; 404 when the consumer of a
   * credential is not there. Returns what must still be as it was for that to be true.
   */
  checkWrite(kind: ResourceKind, id: string, value: Value): Promise<Guards>
  /** Throws 400 when another item needs this one. */
  checkDelete(kind: ResourceKind, id: string): void
}

/** An attribute that names another item: on what it stands, what it names, and what each is called. */
interface Link {
  readonly from: ResourceKind
  readonly attribute: string
  readonly to: Kind
  readonly name: string
}

const links: readonly Link[] = [
  { from: 'routes', attribute: 'upstream_id', to: 'upstreams', name: 'upstream' },
  { from: 'routes', attribute: 'service_id', to: 'services', name: 'service' },
  { from: 'routes', attribute: 'plugin_config_id', to: 'plugin_configs', name: 'plugin config' },
  { from: 'services', attribute: 'upstream_id', to: 'upstreams', name: 'upstream' },
  { from: 'consumers', attribute: 'group_id', to: 'consumer_groups', name: 'consumer group' },
]

/** It is the path that names the service of a decoration. */
const decorated: Link = { from: 'graphql_cost_decorations', attribute: '', to: 'services', name: 'service' }

/** How the refusal to delete begins. */
const needed: Partial<Record<ResourceKind, string>> = {
  upstreams: 'can not delete this upstream',
  services: 'can not delete this service directly',
  plugin_configs: 'can not delete this plugin config',
  consumer_groups: 'can not delete this consumer group',
  protos: 'can not delete this proto',
}

/** What the store must be indexed by for `references`: `upstreams/1` is on whatever names that upstream. */
export function tagsOf({ plugins, keyring }: { plugins: Plugins; keyring: Keyring }): (item: Item) => string[] {
  return item => {
    const kind = resourceKind(item)
    const named = links
      .filter(({ from }) => from === kind)
      .flatMap(({ attribute, to }) => idTags(to, item.value[attribute]))
    const { plugins: configs } = item.value
    if (!isObject(configs)) return named
    const split = upstreamsOf(configs['traffic-split']).flatMap(id => idTags('plugin upstreams', id))
    const protos = isObject(configs['grpc-transcode']) ? idTags('protos', configs['grpc-transcode'].proto_id) : []
    const recognised = recognises(kind)
      ? [...credentialTags(keyring.openItem(item, plugins).value, plugins).values()]
      : []
    return [...named, ...split, ...protos, ...recognised]
  }
}

function idTags(kind: string, id: unknown): string[] {
  return typeof id === 'string' || typeof id === 'number' ? [`${kind}/${id}`] : []
}

/** The upstreams that a traffic-split sends some of the traffic to. */
function upstreamsOf(config: unknown): unknown[] {
  const list = (value: unknown) => (Array.isArray(value) ? value.filter(isObject) : [])
  const rules = isObject(config) ? list(config.rules) : []
  return rules.flatMap(rule => list(rule.weighted_upstreams).map(({ upstream_id }) => upstream_id))
}

function recognises(kind: ResourceKind): boolean {
  return kind === 'consumers' || kind === 'credentials'
}

/** By plugin, what it knows a consumer by, digested. A config that is wrong, disabled or kept elsewhere identifies nobody. */
function credentialTags({ plugins: configs }: Value, plugins: Plugins): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const [name, config] of Object.entries(isObject(configs) ? configs : {})) {
    const plugin = plugins.get(name)
    if (plugin?.credential === undefined || !isObject(config) || isDisabled(config)) continue
    if (configProblem(plugin, 'consumer', config) !== undefined) continue
    const credential = plugin.credential(fillPlugin(plugin, config, 'consumer'))
    if (!isReference(credential)) found.set(name, `credential ${name} ${hash('sha256', credential, 'base64')}`)
  }
  return found
}

export function references(deps: {
  store: Pick<Store, 'get'>
  keyring: Keyring
  /** Has the tags of `tagsOf`. */
  catalogue: Pick<Catalogue, 'of' | 'tagged'>
  plugins: Plugins
}): References {
  const { store, keyring, catalogue, plugins } = deps

  async function mustExist({ to, name }: Link, id: string): Promise<Guards> {
    const item = await store.get(to, id)
    if (item === undefined) throw refuse(400, `failed to fetch ${name} info by ${name} id [${id}], response code: 404`)
    return [{ kind: to, id, modRevision: item.modRevision }]
  }

  /** An SSL object that an upstream shows its own upstream (facts core 3.3). */
  async function clientCertificate({ tls }: Value): Promise<Guards> {
    const id = isObject(tls) ? tls.client_cert_id : undefined
    if (id === undefined) return []
    const item = await store.get('ssls', String(id))
    const failed = (why: string) => refuse(400, `failed to fetch ssl info by ssl id [${String(id)}], ${why}`)
    if (item === undefined) throw failed('response code: 404')
    if (item.value.type !== 'client') throw failed('wrong ssl type')
    return [{ kind: 'ssls', id: item.id, modRevision: item.modRevision }]
  }

  async function consumerOf(id: string): Promise<Guards> {
    const item = await store.get('consumers', above(id))
    if (item === undefined) throw new Refused(404, { error_msg: 'consumer not found' })
    return [{ kind: 'consumers', id: item.id, modRevision: item.modRevision }]
  }

  /** What a config leaves to the metadata of its plugin must be there. */
  async function metadataFor(value: Value): Promise<Guards> {
    const guards: Guards[number][] = []
    for (const [name, config] of Object.entries(isObject(value.plugins) ? value.plugins : {})) {
      const plugin = plugins.get(name)
      if (plugin?.orMetadata === undefined || !isObject(config) || isDisabled(config)) continue
      const left = plugin.orMetadata.filter(attribute => config[attribute] === undefined)
      if (left.length === 0) continue
      const item = await store.get('plugin_metadata', name)
      const metadata = item && keyring.openItem(item, plugins).value
      const lacking = left.find(attribute => metadata?.[attribute] === undefined)
      const lacks = `property "${lacking}" is not set in either the plugin conf or the metadata`
      if (lacking !== undefined) throw refuse(400, unfit(plugin, lacks))
      guards.push({ kind: 'plugin_metadata', id: name, modRevision: item!.modRevision })
    }
    return guards
  }

  function checkCredentials(kind: ResourceKind, id: string, value: Value): void {
    for (const [name, tag] of credentialTags(value, plugins)) {
      for (const other of catalogue.tagged(tag)) {
        if (resourceKind(other) === kind && other.id === id) continue
        const [username, , credential] = other.id.split('/')
        const where = credential === undefined ? '' : `credential: ${credential} of `
        throw refuse(400, `duplicate key of plugin ${name} found with ${where}consumer: ${username}`)
      }
    }
  }

  function checkGlobalPlugins(id: string, value: Value): void {
    for (const other of catalogue.of('global_rules')) {
      const theirs = isObject(other.value.plugins) ? other.value.plugins : {}
      const both = Object.keys(value.plugins as object).find(name => other.id !== id && Object.hasOwn(theirs, name))
      if (both !== undefined) throw refuse(400, `plugin '${both}' already exists in global rule with id '${other.id}'`)
    }
  }

  return {
    async checkWrite(kind, id, value) {
      const guards: Guards[number][] = []
      for (const link of links) {
        const named = link.from === kind ? value[link.attribute] : undefined
        if (named !== undefined) guards.push(...(await mustExist(link, String(named))))
      }
      const upstream = kind === 'upstreams' ? value : value.upstream
      if (isObject(upstream)) guards.push(...(await clientCertificate(upstream)))
      guards.push(...(await metadataFor(value)))
      if (kind === 'credentials') guards.push(...(await consumerOf(id)))
      if (kind === 'graphql_cost_decorations') guards.push(...(await mustExist(decorated, above(id))))
      if (recognises(kind)) checkCredentials(kind, id, value)
      if (kind === 'global_rules') checkGlobalPlugins(id, value)
      return guards
    },

    checkDelete(kind, id) {
      const refusal = needed[kind]
      if (refusal === undefined) return
      const user = first(catalogue.tagged(`${kind}/${id}`))
      if (user !== undefined) {
        throw refuse(400, `${refusal}, ${nameOf(user)} [${user.id}] is still using it now`)
      }
      const through = first(catalogue.tagged(`plugin ${kind}/${id}`))
      if (through !== undefined) {
        throw refuse(400, `${refusal}, plugin in ${pluginHolder(through)} [${through.id}] is still using it now`)
      }
    },
  }
}

/** The id of the item that another is below. */
function above(id: string): string {
  return id.split('/')[0] ?? ''
}

/** Of all who need an item, the same one is named every time. */
function first(items: Iterable<Item>): Item | undefined {
  const rank = (item: Item) => kinds.findIndex(({ kind }) => kind === resourceKind(item))
  return [...items].sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1))[0]
}

function nameOf(item: Item): string {
  return kinds.find(({ kind }) => kind === resourceKind(item))!.name.replace(' ', '_')
}

/** As APISIX calls the object that holds the plugin. */
function pluginHolder(item: Item): string {
  return item.kind === 'global_rules' ? item.kind : nameOf(item)
}
