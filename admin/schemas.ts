// What can be configured, as JSON Schema (facts core 4.9): for forms and validators; knows no item.
import type { Plugin, Schema } from '../core/plugin.ts'
import { hashHeaderSchema, hashVarsSchema } from '../core/proxy/balancer/hash-key.ts'
import { pluginSchema } from '../core/resource/plugin-configs.ts'
import { checkSchema, isResourceKind, resourceSchema } from '../core/resource.ts'
import { refuse } from './answer.ts'
import { kinds } from './kinds.ts'

type Plugins = ReadonlyMap<string, Plugin>

export interface PluginEntry {
  version: number
  priority: number
  schema: Schema
  metadata_schema?: Schema
  consumer_schema?: Schema
  type?: string
}

/** The value of the store's key `plugins` (facts core 3.13). */
const enabledPlugins: Schema = {
  type: 'array',
  items: {
    type: 'object',
    properties: { name: { type: 'string', minLength: 1 }, stream: { type: 'boolean' } },
    required: ['name'],
  },
}

/** By the name in `/schema/{name}`. */
export const schemas: ReadonlyMap<string, Schema> = new Map([
  ...kinds.flatMap(({ kind, schemaName }): [string, Schema][] =>
    schemaName === undefined ? [] : [[schemaName, resourceSchema(kind)]],
  ),
  ['plugins', enabledPlugins],
  ['upstream_hash_header_schema', hashHeaderSchema],
  ['upstream_hash_vars_schema', hashVarsSchema],
])

export function schemaNamed(name: string): Schema {
  const schema = schemas.get(name)
  if (schema === undefined) throw refuse(400, `not found schema: ${name}`)
  return schema
}

/** Throws 400 with what the schema alone says of `value`. */
export function validateAgainst(plugins: Plugins, collection: string, value: unknown): void {
  if (!isResourceKind(collection)) throw refuse(400, `not found schema: ${collection}`)
  const problem = checkSchema(collection, value, plugins)
  if (problem !== undefined) throw refuse(400, problem)
}

/** Names, high priority first. There are no stream plugins. */
export function pluginNames(plugins: Plugins, subsystem: string): string[] {
  if (subsystem === 'stream') return []
  return [...plugins.values()].sort((a, b) => b.priority - a.priority).map(({ name }) => name)
}

export function schemaOfPlugin(plugins: Plugins, name: string, which: { type?: string; subsystem: string }): Schema {
  const { type, subsystem } = which
  if (subsystem !== 'http' && subsystem !== 'stream') throw refuse(400, `unsupported subsystem: ${subsystem}`)
  const plugin = subsystem === 'http' ? plugins.get(name) : undefined
  if (plugin === undefined) throw refuse(404, `plugin not found in subsystem ${subsystem}`)
  const schema = schemaOfType(plugin, type)
  if (schema === undefined) throw refuse(400, 'not found schema')
  return schema
}

function schemaOfType(plugin: Plugin, type: string | undefined): Schema | undefined {
  if (type === 'consumer') return plugin.consumer && pluginSchema(plugin, 'consumer')
  return type === 'metadata' ? plugin.metadata : pluginSchema(plugin, 'config')
}

/** Every plugin by name. */
export function pluginEntries(plugins: Plugins, subsystem = 'http'): Record<string, PluginEntry> {
  const entry = (plugin: Plugin): PluginEntry => ({
    version: plugin.version,
    priority: plugin.priority,
    schema: pluginSchema(plugin, 'config'),
    ...(plugin.metadata && { metadata_schema: plugin.metadata }),
    ...(plugin.consumer && { consumer_schema: pluginSchema(plugin, 'consumer') }),
    ...(plugin.type && { type: plugin.type }),
  })
  const listed = subsystem === 'http' ? [...plugins.values()] : []
  return Object.fromEntries(listed.map(plugin => [plugin.name, entry(plugin)]))
}
