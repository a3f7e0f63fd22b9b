// What secret references stand for, as far as it is known: kept for some minutes, asked for again; knows no configuration.
import { asError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { isObject } from '../schema.ts'
import { type OfEnvironment, type OfManager, parseReference } from './reference.ts'
import { type Fields, NotGiven, openVault, type SecretManager, type VaultOptions } from './vault.ts'

export interface SecretsOptions {
  env: Readonly<Record<string, string | undefined>>
  log: Logger
  /** Milliseconds on a clock that only goes forward. */
  now(): number
  times?: Partial<Times>
}

/** Milliseconds. */
interface Times {
  /** How long a secret is kept before it is asked for again, and how long that there is none (facts core 3.10). */
  keep: number
  keepNothing: number
  /** How long a manager that does not answer is left alone. */
  away: number
  /** How long anybody waits for managers to answer. */
  wait: number
}

const TIMES: Times = { keep: 300_000, keepNothing: 60_000, away: 5_000, wait: 2_000 }

interface Kept {
  fields: Fields | undefined
  /** When it is asked for again. */
  due: number
  reading: Promise<void> | undefined
}

interface Opened {
  readonly id: string
  readonly config: string
  readonly manager: SecretManager
  /** Only of what the configuration refers to, by path. */
  readonly kept: Map<string, Kept>
  awayUntil: number
  /** Why it could not be read from, last time. */
  fault: string | undefined
}

export class Secrets {
  readonly #options: SecretsOptions
  readonly #times: Times
  readonly #managers = new Map<string, Opened>()

  constructor(options: SecretsOptions) {
    this.#options = options
    this.#times = { ...TIMES, ...options.times }
  }

  /** What a reference stands for; undefined while that is not known. */
  of(text: string): string | undefined {
    const reference = parseReference(text)
    if (reference === undefined) return undefined
    if ('variable' in reference) return this.#ofEnvironment(reference)
    return textOf(this.#managers.get(reference.manager)?.kept.get(reference.path)?.fields, reference.field)
  }

  /** A manager as it is configured now, by the id of its secret; undefined when it is no more. False when nothing changes. */
  manage(id: string, config: Readonly<Record<string, unknown>> | undefined): boolean {
    const known = this.#managers.get(id)
    const text = JSON.stringify(config)
    if (known?.config === text || !id.startsWith('vault/')) return false
    const manager = config && this.#open(id, config as unknown as VaultOptions) // a valid one has what it needs
    if (manager === undefined && config !== undefined) return false
    void known?.manager.close()
    this.#managers.delete(id)
    if (manager === undefined) return true
    // What was known stays until the new one has said something else: most often only its token is another.
    const kept = new Map(
      [...(known?.kept ?? [])].map(([path, { fields }]) => [path, { fields, due: 0, reading: undefined }]),
    )
    this.#managers.set(id, { id, config: text, manager, kept, awayUntil: 0, fault: undefined })
    return true
  }

  get managed(): Iterable<string> {
    return this.#managers.keys()
  }

  /**
   * Resolves when what these references stand for is known, or has been waited for long enough; what comes later is there at
   * the next call. While a manager is away its last secrets stay. Never rejects.
   */
  async want(references: Iterable<string>): Promise<void> {
    const reading: Promise<void>[] = []
    for (const text of references) {
      const reference = parseReference(text)
      if (reference === undefined || 'variable' in reference) continue
      const opened = this.#managers.get(reference.manager)
      if (opened !== undefined) reading.push(this.#look(opened, reference))
    }
    if (reading.length === 0) return
    const enough = Promise.withResolvers<void>()
    const timer = setTimeout(enough.resolve, this.#times.wait)
    await Promise.race([Promise.all(reading), enough.promise])
    clearTimeout(timer)
  }

  /** Forgets what none of these references asks for, once it would have to be asked for again: somebody may just want it. */
  keepOnly(references: ReadonlySet<string>): void {
    const now = this.#options.now()
    const used = new Set([...references].map(text => JSON.stringify(placeOf(parseReference(text)))))
    for (const { id, kept } of this.#managers.values()) {
      for (const [path, { due, reading }] of kept) {
        const idle = reading === undefined && now >= due
        if (idle && !used.has(JSON.stringify([id, path]))) kept.delete(path)
      }
    }
  }

  async close(): Promise<void> {
    const opened = [...this.#managers.values()]
    this.#managers.clear()
    await Promise.all(opened.map(({ manager }) => manager.close()))
  }

  /** Undefined when nothing can be asked like that: what is valid may still be no URL. */
  #open(id: string, options: VaultOptions): SecretManager | undefined {
    try {
      return openVault({ ...options, token: this.of(options.token) ?? options.token })
    } catch (error) {
      this.#options.log.error(
        { secret: id, err: asError(error).message },
        'a secret manager cannot be used; the last good one is',
      )
      return undefined
    }
  }

  #ofEnvironment({ variable, member }: OfEnvironment): string | undefined {
    const { env } = this.#options
    const value = Object.hasOwn(env, variable) ? env[variable] : undefined
    if (member === undefined || value === undefined) return value
    try {
      const members: unknown = JSON.parse(value)
      return isObject(members) ? textOf(members, member) : undefined
    } catch {
      return undefined
    }
  }

  /** Asks the manager unless what is known is young enough, or it has just not answered. */
  async #look(opened: Opened, { path }: OfManager): Promise<void> {
    const { kept, awayUntil } = opened
    const now = this.#options.now()
    const known = kept.get(path) ?? { fields: undefined, due: 0, reading: undefined }
    kept.set(path, known)
    if (known.reading === undefined && now >= known.due && now >= awayUntil) {
      known.reading = this.#read(opened, path, known)
    }
    await known.reading
  }

  async #read(opened: Opened, path: string, known: Kept): Promise<void> {
    const { log, now } = this.#options
    const { id, manager } = opened
    try {
      known.fields = await manager.read(path)
      known.due = now() + (known.fields === undefined ? this.#times.keepNothing : this.#times.keep)
      opened.fault = undefined
    } catch (error) {
      // Closed meanwhile: nobody waits for it.
      if (this.#managers.get(id) !== opened) return
      const { message } = asError(error)
      if (error instanceof NotGiven) known.due = now() + this.#times.keepNothing
      else opened.awayUntil = now() + this.#times.away
      if (message !== opened.fault)
        log.error({ secret: id, path, err: message }, 'a secret cannot be read; what was known of it stays in use')
      opened.fault = message
    }
    known.reading = undefined
  }
}

function placeOf(reference: OfEnvironment | OfManager | undefined): readonly string[] {
  return reference === undefined || 'variable' in reference ? [] : [reference.manager, reference.path]
}

function textOf(fields: Fields | undefined, name: string): string | undefined {
  const value = fields !== undefined && Object.hasOwn(fields, name) ? fields[name] : undefined
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined
}
