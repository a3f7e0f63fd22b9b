// A whole configuration in one document (facts core 5.2, 5.4): its collections become items; knows neither files nor HTTP.
import { setImmediate as turn } from 'node:timers/promises'
import type { KnownPlugins } from '../known-plugins.ts'
import { managerOf } from '../resource/secret.ts'
import { type ResourceKind, resourceKind, resourceProblem, unservedIn } from '../resource.ts'
import { isObject, shapeProblem } from '../schema.ts'
import type { Item, Kind } from '../store/store.ts'

/** The arrays of a document that hold resources. */
export const collections = [
  'routes',
  'services',
  'upstreams',
  'consumers',
  'ssls',
  'global_rules',
  'plugin_configs',
  'consumer_groups',
  'plugin_metadata',
  'protos',
  'secrets',
  'stream_routes',
] as const satisfies readonly Kind[]

/** What the server keeps of a document, by name; `plugins` is the list of those that are enabled. */
export const documentKeys: readonly string[] = [...collections, 'plugins']

export interface Entry {
  readonly kind: Kind
  readonly id: string
  readonly value: Item['value']
}

/** Something in a document that is not served as it stands. */
export interface Mistake {
  readonly collection: string
  /** From 0; undefined where the collection itself is wrong. */
  readonly index: number | undefined
  readonly id: string | undefined
  readonly reason: string
}

export interface ReadDocument {
  readonly entries: readonly Entry[]
  /** Names of the plugins that the document enables; undefined where it does not say. */
  readonly plugins: readonly string[] | undefined
  readonly mistakes: readonly Mistake[]
  /** What stands beside the collections, and means nothing. */
  readonly strangers: readonly string[]
}

/** Those that there are, and those that are enabled where a document does not say. */
export interface PluginChoice {
  readonly known: KnownPlugins
  readonly enabled: KnownPlugins
}

const SLICE_MS = 10

/**
 * Reads every collection and checks every entry, but not what they say of each other (facts core 4.9). An entry with a
 * mistake is left out. Holds up the loop for no longer than 10 ms at a time.
 */
export async function readDocument(
  document: Readonly<Record<string, unknown>>,
  { known, enabled }: PluginChoice,
): Promise<ReadDocument> {
  const mistakes: Mistake[] = []
  const entries: Entry[] = []
  const names = pluginsOf(document, known, mistakes)
  const plugins = names === undefined ? enabled : new Map(names.map(name => [name, known.get(name)!]))
  let begun = performance.now()
  for (const collection of collections) {
    const seen = new Set<string>()
    for (const [index, raw] of listOf(document, collection, mistakes).entries()) {
      const { id, reason, value } = readEntry(collection, { raw, index, seen }, plugins)
      if (reason !== undefined) mistakes.push({ collection, index, id, reason })
      else if (id !== undefined) entries.push({ kind: collection, id, value })
      if (performance.now() - begun < SLICE_MS) continue
      await turn()
      begun = performance.now()
    }
  }
  const strangers = Object.keys(document).filter(name => !documentKeys.includes(name.replace(/_conf_version$/, '')))
  return { entries, plugins: names, mistakes, strangers }
}

function listOf(document: Readonly<Record<string, unknown>>, name: string, mistakes: Mistake[]): readonly unknown[] {
  const wrong = (collection: string, reason: string) =>
    mistakes.push({ collection, index: undefined, id: undefined, reason })
  const version = document[`${name}_conf_version`]
  if (version !== undefined && typeof version !== 'number') {
    wrong(name, `${name}_conf_version must be a number, got ${typeof version}`)
  }
  const list = document[name] ?? []
  if (Array.isArray(list)) return list
  if (!isObject(list) || Object.keys(list).length > 0) wrong(name, `${name} must be an array`)
  return []
}

interface Read {
  id: string | undefined
  value: Item['value']
  reason?: string
}

function readEntry(
  kind: Kind,
  { raw, index, seen }: { raw: unknown; index: number; seen: Set<string> },
  plugins: KnownPlugins,
): Read {
  const unfit = isObject(raw) ? shapeProblem(raw) : 'it should be an object'
  if (unfit !== undefined || !isObject(raw))
    return { id: undefined, value: {}, reason: `invalid configuration: ${unfit}` }
  // What it tells of caches (facts core 5.4), equal values tell here.
  const { modifiedIndex: _, ...sent } = raw
  const named = idOf(kind, sent)
  const id = named ?? `arr_${index + 1}`
  const of = resourceKind({ kind, id })
  const value = of === 'consumers' ? sent : { ...sent, id: named === undefined || of === 'credentials' ? id : sent.id }
  const reason =
    duplicate(of, id, seen) ??
    placeProblem(of, id) ??
    resourceProblem(of, value, plugins) ??
    unservedIn(of, value, plugins)
  seen.add(id)
  return { id, value, ...(reason !== undefined && { reason }) }
}

function idOf(kind: Kind, { id, username }: Readonly<Record<string, unknown>>): string | undefined {
  const text = typeof id === 'number' ? String(id) : id
  if (kind === 'consumers' && !(typeof text === 'string' && text.includes('/credentials/'))) {
    return typeof username === 'string' ? username : undefined
  }
  return typeof text === 'string' ? text : undefined
}

function duplicate(kind: ResourceKind, id: string, seen: ReadonlySet<string>): string | undefined {
  if (!seen.has(id)) return undefined
  if (kind === 'credentials') return `found duplicate credential id ${id} in consumers`
  return `found duplicate ${kind === 'consumers' ? 'username' : 'id'} ${id} in ${kind}`
}

/** What is wrong with where an item would be kept. */
function placeProblem(kind: ResourceKind, id: string): string | undefined {
  const steps = id.split('/').length
  if (kind === 'secrets') return managerOf(id) !== undefined && steps === 2 ? undefined : `invalid secret id: ${id}`
  return steps === (kind === 'credentials' ? 3 : 1) ? undefined : `invalid id: ${id.slice(0, 256)}`
}

/** The names in `plugins`; those of stream plugins enable nothing. */
function pluginsOf(
  document: Readonly<Record<string, unknown>>,
  known: KnownPlugins,
  mistakes: Mistake[],
): string[] | undefined {
  const list = listOf(document, 'plugins', mistakes)
  if (document.plugins === undefined) return undefined
  return list.flatMap((raw, index) => {
    const { name, stream } = isObject(raw) ? raw : {}
    if (stream === true) return []
    if (typeof name === 'string' && known.has(name)) return [name]
    const reason = typeof name === 'string' ? `unknown plugin [${name.slice(0, 256)}]` : 'property "name" is required'
    mistakes.push({ collection: 'plugins', index, id: undefined, reason })
    return []
  })
}
