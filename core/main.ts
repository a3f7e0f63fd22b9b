#!/usr/bin/env node
// Composition root of the process: config -> store -> workers -> servers -> drain. Sees everything.
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { Catalogue } from '../admin/catalogue.ts'
import { configsOf } from '../admin/configs.ts'
import { ownMetrics, printedPage } from '../admin/metrics-export.ts'
import { tagsOf } from '../admin/references.ts'
import type { Served } from '../admin/serve.ts'
import { APPLIED_WITHIN_MS, cannotListen, openServers } from '../admin/servers.ts'
import { builtins } from '../plugins/index.ts'
import { type BooksParts, type OpenedBooks, openBooks } from './budgets/open-books.ts'
import {
  type Config,
  ConfigError,
  hasDataPlane,
  type LoadedConfig,
  listeners,
  loadConfig,
  providerOf,
} from './config.ts'
import { asError } from './errors.ts'
import { ensureSecrets, lacksKeyring, type Secrets } from './first-start.ts'
import { freeBuffersAtHome, makeAllYoung } from './garbage.ts'
import { heldByTheGone } from './holds.ts'
import { inTurn } from './in-turn.ts'
import { Keyring } from './keyring.ts'
import { Ledgers } from './ledger/ledgers.ts'
import type { Address } from './listener.ts'
import { type Logger, openLog, silent } from './observe/log.ts'
import { MetricsReader } from './observe/metrics-reader.ts'
import { countOverflow, MetricsWriter } from './observe/metrics-writer.ts'
import { expireSeries } from './observe/series-expiry.ts'
import { NotThere, PluginCodeError } from './plugin-code/load.ts'
import { OwnPlugins, type Takeover } from './plugin-code/own-plugins.ts'
import { storedProblem } from './plugin-code/stored-configs.ts'
import { AddressGuard } from './proxy/address-guard.ts'
import { guardedLookup } from './proxy/dns/lookup.ts'
import { Resolver } from './proxy/dns/resolver.ts'
import { warnDenied } from './proxy/upstream-env.ts'
import { reload } from './reload.ts'
import { RouteNames } from './route-names.ts'
import { ResolvedSource } from './secrets/resolved.ts'
import { Secrets as KeptSecrets } from './secrets/secrets.ts'
import type { PluginChoice } from './standalone/document.ts'
import { type Backing, openBacking, secretFormat } from './store/backing.ts'
import { listedTogether } from './store/listed-together.ts'
import { opened } from './store/opened.ts'
import { logLevel, metricSettings, workerSettings } from './worker-settings.ts'
import { CannotListen, freePorts, type HeldPorts } from './workers/ports.ts'
import { WorkerPool } from './workers/worker-pool.ts'

// npm passes a Ctrl-C on that the terminal has sent already: only a signal after this many milliseconds is a second one.
const SECOND_SIGNAL_MS = 1_000
// A start that waits for etcd says so after this many milliseconds.
const SAY_WAITING_MS = 1_000

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** Everything that an operator can mend is one line on stderr and exit code 1. */
async function orExit(run: (loaded: LoadedConfig) => void | Promise<void>): Promise<void> {
  try {
    await run(load())
  } catch (error) {
    process.stderr.write(`sluice: ${asError(error).message}\n`)
    process.exit(1)
  }
}

/** The configuration that the command line names. */
function load(): LoadedConfig {
  const { config: file } = program.opts<{ config?: string }>()
  return loadConfig(file === undefined ? {} : { file })
}

async function validate(loaded: LoadedConfig): Promise<void> {
  const plugins = await openPlugins(loaded, silent)
  await plugins.close()
  for (const warning of loaded.warnings) process.stdout.write(`warning: ${warning}\n`)
  process.stdout.write('the configuration is valid\n')
}

async function start(loaded: LoadedConfig): Promise<void> {
  makeAllYoung()
  freeBuffersAtHome()
  const parts = await compose(loaded)
  const { backing, catalogue, life, log, ownPlugins, pool, ports, secrets, takeover } = parts
  const servers = await openServers(loaded, parts)
  onStopSignal(signal => stop(signal, parts, servers))
  process.on('SIGHUP', () => {
    if (life.stopping || !life.started) return
    for (const { name, served } of servers) renew(name, served, log)
    void reload({ load, started: loaded.config, listen: ports.addresses, plugins: ownPlugins, pool, log })
  })

  const waiting = setTimeout(() => tellOfWaiting(backing, servers), SAY_WAITING_MS)
  ports.release()
  try {
    await Promise.all([backing.start(), catalogue.start(), pool.start()])
  } catch (error) {
    // A worker that was told to end before it had begun has failed at nothing.
    if (!life.stopping) throw error
  }
  clearTimeout(waiting)
  if (life.stopping) return
  life.started = true
  await ownPlugins.watch(takeover)
  const addresses = servers.map(({ name, served }): [string, Address[]] => [name, [served.address]])
  announce(loaded.config, secrets, [['requests', ports.addresses], ...addresses])
}

type Parts = Awaited<ReturnType<typeof compose>>

/** Everything that there is one of, made and not yet begun. */
async function compose(loaded: LoadedConfig) {
  const { config } = loaded
  const life = { stopping: false, started: false }
  const log = at(loaded, 'nginx_config.error_log', () => openLog(logLevel(config), config.nginxConfig.errorLog))
  const ownPlugins = await openPlugins(loaded, log)
  const plugins = ownPlugins.enabled
  const pluginChoice: PluginChoice = {
    known: ownPlugins.known,
    get enabled() {
      return ownPlugins.configured
    },
  }
  /** What a document enables; workers that run have to be others for it. */
  const enable = async (names: readonly string[] | undefined) => {
    const before = [...plugins.keys()].join()
    ownPlugins.choose(names)
    if (life.started && before !== [...plugins.keys()].join()) {
      await pool.replaceAll({ ...pool.settings, plugins: [...plugins.keys()] })
    }
  }
  const backing = await openBacking(loaded, {
    log,
    isGood: item => pool.isGood(item),
    plugins: pluginChoice,
    enabled: names => void enable(names),
  })
  const source = listedTogether(backing.source)
  const secrets = await openSecrets(loaded, backing, log)
  // Of a document nothing is encrypted: it is its author's, and in memory.
  const atRest = config.apisix.dataEncryption.enableEncryptFields && backing.store !== undefined
  const keyring = new Keyring(atRest ? secrets.keyring : [], secretFormat(config))

  const families = metricSettings(config)
  const reader = new MetricsReader({
    prefix: config.pluginAttr.prometheus.metricPrefix,
    stays: { labels: ['route', 'route_id'], has: value => routes.has(value) },
    overflowed: family => countOverflow(metrics, family),
    expiry: family => families[family]?.expireMs ?? 0,
    lapses: heldByTheGone,
  })
  const metrics = new MetricsWriter({ publish: series => reader.add('main', series) })
  const routes = new RouteNames(source, log)
  const own = ownMetrics({
    reader,
    metrics,
    version,
    revision: () => pool.applied,
    targets: () => pool.health.usable(),
    ledger: () => pool.ledger,
    room: () => pool.room(),
    log,
  })

  const resolved = new ResolvedSource({
    source: opened(source, item => keyring.openItem(item, plugins)),
    secrets: new KeptSecrets({ env: loaded.env, log, now: () => performance.now() }),
    plugins,
    log,
  })
  const clear = listedTogether(resolved)
  const ports = await dataPorts(loaded)
  const pool = new WorkerPool({
    count: hasDataPlane(config) ? config.nginxConfig.workerProcesses : 0,
    settings: workerSettings(loaded, ports.addresses, ownPlugins),
    source: clear,
    reader,
    log,
    stallMs: config.sluice.workerStallMs,
    graceMs: config.nginxConfig.workerShutdownTimeout,
    names: { plugins: { [Symbol.iterator]: () => plugins.keys() }, routes: async () => routes.ids },
    page: () => printedPage({ reader, own }),
    replaced: (reason, plugin) => own.replaced(reason, plugin),
  })
  const budgets = await openBudgets(loaded, { pool, source: clear, plugins, metrics, log })
  expireSeries({
    reader,
    settings: families,
    withdraw: (worker, series) => pool.expire(worker, series),
    now: () => performance.now(),
  })
  const catalogue = new Catalogue({ source, tags: tagsOf({ plugins, keyring }), log })
  const takeover: Takeover = {
    problem: next => storedProblem({ source, open: item => keyring.openItem(item, plugins).value, plugins, next }),
    bring: (code, names) => pool.replaceAll({ ...pool.settings, plugins: names, code }),
  }
  const reloadPlugins = inTurn(async () => {
    if (!life.started) throw new PluginCodeError('the gateway is still starting')
    await ownPlugins.reload(takeover)
  })
  const { document } = backing
  const configs =
    document &&
    configsOf({
      plugins: pluginChoice,
      keyring,
      now: Date.now,
      async apply(read) {
        const revision = document.swap(read.entries)
        await enable(read.plugins)
        await pool.serves(revision, APPLIED_WITHIN_MS)
        return revision
      },
    })
  return {
    config,
    life,
    version,
    log,
    secrets,
    keyring,
    backing,
    catalogue,
    configs,
    ports,
    pool,
    budgets,
    resolved,
    routes,
    reader,
    own,
    ownPlugins,
    pluginChoice,
    takeover,
    reloadPlugins,
  }
}

/** Nothing new is accepted, what is under way may end, and everything is closed in the order of who needs whom. */
async function stop(signal: string, parts: Parts, servers: readonly { served: Served }[]): Promise<void> {
  const { config, backing, budgets, catalogue, life, log, ownPlugins, pool, resolved, routes } = parts
  life.stopping = true
  log.info({ signal }, 'draining')
  process.stdout.write(`${signal}: draining; a second signal ends at once\n`)
  const pluginsClosed = ownPlugins.close()
  await pool.drain(config.nginxConfig.workerShutdownTimeout)
  await budgets.close()
  await Promise.all(servers.map(({ served }) => served.close()))
  await resolved.close()
  routes.close()
  catalogue.close()
  await pluginsClosed
  await backing.close()
  log.end()
  process.exit(0)
}

/** Calls `stop` for the first signal that asks the process to end; the second ends it at once. */
function onStopSignal(stop: (signal: string) => Promise<void>): void {
  let first: number | undefined
  const heard = (signal: string) => {
    if (first === undefined) {
      first = performance.now()
      void stop(signal)
    } else if (performance.now() - first > SECOND_SIGNAL_MS) process.exit(1)
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT']) process.on(signal, heard)
}

/** The secrets that the configuration gives, and those that are made where it gives none. */
async function openSecrets(loaded: LoadedConfig, backing: Backing, log: Logger): Promise<Secrets> {
  const { config } = loaded
  if (lacksKeyring(config) && !(await backing.mayMakeKeyring())) {
    const why = `etcd holds data below ${config.deployment.etcd.prefix}, whose secrets a new keyring could not read`
    throw new ConfigError(`${loaded.where('apisix.data_encryption.keyring')}: must be configured: ${why}`)
  }
  const secrets = ensureSecrets(config)
  for (const warning of [...loaded.warnings, ...secrets.warnings]) say(log, warning)
  const made = secrets.created.find(file => file.endsWith('keyring'))
  if (made !== undefined && providerOf(config) === 'etcd') {
    say(log, `${made} was made: every gateway on this etcd needs its key in apisix.data_encryption.keyring`)
  }
  return secrets
}

/** Whoever has started it by hand should not wonder. */
function tellOfWaiting({ currency }: Backing, servers: readonly { name: string; served: Served }[]): void {
  const fault = currency?.().fault
  if (fault === undefined) return
  const status = servers.find(({ name }) => name === 'status')?.served.address
  const where = status === undefined ? '' : `; http://${status.host}:${status.port}/status/ready says when`
  process.stdout.write(`waiting for etcd (${fault})${where}\n`)
}

/** What was spent of budgets is in the workers' memory before there are any. */
async function openBudgets(
  { config, where }: LoadedConfig,
  { pool, ...parts }: Pick<BooksParts, 'source' | 'plugins' | 'metrics' | 'log'> & { pool: WorkerPool },
): Promise<OpenedBooks> {
  const { metrics, log } = parts
  const { names, deniedAddresses } = pool.settings
  const [now, random] = [Date.now, Math.random]
  const lookup = guardedLookup(
    new Resolver({ ...names, now, log }),
    new AddressGuard(deniedAddresses),
    (name, address) => warnDenied(log, name, address),
  )
  const ledgers = new Ledgers({ books: pool.ledger, now, log, metrics })
  const { path: folder } = config.deployment.embedded
  try {
    const opened = await openBooks({ ...parts, ledgers, folder, lookup, now, random })
    pool.books = opened.books
    return opened
  } catch (error) {
    throw new ConfigError(`${where('deployment.embedded.path')}: ${asError(error).message}`)
  }
}

/** New certificates for a server, if it has any. */
function renew(name: string, served: Served, log: Logger): void {
  try {
    served.renew()
  } catch (error) {
    log.error({ server: name, err: asError(error) }, 'certificates cannot be used; those of before are')
  }
}

/** Runs what fails for a reason that stands in the configuration, and says where. */
function at<T>({ where }: LoadedConfig, key: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw new ConfigError(`${where(key)}: ${asError(error).message}`)
  }
}

/** Built-in plugins and the user's own. Those that the configuration enables must be there. */
async function openPlugins({ config, where }: LoadedConfig, log: Logger): Promise<OwnPlugins> {
  try {
    const { pluginDirs: folders, javascript } = config.sluice
    const enabled = config.plugins
    return await OwnPlugins.open({ folders, builtins, enabled, javascript: javascript.enabled, log })
  } catch (error) {
    if (!(error instanceof PluginCodeError)) throw error
    const key = error instanceof NotThere ? `plugins[${config.plugins?.indexOf(error.plugin)}]` : 'sluice.plugin_dirs'
    throw new ConfigError(`${where(key)}: ${error.message}`)
  }
}

async function dataPorts({ config, where }: LoadedConfig): Promise<HeldPorts> {
  const wanted = listeners(config).data
  return await freePorts(wanted.map(({ host, port, ipv6Only }) => ({ host, port, ipv6Only }))).catch(
    (error: unknown) => {
      if (!(error instanceof CannotListen)) throw error
      const { host, port } = error.address
      const { key = '' } = wanted.find(each => each.host === host && each.port === port) ?? {}
      throw cannotListen(where(key), error.address, error.code)
    },
  )
}

function say(log: Logger, warning: string): void {
  log.warn({}, warning)
  process.stderr.write(`sluice: warning: ${warning}\n`)
}

function announce({ nginxConfig }: Config, secrets: Secrets, addresses: [string, readonly Address[]][]): void {
  const lines = addresses.map(
    ([name, where]) => `  ${name.padEnd(10)} ${where.map(({ host, port }) => `${host}:${port}`).join(', ')}`,
  )
  for (const file of secrets.created) lines.push(`  made       ${file}`)
  if (secrets.adminKeyFile !== undefined) lines.push(`  admin key  in ${secrets.adminKeyFile}`)
  lines.push(`  error log  ${nginxConfig.errorLog ?? 'stderr'}`)
  const workers = nginxConfig.workerProcesses
  process.stdout.write(
    `Sluice ${version} is ready with ${workers} worker${workers === 1 ? '' : 's'}\n${lines.join('\n')}\n`,
  )
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
