// Files -> plugins: finds them in their folders, imports them, refuses what is none; knows no configuration.
import { readdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { endpointKey } from '../endpoints.ts'
import { asError } from '../errors.ts'
import type { Plugin } from '../plugin.ts'
import { pluginFault } from './inspect.ts'
import { isOurs } from './module-hooks.ts'

/** A plugin file that cannot be used, and why: one line that an operator can act on. */
export class PluginCodeError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'PluginCodeError'
  }
}

/** The configuration enables a plugin that nobody has. */
export class NotThere extends PluginCodeError {
  readonly plugin: string

  constructor(plugin: string, why = 'Sluice has no such plugin') {
    super(`${plugin}: ${why}`)
    this.plugin = plugin
  }
}

/** URLs of the plugin files of folders, in order of name: `.ts` and `.js`, without tests, declarations and hidden files. */
export async function pluginFiles(folders: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const folder of folders) {
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      throw new PluginCodeError(`${folder}: the folder cannot be read (${error.code ?? error.message})`)
    })
    const files = names.filter(name => /^[^.].*\.[tj]s$/.test(name) && !/\.(test|spec|d)\.[tj]s$/.test(name)).sort()
    found.push(...files.map(name => pathToFileURL(resolve(folder, name)).href))
  }
  return found
}

/** Imports plugin files. Throws PluginCodeError for the first that does not load, is no plugin, or has another's name. */
export async function importPlugins(entries: readonly string[]): Promise<Plugin[]> {
  const plugins = new Map<string, { plugin: Plugin; entry: string }>()
  const endpoints = new Map<string, string>()
  for (const entry of entries) {
    const exported: unknown = await import(entry).then(
      (module: { default?: unknown }) => module.default,
      (error: unknown) => {
        throw new PluginCodeError(`${shown(entry)}: does not load: ${asError(error).message}${placeOf(error)}`)
      },
    )
    const fault = pluginFault(exported)
    if (fault !== undefined) throw new PluginCodeError(`${shown(entry)}: ${fault}`)
    const plugin = exported as Plugin // what pluginFault is for
    const same = plugins.get(plugin.name)
    if (same !== undefined)
      throw new PluginCodeError(`${shown(entry)}: the name ${plugin.name} is that of ${shown(same.entry)}`)
    plugins.set(plugin.name, { plugin, entry })
    for (const { methods, path } of plugin.endpoints ?? []) {
      for (const key of methods.map(method => endpointKey(method, path))) {
        const other = endpoints.get(key)
        if (other !== undefined) throw new PluginCodeError(`${shown(entry)}: the endpoint ${key} is that of ${other}`)
        endpoints.set(key, shown(entry))
      }
    }
  }
  return [...plugins.values()].map(({ plugin }) => plugin)
}

function shown(url: string): string {
  return decodeURIComponent(new URL(url).pathname)
}

/** Where a syntax error or the first throw is, if the error says it: above a syntax error, or in a frame that is not ours. */
function placeOf(error: unknown): string {
  const [first = '', ...frames] = (asError(error).stack ?? '').split('\n')
  const above = /^\/.*:\d+$/.exec(first)?.[0]
  const thrown = frames
    .map(frame => /file:\/\/[^\s)]+:\d+/.exec(frame)?.[0])
    .find(at => at !== undefined && !isOurs(at))
  const place = above ?? thrown
  return place === undefined ? '' : ` (${place.replace('file://', '')})`
}
