// Names -> addresses, by DNS and the machine's hosts file, remembered as long as the records say (facts core 6.5, 7).
import { Resolver as Queries } from 'node:dns/promises'
import { LRUCache } from 'lru-cache'
import type { Logger } from '../../observe/log.ts'
import { candidates, parseHosts, parseSearch, readOrNothing, type SearchRules } from './system.ts'

export interface ResolverOptions {
  /** `ip` or `ip:port`; empty: those of the operating system. */
  servers: readonly string[]
  /** Milliseconds for which an answer holds, whatever its records say; 0: what they say. */
  validMs: number
  /** Milliseconds for one name. */
  timeoutMs: number
  /** Add the domains of resolv.conf to names that are not complete. */
  search: boolean
  /** Ask for IPv6 addresses of names that have no IPv4 ones. */
  ipv6: boolean
  /** Milliseconds since the epoch. */
  now(): number
  log: Logger
  hostsFile?: string
  resolvFile?: string
}

/** What is known of a name. */
export interface Resolved<T> {
  /** Empty when the name does not exist, or could not be resolved and never was before. */
  readonly found: readonly T[]
  /** Until then nobody need ask again, in milliseconds since the epoch. */
  readonly until: number
}

interface Known<T> {
  readonly found: readonly T[]
  /** From then on it is looked up again before it runs out, so that nobody who uses it need wait. */
  readonly renew: number
  readonly expires: number
}

/** Where a service is (RFC 2782). A lower priority goes first. */
export interface Service {
  readonly name: string
  readonly port: number
  readonly priority: number
  readonly weight: number
}

interface Records<T> {
  readonly found: readonly T[]
  readonly ttlMs: number
}

const MAX_NAMES = 10_000
// A TTL of 0 would have every request wait for a name server.
const MIN_TTL_MS = 1_000
// How long before it is asked again for a name that does not exist, or whose servers do not answer.
const ABSENT_MS = 5_000
const FAILED_MS = 1_000
/** Answers that have no TTL: of the hosts file, and SRV records, of which node:dns tells none. */
const UNTIMED_MS = 5_000
// Of its time, an answer that is in use is renewed after this much.
const RENEW_AFTER = 0.8
// While it is being renewed it holds for so long at a time.
const MEANWHILE_MS = 100

// The name has no such records: c-ares's words for NXDOMAIN and an empty answer.
const ABSENT = new Set(['ENOTFOUND', 'ENODATA'])

export class Resolver {
  readonly #options: ResolverOptions
  readonly #queries: Queries
  readonly #addresses: Cache<string>
  readonly #services: Cache<Service>
  #rules: Promise<SearchRules> | undefined

  constructor(options: ResolverOptions) {
    this.#options = options
    // Twice within the time: the second try waits twice as long.
    this.#queries = new Queries({ timeout: Math.ceil(options.timeoutMs / 3), tries: 2 })
    if (options.servers.length > 0) this.#queries.setServers(options.servers)
    this.#addresses = new Cache(options, name => this.#findAddresses(name))
    this.#services = new Cache(options, name => this.#findServices(name))
  }

  /** The IP addresses of a name, IPv4 if it has any. A promise only where it must be asked for. Never rejects. */
  addresses(name: string): Resolved<string> | Promise<Resolved<string>> {
    return this.#addresses.get(name.toLowerCase())
  }

  /** The services of a name (SRV). */
  services(name: string): Resolved<Service> | Promise<Resolved<Service>> {
    return this.#services.get(name.toLowerCase())
  }

  async #findAddresses(name: string): Promise<Records<string>> {
    const { hostsFile = '/etc/hosts', ipv6 } = this.#options
    const listed = parseHosts(await readOrNothing(hostsFile)).get(name.replace(/\.$/, ''))
    if (listed !== undefined) return { found: listed, ttlMs: UNTIMED_MS }
    // RFC 6761 6.3
    if (name === 'localhost') return { found: ['127.0.0.1'], ttlMs: UNTIMED_MS }
    const v4 = (full: string) => this.#queries.resolve4(full, { ttl: true })
    const v6 = (full: string) => this.#queries.resolve6(full, { ttl: true })
    for (const full of await this.#candidates(name)) {
      for (const query of ipv6 ? [v4, v6] : [v4]) {
        const records = await existing(query(full))
        if (records.length === 0) continue
        const ttlMs = Math.min(...records.map(({ ttl }) => ttl)) * 1000
        // Name servers turn the order with every answer: what is equal shall look equal.
        return { found: records.map(({ address }) => address).sort(), ttlMs }
      }
    }
    return { found: [], ttlMs: ABSENT_MS }
  }

  async #findServices(name: string): Promise<Records<Service>> {
    for (const full of await this.#candidates(name)) {
      const records = await existing(this.#queries.resolveSrv(full))
      const found = records.map(({ name, port, priority, weight }) => ({ name, port, priority, weight }))
      if (found.length > 0) return { found, ttlMs: UNTIMED_MS }
    }
    return { found: [], ttlMs: ABSENT_MS }
  }

  async #candidates(name: string): Promise<string[]> {
    const { search, resolvFile = '/etc/resolv.conf' } = this.#options
    if (!search) return [name.replace(/\.$/, '')]
    this.#rules ??= readOrNothing(resolvFile).then(parseSearch)
    return candidates(name, await this.#rules)
  }
}

/** The records, none when there are none. Rejects when nobody could say. */
async function existing<T>(records: Promise<T[]>): Promise<T[]> {
  try {
    return await records
  } catch (error) {
    if (ABSENT.has((error as NodeJS.ErrnoException).code ?? '')) return []
    throw error
  }
}

/** Answers while they hold; each name is asked for once at a time. */
class Cache<T> {
  readonly #options: ResolverOptions
  readonly #find: (name: string) => Promise<Records<T>>
  readonly #known = new LRUCache<string, Known<T>>({ max: MAX_NAMES })
  readonly #asking = new Map<string, Promise<Resolved<T>>>()

  constructor(options: ResolverOptions, find: (name: string) => Promise<Records<T>>) {
    this.#options = options
    this.#find = find
  }

  get(name: string): Resolved<T> | Promise<Resolved<T>> {
    const known = this.#known.get(name)
    const now = this.#options.now()
    if (known === undefined || now >= known.expires) return this.#ask(name)
    if (now < known.renew) return { found: known.found, until: known.renew }
    void this.#ask(name)
    return { found: known.found, until: now + MEANWHILE_MS }
  }

  #ask(name: string): Promise<Resolved<T>> {
    const asked = this.#asking.get(name)
    if (asked !== undefined) return asked
    const asking = this.#lookUp(name).then(known => {
      this.#known.set(name, known)
      this.#asking.delete(name)
      return { found: known.found, until: known.renew }
    })
    this.#asking.set(name, asking)
    return asking
  }

  /** While nobody can say, what was true last stays true. */
  async #lookUp(name: string): Promise<Known<T>> {
    const { now, log, timeoutMs, validMs } = this.#options
    try {
      const { found, ttlMs } = await within(timeoutMs, this.#find(name))
      const holds = found.length > 0 ? Math.max(MIN_TTL_MS, validMs || ttlMs) : ttlMs
      const at = now()
      return { found, renew: at + holds * RENEW_AFTER, expires: at + holds }
    } catch (error) {
      log.warn({ name, code: (error as NodeJS.ErrnoException).code }, 'a name could not be resolved')
      const again = now() + FAILED_MS
      return { found: this.#known.get(name)?.found ?? [], renew: again, expires: again }
    }
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error('no answer in time'), { code: 'ETIMEOUT' })), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
