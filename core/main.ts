#!/usr/bin/env node
// Composition root of the process: config -> store -> worker -> servers -> drain. Sees everything.
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { adminApi } from '../admin/admin-api.ts'
import { controlApi } from '../admin/control-api.ts'
import { metricsExport } from '../admin/metrics-export.ts'
import { type Served, serve } from '../admin/serve.ts'
import { statusApi } from '../admin/status.ts'
import { builtins } from '../plugins/index.ts'
import { type Config, ConfigError, type LoadedConfig, listeners, loadConfig } from './config.ts'
import { ensureSecrets, type Secrets } from './first-start.ts'
import { Keyring } from './keyring.ts'
import { type Logger, openLog } from './observe/log.ts'
import { MetricsReader } from './observe/metrics-reader.ts'
import type { Plugin } from './plugin.ts'
import { openEmbedded } from './store/embedded.ts'
import { opened } from './store/opened.ts'
import type { Store } from './store/store.ts'
import type { WorkerSettings } from './workers/messages.ts'
import { CannotListen, WorkerThread } from './workers/worker-thread.ts'

// An admin write answers when the workers serve it, or after this many milliseconds if they are held up.
const APPLIED_WITHIN_MS = 1_000
// The log phase waits this long for a hook that has not returned when its response is long closed.
const TURN_GRACE_MS = 5_000
// As in nginx: 4 buffers of 8 KiB for the head of a request.
const MAX_HEADER_SIZE = 32 * 1024

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** Everything that an operator can mend is one line on stderr and exit code 1. */
async function orExit(run: (loaded: LoadedConfig) => void | Promise<void>): Promise<void> {
  try {
    const { config: file } = program.opts<{ config?: string }>()
    await run(loadConfig(file === undefined ? {} : { file }))
  } catch (error) {
    process.stderr.write(
      `sluice: ${error instanceof ConfigError || error instanceof Unstartable ? error.message : describe(error)}\n`,
    )
    process.exit(1)
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The machine does not let us start as configured. */
class Unstartable extends Error {}

function validate({ warnings }: LoadedConfig): void {
  for (const warning of warnings) process.stdout.write(`warning: ${warning}\n`)
  process.stdout.write('the configuration is valid\n')
}

async function start(loaded: LoadedConfig): Promise<void> {
  const { config, where } = loaded
  const plugins = enabledPlugins(loaded)
  const secrets = ensureSecrets(config)
  const log = openLog(logLevel(config), logFile(config))
  for (const warning of [...loaded.warnings, ...secrets.warnings]) say(log, warning)

  const keyring = new Keyring(config.apisix.dataEncryption.enableEncryptFields ? secrets.keyring : [], at =>
    log.error({ at }, 'no key of the keyring opens this value; it is used as it is'),
  )
  const store = openEmbedded({ path: config.deployment.embedded.path, log })
  await store.ready()
  const reader = new MetricsReader({ prefix: config.pluginAttr.prometheus.metricPrefix })
  const worker = new WorkerThread({
    settings: workerSettings(config, plugins),
    source: opened(store, ({ kind, value }) => keyring.openItem(kind, value, plugins)),
    series: definition => reader.add(0, definition),
  })
  const data = await worker.listening.catch((error: unknown) => {
    if (!(error instanceof CannotListen)) throw error
    const { key = '' } =
      listeners(config).data.find(({ host, port }) => host === error.address.host && port === error.address.port) ?? {}
    throw cannotListen(where(key), error.address, error.code)
  })
  const servers = await openServers(loaded, { plugins, secrets, log, keyring, store, reader, worker })
  announce(config, secrets, [
    ['requests', data.map(({ host, port }) => `${host}:${port}`)],
    ...servers.map(
      ({ name, served }) => [name, [`${served.address.host}:${served.address.port}`]] as [string, string[]],
    ),
  ])

  let stopping = false
  const stop = async (signal: string): Promise<void> => {
    if (stopping) return
    stopping = true
    log.info({ signal }, 'draining')
    await worker.drain(config.nginxConfig.workerShutdownTimeout)
    await Promise.all(servers.map(({ served }) => served.close()))
    await store.close()
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT']) process.on(signal, () => void stop(signal))
  void worker.gone.then(({ code, error }) => {
    if (stopping) return
    log.error({ code, err: error }, 'the worker has ended; the gateway stops with it')
    process.stderr.write(`sluice: the worker has ended: ${error?.message ?? `code ${code}`}\n`)
    process.exit(1)
  })
}

/** The built-in plugins that `plugins` of the configuration names; all of them without it. */
function enabledPlugins({ config, where }: LoadedConfig): ReadonlyMap<string, Plugin> {
  const known = new Map(builtins.map(builtin => [builtin.name, builtin]))
  if (config.plugins === undefined) return known
  return new Map(
    config.plugins.map((name, at) => {
      const found = known.get(name)
      if (found === undefined) throw new ConfigError(`${where(`plugins[${at}]`)}: Sluice has no plugin named ${name}`)
      return [name, found]
    }),
  )
}

function workerSettings(config: Config, plugins: ReadonlyMap<string, Plugin>): WorkerSettings {
  const { apisix, nginxConfig } = config
  const { http } = nginxConfig
  return {
    listen: listeners(config).data.map(({ host, port, ipv6Only }) => ({ host, port, ipv6Only })),
    limits: {
      headerTimeout: http.clientHeaderTimeout,
      requestTimeout: 0,
      bodyTimeout: http.clientBodyTimeout,
      keepAliveTimeout: http.keepaliveTimeout,
      maxHeaderSize: MAX_HEADER_SIZE,
      maxBodySize: http.clientMaxBodySize,
      sendTimeout: http.sendTimeout,
      turnGrace: TURN_GRACE_MS,
    },
    serverName: serverName(config),
    showUpstreamStatus: apisix.showUpstreamStatusInResponseHeader,
    plugins: [...plugins.keys()],
    log: { level: logLevel(config), file: logFile(config) },
  }
}

/** The value by which APISIX's clients choose their dialect (facts clients). */
function serverName(config: Config): string {
  return config.apisix.enableServerTokens ? 'APISIX/3.18.0' : 'APISIX'
}

interface Parts {
  plugins: ReadonlyMap<string, Plugin>
  secrets: Secrets
  log: Logger
  keyring: Keyring
  store: Store
  reader: MetricsReader
  worker: WorkerThread
}

async function openServers(
  { config, where }: LoadedConfig,
  { plugins, secrets, log, keyring, store, reader, worker }: Parts,
): Promise<{ name: string; served: Served }[]> {
  const { admin } = config.deployment
  const addresses = listeners(config)
  const common = { log, serverName: serverName(config) }
  const apps = {
    admin: adminApi({
      ...common,
      store,
      plugins,
      keyring,
      keys: admin.adminKeyRequired ? secrets.adminKeys : undefined,
      allowAdmin: admin.allowAdmin,
      cors: admin.enableAdminCors,
      // The admin API names its dialect even where enable_server_tokens hides the version from others.
      serverName: 'APISIX/3.18.0',
      version,
      now: Date.now,
      applied: revision => worker.serves(revision, APPLIED_WITHIN_MS),
    }),
    control: controlApi({
      ...common,
      store,
      plugins,
      keyring,
      workers: () => [{ id: 0, revision: worker.applied, rejected: worker.rejected }],
    }),
    status: statusApi({
      ...common,
      ready: () => (worker.applied === undefined ? 'worker id: 0 has not received configuration' : undefined),
    }),
    prometheus: metricsExport({
      ...common,
      reader,
      uri: config.pluginAttr.prometheus.exportUri,
      prefix: config.pluginAttr.prometheus.metricPrefix,
      version,
      revision: () => worker.applied,
    }),
  }
  const opened: { name: string; served: Served }[] = []
  for (const [name, app] of Object.entries(apps)) {
    for (const { host, port, key } of addresses[name as keyof typeof apps]) {
      const served = await serve(app, { host, port }).catch((error: NodeJS.ErrnoException) => {
        throw cannotListen(where(key), { host, port }, error.code ?? error.message)
      })
      opened.push({ name, served })
    }
  }
  return opened
}

function cannotListen(key: string, { host, port }: { host: string; port: number }, code: string): Unstartable {
  const why = code === 'EADDRINUSE' ? 'the port is in use by another process' : `cannot listen (${code})`
  return new Unstartable(`${key}: ${host}:${port}: ${why}`)
}

/** Where the error log goes; undefined is stderr. */
function logFile(config: Config): string | undefined {
  return config.nginxConfig.errorLog === 'stderr' ? undefined : config.nginxConfig.errorLog
}

function logLevel(config: Config): string {
  const { errorLogLevel } = config.nginxConfig
  const levels: Record<string, string> = { notice: 'info', crit: 'fatal', alert: 'fatal', emerg: 'fatal' }
  return levels[errorLogLevel] ?? errorLogLevel
}

function say(log: Logger, warning: string): void {
  log.warn({}, warning)
  process.stderr.write(`sluice: warning: ${warning}\n`)
}

function announce(config: Config, secrets: Secrets, addresses: [string, string[]][]): void {
  const lines = addresses.map(([name, where]) => `  ${name.padEnd(10)} ${where.join(', ')}`)
  for (const file of secrets.created) lines.push(`  made       ${file}`)
  if (secrets.adminKeyFile !== undefined) lines.push(`  admin key  in ${secrets.adminKeyFile}`)
  lines.push(`  error log  ${logFile(config) ?? 'stderr'}`)
  process.stdout.write(`Sluice ${version} is ready\n${lines.join('\n')}\n`)
}

const program = new Command('sluice')
  .description('An AI and API gateway.')
  .version(version)
  .option('-c, --config <file>', 'configuration file (default: conf/config.yaml)')
  .showHelpAfterError()
  .action(() => orExit(start))
program
  .command('validate')
  .description('check the configuration, say what has no effect, and exit')
  .action(() => orExit(validate))
await program.parseAsync()
