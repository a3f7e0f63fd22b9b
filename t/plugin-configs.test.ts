// Plugin configs through the front door: below the route, above the service, changed while requests come.
import assert from 'node:assert/strict'
import { type Resources, startGateway, type TestGateway } from './helpers/gateway.ts'
import { tracer } from './helpers/tracer.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

describe('a plugin config', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  const trace: string[] = []

  beforeEach(async () => {
    upstream = await startUpstream()
    trace.length = 0
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function start(resources: Resources): Promise<void> {
    gateway = await startGateway({
      resources,
      plugins: [tracer('high', 30, trace), tracer('mid', 20, trace), tracer('low', 10, trace)],
    })
    assert.deepEqual(gateway.rejected, [])
  }
  const to = () => ({ nodes: { [`127.0.0.1:${upstream.port}`]: 1 } })
  const tagged = (...tags: [name: string, tag: string][]) =>
    Object.fromEntries(tags.map(([name, tag]) => [name, { tag }]))
  const route = (more: object) => ({ r: { uri: '/', upstream: to(), ...more } })

  /** The status, and the plugins whose access ran, in their order. */
  async function get(): Promise<[number, ...string[]]> {
    trace.length = 0
    const { status } = await fetch(gateway.url)
    await until(() => gateway.gateway.inFlight === 0, 'the request has logged')
    return [status, ...trace.filter(line => line.endsWith('.access')).map(line => line.slice(0, -'.access'.length))]
  }

  it("is merged by name, below the route's plugins and above the service's", async () => {
    await start({
      services: { s: { plugins: tagged(['high', 'service'], ['mid', 'service'], ['low', 'service']) } },
      plugin_configs: { p: { plugins: tagged(['high', 'config'], ['mid', 'config']) } },
      routes: route({ service_id: 's', plugin_config_id: 'p', plugins: tagged(['high', 'route']) }),
    })
    assert.deepEqual(await get(), [200, 'high:route', 'mid:config', 'low:service'])
  })

  it('may be named by a number, and be all the plugins that a route has', async () => {
    await start({
      plugin_configs: { 1: { plugins: tagged(['mid', 'config']) } },
      routes: route({ plugin_config_id: 1 }),
    })
    assert.deepEqual(await get(), [200, 'mid:config'])
  })

  it("turns a service's plugin off with _meta.disable, as a route does one of its own", async () => {
    await start({
      services: { s: { plugins: tagged(['high', 'service'], ['mid', 'service']) } },
      plugin_configs: { p: { plugins: { high: { _meta: { disable: true } }, low: {} } } },
      routes: route({ service_id: 's', plugin_config_id: 'p', plugins: { low: { _meta: { disable: true } } } }),
    })
    assert.deepEqual(await get(), [200, 'mid:service'])
  })

  it('that is missing is answered 503, and no plugin of the route runs, nor of its service', async () => {
    await start({
      services: { s: { plugins: tagged(['mid', 'service']) } },
      routes: route({ service_id: 's', plugin_config_id: 'gone', plugins: tagged(['high', 'route']) }),
    })
    assert.deepEqual(await get(), [503])
    assert.deepEqual([trace, upstream.received.length], [[], 0])
  })

  it('counts as soon as it is changed, gone or back again, and closes what it no longer has', async () => {
    const set = (...tags: [name: string, tag: string][]) => ({ plugin_configs: { p: { plugins: tagged(...tags) } } })
    await start({ ...set(['high', 'a'], ['low', 'same']), routes: route({ plugin_config_id: 'p' }) })
    assert.deepEqual(await get(), [200, 'high:a', 'low:same'])
    await gateway.put(set(['high', 'b'], ['low', 'same']))
    await until(() => trace.includes('high:a.close'), 'what is no longer configured is closed')
    assert.ok(!trace.includes('low:same.close'))
    assert.deepEqual(await get(), [200, 'high:b', 'low:same'])
    await gateway.put({ plugin_configs: { p: null } })
    assert.deepEqual(await get(), [503])
    await gateway.put(set(['mid', 'c']))
    assert.deepEqual(await get(), [200, 'mid:c'])
  })

  it('that is bad fails alone, and its last good version goes on', async () => {
    await start({
      plugin_configs: { p: { plugins: tagged(['mid', 'good']) }, q: { plugins: tagged(['low', 'other']) } },
      routes: { ...route({ plugin_config_id: 'p' }), q: { uri: '/q', upstream: to(), plugin_config_id: 'q' } },
    })
    await gateway.put({ plugin_configs: { p: { plugins: { mid: { tag: 5 } } }, new: { plugins: { nobody: {} } } } })
    assert.deepEqual(
      gateway.rejected.map(({ kind, id, servesOlder }) => [kind, id, servesOlder]),
      [
        ['plugin_configs', 'p', true],
        ['plugin_configs', 'new', false],
      ],
    )
    assert.deepEqual(await get(), [200, 'mid:good'])
  })
})
