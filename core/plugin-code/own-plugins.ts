// The user's own plugins in the main thread: loaded, listed, loaded again when a file is saved; knows no route and no thread.
import { asError } from '../errors.ts'
import { available, functionsAreOff, isOfFunctions, PluginMap } from '../known-plugins.ts'
import type { Logger } from '../observe/log.ts'
import type { Plugin } from '../plugin.ts'
import { editedFiles, noCode, type PluginCode } from './code.ts'
import { CodeRefused, type Definitions, openDefinitions } from './definitions.ts'
import { areSame, type Looks, looksOf, noted } from './fingerprint.ts'
import { NotThere, PluginCodeError, pluginFiles } from './load.ts'

/*
 * How often files are looked at. Looking costs some 20 us a file and notices what a file system does not announce: folders
 * that are mounted into a container or come over a network, links that a ConfigMap turns.
 */
const LOOK_MS = 100

type Plugins = ReadonlyMap<string, Plugin>

export interface OwnPluginsOptions {
  folders: readonly string[]
  builtins: readonly Plugin[]
  /** Names of the configuration's `plugins`; undefined: every plugin there is. */
  enabled: readonly string[] | undefined
  /** Whether configs may hold functions. */
  javascript: boolean
  log: Logger
}

/** What must hold of new code before it takes over, and how it does. */
export interface Takeover {
  /** Why it cannot take over: a stored config that it does not accept, for instance. */
  problem(next: Plugins): Promise<string | undefined>
  /** Brings the code into the data plane. */
  bring(code: PluginCode, names: readonly string[]): Promise<void>
}

/** What operators are shown. */
export interface PluginCodeStatus {
  /** Files whose plugins are in use. */
  files: readonly string[]
  /** How often other code has taken over. */
  reloads: number
  /** Why what is on disk is not what is in use. */
  fault?: string
}

/**
 * `enabled` and `known` are the same maps for the life of the process: what is in them changes when other code has taken
 * over, at once and whole.
 */
export class OwnPlugins {
  readonly enabled: PluginMap
  /** The same with those that the configuration does not enable. */
  readonly known: PluginMap
  readonly #options: OwnPluginsOptions
  /** What is enabled in the place of what the configuration says. */
  #chosen: readonly string[] | undefined
  #definitions: Definitions | undefined
  #fault: string | undefined
  #reloads = 0
  /** What the files looked like when they were read last; a change must have been seen twice, for a save takes a moment. */
  #known: Looks
  #seen: Looks = new Map()
  /** What was read at the last attempt, well or not. */
  #watched: readonly string[] = []
  #looking: NodeJS.Timeout | undefined
  #last: Promise<void> = Promise.resolve()
  #closed = false

  /** Loads the folders' plugins. Throws PluginCodeError. */
  static async open(options: OwnPluginsOptions): Promise<OwnPlugins> {
    if (options.folders.length === 0) return new OwnPlugins(options, undefined, new Map())
    const before = await look(options.folders, [])
    const definitions = await openDefinitions(options.folders)
    try {
      const own = new OwnPlugins(options, definitions, before)
      own.#sayClashes()
      return own
    } catch (error) {
      await definitions.close()
      throw error
    }
  }

  private constructor(options: OwnPluginsOptions, definitions: Definitions | undefined, before: Looks) {
    this.#options = options
    this.#definitions = definitions
    this.known = knownOf(options, definitions?.plugins ?? [])
    this.enabled = enabledOf(options, this.known)
    this.#watched = editedFiles(this.code)
    this.#known = before
  }

  /** What the configuration enables, of what there is now. */
  get configured(): PluginMap {
    return enabledOf(this.#options, this.known)
  }

  /** Enables these plugins, which must be known, in the place of what the configuration says; undefined: what it says. */
  choose(names: readonly string[] | undefined): void {
    this.#chosen = names
    replace(this.enabled, this.#enabledOf(this.known))
  }

  #enabledOf(known: Plugins): PluginMap {
    return enabledOf({ ...this.#options, enabled: this.#chosen ?? this.#options.enabled }, known)
  }

  get code(): PluginCode {
    return this.#definitions?.code ?? noCode
  }

  get status(): PluginCodeStatus {
    const files = this.code.entries.map(url => decodeURIComponent(new URL(url).pathname))
    return { files, reloads: this.#reloads, ...(this.#fault !== undefined && { fault: this.#fault }) }
  }

  /**
   * Reads the files again and lets what they hold take over, one call after the other. Rejects with PluginCodeError, and
   * nothing has changed then.
   */
  reload(takeover: Takeover): Promise<void> {
    const reloaded = this.#last.then(() => this.#reload(takeover))
    this.#last = reloaded.catch(() => {})
    return reloaded
  }

  /** Calls for a reload whenever a file that was read has changed, and whenever one comes or goes. */
  async watch(takeover: Takeover): Promise<void> {
    if (this.#options.folders.length === 0) return
    this.#seen = await look(this.#options.folders, this.#watched)
    this.#known = noted(this.#known, this.#seen, this.#watched)
    const next = () => {
      if (!this.#closed) this.#looking = setTimeout(() => void this.#look(takeover).then(next), LOOK_MS)
    }
    next()
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#looking)
    await this.#last
    await this.#definitions?.close()
  }

  async #look(takeover: Takeover): Promise<void> {
    const seen = await look(this.#options.folders, this.#watched)
    const settled = areSame(seen, this.#seen)
    this.#seen = seen
    // Its failure is in the log already.
    if (settled && !areSame(seen, this.#known) && !this.#closed) await this.reload(takeover).catch(() => {})
  }

  async #reload({ problem, bring }: Takeover): Promise<void> {
    if (this.#closed) return
    const { folders, log } = this.#options
    this.#known = await look(folders, this.#watched)
    let next: Definitions | undefined
    try {
      next = folders.length === 0 ? undefined : await openDefinitions(folders)
      const code = next?.code ?? noCode
      await this.#watchFiles(editedFiles(code))
      const known = knownOf(this.#options, next?.plugins ?? [])
      const enabled = this.#enabledOf(known)
      const why = await problem(enabled)
      if (why !== undefined) throw new PluginCodeError(why)
      await this.#takeOver(next, { known, enabled }, () => bring(code, [...enabled.keys()]))
      this.#fault = undefined
      this.#reloads++
      this.#sayClashes()
      log.info({ files: this.status.files }, 'plugins reloaded')
    } catch (error) {
      if (error instanceof CodeRefused && error.code !== undefined) {
        await this.#watchFiles([...new Set([...this.#watched, ...editedFiles(error.code)])])
      }
      await next?.close()
      this.#fault = asError(error).message
      log.error({ reason: this.#fault }, 'plugins could not be reloaded; those in use stay')
      throw error instanceof PluginCodeError ? error : new PluginCodeError(this.#fault)
    }
  }

  /** What is valid from now on is what the new workers will have; where none of them begins, everything is as it was. */
  async #takeOver(
    next: Definitions | undefined,
    { known, enabled }: { known: Plugins; enabled: Plugins },
    bring: () => Promise<void>,
  ): Promise<void> {
    const before = this.#definitions
    const [knownBefore, enabledBefore] = [new Map(this.known), new Map(this.enabled)]
    this.#definitions = next
    replace(this.known, known)
    replace(this.enabled, enabled)
    try {
      await bring()
    } catch (error) {
      this.#definitions = before
      replace(this.known, knownBefore)
      replace(this.enabled, enabledBefore)
      throw error
    }
    await before?.close()
  }

  /** These files have been read: whenever one of them changes from what it was before, they are to be read again. */
  async #watchFiles(files: readonly string[]): Promise<void> {
    this.#watched = files
    this.#known = noted(this.#known, await look(this.#options.folders, files), files)
  }

  #sayClashes(): void {
    const own = new Set(this.#definitions?.plugins.map(({ name }) => name))
    const byPriority = Map.groupBy(this.enabled.values(), ({ priority }) => priority)
    for (const [priority, plugins] of byPriority) {
      if (plugins.length < 2 || !plugins.some(({ name }) => own.has(name))) continue
      const names = plugins.map(({ name }) => name)
      this.#options.log.warn({ plugins: names, priority }, 'plugins have the same priority: which runs first is chance')
    }
  }
}

/** What the folders and the files that were read look like. */
async function look(folders: readonly string[], files: readonly string[]): Promise<Looks> {
  const entries = await pluginFiles(folders).catch(() => [])
  return looksOf([...new Set([...entries, ...files])])
}

/** Throws PluginCodeError for a name that is taken. */
function knownOf({ builtins, javascript }: OwnPluginsOptions, own: readonly Plugin[]): PluginMap {
  const known = new PluginMap(
    available(builtins, javascript).map(plugin => [plugin.name, plugin]),
    javascript,
  )
  for (const plugin of own) {
    if (known.has(plugin.name) || isOfFunctions(plugin.name))
      throw new PluginCodeError(`${plugin.name} is the name of a plugin of Sluice's: choose another`)
    known.set(plugin.name, plugin)
  }
  return known
}

/** Throws PluginCodeError for a name that nobody has. */
function enabledOf({ enabled, javascript }: OwnPluginsOptions, known: Plugins): PluginMap {
  if (enabled === undefined) return new PluginMap(known, javascript)
  const chosen = enabled.map((name): [string, Plugin] => {
    const found = known.get(name)
    if (found === undefined) throw new NotThere(name, isOfFunctions(name) ? functionsAreOff : undefined)
    return [name, found]
  })
  return new PluginMap(chosen, javascript)
}

function replace<K, V>(map: Map<K, V>, by: ReadonlyMap<K, V>): void {
  map.clear()
  for (const [key, value] of by) map.set(key, value)
}
