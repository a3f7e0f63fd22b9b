// Composition root of a worker thread: plugins, snapshot, gateway, listeners. Sees everything but admin and store.
import { parentPort, workerData } from 'node:worker_threads'
import { builtins } from '../plugins/index.ts'
import { Gateway } from './gateway.ts'
import { HoldBook } from './holds.ts'
import { type Listener, listen } from './listener.ts'
import { openLog } from './observe/log.ts'
import { MetricsWriter } from './observe/metrics-writer.ts'
import { Transport } from './proxy/transport.ts'
import { Sync } from './sync.ts'
import { Feed } from './workers/feed.ts'
import type { ToMain, ToWorker, WorkerSettings } from './workers/messages.ts'

const settings = workerData as WorkerSettings
const port = parentPort!
const send = (message: ToMain) => port.postMessage(message)

const log = openLog(settings.log.level, settings.log.file)
const metrics = new MetricsWriter({ publish: series => send({ type: 'series', series }) })
const transport = new Transport()
const book = new HoldBook(metrics)
const enabled = new Set(settings.plugins)
const feed = new Feed(send)
const sync = new Sync({
  source: feed,
  env: {
    now: Date.now,
    random: Math.random,
    log,
    metrics,
    transport,
    plugins: new Map(builtins.filter(({ name }) => enabled.has(name)).map(builtin => [builtin.name, builtin])),
  },
  applied: (revision, rejected) => send({ type: 'applied', revision, rejected }),
})
const gateway = new Gateway({
  snapshot: () => sync.current,
  book,
  log,
  limits: settings.limits,
  serverName: settings.serverName,
  showUpstreamStatus: settings.showUpstreamStatus,
})
const listeners: Listener[] = []
const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL'])

process.on('unhandledRejection', error => log.error({ err: error }, 'unhandled rejection'))
port.on('message', (message: ToWorker) => {
  if (message.type === 'drain') void drain(message.graceMs)
  else feed.receive(message)
})
await start()

/** The configuration first, so that no connection is accepted before there is something to serve it by. */
async function start(): Promise<void> {
  await sync.start()
  const refused = metrics.counter('sluice_requests_refused_total', 'Requests that could not be parsed', ['status'])
  for (const address of settings.listen) {
    try {
      listeners.push(await listen({ address, gateway, limits: settings.limits, log, refused }))
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error)
      // A host without IPv6 loses nothing by it: IPv4 has its own listener.
      if (address.host === '::' && NO_IPV6.has(code) && listeners.length > 0) continue
      send({ type: 'cannot_listen', address, code })
      return
    }
  }
  send({ type: 'listening', addresses: listeners.map(({ address }) => address) })
}

async function drain(graceMs: number): Promise<void> {
  const stopped = Promise.all(listeners.map(listener => listener.stop()))
  await gateway.drain(graceMs)
  await stopped
  await sync.close()
  await transport.close()
  send({ type: 'drained' })
}
