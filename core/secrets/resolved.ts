// A store's configuration with what secret references stand for in their place: what workers get; knows no manager by name.
import type { Logger } from '../observe/log.ts'
import type { Plugin } from '../plugin.ts'
import { configProblem, useOf } from '../resource/plugin-configs.ts'
import { resourceKind, resourceProblem } from '../resource.ts'
import { isObject } from '../schema.ts'
import { inSlices, steps } from '../slices.ts'
import type { Change, ConfigSource, Item, Revision } from '../store/store.ts'
import { referencesIn, withSecrets } from './reference.ts'
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

/** An item with references. */
interface Noted {
  item: Item
  references: readonly string[]
  /** What they stood for when somebody was told first, or all were told again; undefined before. */
  told: string | undefined
  /** Whether all were told again. */
  again: boolean
}

interface Watcher {
  readonly changed: (changes: readonly Change[]) => void
  /** What has not been passed on, because somebody is being asked for a secret in it. */
  waiting: (readonly Change[])[]
  revision: Revision
  ended: boolean
}

const LOOK_EVERY_MS = 5_000

/**
 * References stand in plugin configs and in certificates for upstreams. One that stands for nothing known stays, and so does
 * one whose value does not fit: the data plane refuses what it cannot be sure of. A secret that changes later is a change of
 * the items that refer to it. Items of kind `secrets` go no further: nobody else needs what opens a manager.
 */
export class ResolvedSource implements ConfigSource {
  readonly #options: ResolvedOptions
  readonly #noted = new Map<string, Noted>()
  readonly #watchers = new Set<Watcher>()
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined

  constructor(options: ResolvedOptions) {
    this.#options = options
  }

  async list(): Promise<{ items: readonly Item[]; revision: Revision }> {
    const { source, secrets } = this.#options
    const { items, revision } = await source.list()
    const present = new Set<string>()
    await inSlices(
      steps(items, item => {
        present.add(keyOf(item))
        this.#note(item, item)
      }),
    )
    for (const [key, { item }] of this.#noted) if (!present.has(key)) this.#note(item, undefined)
    for (const id of [...secrets.managed]) if (!present.has(`secrets/${id}`)) secrets.manage(id, undefined)
    await secrets.want(this.#references())
    const resolved: Item[] = []
    await inSlices(steps(items, item => item.kind !== 'secrets' && resolved.push(this.#resolved(item))))
    return { items: resolved, revision }
  }

  watch(since: Revision, changed: (changes: readonly Change[]) => void, lost: (error: Error) => void): () => void {
    const watcher: Watcher = { changed, waiting: [], revision: since, ended: false }
    this.#watchers.add(watcher)
    const end = () => {
      watcher.ended = true
      this.#watchers.delete(watcher)
    }
    const unwatch = this.#options.source.watch(
      since,
      changes => {
        for (const { kind, id, item } of changes) this.#note({ kind, id }, item)
        watcher.revision = changes.at(-1)?.revision ?? watcher.revision
        this.#tell(watcher, changes)
      },
      error => {
        end()
        lost(error)
      },
    )
    // A secret may have changed since this one has listed.
    const again = [...this.#noted.values()].filter(({ again }) => again)
    if (again.length > 0) setImmediate(() => this.#tellOf(watcher, again))
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

  /** The paths of references in an item, in clear, that stand for nothing known. */
  unresolved({ kind, id, value }: Pick<Item, 'kind' | 'id' | 'value'>): string[] {
    const { secrets } = this.#options
    return placesOf({ kind, id, value }).flatMap(([path, part]) =>
      [...referencesIn(part, path)].filter(({ text }) => secrets.of(text) === undefined).map(each => each.path),
    )
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#options.secrets.close()
  }

  async #look(): Promise<void> {
    const { secrets } = this.#options
    const references = this.#references()
    secrets.keepOnly(references)
    await secrets.want(references)
    const changed = [...this.#noted.values()].filter(noted => this.#standFor(noted.references) !== noted.told)
    for (const noted of changed) {
      noted.told = this.#standFor(noted.references)
      noted.again = true
    }
    if (changed.length > 0) for (const watcher of this.#watchers) this.#tellOf(watcher, changed)
  }

  /** Items again, as they are now, to one who has had them. */
  #tellOf(watcher: Watcher, noted: readonly Noted[]): void {
    const { revision } = watcher
    const had = noted.filter(each => each.item.modRevision <= revision && this.#noted.get(keyOf(each.item)) === each)
    if (had.length > 0 && !watcher.ended) {
      this.#tell(
        watcher,
        had.map(({ item }) => ({ kind: item.kind, id: item.id, item, revision })),
      )
    }
  }

  /** In order, and at once unless somebody has to be asked. */
  #tell(watcher: Watcher, changes: readonly Change[]): void {
    watcher.waiting.push(changes)
    if (watcher.waiting.length > 1) return
    if (this.#unknown(changes).length > 0) void this.#tellLater(watcher)
    else this.#pass(watcher)
  }

  async #tellLater(watcher: Watcher): Promise<void> {
    while (watcher.waiting.length > 0) {
      await this.#options.secrets.want(this.#unknown(watcher.waiting[0]!))
      this.#pass(watcher)
    }
  }

  #pass(watcher: Watcher): void {
    const [changes = []] = watcher.waiting
    const passed = changes.map(change =>
      change.item === undefined || change.kind === 'secrets'
        ? { ...change, item: undefined }
        : { ...change, item: this.#resolved(change.item) },
    )
    watcher.waiting.shift()
    if (!watcher.ended) watcher.changed(passed)
  }

  #note({ kind, id }: Pick<Item, 'kind' | 'id'>, item: Item | undefined): void {
    const { secrets } = this.#options
    if (kind === 'secrets') {
      const config = item && this.#managerIn(item)
      const good = item === undefined || config !== undefined
      if (good && secrets.manage(id, config) && this.#noted.size > 0) void this.look()
      return
    }
    const key = keyOf({ kind, id })
    const references = item === undefined ? [] : referencesOf(item)
    if (item === undefined || references.length === 0) {
      this.#noted.delete(key)
      return
    }
    const known = this.#noted.get(key)
    // Every worker is told of it.
    if (known?.item.modRevision === item.modRevision) Object.assign(known, { item, references })
    else this.#noted.set(key, { item, references, told: undefined, again: false })
    this.#timer ??= setInterval(() => void this.look(), this.#options.lookEvery ?? LOOK_EVERY_MS).unref()
  }

  /** How a manager is configured; undefined for what is no valid configuration. */
  #managerIn({ id, value, fault }: Item): Item['value'] | undefined {
    const { plugins, log } = this.#options
    const problem = fault ?? resourceProblem('secrets', { ...value, id }, plugins)
    if (problem === undefined) return value
    log.error({ secret: id, reason: problem }, 'a secret manager is not valid; the last good one is asked')
    return undefined
  }

  #references(): Set<string> {
    return new Set([...this.#noted.values()].flatMap(({ references }) => references))
  }

  #unknown(changes: readonly Change[]): string[] {
    const { secrets } = this.#options
    return changes
      .flatMap(({ item }) => (item === undefined ? [] : referencesOf(item)))
      .filter(text => secrets.of(text) === undefined)
  }

  #standFor(references: readonly string[]): string {
    return JSON.stringify(references.map(text => this.#options.secrets.of(text) ?? null))
  }

  #resolved(item: Item): Item {
    const noted = this.#noted.get(keyOf(item))
    if (noted?.item.modRevision !== item.modRevision) return item
    noted.told ??= this.#standFor(noted.references)
    const value: Record<string, unknown> = { ...item.value }
    const filled = (part: unknown) => withSecrets(part, text => this.#options.secrets.of(text))
    if (item.kind === 'ssls') for (const name of ofCertificates) value[name] = filled(value[name])
    if (isObject(value.plugins)) value.plugins = this.#plugins(item, value.plugins, filled)
    return { ...item, value }
  }

  /** Their errors would quote what stands in the place of references: here it is only said that something does not fit. */
  #plugins(item: Item, configs: Record<string, unknown>, filled: (part: unknown) => unknown): object {
    const { plugins, log } = this.#options
    const entries = Object.entries(configs).map(([name, config]) => {
      const plugin = plugins.get(name)
      if (plugin === undefined || !isObject(config)) return [name, config]
      const { _meta, ...own } = config
      const whole = { ...(filled(own) as object), ...(_meta !== undefined && { _meta }) }
      const use = useOf(plugin, resourceKind(item))
      if (configProblem(plugin, use, whole) === undefined) return [name, whole]
      if (configProblem(plugin, use, config) === undefined) {
        log.error(
          { kind: item.kind, id: item.id, plugin: name },
          'what the references of a plugin stand for does not fit',
        )
      }
      return [name, config]
    })
    return Object.fromEntries(entries)
  }
}

function keyOf({ kind, id }: Pick<Item, 'kind' | 'id'>): string {
  return `${kind}/${id}`
}

/** Of an SSL object (facts core 3.8). */
const ofCertificates = ['cert', 'key', 'certs', 'keys']

/** The parts of an item in which references stand for secrets, with the paths to them. */
function placesOf({ kind, value }: Pick<Item, 'kind' | 'id' | 'value'>): [path: string, part: unknown][] {
  if (kind === 'ssls') return ofCertificates.map(name => [name, value[name]])
  if (kind === 'plugin_metadata' || !isObject(value.plugins)) return []
  return Object.entries(value.plugins).map(([name, config]) => {
    const { _meta: _, ...own } = isObject(config) ? config : {}
    return [`plugins.${name}`, own]
  })
}

function referencesOf(item: Item): string[] {
  return placesOf(item).flatMap(([, part]) => [...referencesIn(part)].map(({ text }) => text))
}
