// SIGHUP: logs are opened anew, the configuration is read again, and what can change does, by fresh workers.
import { isDeepStrictEqual } from 'node:util'
import type { Config, LoadedConfig } from './config.ts'
import { asError } from './errors.ts'
import type { Address } from './listener.ts'
import type { LogFile } from './observe/log.ts'
import type { OwnPlugins } from './plugin-code/own-plugins.ts'
import { logLevel, workerSettings } from './worker-settings.ts'
import type { WorkerPool } from './workers/worker-pool.ts'

/** What is fixed when the process starts, by key. */
const FIXED: Readonly<Record<string, (config: Config) => unknown>> = {
  'apisix.node_listen': config => config.apisix.nodeListen,
  'apisix.enable_admin': config => config.apisix.enableAdmin,
  'apisix.enable_control': config => config.apisix.enableControl,
  'apisix.control': config => config.apisix.control,
  'apisix.status': config => config.apisix.status,
  'apisix.data_encryption': config => config.apisix.dataEncryption,
  'nginx_config.worker_processes': config => config.nginxConfig.workerProcesses,
  'nginx_config.error_log': config => config.nginxConfig.errorLog,
  'deployment.role': config => config.deployment.role,
  'deployment.role_traditional': config => config.deployment.roleTraditional,
  'deployment.role_data_plane': config => config.deployment.roleDataPlane,
  'deployment.standalone': config => config.deployment.standalone,
  'deployment.etcd': config => config.deployment.etcd,
  'deployment.admin': config => config.deployment.admin,
  'deployment.embedded': config => config.deployment.embedded,
  'sluice.stale_after': config => config.sluice.staleAfter,
  'sluice.admin_server': config => config.sluice.adminServer,
  'sluice.plugin_dirs': config => config.sluice.pluginDirs,
  plugin_attr: config => config.pluginAttr,
  plugins: config => config.plugins,
}

export interface Reloading {
  /** Reads the configuration. Throws ConfigError. */
  load(): LoadedConfig
  /** The configuration the process started with. */
  started: Config
  listen: readonly Address[]
  plugins: OwnPlugins
  pool: WorkerPool
  log: LogFile
}

/** A configuration that cannot be read changes nothing. Requests in flight end on the workers they began on. */
export async function reload({ load, started, listen, plugins, pool, log }: Reloading): Promise<void> {
  log.reopen()
  // They may have requests for a while yet, and something to say of them.
  pool.reopenLogs()
  try {
    const { config, debugMode } = load()
    for (const [key, of] of Object.entries(FIXED)) {
      if (!isDeepStrictEqual(of(config), of(started)))
        log.warn({ key }, 'this key has changed; it takes effect when the gateway is started again')
    }
    log.level = logLevel(config)
    // Main goes on reading what old workers count: families of before are those of after.
    const served = { ...config, pluginAttr: started.pluginAttr }
    await pool.replaceAll(workerSettings({ config: served, debugMode }, listen, plugins))
    log.info({}, 'reloaded')
  } catch (error) {
    log.error({ err: asError(error) }, 'the configuration could not be read; everything stays as it is')
  }
}
