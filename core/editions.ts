// Every resource that some snapshot may see, in one index that is edited in place; decides what is seen no more.
import { isDeepStrictEqual } from 'node:util'
import { ConsumerPlans } from './consumer-plans.ts'
import { Credentials, type Recognising } from './credentials.ts'
import { Edition, type EditionEnv } from './edition.ts'
import type { Instance } from './pipeline.ts'
import { fillMetadata, fillPlugin, isServed, resourceKind, type ServedKind } from './resource.ts'
import type { Router } from './router/router.ts'
import { makeRouter } from './router/routers.ts'
import { RouteEdition } from './served-route.ts'
import { Snapshot, type SnapshotEnv } from './snapshot.ts'
import type { Item, Kind, Revision } from './store/store.ts'
import { Succession } from './succession.ts'

/**
 * An edit adds an edition that only the snapshot after the current one sees, so that a change of a hundred thousand
 * resources is prepared in slices and seen at once, one of a single resource costs the same whatever stands beside it, and
 * a request that is under way goes on seeing what it began with. (The other way to have all that, copying what an edit
 * touches, needs trees instead of tables: a look-up takes several times as long, and every edit leaves garbage.) What no
 * snapshot that has requests sees any more is taken out.
 */
export class Editions {
  readonly env: EditionEnv
  readonly router: Router<RouteEdition>
  readonly credentials: Credentials
  readonly consumerPlans = new ConsumerPlans()
  /** In which credentials are looked for, or were once: what was never to be written down is not when its route is gone. */
  readonly carriers = new Set<string>()
  /** By kind and id; older ones hang on them. */
  readonly #newest = new Map<ServedKind, Map<string, Edition>>()
  /** Ids of the routes that have the hosts of a service, by its id. */
  readonly #guests = new Map<string, Set<string>>()
  /** How many routes have a name. */
  readonly #names = new Map<unknown, number>()
  /** Services that got other hosts. */
  readonly #moved = new Set<string>()
  /** Plugins that got other metadata. */
  readonly #resettled = new Set<string>()
  /** Metadata with defaults, by what was written. */
  readonly #metadataOf = new WeakMap<Item, unknown>()
  /** Editions that the next snapshot does not have. */
  #dropped: Edition[] = []
  readonly #snapshots: Succession<Edition>
  #rulesChanged = false
  #namedChanged = false

  /** `unseen` is told of editions that no snapshot sees any more: each is to be released and forgotten. */
  constructor(env: SnapshotEnv, unseen: (editions: readonly Edition[]) => void) {
    this.env = { ...env, metadata: (plugin, snapshot = this.current.number) => this.#metadata(plugin, snapshot) }
    this.router = makeRouter(env.router ?? 'radixtree_host_uri')
    this.credentials = new Credentials(env.plugins)
    const empty = new Snapshot(this, { number: 0, revision: 0, globalRules: [], namedSince: 0 })
    this.#snapshots = new Succession(empty, unseen)
  }

  get current(): Snapshot {
    return this.#snapshots.current
  }

  get empty(): boolean {
    return this.#newest.size === 0
  }

  /** The item as the next snapshot will have it. */
  item(kind: Kind, id: string): Item | undefined {
    const served = servedKind({ kind, id })
    return served && this.#next(served, id)?.item
  }

  /** All items of the next snapshot. What is added or removed while it is read may be missing. */
  *items(): Iterable<Item> {
    for (const editions of this.#newest.values())
      for (const { until, item } of editions.values()) if (until === undefined) yield item
  }

  /** Whether a route of the next snapshot has this id or this name. */
  hasRoute(value: string): boolean {
    return this.#names.has(value) || this.#next('routes', value) !== undefined
  }

  /** The resource as a snapshot has it. */
  find<K extends ServedKind>(kind: K, id: string, snapshot: number): Edition<K> | undefined {
    let edition = this.#newest.get(kind)?.get(id)
    while (edition !== undefined && edition.since > snapshot) edition = edition.older
    // Below a kind stand only editions of it.
    return edition?.seenBy(snapshot) ? (edition as Edition<K>) : undefined
  }

  /** Those routes of a snapshot that are off, as they would be found: made anew for whoever asks. */
  routesOff(snapshot: number): Router<RouteEdition> {
    const off = makeRouter<RouteEdition>(this.env.router ?? 'radixtree_host_uri')
    for (const id of this.#newest.get('routes')?.keys() ?? []) {
      const route = this.find('routes', id, snapshot)
      if (route instanceof RouteEdition && !route.enabled) off.add(route.pattern, route)
    }
    return off
  }

  /**
   * Adds or replaces a resource in the next snapshot. `item` has passed `checkResource`; what a plugin throws over it
   * nevertheless is thrown, and nothing changes.
   */
  put(item: Item): void {
    const kind = servedKind(item)
    if (kind === undefined) return
    // Editions are made with the metadata that the first snapshot of them has: as long as those are equal, they are the same.
    if (kind === 'plugin_metadata' && isDeepStrictEqual(this.#next(kind, item.id)?.item.value, item.value)) return
    const editions = this.#kind(kind)
    const known = editions.get(item.id)
    const edition = this.#edition(kind, item)
    try {
      if (known !== undefined) edition.succeed(known, this.env)
      this.#index(edition)
    } catch (error) {
      void edition.release()
      throw error
    }
    this.#learn(item)
    const before = this.#next(kind, item.id)
    if (before !== undefined) this.#drop(before)
    this.#relate(kind, item.id, before?.item, item)
    edition.older = known
    editions.set(item.id, edition)
  }

  remove(kind: Kind, id: string): void {
    const served = servedKind({ kind, id })
    const known = served && this.#next(served, id)
    if (known === undefined) return
    this.#drop(known)
    this.#relate(known.kind, id, known.item, undefined)
  }

  /** What other hosts of services mean for routes, and other metadata for plugins; to be run to its end before `commit`. */
  *settle(): Generator<void> {
    for (const service of this.#moved) {
      for (const id of [...(this.#guests.get(service) ?? [])]) {
        this.put(this.#next('routes', id)!.item)
        yield
      }
    }
    this.#moved.clear()
    if (this.#resettled.size === 0) return
    for (const editions of this.#newest.values()) {
      for (const edition of editions.values()) {
        // Of one that is new nothing may have been made yet; of others something may be, until the commit.
        const made = edition.used || edition.since < this.#coming
        if (edition.until === undefined && made && edition.uses(this.#resettled)) this.put(edition.item)
        yield
      }
    }
    this.#resettled.clear()
  }

  /** From now on the next snapshot is the current one. Returns what it has no more. */
  commit(revision: Revision): readonly Edition[] {
    const number = this.#coming
    const { globalRules, namedSince } = this.current
    const next = new Snapshot(this, {
      number,
      revision,
      globalRules: this.#rulesChanged ? this.#globalRules(number) : globalRules,
      namedSince: this.#namedChanged ? number : namedSince,
    })
    const dropped = this.#dropped
    this.#rulesChanged = false
    this.#namedChanged = false
    this.#dropped = []
    this.#snapshots.follow(next, dropped)
    return dropped
  }

  /** Drops everything. Resolves when no request is left that began before. */
  async clear(): Promise<void> {
    for (const editions of this.#newest.values())
      for (const edition of editions.values()) if (edition.until === undefined) this.#drop(edition)
    this.commit(this.current.revision)
    await this.#snapshots.alone()
  }

  /** Takes out an edition that no snapshot sees. */
  forget(edition: Edition): void {
    if (edition instanceof RouteEdition) this.router.remove(edition.pattern, edition)
    else if (recognises(edition)) this.credentials.remove(edition)
    const editions = this.#kind(edition.kind)
    let newer = editions.get(edition.id)
    if (newer === edition) {
      if (edition.older === undefined) editions.delete(edition.id)
      else editions.set(edition.id, edition.older)
      return
    }
    while (newer !== undefined && newer.older !== edition) newer = newer.older
    if (newer !== undefined) newer.older = edition.older
  }

  /** The number of the next snapshot. */
  get #coming(): number {
    return this.current.number + 1
  }

  #next<K extends ServedKind>(kind: K, id: string): Edition<K> | undefined {
    return this.find(kind, id, this.#coming)
  }

  #kind(kind: ServedKind): Map<string, Edition> {
    const editions = this.#newest.get(kind) ?? new Map<string, Edition>()
    this.#newest.set(kind, editions)
    return editions
  }

  #edition(kind: ServedKind, item: Item): Edition {
    const since = this.#coming
    if (kind !== 'routes') return new Edition(kind, item, since)
    const service = hostOf(item)
    const hosts = service === undefined ? undefined : this.#next('services', service)?.resource.hosts
    return new RouteEdition(item, since, hosts ?? [])
  }

  /** Throws before it changes anything. */
  #index(edition: Edition): void {
    if (edition instanceof RouteEdition) {
      if (edition.enabled) this.router.add(edition.pattern, edition)
    } else if (recognises(edition)) this.credentials.add(edition)
    this.#changed(edition.kind)
  }

  /** A client may send its key to any path, also where nobody looks for it. */
  #learn({ value: { plugins } }: Item): void {
    for (const [name, config] of Object.entries(plugins ?? {})) {
      const plugin = this.env.plugins.get(name)
      if (plugin?.carriers === undefined || this.carriers.size >= MAX_CARRIERS) continue
      for (const carrier of plugin.carriers(fillPlugin(plugin, config))) this.carriers.add(carrier.toLowerCase())
    }
  }

  #drop(edition: Edition): void {
    edition.until = this.#coming
    this.#dropped.push(edition)
    this.#changed(edition.kind)
  }

  #changed(kind: ServedKind): void {
    if (kind === 'global_rules') this.#rulesChanged = true
    else if (namedByRoutes.has(kind)) this.#namedChanged = true
  }

  /** Keeps account of what concerns more than the resource itself: hosts of services, metadata, names of routes. */
  #relate(kind: ServedKind, id: string, before: Item | undefined, now: Item | undefined): void {
    if (kind === 'services' && !isDeepStrictEqual(before?.value.hosts, now?.value.hosts)) this.#moved.add(id)
    if (kind === 'plugin_metadata') this.#resettled.add(id)
    if (kind !== 'routes') return
    this.#visit(id, before && hostOf(before), now && hostOf(now))
    this.#rename(before?.value.name, now?.value.name)
  }

  #visit(route: string, left: string | undefined, joined: string | undefined): void {
    if (left === joined) return
    const others = left === undefined ? undefined : this.#guests.get(left)
    others?.delete(route)
    if (left !== undefined && others?.size === 0) this.#guests.delete(left)
    if (joined !== undefined) this.#guests.set(joined, (this.#guests.get(joined) ?? new Set()).add(route))
  }

  #rename(before: unknown, now: unknown): void {
    if (before === now) return
    const left = (this.#names.get(before) ?? 0) - 1
    if (left > 0) this.#names.set(before, left)
    else this.#names.delete(before)
    if (now !== undefined) this.#names.set(now, (this.#names.get(now) ?? 0) + 1)
  }

  #metadata(name: string, snapshot: number): unknown {
    const item = this.find('plugin_metadata', name, snapshot)?.item
    const plugin = this.env.plugins.get(name)
    if (item === undefined || plugin === undefined) return undefined
    const known = this.#metadataOf.get(item) ?? fillMetadata(plugin, item.value)
    this.#metadataOf.set(item, known)
    return known
  }

  /** Of all rules together; a plugin that two of them name is run by neither (facts core 1.3). */
  #globalRules(snapshot: number): Instance[] {
    const rules = [...this.#kind('global_rules').keys()].sort()
    const instances = new Map<string, Instance | undefined>()
    const repeated = new Set<string>()
    for (const id of rules) {
      for (const [name, instance] of this.find('global_rules', id, snapshot)?.plugins(this.env) ?? []) {
        if (instances.has(name)) repeated.add(name)
        instances.set(name, instance)
      }
    }
    for (const name of repeated) {
      instances.delete(name)
      this.env.log.error({ plugin: name }, 'plugin is in more than one global rule and is run in none')
    }
    return [...instances.values()].filter(instance => instance !== undefined)
  }
}

// Who writes configurations may think of any number.
const MAX_CARRIERS = 1_000

/** The service whose hosts a route has, for want of its own. */
function hostOf({ value }: Item): string | undefined {
  const { host, hosts, service_id: service } = value
  return service === undefined || host !== undefined || hosts !== undefined ? undefined : String(service)
}

/** What an item of the store is served as; undefined when it is not. */
function servedKind(item: Pick<Item, 'kind' | 'id'>): ServedKind | undefined {
  const kind = resourceKind(item)
  return isServed(kind) ? kind : undefined
}

/** Of these a route remembers what it has found. */
const namedByRoutes: ReadonlySet<ServedKind> = new Set<ServedKind>(['services', 'plugin_configs', 'upstreams', 'ssls'])

function recognises(edition: Edition): edition is Recognising {
  return edition.kind === 'consumers' || edition.kind === 'credentials'
}
