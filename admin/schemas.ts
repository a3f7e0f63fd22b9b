// What can be configured, as JSON Schema (facts core 4.9): for forms and validators; knows no item.
import type { Plugin, Schema } from '../core/plugin.ts'
import { pluginSchema } from '../core/resource/plugin-configs.ts'
import { checkSchema, isServed, resourceSchemas } from '../core/resource.ts'
import { refuse } from './answer.ts'
import { schemaNames } from './kinds.ts'

type Plugins = ReadonlyMap<string, Plugin>

export interface PluginEntry {
  version: number
  priority: number
  schema: Schema
  consumer_schema?: Schema
  type?: string
}

export function resourceSchema(name: string): Schema {
  const kind = schemaNames.get(name)
  if (kind === undefined) throw refuse(400, `not found schema: ${name}`)
  return resourceSchemas[kind]
}

/** Throws 400 with what the schema alone says of `value`. */
export function validateAgainst(collection: string, value: unknown): void {
  if (!isServed(collection)) throw refuse(400, `not found schema: ${collection}`)
  const problem = checkSchema(collection, value)
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
  if (type !== 'consumer') return pluginSchema(plugin, 'config')
  if (plugin.consumer === undefined) throw refuse(400, 'not found schema')
  return pluginSchema(plugin, 'consumer')
}

/** Every plugin by name. */
export function pluginEntries(plugins: Plugins, subsystem = 'http'): Record<string, PluginEntry> {
  const entry = (plugin: Plugin): PluginEntry => ({
    version: plugin.version,
    priority: plugin.priority,
    schema: pluginSchema(plugin, 'config'),
    ...(plugin.consumer && { consumer_schema: pluginSchema(plugin, 'consumer') }),
    ...(plugin.type && { type: plugin.type }),
  })
  const listed = subsystem === 'http' ? [...plugins.values()] : []
  return Object.fromEntries(listed.map(plugin => [plugin.name, entry(plugin)]))
}
