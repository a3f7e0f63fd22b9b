// This process's own copy of what etcd holds: kept current, never unavailable, what the data plane is fed from.
import { setTimeout as delay } from 'node:timers/promises'
import { asError } from '../../errors.ts'
import type { Logger } from '../../observe/log.ts'
import type { Change, ConfigSource, Item, Kind, Revision } from '../store.ts'
import { Lost } from './assembly.ts'
import type { EtcdStore } from './etcd.ts'
import type { LastGood, Saved } from './last-good.ts'
import { Versions } from './versions.ts'

export interface MirrorOptions {
  store: EtcdStore
  /** Where the configuration is kept for a start without etcd. */
  lastGood: LastGood
  /** How often every member of etcd is asked before a start goes on without it. */
  startupRetry: number
  /** What the data plane makes of an item; undefined while it is not known. */
  isGood(item: Item): boolean | undefined
  log: Logger
  /** Milliseconds since the epoch. */
  now: () => number
  /** Milliseconds between audits; a minute by default. */
  auditEvery?: number
}

export interface Freshness {
  /** Where the configuration that is served comes from; undefined while there is none. */
  source: 'etcd' | 'disk' | undefined
  revision: Revision | undefined
  /** When it was last known to be what etcd has, in milliseconds since the epoch. */
  currentAt: number | undefined
}

/** Changes that are kept for a worker that is behind. */
const CHANGES_KEPT = 10_000
/** Milliseconds before etcd is listed again after that failed. */
const LIST_PAUSE_MS = 500
/** Milliseconds for what is in etcd to come here: it is on its way. */
const PASSED_WITHIN_MS = 100
/** The copy is held against etcd's keys this often, and for no more than a hundredth of the time. */
const AUDIT_EVERY_MS = 60_000
const AUDIT_SHARE = 100
/** The disk is written this often, and for no more than a twentieth of the time. */
const SAVE_EVERY_MS = 5_000
const SAVE_SHARE = 20

interface Watcher {
  changed(changes: readonly Change[]): void
  lost(error: Error): void
}

export class Mirror implements ConfigSource {
  readonly #options: MirrorOptions
  readonly #versions: Versions
  readonly #watchers = new Set<Watcher>()
  readonly #ready = Promise.withResolvers<void>()
  readonly #stop = new AbortController()
  readonly #auditEvery: number
  /** The changes after `#since`, write by write. */
  #log: (readonly Change[])[] = []
  #logged = 0
  #since: Revision = 0
  #published: Revision = 0
  #freshness: Freshness = { source: undefined, revision: undefined, currentAt: undefined }
  #saving: Promise<void> | undefined
  #saved: Revision | undefined
  #saveAt = 0
  #auditAt: number

  constructor(options: MirrorOptions) {
    this.#options = options
    this.#versions = new Versions(options.isGood)
    this.#auditEvery = options.auditEvery ?? AUDIT_EVERY_MS
    this.#auditAt = performance.now() + this.#auditEvery
  }

  get freshness(): Freshness {
    return this.#freshness
  }

  /** Begins, and resolves when there is something to serve: from etcd, or from disk when etcd cannot be reached. */
  start(): Promise<void> {
    void this.#run()
    return this.#ready.promise
  }

  /** Waits for the first configuration. An item whose newest version may be bad comes after its older ones. */
  async list(): Promise<{ items: readonly Item[]; revision: Revision }> {
    await this.#ready.promise
    return { items: this.#versions.all(), revision: this.#freshness.revision! }
  }

  /** The newest version. */
  async get(kind: Kind, id: string): Promise<Item | undefined> {
    await this.#ready.promise
    return this.#versions.newest(kind, id)
  }

  /**
   * The last revision that watchers hear of, of all that was written anywhere before this was called. Rejects with
   * StoreUnavailable when etcd does not say.
   */
  async revision(): Promise<Revision> {
    const newest = await this.#options.store.revision()
    await this.#passed(newest)
    return this.#published
  }

  /** The highest modRevision of each kind. */
  modifyIndexes(): ReadonlyMap<Kind, Revision> {
    return this.#versions.modifyIndexes()
  }

  watch(since: Revision, changed: Watcher['changed'], lost: Watcher['lost']): () => void {
    const watcher: Watcher = { changed, lost }
    const begin = setImmediate(() => {
      if (since < this.#since || since > (this.#freshness.revision ?? 0)) {
        lost(new Error(`revision ${since} is not among those that are kept`))
        return
      }
      this.#watchers.add(watcher)
      for (const changes of this.#log) if (changes[0]!.revision > since) this.#tell(() => changed(changes))
    })
    return () => {
      clearImmediate(begin)
      this.#watchers.delete(watcher)
    }
  }

  /** Ends the watch and writes what has not been written to disk. */
  async close(): Promise<void> {
    this.#stop.abort()
    this.#watchers.clear()
    await this.#saving
    await this.#save()
  }

  async #run(): Promise<void> {
    const { store, lastGood, startupRetry, log } = this.#options
    const saved = await lastGood.load().catch((error: unknown) => {
      log.error({ err: error }, 'the configuration that was kept for a start without etcd cannot be used')
      return undefined
    })
    // What was good before is kept in place of what is bad now, over a restart too.
    for (const item of saved?.items ?? []) this.#versions.take({ ...item, item })
    if (!(await store.answers(startupRetry))) this.#serveFrom(saved)
    for (let replaced = true; !this.#stop.signal.aborted; ) {
      try {
        const { items, revision } = await store.list()
        if (this.#stop.signal.aborted) return
        this.#replace(items, revision, replaced)
        const error = await this.#follow(revision)
        log.warn({ reason: error.message }, 'the watch of etcd is lost; listing again')
        replaced = !(error instanceof Lost) || error.replaced
      } catch (error) {
        if (this.#stop.signal.aborted) return
        log.info({ reason: asError(error).message }, 'etcd could not be listed; trying again')
        await delay(LIST_PAUSE_MS, undefined, { signal: this.#stop.signal }).catch(() => {})
      }
    }
  }

  #serveFrom(saved: Saved | undefined): void {
    const { log, lastGood } = this.#options
    const fault = this.#options.store.cluster.fault
    if (saved === undefined) {
      log.error({ reason: fault }, 'etcd cannot be reached and no configuration is on disk; waiting')
      return
    }
    const { revision, savedAt } = saved
    log.error(
      { reason: fault, file: lastGood.file, revision, saved: new Date(savedAt).toISOString() },
      'etcd cannot be reached; the last good configuration is served from disk',
    )
    this.#since = revision
    this.#published = revision
    this.#saved = revision
    this.#freshness = { source: 'disk', revision, currentAt: savedAt }
    this.#ready.resolve()
  }

  /** Resolves with why it ended; rejects when the mirror is closed. */
  #follow(since: Revision): Promise<Error> {
    const { store } = this.#options
    let over = () => {}
    return new Promise<Error>((resolve, reject) => {
      const end = store.follow({
        since,
        wrote: (revision, changes) => {
          for (const change of changes) this.#versions.take(change)
          if (changes.length > 0) this.#publish(changes)
          this.#isCurrent(revision)
        },
        lost: resolve,
        agrees: (revision, connection) => store.agrees(this.#versions.mark(), revision, connection),
        current: confirmed => {
          this.#isCurrent(this.#freshness.revision!)
          void this.#audit(Math.max(confirmed, this.#freshness.revision!)).then(difference => {
            if (difference === undefined) return
            end()
            resolve(difference)
          })
        },
      })
      const closed = () => {
        end()
        reject(new Error('the mirror was closed'))
      }
      this.#stop.signal.addEventListener('abort', closed, { once: true })
      over = () => this.#stop.signal.removeEventListener('abort', closed)
    }).finally(() => over())
  }

  /** Workers are told what is different. Only where revisions go back do they begin again. */
  #replace(items: readonly Item[], revision: Revision, replaced: boolean): void {
    const known = this.#freshness.revision
    const changes = this.#versions.towards(items, revision, !replaced)
    for (const change of changes) this.#versions.take(change)
    this.#isCurrent(revision)
    if (known !== undefined && known <= revision) {
      if (changes.length > 0) this.#publish(changes)
      return
    }
    this.#log = []
    this.#logged = 0
    this.#since = revision
    this.#published = revision
    const watchers = [...this.#watchers]
    this.#watchers.clear()
    for (const { lost } of watchers) this.#tell(() => lost(new Error('the data of etcd was replaced')))
    this.#ready.resolve()
  }

  /** Waits until the stream has passed `revision`, but not long: what others write beside our prefix, it does not pass. */
  async #passed(revision: Revision): Promise<void> {
    const deadline = performance.now() + PASSED_WITHIN_MS
    while ((this.#freshness.revision ?? 0) < revision && performance.now() < deadline) await delay(1)
  }

  #publish(changes: readonly Change[]): void {
    this.#published = changes[0]!.revision
    this.#log.push(changes)
    this.#logged += changes.length
    while (this.#logged > CHANGES_KEPT && this.#log.length > 1) {
      const oldest = this.#log.shift()!
      this.#logged -= oldest.length
      this.#since = oldest[0]!.revision
    }
    for (const { changed } of this.#watchers) this.#tell(() => changed(changes))
  }

  #tell(listener: () => void): void {
    try {
      listener()
    } catch (error) {
      this.#options.log.error({ err: error }, 'a watcher of the configuration threw')
    }
  }

  /** Holds what is here at `revision` against what etcd had then. Nothing is known that would make them differ. */
  async #audit(revision: Revision): Promise<Error | undefined> {
    if (performance.now() < this.#auditAt) return undefined
    this.#auditAt = Number.POSITIVE_INFINITY
    const began = performance.now()
    try {
      const own = this.#versions.revisions()
      const there = await this.#options.store.revisionsAt(revision)
      const keys = [...new Set([...own.keys(), ...there.keys()])]
      const wrong = keys.filter(key => own.get(key) !== there.get(key))
      if (wrong.length === 0) return undefined
      this.#options.log.error({ revision, wrong: wrong.slice(0, 10) }, 'the configuration was not that of etcd')
      return new Error(`${wrong.length} items were not those of etcd`)
    } catch {
      // Compacted or away: another time.
      return undefined
    } finally {
      this.#auditAt = began + Math.max(this.#auditEvery, AUDIT_SHARE * (performance.now() - began))
    }
  }

  #isCurrent(revision: Revision): void {
    this.#freshness = { source: 'etcd', revision, currentAt: this.#options.now() }
    if (this.#saving === undefined && performance.now() >= this.#saveAt) this.#saving = this.#save()
  }

  /** Never rejects. */
  async #save(): Promise<void> {
    const { revision, currentAt, source } = this.#freshness
    if (source !== 'etcd') return
    const { lastGood, log } = this.#options
    const began = performance.now()
    try {
      const known = { revision: revision!, savedAt: currentAt! }
      if (revision === this.#saved) await lastGood.confirm(known.savedAt)
      else await lastGood.save({ ...known, items: this.#versions.all() })
      this.#saved = revision
    } catch (error) {
      log.error({ err: error, file: lastGood.file }, 'the configuration could not be kept for a start without etcd')
    }
    this.#saveAt = performance.now() + Math.max(SAVE_EVERY_MS, SAVE_SHARE * (performance.now() - began))
    this.#saving = undefined
  }
}
