// Gateways on etcd as their operators run them: what they serve, where they serve it from, who may what, what they say.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { IRangeResponse } from 'etcd3'
import { type EtcdCluster, startEtcd } from '../../helpers/etcd.ts'
import { configFolder, type GatewayProcess, run, startProcess } from '../../helpers/process.ts'
import { until } from '../../helpers/until.ts'

const ring = ['a-key-of-thirty-two-characters-!', 'qeddd145sfvddff3']
// APISIX's own: AES-128-CBC with the key as IV, of `sk-of-apisix`, under the second key of the ring.
const sealedByApisix = 'EFtBE2XR+dslgD9D2Kvm2A=='

describe('a gateway on etcd', function () {
  this.timeout(120_000)
  let cluster: EtcdCluster
  let port: number
  let close: () => Promise<unknown>
  let prefix: string
  let prefixes = 0
  const started: GatewayProcess[] = []

  before(async function () {
    this.timeout(600_000)
    cluster = await startEtcd()
    const upstream = createServer((message, response) => response.end(JSON.stringify(message.headers)))
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    port = (upstream.address() as AddressInfo).port
    close = () => new Promise(resolve => upstream.close(resolve).closeAllConnections())
  })
  after(async () => {
    await close()
    await cluster.close()
  })
  beforeEach(() => {
    prefix = `/p${prefixes++}`
  })
  afterEach(async () => {
    for (const gateway of started.splice(0)) await gateway.dispose()
    proxy().heal()
  })

  const proxy = () => cluster.members[0]!.proxy
  interface Options {
    role?: string
    keyring?: readonly string[]
    etcd?: string
    more?: string
    workers?: number
  }
  function config({ role = 'traditional', keyring = ring, etcd = '', more = '', workers = 1 }: Options = {}) {
    return configFolder(more, {
      nginx_config: `worker_processes: ${workers}`,
      ...(keyring.length > 0 && { apisix: `data_encryption: {keyring: ${JSON.stringify(keyring)}}` }),
      deployment: `role: ${role}
  role_traditional: {config_provider: etcd}
  etcd: {host: ['${cluster.hosts[0]}'], prefix: ${prefix}, health_check_timeout: 1, startup_retry: 1, timeout: 5${etcd}}`,
    })
  }
  async function start(at: { folder: string; file: string } = config(), ready?: string): Promise<GatewayProcess> {
    const gateway = await startProcess(at, undefined, {}, ready)
    started.push(gateway)
    return gateway
  }
  const route = (more: object = {}) => ({
    uri: '/*',
    upstream: { type: 'roundrobin', nodes: { [`127.0.0.1:${port}`]: 1 } },
    ...more,
  })
  const put = (key: string, value: string | object) =>
    cluster.put(`${prefix}/${key}`, typeof value === 'string' ? value : JSON.stringify(value))
  const statusOf = async (url: string, headers: Record<string, string> = {}) => (await fetch(url, { headers })).status
  // biome-ignore lint/suspicious/noExplicitAny: tests look at any JSON
  const json = async (url: string): Promise<any> => (await fetch(url)).json()
  const configStatus = (gateway: GatewayProcess) => json(`${gateway.urls.control}/v1/config/status`)
  async function stored(key: string) {
    const request = { key: Buffer.from(`${prefix}/${key}`) }
    const { kvs } = await cluster.call<IRangeResponse>({ service: 'KV', method: 'range', request })
    return kvs[0] === undefined ? undefined : (JSON.parse(kvs[0].value.toString()) as Record<string, unknown>)
  }

  it('serves what a live APISIX has put there, and goes on where something is bad', async () => {
    for (const kind of ['routes', 'services', 'consumers', 'ssls', 'plugin_metadata']) await put(`${kind}/`, 'init_dir')
    await put('plugins', '[{"name":"key-auth"}]')
    await put('gen_id', '1')
    await put('data_plane/server_info/x', {})
    await put('consumers/jack', { username: 'jack', plugins: { 'key-auth': { key: sealedByApisix } } })
    await put('routes/1', route({ id: 1, uri: '/auth', plugins: { 'key-auth': {} } }))
    await put('routes/plain', route({ id: 'plain', uri: '/plain' }))
    await put('routes/broken', '{"uri": "/broken", ')
    await put('routes/wrong', { id: 'wrong', uri: 1 })
    await put('routes/unknown', route({ id: 'unknown', uri: '/unknown', plugins: { 'open-sesame': {} } }))
    await put('elsewhere/x', 'y')
    const gateway = await start(config({ workers: 2 }))
    const { requests } = gateway.urls
    assert.equal(await statusOf(`${requests}/auth`), 401)
    assert.equal(await statusOf(`${requests}/auth`, { apikey: 'sk-of-apisix' }), 200)
    assert.equal(await statusOf(`${requests}/plain`), 200)
    for (const path of ['/broken', '/wrong']) assert.equal(await statusOf(requests + path), 404)
    const refused = await fetch(`${requests}/unknown`)
    assert.equal(refused.status, 503)
    assert.equal(((await refused.json()) as { code: string }).code, 'plugin_unavailable')

    const { workers, config: known, warnings } = await configStatus(gateway)
    for (const { rejected, revision, applied_at } of workers) {
      assert.ok(revision > 0 && Date.parse(applied_at) <= Date.now())
      assert.deepEqual(rejected.map(({ id }: { id: string }) => id).sort(), ['broken', 'wrong'])
      assert.equal(rejected.find(({ id }: { id: string }) => id === 'broken').reason, 'the value is not JSON')
    }
    assert.deepEqual(
      known.strangers.map(({ key }: { key: string }) => key),
      [`${prefix}/elsewhere/x`],
    )
    assert.match(JSON.stringify(warnings), /no plugin open-sesame: its requests are answered 503/)
    const log = readFileSync(join(gateway.folder, 'error.log'), 'utf8')
    assert.equal(log.split('configuration item rejected').length - 1, 2, 'each is said once')

    const broken = await gateway.admin('GET', '/routes/broken')
    assert.deepEqual([broken.status, broken.body], [500, { error_msg: 'this is no resource: the value is not JSON' }])
    const list = (await gateway.admin('GET', '/routes')).body as { list: { key: string }[] }
    assert.deepEqual(
      list.list.map(({ key }) => key).filter(key => key.endsWith('broken')),
      [],
    )
    assert.equal((await gateway.admin('DELETE', '/routes/wrong')).status, 200)

    // Correcting heals; what was good stays when it becomes bad.
    await put('routes/broken', route({ id: 'broken', uri: '/broken' }))
    await until(async () => (await statusOf(`${requests}/broken`)) === 200, 'it is served')
    await put('routes/plain', '{')
    await until(async () => JSON.stringify(await configStatus(gateway)).includes('"servesOlder":true'), 'it is bad')
    assert.equal(await statusOf(`${requests}/plain`), 200)
  })

  it('ignores plugins that it has not where that is asked for', async () => {
    await put('routes/1', route({ id: '1', plugins: { 'open-sesame': {} } }))
    const gateway = await start(config({ more: 'sluice: {on_unknown_plugin: ignore}\n' }))
    assert.equal(await statusOf(gateway.urls.requests), 200)
    assert.match(JSON.stringify((await configStatus(gateway)).warnings), /served without it/)
  })

  it('writes what APISIX reads, in its place and form', async () => {
    const gateway = await start()
    const jack = { username: 'jack', plugins: { 'key-auth': { key: 'sk-of-jack' } } }
    const created = await gateway.admin('PUT', '/consumers', jack)
    assert.deepEqual([created.status, (created.body as { key: string }).key], [201, `${prefix}/consumers/jack`])
    const plugins = (await stored('consumers/jack'))?.plugins as { 'key-auth': { key: string } }
    // openssl enc -aes-256-cbc -K hex(key) -iv hex(first 16 of key)
    assert.equal(plugins['key-auth'].key, 'sDVxVTKVmDyos2evFgk6Sg==')
    const shown = (await gateway.admin('GET', '/consumers/jack')).body as { value: typeof jack }
    assert.equal(shown.value.plugins['key-auth'].key, 'sk-of-jack')
    await gateway.admin('PUT', '/routes/1', route({ plugins: { 'key-auth': {} } }))
    assert.equal(await statusOf(gateway.urls.requests, { apikey: 'sk-of-jack' }), 200)
    assert.equal((await gateway.admin('DELETE', '/routes/1')).status, 200)
    assert.equal(await stored('routes/1'), undefined)
    assert.equal(await statusOf(gateway.urls.requests), 404)
  })

  it('starts without etcd from the configuration on disk, says so, answers admin writes 503, and catches up', async () => {
    const at = config()
    const first = await start(at)
    await first.admin('PUT', '/routes/1', route())
    const secret = { username: 'jack', plugins: { 'key-auth': { key: 'a-secret-of-jack' } } }
    await first.admin('PUT', '/consumers', secret)
    assert.equal(await first.stop(), 0)
    const file = join(at.folder, 'data/last-good.jsonl')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.ok(!readFileSync(file, 'utf8').includes('a-secret-of-jack'))

    proxy().refuse()
    const gateway = await start(at)
    assert.equal(await statusOf(gateway.urls.requests), 200)
    assert.match(readFileSync(join(at.folder, 'error.log'), 'utf8'), /served from disk/)
    const ready = await json(`${gateway.urls.status}/status/ready`)
    assert.deepEqual([ready.status, ready.config.source, ready.config.etcd.reachable], ['ok', 'disk', false])
    const { config: known } = await configStatus(gateway)
    assert.equal(known.source, 'disk')
    assert.ok(known.age_seconds > 0)
    const page = await (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()
    assert.match(page, /^apisix_etcd_reachable 0$/m)
    assert.match(page, /^apisix_etcd_modify_indexes\{key="routes"\} [1-9]\d*$/m)
    // Those of APISIX's dashboard.
    for (const key of 'consumers global_rules max_modify_index prev_index protos ssls upstreams x_etcd_index'.split(
      ' ',
    ))
      assert.match(page, new RegExp(`^apisix_etcd_modify_indexes\\{key="${key}"\\} \\d+$`, 'm'))
    assert.match(page, /^sluice_config_worker_revision\{worker="0"\} [1-9]\d*$/m)
    assert.match(page, /^sluice_config_age_seconds \d/m)
    const refused = await gateway.admin('PUT', '/routes/1', route({ uri: '/other' }))
    assert.equal(refused.status, 503)
    assert.match((refused.body as { error_msg: string }).error_msg, /etcd/)

    await put('routes/2', route({ id: '2', uri: '/second' }))
    await cluster.remove(`${prefix}/routes/1`)
    proxy().heal()
    await until(async () => (await statusOf(`${gateway.urls.requests}/x`)) === 404, 'it catches up', 20_000)
    assert.equal(await statusOf(`${gateway.urls.requests}/second`), 200)
    assert.equal((await json(`${gateway.urls.status}/status/ready`)).config.source, 'etcd')
    assert.equal((await gateway.admin('PUT', '/routes/1', route())).status, 201)
  })

  it('waits for etcd where there is nothing on disk: alive, not ready, and ended by a signal', async () => {
    await put('routes/1', route({ id: '1' }))
    proxy().refuse()
    const gateway = await start(config(), 'waiting for etcd')
    const [, status] = /(http:\S+)\/status\/ready/.exec(gateway.output.stdout)!
    assert.equal(await statusOf(`${status}/status`), 200)
    const answer = await fetch(`${status}/status/ready`)
    assert.equal(answer.status, 503)
    assert.match(await answer.text(), /has not received configuration/)
    proxy().heal()
    await until(() => gateway.output.stdout.includes('is ready'), 'it begins', 20_000)
    assert.equal(await statusOf(gateway.urls.requests), 200)
    assert.equal(await statusOf(`${status}/status/ready`), 200)

    proxy().refuse()
    const other = await start(config(), 'waiting for etcd')
    assert.equal(await other.stop(), 0)
  })

  it('is not ready any more when the configuration is older than stale_after, and serves it still', async () => {
    await put('routes/1', route({ id: '1' }))
    const strict = await start(config({ more: 'sluice: {stale_after: 2s}\n' }))
    const ready = (gateway: GatewayProcess) => statusOf(`${gateway.urls.status}/status/ready`)
    assert.equal(await ready(strict), 200)
    proxy().refuse()
    await until(async () => (await ready(strict)) === 503, 'it is stale', 20_000)
    assert.match((await json(`${strict.urls.status}/status/ready`)).error, /last known to be current \d/)
    assert.equal(await statusOf(strict.urls.requests), 200)
    proxy().heal()
    await until(async () => (await ready(strict)) === 200, 'it is current again', 20_000)
  })

  it('makes a keyring only where there is no data yet', async () => {
    const at = config({ keyring: [] })
    const first = await start(at)
    assert.ok(existsSync(join(at.folder, 'data/keyring')))
    await first.admin('PUT', '/routes/1', route())
    await first.stop()
    // Its own it can use again.
    await start(at)
    const refused = await run(['--config', config({ keyring: [] }).file])
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /apisix\.data_encryption\.keyring: must be configured: etcd holds data below/)
    proxy().refuse()
    const blind = await run(['--config', config({ keyring: [] }).file])
    assert.equal(blind.code, 1)
    assert.match(blind.stderr, /must be configured: whether etcd holds data already could not be found out/)
  })

  it('is an admin API only, or a data plane only, as its role says', async () => {
    const control = await start(config({ role: 'control_plane' }))
    const data = await start(config({ role: 'data_plane' }))
    assert.equal((await control.admin('PUT', '/routes/1', route())).status, 201)
    await until(async () => (await statusOf(data.urls.requests)) === 200, 'the data plane serves it')
    assert.doesNotMatch(control.output.stdout, /requests +\S/)
    assert.doesNotMatch(data.output.stdout, /admin /)
    assert.ok(!existsSync(join(data.folder, 'data/admin.key')))
    for (const { urls } of [control, data]) assert.equal(await statusOf(`${urls.status}/status/ready`), 200)
    assert.deepEqual((await configStatus(control)).workers, [])
  })

  describe('through which clients read their own writes', () => {
    const header = 'sluice: {min_revision_header: {enabled: true, wait: 700ms, max_waiting: 3}}\n'
    const ask = (gateway: GatewayProcess, revision: number | string) =>
      fetch(`${gateway.urls.requests}/x`, { headers: { 'X-Sluice-Min-Revision': `${revision}` } })

    it('makes a request wait until the revision is served, and refuses it when it does not come', async () => {
      const one = await start(config({ more: header }))
      const two = await start(config({ more: header, workers: 2 }))
      for (let n = 0; n < 10; n++) {
        const { revision } = await one.admin(
          'PUT',
          '/routes/1',
          route({ plugins: { 'proxy-rewrite': { headers: { n } } } }),
        )
        const answer = await ask(two, revision)
        assert.equal(((await answer.json()) as { n: string }).n, String(n))
      }
      const { revision } = await one.admin('PUT', '/routes/1', route())
      const early = ask(two, revision + 1)
      await one.admin('PUT', '/routes/2', route({ uri: '/other' }))
      assert.equal((await early).status, 200)
      const refused = await ask(two, revision + 1_000)
      assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '1'])
      assert.equal(((await refused.json()) as { code: string }).code, 'revision_not_applied')
      assert.equal((await ask(two, 'new')).status, 400)
      // A gateway that is cut off says so instead of answering from before.
      proxy().refuse()
      assert.equal((await ask(two, revision + 50)).status, 503)
    })
  })
})
