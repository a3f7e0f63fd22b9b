// What plugin_attr.prometheus says, in a gateway of two workers: labels, expiry and buckets, and the page by public-api.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const SETTINGS = `    enable_export_server: false
    export_uri: /own/metrics
    metrics:
      http_status:
        expire: 1
        extra_labels: [{tenant: $http_x_tenant}]
      bandwidth:
        extra_labels: [{tenant: $http_x_tenant}]
    default_buckets: [7, 70]
`
const main = new URL('../core/main.ts', import.meta.url).pathname

describe('metrics as the configuration asks for them', function () {
  this.timeout(120_000)
  let upstream: ScriptedUpstream
  let gateway: GatewayProcess
  let place: ReturnType<typeof configFolder>

  before(async () => {
    upstream = await startUpstream()
    place = configFolder(SETTINGS)
    gateway = await startProcess(place, ['env', 'APISIX_WORKER_PROCESSES=2', 'node', main])
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    for (const [id, route] of Object.entries({
      counted: { uri: '/x', plugins: { prometheus: {} }, upstream: { type: 'roundrobin', nodes } },
      page: { uri: '/own/metrics', plugins: { 'public-api': {} } },
      alias: { uri: '/alias', plugins: { 'public-api': { uri: '/own/metrics' } } },
      usual: { uri: '/apisix/prometheus/metrics', plugins: { 'public-api': {} } },
    }))
      assert.equal((await gateway.admin('PUT', `/routes/${id}`, route)).status, 201)
    const statuses = () =>
      Promise.all(Array.from({ length: 8 }, async () => (await fetch(`${gateway.urls.requests}/alias`)).status))
    await until(async () => (await statuses()).every(status => status === 200), 'all workers serve the routes')
  })
  after(async () => {
    await gateway.dispose()
    await upstream.close()
  })

  const get = async (path: string, headers: Record<string, string> = {}) => {
    const ask = async () => await (await fetch(gateway.urls.requests + path, { headers })).text()
    // A connection that an old worker had not accepted yet when it closed is lost.
    return await ask().catch(ask)
  }
  const page = (path = '/own/metrics') => get(path)
  const count = async (tenant: string, times = 1) => {
    for (let n = 0; n < times; n++) await get('/x', { 'x-tenant': tenant, connection: 'close' })
  }
  const status = async (tenant: string) =>
    Number(new RegExp(`^apisix_http_status\\{.*,tenant="${tenant}"\\} (\\d+)$`, 'm').exec(await page())?.[1] ?? 0)

  it('are at the path that the configuration names, where a route exposes it, of all workers together', async () => {
    const answer = await fetch(`${gateway.urls.requests}/own/metrics`)
    assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    const text = await answer.text()
    assert.match(text, /^sluice_worker_loop_lag_seconds_count\{worker="0"\} \d+$/m)
    assert.match(text, /^sluice_worker_loop_lag_seconds_count\{worker="1"\} \d+$/m)
    assert.match(text, /^sluice_main_process_start_time_seconds \d/m)
    assert.match(await page('/alias'), /^apisix_node_info\{/m)
    assert.equal((await fetch(`${gateway.urls.requests}/apisix/prometheus/metrics`)).status, 404)
    assert.equal((await fetch(`${gateway.urls.requests}/own/metrics`, { method: 'POST' })).status, 404)
  })

  it('have the labels and buckets that it names', async () => {
    await count('blue')
    const counted = /^apisix_bandwidth\{type="ingress",.*,llm_model="",tenant="blue"\} \d+$/m
    await until(async () => counted.test(await page()), 'it has counted')
    const text = await page()
    const bounds = [...text.matchAll(/^apisix_http_latency_bucket\{.*,le="(.*)"\}/gm)].map(([, bound]) => bound)
    assert.deepEqual([...new Set(bounds)], ['7', '70', '+Inf'])
  })

  it('go when they have not moved for as long as it says, and begin again at zero', async () => {
    await count('red', 8)
    await until(async () => /^apisix_bandwidth\{.*,tenant="red"\}/m.test(await page()), 'they have counted')
    await until(async () => (await status('red')) === 0, 'they are gone')
    assert.match(await page(), /^apisix_bandwidth\{.*,tenant="red"\}/m)
    let now = 0
    // On a slow machine it may be gone again before the page is read.
    await until(async () => {
      await count('red')
      now = await status('red')
      return now > 0
    }, 'one has counted')
    assert.ok(now < 8, `${now}`)
  })

  it('are those of the start after SIGHUP, whatever the file says by then', async () => {
    await count('green')
    const text = readFileSync(place.file, 'utf8')
    writeFileSync(place.file, text.replace('[7, 70]', '[8]').replace('[{tenant: $http_x_tenant}]', '[]'))
    gateway.child.kill('SIGHUP')
    await until(
      async () => /^sluice_worker_replacements_total\{reason="planned",plugin=""\} 2$/m.test(await page()),
      'the workers are new',
      60_000,
    )
    const bandwidth = async () =>
      Number(/^apisix_bandwidth\{type="ingress",.*,tenant="green"\} (\d+)$/m.exec(await page())?.[1])
    const before = await bandwidth()
    await count('green')
    await until(async () => (await bandwidth()) > before, 'the new workers count where the old did')
    const log = readFileSync(join(gateway.folder, 'error.log'), 'utf8')
    assert.match(log, /"key":"plugin_attr".*takes effect when the gateway is started again/)
    assert.doesNotMatch(log, /contradicts/)
  })
})
