// What keeps the resources: the contract that every store fulfils (t/core/store/contract.ts holds each of them to it).

/** The resource directories, named as in etcd (facts core 4.11). */
export const kinds = [
  'routes',
  'services',
  'upstreams',
  'consumers',
  'consumer_groups',
  'ssls',
  'global_rules',
  'plugin_configs',
  'plugin_metadata',
  'protos',
  'secrets',
  'stream_routes',
] as const
export type Kind = (typeof kinds)[number]

/** Grows by at least one with every write of the store; the same number for all changes of one write. */
export type Revision = number

/** `id` is the key below the kind's directory and may contain slashes (`jack/credentials/c1`). */
export interface Item {
  kind: Kind
  id: string
  /** The JSON value as it was written, parsed. Never mutated by anybody. */
  value: Readonly<Record<string, unknown>>
  createRevision: Revision
  modRevision: Revision
  /** What others have put there is no resource at all (etcd: not JSON, for one): why. `value` is empty then. */
  fault?: string
}

/** `value: null` deletes. `ttlSeconds` lets the item vanish by itself, which is a change like any other. */
export interface Write {
  kind: Kind
  id: string
  value: Readonly<Record<string, unknown>> | null
  ttlSeconds?: number
  /** Of a delete: what is kept below the item goes with it, also what nobody here knows of, however much it is. */
  below?: boolean
}

/** `item` is undefined when the key was deleted. */
export interface Change {
  kind: Kind
  id: string
  item: Item | undefined
  revision: Revision
}

/** A write goes through only if each guarded key has this modRevision now; 0 means it does not exist. */
export type Guards = readonly { kind: Kind; id: string; modRevision: Revision }[]

/** A guard did not hold: nothing was written. */
export class Conflict extends Error {
  constructor() {
    super('value changed before overwritten')
    this.name = 'Conflict'
  }
}

/** The store cannot be reached or cannot write; whether a write happened may be unknown (`outcome`). */
export class StoreUnavailable extends Error {
  readonly outcome: 'not_written' | 'unknown'
  constructor(message: string, outcome: 'not_written' | 'unknown', cause?: unknown) {
    super(message, { cause })
    this.name = 'StoreUnavailable'
    this.outcome = outcome
  }
}

export interface Store {
  /** Every item, of one revision, ordered by kind and id. */
  list(): Promise<{ items: readonly Item[]; revision: Revision }>
  get(kind: Kind, id: string): Promise<Item | undefined>
  /** The last revision: whatever was written anywhere before this was called is in it. */
  revision(): Promise<Revision>
  /** One change or many, all or nothing, durable before it resolves. Throws Conflict or StoreUnavailable. */
  write(changes: readonly Write[], expect?: Guards): Promise<Revision>
  /**
   * Calls `changed` for everything written after `since`, in order, each write's changes together, nothing missing and
   * nothing twice. `lost` ends the watch: list again (`since` is too old to replay, or is in the future because the data
   * was replaced). Neither is called before this returns, nor after the returned function was called.
   */
  watch(since: Revision, changed: (changes: readonly Change[]) => void, lost: (error: Error) => void): () => void
  /** Resolves when the store can be listed; rejects when it never will. */
  ready(): Promise<void>
  close(): Promise<void>
}

/** What the data plane needs of a store. */
export type ConfigSource = Pick<Store, 'list' | 'watch'>

/** Seconds; etcd's longest lease. */
const longestTtl = 9_000_000_000

/** Throws on what no store could keep: a key named twice (etcd refuses that too), a ttl that is no time, a put of many. */
export function checkWrites(changes: readonly Write[]): void {
  const keys = new Set<string>()
  for (const { kind, id, value, ttlSeconds, below } of changes) {
    const key = `${kind}/${id}`
    if (below && value !== null) throw new TypeError(`what is below ${key} can only be deleted`)
    if (keys.has(key)) throw new TypeError(`a write names ${key} twice`)
    keys.add(key)
    if (ttlSeconds !== undefined && !(ttlSeconds > 0 && ttlSeconds <= longestTtl)) {
      throw new RangeError(`ttlSeconds is not between 0 and ${longestTtl}: ${ttlSeconds}`)
    }
  }
}
