// Several workers as one gateway: exact together, replaced when one dies or stands still, drained without a loss.
import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import type { Logger } from '../../../core/observe/log.ts'
import { MetricsReader } from '../../../core/observe/metrics-reader.ts'
import type { WorkerSettings } from '../../../core/workers/messages.ts'
import { freePorts } from '../../../core/workers/ports.ts'
import { WorkerPool } from '../../../core/workers/worker-pool.ts'
import { MemoryStore } from '../../helpers/memory-store.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

describe('a pool of workers', function () {
  this.timeout(120_000)
  let pool: WorkerPool | undefined
  let reader: MetricsReader
  let settings: WorkerSettings
  let url: string
  let upstreams: ScriptedUpstream[]
  let store: MemoryStore
  let said: { fields: Record<string, unknown>; message: string }[]
  let replaced: string[]
  /** Workers whose threads have ended. */
  let gone: number

  beforeEach(async () => {
    upstreams = await Promise.all([startUpstream(), startUpstream(), startUpstream()])
    store = new MemoryStore()
    said = []
    replaced = []
    gone = 0
    reader = new (class extends MetricsReader {
      override removeWriter(worker: number): void {
        super.removeWriter(worker)
        gone++
      }
    })()
  })
  afterEach(async () => {
    await pool?.drain(0)
    pool = undefined
    await Promise.all(upstreams.map(upstream => upstream.close()))
  })

  async function start(count: number, routes: Record<string, object>, stallMs = 30_000): Promise<void> {
    const log = (fields: object, message: string) => void said.push({ fields: { ...fields }, message })
    const logger: Logger = { debug: log, info: log, warn: log, error: log }
    const listen = await freePorts([{ host: '127.0.0.1', port: 0 }])
    url = `http://127.0.0.1:${listen[0]!.port}`
    for (const [id, value] of Object.entries(routes))
      await store.write([{ kind: 'routes', id, value: { id, ...value } }])
    settings = {
      listen,
      limits: {
        headerTimeout: 60_000,
        requestTimeout: 0,
        bodyTimeout: 60_000,
        keepAliveTimeout: 60_000,
        maxHeaderSize: 32_768,
        maxConnections: 1_000,
        maxBodySize: 0,
        sendTimeout: 10_000,
        turnGrace: 1_000,
      },
      overload: { maxRequestsInFlight: 1_000, maxBufferedBytes: 2 ** 24, maxLoopLag: 10_000 },
      forwarding: { trusted: undefined, realIp: { header: 'X-Real-IP', from: [], recursive: false } },
      serverName: 'APISIX',
      showUpstreamStatus: false,
      plugins: ['fault', 'prometheus'],
      heapMb: 96,
      log: { level: 'fatal', file: undefined },
    }
    pool = new WorkerPool({
      count,
      entry: new URL('../../helpers/faulty-worker.ts', import.meta.url),
      settings,
      source: store,
      reader,
      log: logger,
      stallMs,
      graceMs: 5_000,
      names: {
        plugins: settings.plugins,
        routes: async () => (await store.list()).items.map(({ id }) => id),
      },
      replaced: (reason, plugin) => void replaced.push(plugin === undefined ? reason : `${reason} in ${plugin}`),
    })
    await pool.start()
  }

  /** Over a connection of its own, so that the kernel gives each to any worker. */
  const get = (path: string) =>
    new Promise<{ status: number; body: string }>((resolve, reject) => {
      request(url + path, { agent: new Agent() }, response => {
        let body = ''
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text
        })
        response.on('end', () => resolve({ status: response.statusCode!, body }))
        response.on('error', reject)
      })
        .on('error', reject)
        .end()
    })
  const many = (count: number, path: string) => Promise.all(Array.from({ length: count }, () => get(path)))
  const served = async (count: number) => (await many(count, '/ok')).every(({ status }) => status === 200)
  /** Clients that come one after the other until they are stopped; `stop` resolves with how many were not served. */
  function procession(): { readonly served: number; stop(): Promise<number> } {
    let stopped = false
    const state = { served: 0, lost: 0 }
    const walk = (async () => {
      while (!stopped) {
        const status = await get('/ok').then(
          answer => answer.status,
          () => undefined,
        )
        if (status === 200) state.served++
        else state.lost++
      }
    })()
    return {
      get served() {
        return state.served
      },
      async stop() {
        stopped = true
        await walk
        return state.lost
      },
    }
  }
  const weighted = () => ({
    uri: '/*',
    plugins: { prometheus: {} },
    upstream: { nodes: Object.fromEntries(upstreams.map(({ port }, at) => [`127.0.0.1:${port}`, at + 1])) },
  })
  const counted = (family: string) =>
    reader
      .print()
      .split('\n')
      .filter(line => line.startsWith(`apisix_${family}{`))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)

  it('balances as one: shares are exact over all workers', async () => {
    await start(3, { r: weighted() })
    for (let round = 0; round < 10; round++) await many(12, '/')
    assert.deepEqual(
      upstreams.map(({ received }) => received.length),
      [20, 40, 60],
    )
    await until(() => counted('http_status') === 120, 'all are counted')
  })

  it('serves a change on every worker when it says so', async () => {
    await start(3, {})
    for (let version = 1; version <= 10; version++) {
      const uri = `/v${version}`
      const revision = await store.write([{ kind: 'routes', id: 'r', value: { id: 'r', ...weighted(), uri } }])
      await pool!.serves(revision, 5_000)
      const answers = await many(9, uri)
      assert.ok(answers.every(({ status }) => status === 200))
    }
  })

  for (const [fault, reason] of [
    ['throw', 'uncaught_exception'],
    ['exit', 'exited'],
    ['eat', 'out_of_memory'],
  ] as const) {
    it(`replaces a worker that ends by ${fault} within a second, and keeps what it counted`, async () => {
      await start(2, { r: { ...weighted(), plugins: { fault: {}, prometheus: {} } } })
      await many(20, '/ok')
      await until(() => counted('http_status') === 20, 'all are counted')
      const others = procession()
      await until(() => others.served > 0, 'clients come and go')
      await get(`/${fault}`).catch(() => undefined)
      await until(() => replaced.length === 1, 'a new worker has taken the seat')
      await until(() => gone === 1, 'the old one is gone')
      const before = others.served
      await until(() => others.served > before + 20, 'clients come and go')
      // Whom the kernel had given to the old one.
      const lost = await others.stop()
      assert.ok(lost <= 2, `${lost} are lost`)
      assert.deepEqual(replaced, [reason])
      assert.ok(await served(20))
      await until(() => counted('http_status') >= before + 55, 'nothing that was counted is lost')
    })
  }

  it('ends a worker that stands still, names plugin and route, and loses nothing of the others', async () => {
    await start(2, { spins: { ...weighted(), uri: '/spin', plugins: { fault: {} } }, r: weighted() }, 1_000)
    const stuck = get('/spin').catch(() => 'lost')
    await until(() => replaced.length === 1, 'it has been replaced')
    assert.deepEqual(replaced, ['stalled in fault'])
    assert.equal(await stuck, 'lost')
    const line = said.find(({ message }) => message.includes('stood still'))
    assert.equal(line?.fields.plugin, 'fault')
    assert.equal(line?.fields.route, 'spins')
    assert.ok(await served(20))
  })

  it('lives on after a rejection that nobody handled', async () => {
    await start(1, { r: { ...weighted(), plugins: { fault: {} } } })
    assert.equal((await get('/reject')).body, 'rejected')
    assert.equal((await get('/ok')).status, 200)
    assert.deepEqual(replaced, [])
  })

  it('is replaced as planned under keep-alive load without losing a request', async () => {
    await start(2, { r: weighted() })
    const agent = new Agent({ keepAlive: true, maxSockets: 20 })
    let stop = false
    let served = 0
    const lost: unknown[] = []
    const clients = Array.from({ length: 20 }, async () => {
      while (!stop) {
        await new Promise<void>(resolve => {
          request(`${url}/x`, { agent }, response => {
            response.resume().on('end', () => {
              served++
              resolve()
            })
          })
            .on('error', error => {
              lost.push(error)
              resolve()
            })
            .end()
        })
      }
    })
    await until(() => served > 100, 'load runs')
    await pool!.replaceAll(settings)
    await until(() => gone === 2, 'the old workers are gone')
    const after = served
    await until(() => served > after + 200, 'load goes on')
    stop = true
    await Promise.all(clients)
    agent.destroy()
    assert.deepEqual(replaced, ['planned', 'planned'])
    assert.ok(lost.length <= 2, `${lost.length} lost of ${served}: ${String(lost[0])}`)
  })
})
