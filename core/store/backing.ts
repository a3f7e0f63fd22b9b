// The store that the configuration names, and what is fed from it; the only place that knows both kinds of store.
import { type Config, ConfigError, type LoadedConfig, providerOf } from '../config.ts'
import { asError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { openEmbedded } from './embedded.ts'
import type { EtcdStore } from './etcd/etcd.ts'
import type { Stranger } from './etcd/layout.ts'
import type { Mirror } from './etcd/mirror.ts'
import type { ConfigSource, Item, Kind, Revision, Store } from './store.ts'

/** What is known of a configuration that comes from elsewhere. Times are milliseconds since the epoch. */
export interface Currency {
  /** Where it comes from; undefined while there is none. */
  readonly source: 'etcd' | 'disk' | undefined
  /** What the gateway has seen, of resources or not. */
  readonly revision: Revision | undefined
  /** When it was last known to be what etcd has. */
  readonly currentAt: number | undefined
  readonly reachable: boolean
  readonly lastContact: number | undefined
  /** The highest revision that etcd has named. */
  readonly newest: Revision
  /** Why etcd cannot be reached. */
  readonly fault: string | undefined
  /** Keys below the prefix that are no resources. */
  readonly strangers: readonly Stranger[]
  /** The highest modRevision of each kind. */
  readonly modifyIndexes: ReadonlyMap<Kind, Revision>
}

export interface Backing {
  /** What the admin API reads and writes. */
  readonly store: Store
  /** What everybody else follows: it is there when the store is away. */
  readonly source: ConfigSource
  /** Undefined for a store of the gateway's own, which is always current. */
  readonly currency?: () => Currency
  /**
   * Whether a keyring may be made: where data is that others have encrypted, it would be of no use. Throws ConfigError
   * when it cannot be found out.
   */
  mayMakeKeyring(): Promise<boolean>
  /** Begins, and resolves when there is a configuration. */
  start(): Promise<void>
  close(): Promise<void>
}

export interface BackingDeps {
  log: Logger
  /** What the data plane makes of an item; undefined while it is not known. */
  isGood(item: Item): boolean | undefined
}

/** Throws ConfigError when the store cannot be opened. */
export function openBacking(loaded: LoadedConfig, deps: BackingDeps): Promise<Backing> {
  return providerOf(loaded.config) === 'etcd' ? openEtcd(loaded, deps) : openOwn(loaded, deps)
}

async function openOwn({ config, where }: LoadedConfig, { log }: BackingDeps): Promise<Backing> {
  const { path } = config.deployment.embedded
  let store: Store
  try {
    store = openEmbedded({ path, log })
  } catch (error) {
    throw new ConfigError(`${where('deployment.embedded.path')}: ${asError(error).message}`)
  }
  return {
    store,
    source: store,
    mayMakeKeyring: async () => true,
    start: () => store.ready(),
    close: () => store.close(),
  }
}

async function openEtcd({ config, where }: LoadedConfig, { log, isGood }: BackingDeps): Promise<Backing> {
  const { etcd: settings, embedded } = config.deployment
  // Loaded only where it is needed: gRPC and its definitions take their time and memory.
  const { EtcdStore } = await import('./etcd/etcd.ts')
  const { Mirror } = await import('./etcd/mirror.ts')
  const { LastGood } = await import('./etcd/last-good.ts')
  const { startupRetry } = settings
  const etcd = new EtcdStore({ ...settings, hosts: settings.host, log, now: Date.now, random: Math.random })
  const lastGood = new LastGood(embedded.path, settings.prefix)
  const mirror = new Mirror({ store: etcd, lastGood, startupRetry, isGood, log, now: Date.now })
  return {
    store: ofFleet(etcd, mirror),
    source: mirror,
    currency: () => currencyOf(etcd, mirror),
    async mayMakeKeyring() {
      const reached = await etcd.answers(startupRetry)
      if (reached) return !(await etcd.hasItems())
      const why = `whether etcd holds data already could not be found out: ${etcd.cluster.fault}`
      throw new ConfigError(`${where('apisix.data_encryption.keyring')}: must be configured: ${why}`)
    },
    start: () => mirror.start(),
    async close() {
      await mirror.close()
      await etcd.close()
    },
  }
}

/** The store, with revisions that those who follow the mirror come to see. */
function ofFleet(etcd: EtcdStore, mirror: Mirror): Store {
  return {
    list: () => etcd.list(),
    get: (kind, id) => etcd.get(kind, id),
    revision: () => mirror.revision(),
    write: (changes, guards) => etcd.write(changes, guards),
    watch: (since, changed, lost) => etcd.watch(since, changed, lost),
    ready: () => etcd.ready(),
    close: () => etcd.close(),
  }
}

function currencyOf(etcd: EtcdStore, mirror: Mirror): Currency {
  const { reachable, lastContact, revision: newest, fault } = etcd.cluster
  return {
    ...mirror.freshness,
    reachable,
    lastContact,
    newest,
    fault,
    strangers: etcd.strangers,
    modifyIndexes: mirror.modifyIndexes(),
  }
}

/** How secrets are written: so that all who share the store can read them, unless the configuration says. */
export function secretFormat(config: Config): 'compat' | 'v2' {
  return config.apisix.dataEncryption.format ?? (providerOf(config) === 'etcd' ? 'compat' : 'v2')
}
