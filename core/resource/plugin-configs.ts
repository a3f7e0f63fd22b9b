// The plugin configs of a resource: what makes them valid, and their defaults; knows plugins only as schemas and checks.
import { asError } from '../errors.ts'
import { sourceProblem } from '../javascript/source.ts'
import { functionsAreOff, isOfFunctions } from '../known-plugins.ts'
import type { Plugin, Schema } from '../plugin.ts'
import { checkExpr } from '../router/expr.ts'
import { allStrangers, isObject, type Validator, validator } from '../schema.ts'
import type { Plugins } from './attributes.ts'

/** What a plugin's config is for: to run, or, of an authentication plugin on a consumer, to be recognised by. */
export type PluginUse = 'config' | 'consumer'

/** How the kernel runs a plugin (facts core 1.2). */
const metaSchema = {
  type: 'object',
  properties: {
    disable: { type: 'boolean' },
    error_response: { type: ['string', 'object'] },
    priority: { type: 'integer' },
    filter: { type: 'array' },
    pre_function: { type: 'string' },
  },
  additionalProperties: false,
} as const satisfies Schema

interface Known {
  schema: Schema
  validator: Validator<Record<string, unknown>>
}

/** Made on first use and kept as long as the plugin: compiling takes milliseconds, and a plugin never changes. */
const made = new WeakMap<Plugin, Partial<Record<PluginUse, Known>>>()

function known(plugin: Plugin, use: PluginUse): Known {
  const own = made.get(plugin) ?? {}
  made.set(plugin, own)
  own[use] ??= make(plugin, schemaFor(plugin, use))
  return own[use]
}

/** As the plugin wrote it. */
function schemaFor(plugin: Plugin, use: PluginUse): Schema {
  return (use === 'consumer' ? plugin.consumer : undefined) ?? plugin.schema
}

function make(plugin: Plugin, written: Schema): Known {
  const schema: Schema = { ...written, type: 'object', properties: { ...written.properties, _meta: metaSchema } }
  return { schema, validator: validator(schema, { secret: plugin.encrypt ?? [] }) }
}

/** The schema that a config of `plugin` must fit, `_meta` included. */
export function pluginSchema(plugin: Plugin, use: PluginUse): Schema {
  return known(plugin, use).schema
}

/** A deep copy of a config with the plugin's defaults. `_meta` stays where it is. Never throws. */
export function fillPlugin(plugin: Plugin, config: unknown, use: PluginUse = 'config'): Record<string, unknown> {
  return known(plugin, use).validator.fill(config)
}

/** What the config of `plugin` on a resource is for: only consumers, and what is theirs, are recognised by it. */
export function useOf(plugin: Plugin, kind: string): PluginUse {
  return (kind === 'consumers' || kind === 'credentials') && plugin.type === 'auth' ? 'consumer' : 'config'
}

/** The first thing that is wrong with the plugin configs of a resource of `kind` (facts core 4.8). */
export function pluginsProblem(
  configs: Plugins,
  kind: string,
  plugins: ReadonlyMap<string, Plugin>,
): string | undefined {
  for (const [name, config] of Object.entries(configs)) {
    const plugin = plugins.get(name)
    const shown = name.slice(0, 256)
    if (!isTable(config)) return `invalid plugin conf ${scalar(config)} for plugin [${shown}]`
    // There are no plugins for streams.
    if (plugin === undefined || kind === 'stream_routes') {
      const code = isOfFunctions(name) ? `: ${functionsAreOff}` : ''
      return kind === 'credentials' ? `unknown plugin ${shown}` : `unknown plugin [${shown}]${code}`
    }
    if (kind === 'credentials' && plugin.type !== 'auth') {
      return 'only supports auth type plugins in consumer credential'
    }
    // A disabled plugin's config may be anything (facts core 1.2): it is never used.
    const problem = isDisabled(config) ? undefined : configProblem(plugin, useOf(plugin, kind), config)
    if (problem !== undefined) return problem
  }
  return undefined
}

/** What is wrong with one config: by its schema, by the plugin itself, or in its `_meta`. */
export function configProblem(plugin: Plugin, use: PluginUse, config: Record<string, unknown>): string | undefined {
  const failed = (reason: string) => unfit(plugin, reason)
  const invalid = known(plugin, use).validator.check(config)
  if (invalid !== undefined) return failed(invalid)
  const { _meta: _, ...own } = fillPlugin(plugin, config, use)
  const refused = use === 'consumer' ? unrecognisable(plugin, own) : checked(plugin, own)
  if (refused !== undefined) return failed(refused)
  return metaProblem(plugin.name, config._meta as { filter?: unknown; pre_function?: string } | undefined)
}

/** How the admin API says what is wrong with a config (facts core 4.8). */
export function unfit(plugin: Plugin, reason: string): string {
  return `failed to check the configuration of plugin ${plugin.name} err: ${reason}`
}

/** A plugin of the user's may fail in its own check: the config is not known to be good then. */
function checked(plugin: Plugin, config: unknown): string | undefined {
  try {
    return plugin.check?.(config)
  } catch (error) {
    return `the check failed: ${asError(error).message}`
  }
}

function unrecognisable(plugin: Plugin, config: unknown): string | undefined {
  if (plugin.credential === undefined) return undefined
  try {
    return typeof plugin.credential(config) === 'string' ? undefined : 'the credential is no text'
  } catch (error) {
    return `the credential cannot be told: ${asError(error).message}`
  }
}

/** The first plugin whose `_meta` holds a function. */
export function withPreFunction(configs: unknown): string | undefined {
  if (!isObject(configs)) return undefined
  return Object.keys(configs).find(name => at(configs, [name, '_meta', 'pre_function']) !== undefined)
}

function metaProblem(name: string, meta: { filter?: unknown; pre_function?: string } = {}): string | undefined {
  const unusable = meta.pre_function && sourceProblem(meta.pre_function, '(conf, ctx) => { ... }')
  if (unusable) return `failed to load _meta.pre_function in plugin ${name}: it ${unusable}`
  const invalid = meta.filter === undefined ? undefined : checkExpr(meta.filter)
  return invalid && `failed to validate the 'vars' expression: ${invalid}`
}

/** Attributes of a resource's plugin configs that are accepted without effect, and configs that only `disable` lets pass. */
export function pluginsWarnings(configs: Plugins, kind: string, plugins: ReadonlyMap<string, Plugin>): string[] {
  return Object.entries(configs).flatMap(([name, config]) => {
    const plugin = plugins.get(name)
    if (plugin === undefined || !isObject(config)) return []
    const use = useOf(plugin, kind)
    if (isDisabled(config)) {
      return configProblem(plugin, use, config) === undefined ? [] : [`plugins.${name} is not valid, and disabled`]
    }
    const without = (attribute: string) => `plugins.${name}.${attribute} has no effect`
    const inert = (plugin.inert ?? []).filter(path => at(config, path.split('.')) !== undefined)
    const { _meta: _, ...own } = config
    const unknown = allStrangers(schemaFor(plugin, use), own).filter(path => !inert.includes(path))
    return [...inert, ...unknown].map(without)
  })
}

export function isDisabled(config: Record<string, unknown>): boolean {
  return isObject(config._meta) && config._meta.disable === true
}

/** An object, or what Lua takes for an empty one. */
function isTable(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}

/** What stands where an object should: nothing that could be a secret. */
function scalar(value: unknown): string {
  return typeof value === 'string' ? '"***"' : String(value)
}

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, step) => (isObject(inner) && Object.hasOwn(inner, step) ? inner[step] : undefined),
    value,
  )
}
