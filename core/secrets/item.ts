// Where in an item references to secrets stand, and the item with secrets in their place; knows not where those are from.
import type { Plugin } from '../plugin.ts'
import { configProblem, useOf } from '../resource/plugin-configs.ts'
import { resourceKind } from '../resource.ts'
import { isObject } from '../schema.ts'
import type { Item } from '../store/store.ts'
import { referencesIn, withSecrets } from './reference.ts'

/** Of an SSL object (facts core 3.8). */
const ofCertificates = ['cert', 'key', 'certs', 'keys']

/** Every reference of an item that stands for a secret, with its dotted path. */
export function referencesOf({ kind, value }: Pick<Item, 'kind' | 'value'>): { path: string; text: string }[] {
  return placesOf(kind, value).flatMap(([path, part]) => [...referencesIn(part, path)])
}

function placesOf(kind: Item['kind'], value: Item['value']): [path: string, part: unknown][] {
  if (kind === 'ssls') return ofCertificates.map(name => [name, value[name]])
  if (kind === 'plugin_metadata' || !isObject(value.plugins)) return []
  return Object.entries(value.plugins).map(([name, config]) => {
    const { _meta: _, ...own } = isObject(config) ? config : {}
    return [`plugins.${name}`, own]
  })
}

export interface Filling {
  /** What a reference stands for, if that is known. */
  secretOf(reference: string): string | undefined
  plugins: ReadonlyMap<string, Plugin>
  /** Told of a plugin whose secrets do not fit; not in what way, for that would quote them. */
  unfit(plugin: string): void
}

/** References whose secrets are not known stay, and so do all of a plugin whose config would not be valid with its secrets. */
export function withSecretsIn(item: Item, { secretOf, plugins, unfit }: Filling): Item['value'] {
  const value: Record<string, unknown> = { ...item.value }
  if (item.kind === 'ssls') {
    for (const name of ofCertificates) if (value[name] !== undefined) value[name] = withSecrets(value[name], secretOf)
    return value
  }
  const filled = Object.entries(value.plugins as object).map(([name, config]): [string, unknown] => {
    const plugin = plugins.get(name)
    if (plugin === undefined || !isObject(config)) return [name, config]
    const { _meta, ...own } = config
    const whole = { ...withSecrets(own, secretOf), ...(_meta !== undefined && { _meta }) }
    const use = useOf(plugin, resourceKind(item))
    if (configProblem(plugin, use, whole) === undefined) return [name, whole]
    if (configProblem(plugin, use, config) === undefined) unfit(name)
    return [name, config]
  })
  return { ...value, plugins: Object.fromEntries(filled) }
}
