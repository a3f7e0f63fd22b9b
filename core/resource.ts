// Resources: whether one is valid, whether it can be served, and what the data plane makes of it; knows no others, no stores.

import { functionsAreOff, type KnownPlugins } from './known-plugins.ts'
import type { Plugin, Schema } from './plugin.ts'
import type { Plugins } from './resource/attributes.ts'
import { type Consumer, consumer } from './resource/consumer.ts'
import { type Credential, credential } from './resource/credential.ts'
import type { Definition } from './resource/definition.ts'
import { graphqlCostDecoration } from './resource/graphql-cost-decoration.ts'
import { fillPlugin, pluginsProblem, pluginsWarnings, withPreFunction } from './resource/plugin-configs.ts'
import { pluginMetadata } from './resource/plugin-metadata.ts'
import { consumerGroup, globalRule, type PluginSet, pluginConfig } from './resource/plugin-sets.ts'
import { proto } from './resource/proto.ts'
import { type Route, route } from './resource/route.ts'
import { managerOf, secret, secretManagers } from './resource/secret.ts'
import { type Service, service } from './resource/service.ts'
import { type Ssl, ssl } from './resource/ssl.ts'
import { streamRoute } from './resource/stream-route.ts'
import { notServed } from './resource/unserved.ts'
import {
  normaliseNodes,
  type Upstream,
  upstream,
  upstreamProblem,
  upstreamUnserved,
  upstreamWarnings,
} from './resource/upstream.ts'
import { allStrangers, isObject, shapeProblem, type Validator, validator } from './schema.ts'
import type { Item, Kind } from './store/store.ts'

export type { Consumer, Credential, PluginSet, Plugins, Route, Service, Ssl, Upstream }
export { fillPlugin }

/** Every kind of resource: those that have a directory of the store, and those kept below an item of another kind. */
export type ResourceKind = Kind | 'credentials' | 'graphql_cost_decorations'

/** What the data plane gets of each kind that is served. */
export interface Resources {
  routes: Route
  services: Service
  upstreams: Upstream
  consumers: Consumer
  consumer_groups: PluginSet
  credentials: Credential
  /** Only those of type `client`. */
  ssls: Ssl
  global_rules: PluginSet
  plugin_metadata: Readonly<Record<string, unknown>>
  plugin_configs: PluginSet
}
export type ServedKind = keyof Resources

const definitions: Readonly<Record<ResourceKind, Definition>> = {
  routes: route,
  services: service,
  upstreams: upstream,
  consumers: consumer,
  credentials: credential,
  consumer_groups: consumerGroup,
  ssls: ssl,
  global_rules: globalRule,
  plugin_configs: pluginConfig,
  plugin_metadata: pluginMetadata,
  secrets: secret,
  protos: proto,
  stream_routes: streamRoute,
  graphql_cost_decorations: graphqlCostDecoration,
}

const served: Readonly<Record<ServedKind, true>> = {
  routes: true,
  services: true,
  upstreams: true,
  consumers: true,
  consumer_groups: true,
  credentials: true,
  ssls: true,
  global_rules: true,
  plugin_metadata: true,
  plugin_configs: true,
}

export function isResourceKind(kind: string): kind is ResourceKind {
  return Object.hasOwn(definitions, kind)
}

/** Whether the data plane acts on items of a kind. */
export function isServed(kind: string): kind is ServedKind {
  return Object.hasOwn(served, kind)
}

/** The kind of an item of the store: some are kept below an item of another kind (facts core 4.11). */
export function resourceKind({ kind, id }: { kind: Kind; id: string }): ResourceKind {
  const [, below] = id.split('/')
  if (kind === 'consumers' && below === 'credentials') return 'credentials'
  return kind === 'services' && below === 'graphql_cost_decorations' ? 'graphql_cost_decorations' : kind
}

/** For forms: what the kind as a whole must be. */
export function resourceSchema(kind: ResourceKind): Schema {
  return definitions[kind].schema
}

/** What this very value must be: of secrets its manager says it, of plugin metadata the plugin. */
function schemaOf(kind: ResourceKind, value: unknown, plugins: ReadonlyMap<string, Plugin>): Schema {
  const { id } = isObject(value) ? value : {}
  const manager = kind === 'secrets' ? managerOf(id) : undefined
  if (manager !== undefined) return secretManagers[manager]!
  const metadata = kind === 'plugin_metadata' ? plugins.get(String(id))?.metadata : undefined
  return metadata ?? definitions[kind].schema
}

/** Compiled on first use and kept as long as the schema. */
const validators = new WeakMap<Schema, Validator<unknown>>()

function validatorOf(kind: ResourceKind, schema: Schema, secret: readonly string[] = []): Validator<unknown> {
  // Nothing resolves references outside of plugin configs and SSLs, so there they are strings like any other.
  const made =
    validators.get(schema) ?? validator(schema, { references: definitions[kind].references ?? false, secret })
  validators.set(schema, made)
  return made
}

/** Of this very value: what the plugin of plugin metadata encrypts is not quoted. */
function validatorFor(kind: ResourceKind, value: unknown, plugins: ReadonlyMap<string, Plugin>): Validator<unknown> {
  const metadataOf = kind === 'plugin_metadata' && isObject(value) ? plugins.get(String(value.id)) : undefined
  return validatorOf(kind, schemaOf(kind, value, plugins), metadataOf?.encrypt)
}

/** Compiles the schemas of what is served, which takes some 50 ms, so that the first resource does not wait for it. */
export function compileChecks(): void {
  for (const kind of Object.keys(served) as ServedKind[]) validatorOf(kind, definitions[kind].schema)
}

/** What its schema alone says of a value, without a word in front. */
export function checkSchema(
  kind: ResourceKind,
  value: unknown,
  plugins: ReadonlyMap<string, Plugin>,
): string | undefined {
  return validatorFor(kind, value, plugins).check(described(kind, value))
}

/** What the schema of a value speaks of: metadata are a plugin's own, but for the id under which they are kept. */
function described(kind: ResourceKind, value: unknown): unknown {
  if (kind !== 'plugin_metadata' || !isObject(value)) return value
  const { id: _, ...metadata } = value
  return metadata
}

/**
 * The first thing that is wrong with a resource as far as it can be said without looking at others, in the words of the
 * admin API's `error_msg` (facts core 2.7, 3, 4.8). Encrypted values come in clear.
 */
export function resourceProblem(
  kind: ResourceKind,
  value: unknown,
  plugins: ReadonlyMap<string, Plugin>,
): string | undefined {
  const unfit = shapeProblem(value)
  if (unfit !== undefined) return `invalid configuration: ${unfit}`
  if (kind === 'plugin_metadata' && !plugins.has(String((value as { id?: unknown })?.id))) return 'invalid plugin name'
  const { exclusion, problem } = definitions[kind]
  const excluded = isObject(value) ? exclusion?.(value) : undefined
  if (excluded !== undefined) return excluded
  const validator = validatorFor(kind, value, plugins)
  const invalid = validator.check(described(kind, value))
  if (invalid !== undefined) return `invalid configuration: ${invalid}`
  const resource = validator.fill(value) as Record<string, unknown>
  if (kind === 'plugin_metadata') return metadataProblem(plugins.get(String(resource.id)), resource)
  return problem?.(resource) ?? embeddedProblem(kind, resource, plugins)
}

function metadataProblem(plugin: Plugin | undefined, metadata: Record<string, unknown>): string | undefined {
  const wrong = plugin?.checkMetadata?.(described('plugin_metadata', metadata))
  return wrong && `invalid configuration: ${wrong}`
}

function embeddedProblem(
  kind: ResourceKind,
  { upstream, plugins: configs }: Record<string, unknown>,
  plugins: ReadonlyMap<string, Plugin>,
): string | undefined {
  if (!holdsPlugins(kind)) return undefined
  const bad = isObject(upstream) ? upstreamProblem(upstream) : undefined
  if (bad !== undefined) return bad
  const wrong = pluginsProblem((configs ?? {}) as Plugins, kind, plugins)
  return wrong && (kind === 'consumers' ? `invalid plugins configuration: ${wrong}` : wrong)
}

/** Plugin metadata and secrets may have an attribute of any name. */
function holdsPlugins(kind: ResourceKind): boolean {
  return kind !== 'plugin_metadata' && kind !== 'secrets'
}

/** What a valid resource asks for that APISIX has and this version has not. */
export function unservedIn(
  kind: ResourceKind,
  value: Readonly<Record<string, unknown>>,
  { javascript = false }: KnownPlugins,
): string | undefined {
  const { upstream } = value
  return (
    definitions[kind].unserved?.(value) ??
    (isObject(upstream) ? upstreamUnserved(upstream, 'upstream.') : undefined) ??
    (javascript ? undefined : functionIn(kind, value))
  )
}

function functionIn(kind: ResourceKind, { filter_func: filter, plugins }: Readonly<Record<string, unknown>>) {
  if (!holdsPlugins(kind)) return undefined
  if (filter !== undefined) return `filter_func: ${functionsAreOff}`
  const name = withPreFunction(plugins)
  return name === undefined ? undefined : `_meta.pre_function of plugin ${name}: ${functionsAreOff}`
}

/** Why the data plane cannot serve an item; undefined when it can. Encrypted values come in clear. */
export function checkResource(kind: ResourceKind, value: unknown, plugins: KnownPlugins): string | undefined {
  if (!isServed(kind)) return notServed(kind)
  return resourceProblem(kind, value, plugins) ?? unservedIn(kind, value as Item['value'], plugins) // a valid one is an object
}

/** What is accepted without effect in a valid resource: one sentence each. */
export function warnings(kind: ResourceKind, value: unknown, plugins: ReadonlyMap<string, Plugin>): string[] {
  const schema = schemaOf(kind, value, plugins)
  const resource = validatorFor(kind, value, plugins).fill(value) as Record<string, unknown>
  const unknown = allStrangers(schema, described(kind, value)).map(path => `${path} has no effect`)
  const idle = kind === 'plugin_metadata' && schema === pluginMetadata.schema
  const unserved = [
    ...(isServed(kind) || kind === 'secrets' ? [] : [notServed(kind)]),
    ...(idle ? [`plugin ${String(resource.id)} takes no metadata: it has no effect`] : []),
    ...(definitions[kind].ineffective?.(resource) ?? []),
  ]
  if (!holdsPlugins(kind)) return [...unserved, ...unknown]
  return [
    ...unserved,
    ...unknown,
    ...upstreamWarnings(kind === 'upstreams' ? resource : resource.upstream, kind === 'upstreams' ? '' : 'upstream.'),
    ...pluginsWarnings((resource.plugins ?? {}) as Plugins, kind, plugins),
  ]
}

/** The metadata of a plugin as the plugin gets it: a deep copy of a checked value with defaults, and without its id. */
export function fillMetadata(plugin: Plugin, value: Item['value']): Record<string, unknown> {
  const validator = validatorOf('plugin_metadata', plugin.metadata ?? pluginMetadata.schema, plugin.encrypt)
  return validator.fill(described('plugin_metadata', value)) as Record<string, unknown>
}

/**
 * What the data plane uses of an item that `checkResource` let pass: a deep copy with defaults, nodes as a list, ids as
 * strings. Plugin configs stay as they are: `fillPlugin` completes each.
 */
export function prepareResource<K extends ServedKind>(kind: K, value: unknown): Resources[K] {
  const resource = validatorOf(kind, definitions[kind].schema).fill(value) as Resources[K]
  const open = resource as unknown as Record<string, unknown>
  // A client may write the number 1 where it means the key "1".
  for (const key of ['id', 'upstream_id', 'service_id', 'plugin_config_id', 'group_id'])
    if (typeof open[key] === 'number') open[key] = String(open[key])
  if (kind === 'upstreams') normaliseNodes(open)
  else if (isObject(open.upstream)) normaliseNodes(open.upstream)
  return resource
}
