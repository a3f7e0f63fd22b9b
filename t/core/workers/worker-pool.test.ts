// Several workers as one gateway: exact together, replaced when one dies or stands still, drained without a loss.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '../../../core/observe/log.ts'
import { MetricsReader } from '../../../core/observe/metrics-reader.ts'
import { noCode } from '../../../core/plugin-code/code.ts'
import type { WorkerSettings } from '../../../core/workers/messages.ts'
import { freePorts } from '../../../core/workers/ports.ts'
import { WorkerPool } from '../../../core/workers/worker-pool.ts'
import { MemoryStore } from '../../helpers/memory-store.ts'
import { connectRaw } from '../../helpers/raw-client.ts'
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

  async function start(
    count: number,
    routes: Record<string, object>,
    {
      stallMs = 30_000,
      maxLoopLag = 10_000,
      portTaken = false,
      log: workerLog = { level: 'fatal', file: undefined },
    }: Partial<{ stallMs: number; maxLoopLag: number; portTaken: boolean; log: WorkerSettings['log'] }> = {},
  ): Promise<void> {
    const log = (fields: object, message: string) => void said.push({ fields: { ...fields }, message })
    const logger: Logger = { debug: log, info: log, warn: log, error: log }
    const { addresses: listen, release } = await freePorts([{ host: '127.0.0.1', port: 0 }])
    url = `http://127.0.0.1:${listen[0]!.port}`
    if (!portTaken) release()
    for (const [id, value] of Object.entries(routes))
      await store.write([{ kind: 'routes', id, value: { id, ...value } }])
    settings = {
      metrics: {},
      metricsPage: undefined,
      accessLog: undefined,
      explain: 0,
      debugKey: undefined,
      debugMode: false,
      listen,
      limits: {
        headerTimeout: 60_000,
        requestTimeout: 0,
        bodyTimeout: 60_000,
        keepAliveTimeout: 60_000,
        maxHeaderSize: 32_768,
        maxHeaderFields: 1_000,
        maxConnections: 1_000,
        maxPipelined: 100,
        maxBodySize: 0,
        sendTimeout: 10_000,
        hookTimeout: 60_000,
        turnGrace: 1_000,
      },
      overload: { maxRequestsInFlight: 1_000, maxBufferedBytes: 2 ** 24, maxLoopLag },
      forwarding: { trusted: undefined, realIp: { header: 'X-Real-IP', from: [], recursive: false } },
      minRevision: undefined,
      names: { servers: [], serviceServers: [], validMs: 0, timeoutMs: 5_000, search: true, ipv6: true },
      deniedAddresses: [],
      gcpServiceAccount: undefined,
      keepAlive: { size: 320, idleMs: 4_000, requests: 1_000 },
      healthChecks: true,
      serverName: 'APISIX',
      showUpstreamStatus: false,
      router: 'radixtree_host_uri',
      maxPostArgs: 1_048_576,
      plugins: ['fault', 'prometheus'],
      javascript: undefined,
      onUnknownPlugin: 'refuse',
      code: noCode,
      heapMb: 96,
      log: workerLog,
    }
    pool = new WorkerPool({
      count,
      entry: new URL('../../helpers/faulty-worker.ts', import.meta.url),
      settings,
      source: store,
      reader,
      log: logger,
      stallMs,
      graceMs: 60_000,
      names: {
        plugins: settings.plugins,
        routes: async () => (await store.list()).items.map(({ id }) => id),
      },
      page: async function* () {},
      replaced: (reason, plugin) => void replaced.push(plugin === undefined ? reason : `${reason} in ${plugin}`),
    })
    await pool.start().finally(release)
  }

  interface Answer {
    status: number
    /** The thread that gave it, where the plugin `fault` is. */
    worker: string | undefined
    text: string
    /** Undefined while it goes on. */
    end: 'whole' | 'broken' | undefined
  }
  /** Resolves with the head of the answer. By default the connection is one of its own, which the kernel gives to any worker. */
  const open = (path: string, agent = new Agent()) =>
    new Promise<Answer>((resolve, reject) => {
      request(url + path, { agent }, response => {
        const worker = response.headers['x-worker'] as string | undefined
        const answer: Answer = { status: response.statusCode!, worker, text: '', end: undefined }
        response.setEncoding('utf8').on('data', (text: string) => {
          answer.text += text
        })
        response.on('error', () => {})
        response.on('close', () => {
          answer.end = response.complete ? 'whole' : 'broken'
        })
        resolve(answer)
      })
        .on('error', reject)
        .end()
    })
  const get = async (path: string, agent?: Agent): Promise<Answer> => {
    const answer = await open(path, agent)
    await until(() => answer.end !== undefined, 'the answer has ended')
    if (answer.end === 'broken') throw new Error('the answer is broken')
    return answer
  }
  const many = (count: number, path: string) => Promise.all(Array.from({ length: count }, () => get(path)))
  /** Clients that come one after the other until they are stopped; `stop` resolves with how many were not served. */
  function procession(): { readonly served: number; stop(): Promise<number> } {
    const state = { served: 0, lost: 0 }
    const began = pool
    let stopped = false
    const walk = (async () => {
      while (!stopped && pool === began) {
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
  /** The sum of the samples that begin so. */
  const sum = (series: string) =>
    reader
      .print()
      .split('\n')
      .filter(line => line.startsWith(series))
      .reduce((total, line) => total + Number(line.split(' ').at(-1)), 0)
  const counted = () => sum('apisix_http_status{')

  it('balances as one: shares are exact over all workers', async () => {
    await start(3, { r: weighted() })
    for (let round = 0; round < 10; round++) await many(12, '/')
    assert.deepEqual(
      upstreams.map(({ received }) => received.length),
      [20, 40, 60],
    )
    await until(() => counted() === 120, 'all are counted')
  })

  it('counts requests under way as one, and forgets those of a worker that dies', async () => {
    const upstream = {
      type: 'least_conn',
      nodes: Object.fromEntries(upstreams.map(({ port }) => [`127.0.0.1:${port}`, 1])),
    }
    await start(3, { r: { uri: '/*', plugins: { fault: {} }, upstream } })
    const held = () => upstreams.map(({ received }) => received.filter(({ response }) => !response.closed).length)
    for (const each of upstreams) each.script = () => {}
    const requests: Promise<unknown>[] = []
    // One after the other: two workers that pick in the same moment do not know of each other yet.
    async function fill(): Promise<void> {
      for (let under = held().reduce((a, b) => a + b); under < 9; under++) {
        requests.push(get('/held').catch(() => undefined))
        await until(() => held().reduce((a, b) => a + b) > under, 'it has come')
      }
    }
    await fill()
    assert.deepEqual(held(), [3, 3, 3])
    await get('/exit').catch(() => undefined)
    await until(() => replaced.length === 1 && gone === 1, 'a new worker has taken the seat')
    await until(() => requests.length > 0 && held().reduce((a, b) => a + b) <= 9, 'its requests are gone')
    await fill()
    assert.deepEqual(held(), [3, 3, 3])
    for (const each of upstreams) for (const { response } of each.received) response.end()
    await Promise.all(requests)
  })

  it('probes each target once for all workers, which judge it together', async () => {
    const probes: number[] = []
    for (const each of upstreams)
      each.script = received => {
        if (received.target !== '/health') return received.json(500, {})
        if (each === upstreams[0]) probes.push(performance.now())
        received.json(200, {})
      }
    const checks = {
      active: { http_path: '/health', healthy: { interval: 1 } },
      passive: { unhealthy: { http_failures: 3 } },
    }
    const route = { uri: '/*', upstream: { nodes: { [`127.0.0.1:${upstreams[0]!.port}`]: 1 }, checks } }
    await start(3, { r: route })
    const status = () => pool!.health.list().flatMap(({ nodes }) => nodes.map(each => each.status))
    assert.deepEqual(status(), [])
    await many(2, '/')
    await until(() => status()[0] === 'mostly_healthy', 'two failures are counted')
    await get('/')
    assert.deepEqual(status(), ['unhealthy'])
    // Every worker has used it by now.
    await many(20, '/')
    await store.write([
      {
        kind: 'routes',
        id: 'r',
        value: { id: 'r', ...route, upstream: { ...route.upstream, checks: { active: checks.active } } },
      },
    ])
    await until(() => pool!.applied === 2, 'the edit is served')
    await many(20, '/')
    await until(() => status()[0] === 'healthy', 'other checks begin anew')
    probes.length = 0
    await until(() => probes.length === 3, 'it is probed')
    const gaps = probes.slice(1).map((at, before) => at - probes[before]!)
    assert.ok(
      gaps.every(gap => gap > 500),
      String(gaps),
    )
    const revision = await store.write([{ kind: 'routes', id: 'r', value: null }])
    await pool!.serves(revision, 5_000)
    await until(() => status().length === 0, 'nobody asks for it any more')
  })

  it('says why a worker cannot begin', async () => {
    await assert.rejects(start(2, {}, { portTaken: true }), { code: 'EADDRINUSE' })
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

  for (const [fault, reason, inHand] of [
    ['throw', 'uncaught_exception', 'finished'],
    ['exit', 'exited', 'lost'],
    ['eat', 'out_of_memory', 'lost'],
    ['spin', 'stalled in fault', 'lost'],
  ] as const) {
    it(`replaces a worker that ends by ${fault}: what it has in hand is ${inHand}, all else is served and counted`, async () => {
      for (const upstream of upstreams)
        upstream.script = received => (received.target === '/stream' ? received.startStream() : received.json(200, {}))
      const plugins = { fault: {}, prometheus: {} }
      await start(2, { r: { ...weighted(), plugins } }, fault === 'spin' ? { stallMs: 1_000 } : {})
      await many(20, '/ok')
      await until(() => counted() === 20, 'all are counted')
      const streams = await Promise.all(Array.from({ length: 12 }, () => open('/stream')))
      const others = procession()
      await until(() => others.served > 0, 'clients come and go')

      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      const { worker } = await get('/ok', agent)
      await get(`/${fault}`, agent).catch(() => undefined)
      agent.destroy()
      await until(() => replaced.length > 0, 'a new worker has taken the seat')
      const doomed = streams.filter(stream => inHand === 'lost' && stream.worker === worker)
      await until(() => doomed.every(({ end }) => end === 'broken'), 'what it had in hand is lost')
      const held = () => sum('sluice_holds_live{kind="fault"}')
      await until(() => held() <= streams.length - doomed.length + 1, 'what it held is not shown any more')

      const served = upstreams.flatMap(({ received }) => received.filter(({ target }) => target === '/stream'))
      await until(() => served.filter(({ gone }) => gone).length === doomed.length, 'upstreams know')
      for (const received of served.filter(({ gone }) => !gone)) {
        await received.event('more')
        received.response.end()
      }
      await until(() => streams.every(({ end }) => end !== undefined), 'all streams are over')
      for (const stream of streams) {
        assert.equal(stream.end, doomed.includes(stream) ? 'broken' : 'whole')
        assert.equal(stream.text.includes('more'), stream.end === 'whole')
      }

      await until(() => gone === 1, 'the old one is gone')
      const before = others.served
      await until(() => others.served > before + 20, 'clients come and go')
      // Whom the kernel had given to the old one.
      const lost = await others.stop()
      assert.ok(lost <= 2, `${lost} are lost`)
      assert.deepEqual(replaced, [reason])
      // A new balancer needs the lock that all share.
      const revision = await store.write([
        { kind: 'routes', id: 'new', value: { id: 'new', ...weighted(), uri: '/new' } },
      ])
      await pool!.serves(revision, 30_000)
      for (const { status } of await many(20, '/new')) assert.equal(status, 200)
      await until(() => counted() >= before + 55, 'nothing that was counted is lost')
      assert.equal(held(), 0)
      const connections = 'apisix_nginx_http_current_connections{state="active"}'
      await until(() => sum(connections) === 0, 'no connection is shown')
    })
  }

  it('names the plugin and the route in which a worker stood still', async () => {
    await start(
      2,
      { spins: { ...weighted(), uri: '/spin', plugins: { fault: {} } }, r: weighted() },
      { stallMs: 1_000 },
    )
    await get('/spin').catch(() => 'lost')
    await until(() => replaced.length > 0, 'it has been replaced')
    assert.deepEqual(replaced, ['stalled in fault'])
    const line = said.find(({ message }) => message.includes('stood still'))
    assert.deepEqual([line?.fields.plugin, line?.fields.route], ['fault', 'spins'])
  })

  it('leaves a worker alone that only has much to do in one turn of its loop', async () => {
    await start(1, { r: { ...weighted(), plugins: { fault: {} } } }, { stallMs: 1_000 })
    const client = await connectRaw(Number(new URL(url).port))
    client.write('GET /toil HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(20))
    await until(() => client.closed || client.responses() === 20, 'all are answered')
    client.close()
    assert.equal(client.responses(), 20)
  })

  it('sheds requests while its loop runs late, and takes them on again', async () => {
    await start(1, { r: { ...weighted(), plugins: { fault: {} } } }, { maxLoopLag: 60 })
    const shed = async () => (await many(8, '/toil')).some(({ status }) => status === 503)
    await until(shed, 'one is shed')
    assert.ok(sum('sluice_shed_total{reason="loop_lag"}') > 0)
    await until(async () => (await get('/ok')).status === 200, 'it has recovered')
    assert.deepEqual(replaced, [])
  })

  it('names the plugin whose rejection nobody handled, and lives on', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-'))
    const file = join(folder, 'error.log')
    await start(1, { r: { ...weighted(), plugins: { fault: {} } } }, { log: { level: 'error', file } })
    assert.equal((await get('/reject')).text, 'rejected')
    assert.equal((await get('/ok')).status, 200)
    assert.deepEqual(replaced, [])
    await until(() => readFileSync(file, 'utf8').includes('unhandled rejection'), 'it is logged')
    const line = JSON.parse(readFileSync(file, 'utf8').trim()) as { plugin: string; err: { message: string } }
    assert.deepEqual([line.plugin, line.err.message], ['fault', 'rejected outside any request'])
    rmSync(folder, { recursive: true })
  })
})
