// Composition root of a worker thread: plugins, snapshot, gateway, listeners. Sees everything but admin and store.
import { parentPort, workerData } from 'node:worker_threads'
import { builtins } from '../plugins/index.ts'
import { StandingsAsker, TouchedAccounts } from './budgets/touched.ts'
import { DebugKey } from './debug-key.ts'
import { endpointsOf } from './endpoints.ts'
import { asError } from './errors.ts'
import { Decisions } from './explain/decisions.ts'
import { rehearse } from './explain/rehearsal.ts'
import { Forwarding } from './forwarding.ts'
import { Gateway } from './gateway.ts'
import { HoldBook } from './holds.ts'
import { Sandbox } from './javascript/sandbox.ts'
import { LedgerMemory } from './ledger/ledger-memory.ts'
import { Ledgers } from './ledger/ledgers.ts'
import { type Listener, listen } from './listener.ts'
import { GcpTokens } from './llm/auth/gcp-tokens.ts'
import { MinRevision } from './min-revision.ts'
import { openAccessLog } from './observe/access-log.ts'
import { openLog } from './observe/log.ts'
import { lostEntries } from './observe/lost-entries.ts'
import { MetricsWriter } from './observe/metrics-writer.ts'
import { pageEndpoint } from './observe/page-endpoint.ts'
import { PluginFailures } from './observe/plugin-failures.ts'
import { Traffic } from './observe/traffic.ts'
import { Overload } from './overload.ts'
import { importPlugins } from './plugin-code/load.ts'
import { offerSluice, serveCode } from './plugin-code/module-hooks.ts'
import { AddressGuard } from './proxy/address-guard.ts'
import { guardedLookup } from './proxy/dns/lookup.ts'
import { Resolver } from './proxy/dns/resolver.ts'
import { Watches } from './proxy/health/watches.ts'
import { Transport } from './proxy/transport.ts'
import { warnDenied } from './proxy/upstream-env.ts'
import { compileChecks } from './resource.ts'
import { inSlices, steps } from './slices.ts'
import { type Rejected, Sync } from './sync.ts'
import { PluginsOrNone } from './unknown-plugins.ts'
import { Breadcrumb } from './workers/breadcrumb.ts'
import { Feed } from './workers/feed.ts'
import type { Birth, DrainOrder, Question, ToMain, ToWorker } from './workers/messages.ts'
import { PageClient } from './workers/metrics-page.ts'
import { SharedHealth } from './workers/shared-health.ts'
import { sharedState } from './workers/shared-memory.ts'

// How often the loop shows that it turns.
const BEAT_MS = 50
// Seconds.
const LAGS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

const birth = workerData as Birth
const { settings } = birth
const port = parentPort!
let draining = false
const send = (message: ToMain) => port.postMessage(message)

const log = openLog(settings.log.level, settings.log.file)
const metrics = new MetricsWriter({
  publish: series => send({ type: 'series', series }),
  withdraw: series => send({ type: 'no_series', series }),
  settings: settings.metrics,
})
const clock = { now: Date.now, random: Math.random }
const accessLog =
  settings.accessLog &&
  openAccessLog(settings.accessLog, { log, now: Date.now, lost: lostEntries(metrics, 'access_log') })
const names = new Resolver({ ...settings.names, now: Date.now, log })
const { serviceServers: servers } = settings.names
const services = servers.length === 0 ? names : new Resolver({ ...settings.names, servers, now: Date.now, log })
const guard = new AddressGuard(settings.deniedAddresses)
const transport = new Transport({
  keepAlive: settings.keepAlive,
  lookup: guardedLookup(names, guard, (name, address) => warnDenied(log, name, address)),
})
const health = new Watches(new SharedHealth(birth.shared.health, birth.id, Date.now), {
  watch: watch => send({ type: 'watch_health', watch }),
  // Whoever takes our place will want it again.
  unwatch: key => draining || send({ type: 'unwatch_health', key }),
})
const book = new HoldBook(metrics)
const ledger = new Ledgers({ books: new LedgerMemory(birth.shared.ledger, birth.id), now: Date.now, log, metrics })
const asker = new StandingsAsker((question, principals) => send({ type: 'ask_standings', question, principals }))
const accounts = new TouchedAccounts(
  touched => send({ type: 'touched', accounts: touched }),
  principals => asker.ask(principals),
)
const overload = new Overload(settings.overload, metrics)
const traffic = new Traffic(metrics)
const breadcrumb = new Breadcrumb(birth.breadcrumb)
const feed = new Feed(send)
const sandbox = settings.javascript && new Sandbox(settings.javascript)
offerSluice()
serveCode(settings.code)
const plugins = [...builtins, ...(await importPlugins(settings.code.entries))]
const enabled = new Set(settings.plugins)
const minRevision = settings.minRevision && new MinRevision(settings.minRevision)
const known = new PluginsOrNone(
  plugins.filter(({ name }) => enabled.has(name)).map(plugin => [plugin.name, plugin]),
  settings.onUnknownPlugin,
  sandbox !== undefined,
)
const pages = new PageClient(send)
const metricsPage =
  settings.metricsPage === undefined || known.get('prometheus') === undefined
    ? []
    : [pageEndpoint(settings.metricsPage, () => pages.open())]
let toldRejected: readonly Rejected[] | undefined
const sync = new Sync({
  source: feed,
  env: {
    ...clock,
    log,
    metrics,
    ledger,
    accounts,
    transport,
    gcpTokens: new GcpTokens({ transport, account: settings.gcpServiceAccount, now: clock.now }),
    upstreams: {
      ...clock,
      log,
      transport,
      names,
      services,
      guard,
      health: settings.healthChecks ? health : undefined,
      balancing: sharedState(birth.shared, birth.id, {
        ...clock,
        full: (what, name) => log.warn({ what, upstream: name }, 'too many upstreams: this one is balanced per worker'),
      }),
    },
    router: settings.router,
    maxPostArgs: settings.maxPostArgs,
    plugins: known,
    endpoints: endpointsOf(known.values(), metricsPage),
    sandbox,
  },
  applied(revision, rejected) {
    minRevision?.applied(revision)
    send({ type: 'applied', revision, rejected: rejected === toldRejected ? undefined : rejected })
    toldRejected = rejected
  },
})
const gateway = new Gateway({
  snapshot: () => sync.current,
  book,
  overload,
  minRevision,
  log,
  accessLog,
  failures: new PluginFailures(metrics),
  decisions: new Decisions(settings.explain, () => known.keys()),
  debugKey: new DebugKey(settings.debugKey),
  debugMode: settings.debugMode,
  limits: settings.limits,
  forwarding: new Forwarding(settings.forwarding),
  serverName: settings.serverName,
  showUpstreamStatus: settings.showUpstreamStatus,
  breadcrumb,
})
const listeners: Listener[] = []

port.on('message', (message: ToWorker) => {
  if (message.type === 'drain') void drain(message)
  else if (message.type === 'reopen_log') log.reopen()
  else if (message.type === 'standings') asker.answer(message.question, message.views)
  else if (message.type === 'slice') pages.receive(message)
  else if (message.type === 'expire') void inSlices(steps(message.series, series => metrics.expire(series)))
  else if (message.type === 'ask') void answer(message.number, message.question)
  else feed.receive(message)
})
const lag = metrics
  .histogram('sluice_worker_loop_lag_seconds', 'How late the loop of a worker came to its beats', ['worker'], LAGS)
  .of([String(birth.seat)])
let lastBeat = performance.now()
setInterval(() => {
  breadcrumb.beat()
  const now = performance.now()
  const late = now - lastBeat - BEAT_MS
  overload.late(late)
  lag.observe(Math.max(0, late) / 1000)
  traffic.show(gateway.inFlight)
  lastBeat = now
}, BEAT_MS).unref()
await start()
// Not before: a worker that cannot begin ends, and main hears why.
process.on('unhandledRejection', error => log.error({ plugin: gateway.plugin, err: error }, 'unhandled rejection'))
process.on('uncaughtException', error => {
  const { message, stack } = asError(error)
  send({ type: 'failing', message, stack })
})

/** The configuration first, so that no connection is accepted before there is something to serve it by. */
async function start(): Promise<void> {
  compileChecks()
  await sync.start()
  const refused = metrics.counter('sluice_requests_refused_total', 'Requests that could not be parsed', ['status'])
  const serve = minRevision?.before(gateway.handle)
  const common = { gateway, serve, limits: settings.limits, log, refused, traffic, reusePort: true }
  for (const address of settings.listen) listeners.push(await listen({ address, ...common }))
  send({ type: 'listening' })
}

async function answer(number: number, { about, asked }: Question): Promise<void> {
  try {
    const said = about === 'decision' ? gateway.explain(asked) : await rehearse(asked, gateway.options)
    send({ type: 'answered', number, answer: said })
  } catch (error) {
    log.error({ err: error }, 'a question of an operator could not be answered')
    send({ type: 'answered', number, answer: { problem: 'it could not be told: the error log says why' } })
  }
}

async function drain(order: DrainOrder): Promise<void> {
  draining = true
  const last = setTimeout(() => void gateway.drain(0), order.graceMs)
  await Promise.all(listeners.map(listener => listener.stop(order)))
  clearTimeout(last)
  await gateway.drain(0)
  accounts.flush()
  await Promise.all([sync.close(), accessLog?.close()])
  await Promise.all([transport.close(), sandbox?.close()])
  log.end()
  send({ type: 'drained' })
}
