// The table of kinds: what the admin API calls each, which verbs it has (facts core 4.2), and where its items are kept.
import type { ResourceKind } from '../core/resource.ts'
import type { Kind } from '../core/store/store.ts'

export type Verb = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

export interface AdminKind {
  readonly kind: ResourceKind
  /** In error messages. */
  readonly name: string
  /** In `/schema/{name}`; undefined where each item has a schema of its own. */
  readonly schemaName: string | undefined
  readonly verbs: ReadonlySet<string>
  /** The directory of the store. */
  readonly directory: Kind
  /** Whether items are below one of another kind: `/consumers/jack/credentials/1`. */
  readonly nested: boolean
  /** How many segments an id has: `vault/1` is one. */
  readonly segments: 1 | 2
  /** The attribute that holds the id. */
  readonly idAttribute: 'id' | 'username'
  /** Whether the server says when an item was made and changed. */
  readonly timed: boolean
  /** Whether PATCH takes a path into the value. */
  readonly subPaths: boolean
}

const everyVerb: readonly Verb[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

/** One of the usual sort, but for what is said. */
function row(
  kind: ResourceKind,
  name: string,
  { without = [], ...unusual }: Partial<AdminKind> & { without?: readonly Verb[] } = {},
): AdminKind {
  return {
    kind,
    name,
    schemaName: kind.slice(0, -1),
    verbs: new Set(everyVerb.filter(verb => !without.includes(verb))),
    directory: kind as Kind, // nested kinds say theirs
    nested: false,
    segments: 1,
    idAttribute: 'id',
    timed: true,
    subPaths: true,
    ...unusual,
  }
}

export const kinds: readonly AdminKind[] = [
  row('routes', 'route'),
  row('services', 'service'),
  row('upstreams', 'upstream'),
  row('consumers', 'consumer', { without: ['POST', 'PATCH'], idAttribute: 'username' }),
  row('credentials', 'credential', { without: ['POST', 'PATCH'], directory: 'consumers', nested: true }),
  row('ssls', 'ssl'),
  row('global_rules', 'global rule', { without: ['POST'] }),
  row('consumer_groups', 'consumer group', { without: ['POST'] }),
  row('plugin_configs', 'plugin config', { without: ['POST'] }),
  row('plugin_metadata', 'plugin_metadata', { without: ['POST', 'PATCH'], schemaName: undefined, timed: false }),
  row('secrets', 'secret', { without: ['POST'], schemaName: undefined, segments: 2 }),
  row('protos', 'proto', { without: ['PATCH'] }),
  row('stream_routes', 'stream route', { without: ['PATCH'] }),
  row('graphql_cost_decorations', 'graphql cost decoration', {
    directory: 'services',
    nested: true,
    subPaths: false,
  }),
]

const byCollection = new Map<string, AdminKind>(kinds.map(kind => [kind.kind, kind]))

/** What a path below the base leads to. */
export interface Target {
  readonly kind: AdminKind
  /** The item above, of a nested kind. */
  readonly parent: string | undefined
  /** What the path says of the item's id; undefined for the collection. */
  readonly name: string | undefined
  /** Steps into the value. */
  readonly path: readonly string[]
}

/** Undefined when the first segment names no kind. */
export function targetOf(segments: readonly string[]): Target | undefined {
  const [collection = '', first, second, ...rest] = segments
  const outer = byCollection.get(collection)
  if (outer === undefined || outer.nested) return undefined
  const inner = second === undefined ? undefined : byCollection.get(second)
  if (inner?.nested && inner.directory === outer.kind) {
    const [name, ...path] = rest
    return { kind: inner, parent: first, name, path }
  }
  if (outer.segments === 2 && second !== undefined) {
    return { kind: outer, parent: undefined, name: `${first}/${second}`, path: rest }
  }
  const path = second === undefined ? rest : [second, ...rest]
  return { kind: outer, parent: undefined, name: first, path }
}

/** What the ids of a collection begin with. */
export function prefixOf({ kind, parent }: Pick<Target, 'kind' | 'parent'>): string {
  return kind.nested ? `${parent}/${kind.kind}/` : ''
}
