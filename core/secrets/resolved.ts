// A store's configuration with what secret references stand for in their place: what workers get; knows no manager by name.
import type { Logger } from '../observe/log.ts'
import type { Plugin } from '../plugin.ts'
import { resourceProblem } from '../resource.ts'
import { inSlices, steps } from '../slices.ts'
import type { Change, ConfigSource, Item, Revision } from '../store/store.ts'
import { referencesOf, withSecretsIn } from './item.ts'
import type { Secrets } from './secrets.ts'

export interface ResolvedOptions {
  /** In clear. */
  source: ConfigSource
  secrets: Secrets
  plugins: ReadonlyMap<string, Plugin>
  log: Logger
  /** Milliseconds after which it is looked again whether a secret has changed. */
  lookEvery?: number
}

/** An item with references, and what they stood for when somebody was told of it. */
interface Noted {
  readonly item: Item
  readonly references: readonly string[]
  readonly told: string
}

/** By kind and id. */
type NotedItems = Map<string, Noted>

interface Watcher {
  readonly changed: (changes: readonly Change[]) => void
  /** What it has, of items with references. */
  readonly noted: NotedItems
  /** What has not been passed on, because somebody is being asked for a secret in it. */
  readonly waiting: (readonly Change[])[]
  /** Of what was passed on last. */
  revision: Revision
  ended: boolean
}

const LOOK_EVERY_MS = 5_000
/** So many lists may be on their way to who will watch from there. */
const LISTS_KEPT = 8

/**
 * References stand in plugin configs and in certificates for upstreams. One that stands for nothing known stays, and so does
 * one whose value does not fit: the data plane refuses what it cannot be sure of. A secret that changes later is a change of
 * the items that refer to it, as whoever is told has them. Items of kind `secrets` go no further: nobody else needs what
 * opens a manager.
 */
export class ResolvedSource implements ConfigSource {
  readonly #options: ResolvedOptions
  readonly #lists = new Map<Revision, NotedItems>()
  readonly #watchers = new Set<Watcher>()
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined

  constructor(options: ResolvedOptions) {
    this.#options = options
  }

  async list(): Promise<{ items: readonly Item[]; revision: Revision }> {
    const { source, secrets } = this.#options
    const { items, revision } = await source.list()
    // A list may be older than what those who watch have been told.
    if (this.#watchers.size === 0) this.#manageAll(items)
    const unknown = new Set<string>()
    await inSlices(
      steps(items, item => {
        for (const { text } of referencesOf(item)) unknown.add(text)
      }),
    )
    await secrets.want(unknown)
    const resolved: Item[] = []
    const noted: NotedItems = new Map()
    await inSlices(steps(items, item => item.kind !== 'secrets' && resolved.push(this.#take(noted, item))))
    this.#lists.delete(revision)
    this.#lists.set(revision, noted)
    for (const older of [...this.#lists.keys()].slice(0, -LISTS_KEPT)) this.#lists.delete(older)
    return { items: resolved, revision }
  }

  watch(since: Revision, changed: (changes: readonly Change[]) => void, lost: (error: Error) => void): () => void {
    const noted = this.#lists.get(since)
    if (noted === undefined) {
      const timer = setImmediate(() => lost(new Error(`what was listed at revision ${since} is not known any more`)))
      return () => clearImmediate(timer)
    }
    const watcher: Watcher = { changed, noted: new Map(noted), waiting: [], revision: since, ended: false }
    this.#watchers.add(watcher)
    this.#timer ??= setInterval(() => void this.look(), this.#options.lookEvery ?? LOOK_EVERY_MS).unref()
    const end = () => {
      watcher.ended = true
      this.#watchers.delete(watcher)
    }
    const unwatch = this.#options.source.watch(
      since,
      changes => {
        for (const { kind, id, item } of changes) if (kind === 'secrets') this.#manage(id, item)
        watcher.waiting.push(changes)
        if (watcher.waiting.length > 1) return
        if (this.#unknown(changes).length > 0) void this.#passLater(watcher)
        else this.#pass(watcher)
      },
      error => {
        end()
        lost(error)
      },
    )
    return () => {
      end()
      unwatch()
    }
  }

  /** Looks whether secrets have changed, and tells of those that have. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  /** The paths of references in an item that stand for nothing known. */
  unresolved(item: Pick<Item, 'kind' | 'value'>): string[] {
    const { secrets } = this.#options
    return referencesOf(item)
      .filter(({ text }) => secrets.of(text) === undefined)
      .map(({ path }) => path)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#options.secrets.close()
  }

  async #look(): Promise<void> {
    const { secrets } = this.#options
    const all = [...this.#lists.values(), ...[...this.#watchers].map(({ noted }) => noted)]
    const references = new Set(all.flatMap(noted => [...noted.values()].flatMap(each => each.references)))
    secrets.keepOnly(references)
    await secrets.want(references)
    for (const watcher of this.#watchers) this.#tellChanged(watcher)
  }

  /** Items again whose references stand for something else than when they were passed on; not while something newer waits. */
  #tellChanged(watcher: Watcher): void {
    const { noted, waiting, revision } = watcher
    if (waiting.length > 0) return
    const changed = [...noted.values()].filter(({ references, told }) => this.#standFor(references) !== told)
    if (changed.length === 0) return
    waiting.push(changed.map(({ item }) => ({ kind: item.kind, id: item.id, item, revision })))
    this.#pass(watcher)
  }

  /** In order, each when what it needs is known or has been waited for. */
  async #passLater(watcher: Watcher): Promise<void> {
    while (watcher.waiting.length > 0) {
      await this.#options.secrets.want(this.#unknown(watcher.waiting[0]!))
      this.#pass(watcher)
    }
    this.#tellChanged(watcher)
  }

  #pass(watcher: Watcher): void {
    const { waiting, noted } = watcher
    const changes = waiting.shift() ?? []
    watcher.revision = changes.at(-1)?.revision ?? watcher.revision
    const passed = changes.map(change => {
      const { item } = change
      if (item !== undefined && change.kind !== 'secrets') return { ...change, item: this.#take(noted, item) }
      noted.delete(keyOf(change))
      return { ...change, item: undefined }
    })
    if (!watcher.ended) watcher.changed(passed)
  }

  #manageAll(items: readonly Item[]): void {
    const { secrets } = this.#options
    const present = new Map(items.filter(({ kind }) => kind === 'secrets').map(item => [item.id, item]))
    for (const id of [...secrets.managed]) if (!present.has(id)) secrets.manage(id, undefined)
    for (const [id, item] of present) this.#manage(id, item)
  }

  /** What is not valid changes nothing. */
  #manage(id: string, item: Item | undefined): void {
    const { plugins, secrets, log } = this.#options
    const problem = item && (item.fault ?? resourceProblem('secrets', { ...item.value, id }, plugins))
    if (problem !== undefined) {
      log.error({ secret: id, reason: problem }, 'a secret manager is not valid; the last good one is asked')
    } else if (secrets.manage(id, item?.value)) void this.look()
  }

  #unknown(changes: readonly Change[]): string[] {
    const { secrets } = this.#options
    return changes
      .flatMap(({ item }) => (item === undefined ? [] : referencesOf(item).map(({ text }) => text)))
      .filter(text => secrets.of(text) === undefined)
  }

  #standFor(references: readonly string[]): string {
    return JSON.stringify(references.map(text => this.#options.secrets.of(text) ?? null))
  }

  /** The item as it is passed on, which is noted if it has references. */
  #take(noted: NotedItems, item: Item): Item {
    const references = referencesOf(item).map(({ text }) => text)
    if (references.length === 0) {
      noted.delete(keyOf(item))
      return item
    }
    noted.set(keyOf(item), { item, references, told: this.#standFor(references) })
    const { plugins, secrets, log } = this.#options
    const unfit = (plugin: string) =>
      log.error({ kind: item.kind, id: item.id, plugin }, 'what the references of a plugin stand for does not fit')
    return { ...item, value: withSecretsIn(item, { secretOf: text => secrets.of(text), plugins, unfit }) }
  }
}

function keyOf({ kind, id }: Pick<Item, 'kind' | 'id'>): string {
  return `${kind}/${id}`
}
