// Configs of plugins whose secrets have no printable form: they can be used, and are `***` wherever they are written out.
import type { Plugin } from '../plugin.ts'
import { isObject } from '../schema/json.ts'
import { secretsIn } from './secret-places.ts'
import { veil } from './veil.ts'

/**
 * Makes every object of `config` that holds a secret of `plugin` one that JSON and util.inspect, and so the log, show without it;
 * what reads its members, or spreads them into another object, has them as they are. Changes `config`, which must be a copy of
 * nobody else's, and returns it. What a plugin has taken out of its config is its own to keep.
 */
export function veiled<T>(plugin: Plugin, config: T): T {
  const holders = new Map<object, Set<string | number>>()
  const entry = { kind: 'routes', id: '', value: { plugins: { [plugin.name]: config } } } as const
  for (const { path } of secretsIn(entry, new Map([[plugin.name, plugin]]))) {
    // The first two are `plugins` and its name.
    const holder = path
      .slice(2, -1)
      .reduce<unknown>((node, step) => (node as Record<string | number, unknown>)[step], config)
    if (!isObject(holder) && !Array.isArray(holder)) continue
    holders.set(holder, (holders.get(holder) ?? new Set()).add(path.at(-1)!))
  }
  for (const [holder, names] of holders) veil(holder, names)
  return config
}
