// The servers of the main thread, as the configuration asks for them: admin, control, status and metrics.

import type { Books } from '../core/budgets/books.ts'
import { type Config, ConfigError, hasDataPlane, type LoadedConfig, listeners, providerOf } from '../core/config.ts'
import type { Secrets } from '../core/first-start.ts'
import { collectGarbage } from '../core/garbage.ts'
import type { Keyring } from '../core/keyring.ts'
import type { Address } from '../core/listener.ts'
import type { Logger } from '../core/observe/log.ts'
import type { MetricsReader } from '../core/observe/metrics-reader.ts'
import type { OwnPlugins } from '../core/plugin-code/own-plugins.ts'
import type { ResolvedSource } from '../core/secrets/resolved.ts'
import type { PluginChoice } from '../core/standalone/document.ts'
import type { Backing } from '../core/store/backing.ts'
import { serverName } from '../core/worker-settings.ts'
import type { WorkerPool } from '../core/workers/worker-pool.ts'
import { adminApi } from './admin-api.ts'
import type { Catalogue } from './catalogue.ts'
import type { Configs } from './configs.ts'
import { controlApi } from './control-api.ts'
import { measureCurrency, staleness } from './currency.ts'
import { itemsOf } from './items.ts'
import { metricsExport, type ownMetrics } from './metrics-export.ts'
import { type Served, serve, type TlsFiles } from './serve.ts'
import { statusApi } from './status.ts'

// An admin write answers when the workers serve it, or after this many milliseconds if they are held up.
export const APPLIED_WITHIN_MS = 1_000

export interface ServerParts {
  ownPlugins: OwnPlugins
  pluginChoice: PluginChoice
  /** Brings the user's plugins as they are on disk to new requests. */
  reloadPlugins(): Promise<void>
  secrets: Secrets
  log: Logger
  keyring: Keyring
  backing: Backing
  /** Where the admin API is told everything at once. */
  configs: Configs | undefined
  catalogue: Catalogue
  reader: MetricsReader
  own: ReturnType<typeof ownMetrics>
  pool: WorkerPool
  budgets: { readonly books: Books }
  /** Which references in items, in clear, stand for nothing known. */
  resolved: Pick<ResolvedSource, 'unresolved'>
  life: { readonly stopping: boolean; readonly started: boolean }
  /** Sluice's own. */
  version: string
}

/** Every server that the configuration asks for. Throws ConfigError when one cannot be opened. */
export async function openServers(
  { config, where }: LoadedConfig,
  parts: ServerParts,
): Promise<{ name: string; served: Served }[]> {
  const { admin } = config.deployment
  const { ownPlugins, pluginChoice, reloadPlugins, secrets, log, keyring, backing } = parts
  const { budgets, configs, catalogue, reader, own, pool, resolved, version } = parts
  const { enabled: plugins } = ownPlugins
  const addresses = listeners(config)
  const common = { log, serverName: serverName(config) }
  const { currency } = backing
  const prefixed = providerOf(config) === 'etcd' ? { prefix: config.deployment.etcd.prefix } : {}
  if (currency !== undefined) measureCurrency(reader, { currency, workers: () => pool.status(), now: Date.now })
  const apps = {
    admin: adminApi({
      ...common,
      items:
        backing.store &&
        itemsOf({
          store: backing.store,
          catalogue,
          plugins,
          keyring,
          now: Date.now,
          ...prefixed,
          applied: revision => pool.serves(revision, APPLIED_WITHIN_MS),
        }),
      configs,
      books: budgets.books,
      plugins,
      pluginChoice,
      reload: reloadPlugins,
      keys: admin.adminKeyRequired ? secrets.adminKeys : undefined,
      allowAdmin: admin.allowAdmin,
      cors: admin.enableAdminCors,
      // The admin API names its dialect even where enable_server_tokens hides the version from others.
      serverName: config.sluice.adminServer,
      version,
    }),
    control: controlApi({
      ...common,
      catalogue,
      plugins,
      keyring,
      onUnknownPlugin: config.sluice.onUnknownPlugin,
      ...prefixed,
      workers: () => pool.status(),
      unresolved: item => (hasDataPlane(config) ? resolved.unresolved(item) : []),
      pluginCode: () => ownPlugins.status,
      currency,
      file: backing.file,
      checked: () => pool.health.list(),
      reload: reloadPlugins,
      asked: { decision: id => pool.explain(id), rehearse: asked => pool.rehearse(asked) },
      collectGarbage,
    }),
    status: statusApi({ ...common, ready: () => notReady(config, parts), currency }),
    prometheus: metricsExport({
      ...common,
      reader,
      own,
      uri: config.pluginAttr.prometheus.exportUri,
    }),
  }
  const opened: { name: string; served: Served }[] = []
  for (const [name, app] of Object.entries(apps)) {
    for (const { host, port, key } of addresses[name as keyof typeof apps]) {
      const tls = name === 'admin' ? adminTls(config) : undefined
      const served = await serve(app, { host, port }, tls).catch((error: NodeJS.ErrnoException) => {
        if (tls !== undefined && error.syscall !== 'listen') throw cannotUse(where, error)
        throw cannotListen(where(key), { host, port }, error.code ?? error.message)
      })
      opened.push({ name, served })
    }
  }
  return opened
}

/** Why requests should not be sent here, in the words of facts core 5.5. */
function notReady({ sluice }: Config, { pool, life, backing }: ServerParts): string | undefined {
  if (life.stopping) return 'the gateway is shutting down'
  const waiting = pool.status().find(({ revision }) => revision === undefined)
  if (waiting !== undefined || !life.started || backing.received?.() === false) {
    return `worker id: ${waiting?.id ?? 0} has not received configuration`
  }
  const currency = backing.currency?.()
  return currency && staleness(currency, sluice.staleAfter, Date.now())
}

function adminTls({ deployment }: Config): TlsFiles | undefined {
  const { httpsAdmin, adminApiMtls } = deployment.admin
  const { adminSslCert: cert, adminSslCertKey: key, adminSslCaCert: ca } = adminApiMtls
  return httpsAdmin ? { cert, key, ca: ca === '' ? undefined : ca } : undefined
}

function cannotUse(where: LoadedConfig['where'], error: Error): ConfigError {
  return new ConfigError(`${where('deployment.admin.admin_api_mtls')}: ${error.message}`)
}

/** In one line, with the key that says so. */
export function cannotListen(key: string, { host, port }: Address, code: string): ConfigError {
  const why = code === 'EADDRINUSE' ? 'the port is in use by another process' : `cannot listen (${code})`
  return new ConfigError(`${key}: ${host}:${port}: ${why}`)
}
