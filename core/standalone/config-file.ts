// A file that holds the whole configuration (facts core 5.2): read at start, watched, swapped whole; knows no HTTP.
import { type FSWatcher, watch } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Environment } from '../config/source.ts'
import { ConfigError } from '../config.ts'
import { asError } from '../errors.ts'
import { inTurn } from '../in-turn.ts'
import type { Logger } from '../observe/log.ts'
import { isObject } from '../schema.ts'
import { DocumentSource } from '../store/document-source.ts'
import { type Entry, type Mistake, type PluginChoice, readDocument } from './document.ts'
import { type ParsedText, parseJson, parseYaml } from './text.ts'

export interface ConfigFileOptions {
  file: string
  /** YAML ends with the line `#END`, which tells a whole file from one that is being written. */
  form: 'yaml' | 'json'
  env: Environment
  plugins: PluginChoice
  /** Called when another list of plugins is enabled, before the configuration is served that uses them. */
  enabled(names: readonly string[] | undefined): void
  log: Logger
  /** Milliseconds between two looks at the file, beside being told; 1,000 by default. */
  lookEvery?: number
}

/** An entry of the file that is not served as it stands there. */
export interface RejectedEntry {
  /** `file:line: routes[3]` */
  readonly where: string
  readonly id: string | undefined
  readonly reason: string
  /** Whether an older version of it, which was good, is served. */
  readonly servesOlder: boolean
}

export interface FileStatus {
  readonly file: string
  /** What is wrong with the file as a whole; the configuration before it is served. */
  readonly fault: string | undefined
  readonly rejected: readonly RejectedEntry[]
}

const LOOK_EVERY_MS = 1_000
const maxBytes = 64 * 1024 * 1024

/** A bad edit changes nothing; a bad entry leaves what was good before in its place. */
export class ConfigFile {
  readonly source = new DocumentSource()
  readonly #options: ConfigFileOptions
  readonly #look = inTurn(() => this.#check())
  readonly #good = new Map<string, Entry>()
  #seen = ''
  #plugins: readonly string[] | undefined
  #status: FileStatus
  #watcher: FSWatcher | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: ConfigFileOptions) {
    this.#options = options
    this.#status = { file: options.file, fault: undefined, rejected: [] }
  }

  get status(): FileStatus {
    return this.#status
  }

  /** Reads the file and begins to watch it. Throws ConfigError where there is no whole configuration in it. */
  async start(): Promise<void> {
    this.#seen = await fingerprint(this.#options.file)
    await this.#read()
    const look = () => void this.#look()
    // The folder, for a file that is replaced is another file. Where it cannot be watched, looking now and then does.
    this.#watcher = watch(dirname(this.#options.file), look).on('error', () => {})
    this.#timer = setInterval(look, this.#options.lookEvery ?? LOOK_EVERY_MS).unref()
  }

  close(): void {
    this.#watcher?.close()
    clearInterval(this.#timer)
  }

  async #check(): Promise<void> {
    const { file, log } = this.#options
    try {
      const seen = await fingerprint(file)
      if (seen === this.#seen) return
      this.#seen = seen
      await this.#read()
      log.info({ file }, 'the configuration file has been read again')
    } catch (error) {
      const fault = asError(error).message
      if (fault === this.#status.fault) return
      this.#status = { ...this.#status, fault }
      log.error({ fault }, 'the configuration file cannot be used; the configuration before it is served')
    }
  }

  async #read(): Promise<void> {
    const { file, plugins, enabled, log } = this.#options
    const { value, where } = await this.#parse()
    if (!isObject(value)) throw new ConfigError(`${file}: expected collections`)
    const read = await readDocument(value, plugins)
    const broken = read.mistakes.find(({ index }) => index === undefined)
    if (broken !== undefined) throw new ConfigError(`${where(broken.collection)}: ${broken.reason}`)
    for (const name of read.strangers) log.warn({ at: where(name) }, 'this has no effect: it is no collection')

    if (String(read.plugins) !== String(this.#plugins)) enabled(read.plugins)
    this.#plugins = read.plugins
    this.#status = { file, fault: undefined, rejected: this.#serve(read.entries, read.mistakes, where) }
    for (const rejected of this.#status.rejected) log.error(rejected, 'configuration item rejected')
  }

  /** Serves the entries, and of those with a mistake what they were before. */
  #serve(entries: readonly Entry[], mistakes: readonly Mistake[], where: ParsedText['where']): RejectedEntry[] {
    const served = new Map(entries.map(entry => [keyOf(entry), entry]))
    const rejected = mistakes.map(({ collection, index, id, reason }) => {
      const key = `${collection}/${id}`
      const older = served.has(key) ? undefined : this.#good.get(key)
      if (older !== undefined) served.set(key, older)
      return { where: where(collection, index), id, reason, servesOlder: older !== undefined }
    })
    this.#good.clear()
    for (const [key, entry] of served) this.#good.set(key, entry)
    this.source.swap([...served.values()])
    return rejected
  }

  async #parse(): Promise<ParsedText> {
    const { file, form, env } = this.#options
    const text = await textOf(file)
    if (form === 'json') return parseJson(file, text, env)
    if (!/(^|\n)#END\s*$/.test(text)) throw new ConfigError(`${file}: does not end with the line #END`)
    return parseYaml(file, text, env)
  }
}

function keyOf({ kind, id }: Entry): string {
  return `${kind}/${id}`
}

/** Tells one state of a file from the next. */
async function fingerprint(file: string): Promise<string> {
  const { ino, size, mtimeNs } = await stat(file, { bigint: true }).catch(error => {
    throw new ConfigError(`${file}: cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  })
  return `${ino} ${size} ${mtimeNs}`
}

async function textOf(file: string): Promise<string> {
  const bytes = await readFile(file).catch(error => {
    throw new ConfigError(`${file}: cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  })
  if (bytes.length > maxBytes) throw new ConfigError(`${file}: is larger than 64 MiB`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new ConfigError(`${file}: is not UTF-8 text`)
  }
}
