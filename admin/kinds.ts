// The table of kinds: what the admin API calls each, which verbs it has (facts core 4.2), and what identifies an item.
import { isServed, type ServedKind } from '../core/resource.ts'
import type { Kind } from '../core/store/store.ts'

export type Verb = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

export interface AdminKind {
  /** The collection in paths and in the store. */
  readonly kind: Kind | 'credentials'
  /** In error messages. */
  readonly name: string
  readonly verbs: ReadonlySet<string>
}

/** A kind that can be written. */
export interface WritableKind extends AdminKind {
  readonly kind: ServedKind
}

const everyVerb: readonly Verb[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

function row(kind: AdminKind['kind'], name: string, without: readonly Verb[] = []): [string, AdminKind] {
  return [kind, { kind, name, verbs: new Set(everyVerb.filter(verb => !without.includes(verb))) }]
}

export const kinds: ReadonlyMap<string, AdminKind> = new Map([
  row('routes', 'route'),
  row('services', 'service'),
  row('upstreams', 'upstream'),
  row('consumers', 'consumer', ['POST', 'PATCH']),
  row('global_rules', 'global rule', ['POST']),
  row('ssls', 'ssl'),
  row('plugin_configs', 'plugin config', ['POST']),
  row('consumer_groups', 'consumer group', ['POST']),
  row('plugin_metadata', 'plugin_metadata', ['POST', 'PATCH']),
  row('protos', 'proto', ['PATCH']),
  row('secrets', 'secret', ['POST']),
])

/** Below a consumer. */
export const credentials: AdminKind = row('credentials', 'credential', ['POST', 'PATCH'])[1]

export function isWritable(kind: AdminKind): kind is WritableKind {
  return isServed(kind.kind)
}

/** The collections that are served, by the name that `/schema/{name}` has for one of them. */
export const schemaNames: ReadonlyMap<string, ServedKind> = new Map([
  ['route', 'routes'],
  ['service', 'services'],
  ['upstream', 'upstreams'],
  ['consumer', 'consumers'],
  ['global_rule', 'global_rules'],
])
