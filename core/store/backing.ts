// The store that the configuration names, and what is fed from it; the only place that knows all of them.
import { type Config, ConfigError, type LoadedConfig, providerOf, standaloneOf } from '../config.ts'
import { asError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { ConfigFile, type FileStatus } from '../standalone/config-file.ts'
import type { PluginChoice } from '../standalone/document.ts'
import { DocumentSource } from './document-source.ts'
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
  /** What the admin API reads and writes; undefined where all resources are one document. */
  readonly store?: Store
  /** Where the admin API is told the document. */
  readonly document?: DocumentSource
  /** Of a document that is in a file. */
  readonly file?: () => FileStatus
  /** False while there has never been a configuration; undefined where `start` waits for it. */
  readonly received?: () => boolean
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
  plugins: PluginChoice
  /** Called when a file enables other plugins than before, before it is served. */
  enabled(names: readonly string[] | undefined): void
}

/** Throws ConfigError when the store cannot be opened, or the file cannot be used. */
export function openBacking(loaded: LoadedConfig, deps: BackingDeps): Promise<Backing> {
  const standalone = standaloneOf(loaded.config)
  if (standalone !== undefined) return standalone === 'file' ? openFile(loaded, deps) : openDocument()
  return providerOf(loaded.config) === 'etcd' ? openEtcd(loaded, deps) : openOwn(loaded, deps)
}

async function openFile({ config, document }: LoadedConfig, deps: BackingDeps): Promise<Backing> {
  const { log, plugins, enabled } = deps
  const form = providerOf(config) === 'json' ? 'json' : 'yaml'
  const file = new ConfigFile({ ...document, form, plugins, enabled, log })
  await file.start()
  return {
    source: file.source,
    file: () => file.status,
    mayMakeKeyring: async () => true,
    start: async () => {},
    close: async () => file.close(),
  }
}

async function openDocument(): Promise<Backing> {
  const document = new DocumentSource()
  return {
    document,
    source: document,
    received: () => document.received,
    mayMakeKeyring: async () => true,
    start: async () => {},
    close: async () => {},
  }
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
