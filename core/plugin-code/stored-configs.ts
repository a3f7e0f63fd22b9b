// Whether stored configs are good for other code of the user's plugins; changes nothing.
import type { Plugin } from '../plugin.ts'
import { resourceKind, resourceProblem } from '../resource.ts'
import { isObject } from '../schema.ts'
import { inSlices } from '../slices.ts'
import type { ConfigSource, Item } from '../store/store.ts'

type Plugins = ReadonlyMap<string, Plugin>

export interface Comparison {
  source: Pick<ConfigSource, 'list'>
  /** The value of an item in clear. */
  open(item: Item): Item['value']
  /** What is in use. */
  plugins: Plugins
  /** What would take its place. */
  next: Plugins
}

/** The first stored item that `plugins` accept and `next` do not, and why. */
export async function storedProblem({ source, open, plugins, next }: Comparison): Promise<string | undefined> {
  const other = new Set([...plugins.keys()].filter(name => next.get(name) !== plugins.get(name)))
  if (other.size === 0) return undefined
  const { items } = await source.list()
  let found: string | undefined
  function* compare(): Generator {
    for (const item of items) {
      yield
      if (!names(item).some(name => other.has(name))) continue
      const kind = resourceKind(item)
      const value = open(item)
      const problem = resourceProblem(kind, value, next)
      if (problem === undefined || resourceProblem(kind, value, plugins) !== undefined) continue
      found = `${item.kind}/${item.id} is not valid for it: ${problem}`
      return
    }
  }
  await inSlices(compare())
  return found
}

function names({ kind, id, value }: Item): string[] {
  if (kind === 'plugin_metadata') return [id]
  return isObject(value.plugins) ? Object.keys(value.plugins) : []
}
