// The control API: what an operator of the machine is told, and what nobody is told.
import assert from 'node:assert/strict'
import { Catalogue } from '../../admin/catalogue.ts'
import { controlApi, type WorkerStatus } from '../../admin/control-api.ts'
import { Keyring } from '../../core/keyring.ts'
import { silent } from '../../core/observe/log.ts'
import type { CheckedUpstream } from '../../core/proxy/health/keeper.ts'
import type { Kind } from '../../core/store/store.ts'
import { fakePlugins, serve, type TestServer } from '../helpers/admin.ts'
import { MemoryStore } from '../helpers/memory-store.ts'

describe('the control API', () => {
  let api: TestServer
  let store: MemoryStore
  let catalogue: Catalogue
  let workers: WorkerStatus[] = []
  let checked: CheckedUpstream[] = []
  let called: string[] = []
  const keyring = new Keyring(['0123456789abcdef'])

  beforeEach(async () => {
    store = new MemoryStore()
    workers = []
    checked = []
    called = []
    catalogue = new Catalogue({ source: store, tags: () => [], log: silent })
    await catalogue.start()
    api = await serve(
      controlApi({
        catalogue,
        keyring,
        plugins: fakePlugins,
        onUnknownPlugin: 'refuse',
        workers: () => workers,
        checked: () => checked,
        reload: async () => {
          called.push('reload')
        },
        asked: { decision: async () => ({ found: undefined, silent: [] }), rehearse: async () => undefined },
        collectGarbage: () => called.push('gc'),
        pluginCode: () => ({ files: [], reloads: 0 }),
        log: silent,
        serverName: 'APISIX/3.18.0',
      }),
    )
  })
  afterEach(async () => {
    await api.close()
    catalogue.close()
    await store.close()
  })

  const put = (kind: Kind, id: string, value: Record<string, unknown>) =>
    store.write([{ kind, id, value: keyring.sealItem({ kind, id, value: { id, ...value } }, fakePlugins) }])

  it('shows routes, services and upstreams as the data plane has them, with defaults', async () => {
    await put('upstreams', '1', { nodes: { 'a:1': 1 } })
    await put('services', '2', { name: 's', upstream_id: 1 })
    await put('routes', '3', { uri: '/a', plugins: { 'key-auth': {} }, service_id: 2 })
    const node = { host: 'a', port: 1, weight: 1, priority: 0 }
    const upstream = {
      key: '/apisix/upstreams/1',
      value: { id: '1', nodes: [node], type: 'roundrobin', hash_on: 'vars', scheme: 'http', pass_host: 'pass' },
      createdIndex: 1,
      modifiedIndex: 1,
      orig_modifiedIndex: 1,
      update_count: 0,
      has_domain: true,
    }
    assert.deepEqual((await api.call('GET', '/v1/upstream/1')).json, upstream)
    assert.deepEqual((await api.call('GET', '/v1/upstreams')).json, [upstream])
    assert.deepEqual((await api.call('GET', '/v1/service/2')).json.value, { id: '2', name: 's', upstream_id: '1' })
    const { value } = (await api.call('GET', '/v1/route/3')).json
    assert.deepEqual([value.priority, value.status, value.plugins], [0, 1, { 'key-auth': { header: 'apikey' } }])
    assert.equal((await api.call('GET', '/v1/routes')).json.length, 1)
    assert.equal((await api.call('GET', '/v1/services')).json.length, 1)
  })

  it('shows no secret, encrypted or not, of good items or bad ones', async () => {
    const config = { provider: 'openai', auth: { header: { Authorization: 'Bearer top-secret' } } }
    await put('routes', 'good', { uri: '/a', plugins: { 'ai-proxy': config } })
    await put('routes', 'bad', { uri: 5, plugins: { 'ai-proxy': config } })
    await store.write([{ kind: 'routes', id: 'clear', value: { uri: '/a', plugins: { 'ai-proxy': config } } }])
    const { status, text, json } = await api.call('GET', '/v1/routes')
    assert.equal(status, 200)
    assert.ok(!/top-secret|v2:/.test(text), text)
    assert.equal(json.length, 3)
    assert.equal(json[1].value.plugins['ai-proxy'].auth.header.Authorization, '***')
  })

  it('lists the secrets that are locked or not stored as they would be now, and shows neither', async () => {
    const route = (key: string) => ({
      uri: '/a',
      plugins: { 'ai-proxy': { provider: 'openai', auth: { header: { key } } } },
    })
    const foreign = new Keyring(['another sixteen!'], 'compat')
    const locked = foreign.sealItem({ kind: 'routes', id: 'a', value: route('top-secret') }, fakePlugins)
    await store.write([{ kind: 'routes', id: 'a', value: locked }])
    await store.write([{ kind: 'routes', id: 'b', value: route('top-secret') }])
    await put('routes', 'c', route('top-secret'))
    const { json, text } = await api.call('GET', '/v1/config/status')
    const field = 'plugins.ai-proxy.auth.header.key'
    assert.deepEqual(json.warnings, [
      { kind: 'routes', id: 'a', warnings: [`no key of the keyring opens ${field}`] },
      { kind: 'routes', id: 'b', warnings: [`${field} is stored in clear until the next write`] },
    ])
    const routes = (await api.call('GET', '/v1/routes')).text
    const [ciphertext] = /(?<="key":")[^"]+/.exec(JSON.stringify(locked))!
    for (const shown of [text, routes]) assert.ok(!shown.includes('top-secret') && !shown.includes(ciphertext))
  })

  it('says so when an item does not exist', async () => {
    for (const name of ['route', 'service', 'upstream']) {
      const reply = await api.call('GET', `/v1/${name}/9`)
      assert.deepEqual([reply.status, reply.json], [404, { error_msg: `${name}[9] not found` }])
    }
  })

  it('tells which revision each worker serves and what it rejects', async () => {
    const rejected = [{ kind: 'routes', id: '1', revision: 6, reason: 'unknown plugin [x]', servesOlder: true }]
    workers = [
      { id: 0, revision: 7, rejected },
      { id: 1, revision: undefined, rejected: [] },
    ]
    const reply = await api.call('GET', '/v1/config/status')
    assert.deepEqual(reply.json, {
      revision: 0,
      workers: [
        { id: 0, revision: 7, rejected },
        { id: 1, rejected: [] },
      ],
      plugins: { files: [], reloads: 0 },
      warnings: [],
    })
  })

  it('lists what is kept without effect, item by item', async () => {
    await put('routes', '1', { uri: '/a', plugins: { late: {} } })
    await put('routes', '2', { uri: '/a', upstream: { nodes: [{ host: 'a', weight: 1, colour: 'red' }] } })
    await put('protos', '3', { content: 'syntax = "proto3";' })
    await put('services', 's/graphql_cost_decorations/4', { field_path: 'Query.users' })
    const said = 'is not served by this version of Sluice'
    assert.deepEqual((await api.call('GET', '/v1/config/status')).json.warnings, [
      { kind: 'routes', id: '2', warnings: ['upstream.nodes.colour has no effect'] },
      { kind: 'protos', id: '3', warnings: [`protos ${said}`] },
      {
        kind: 'graphql_cost_decorations',
        id: 's/graphql_cost_decorations/4',
        warnings: [`graphql_cost_decorations ${said}`],
      },
    ])
    await store.write([{ kind: 'routes', id: '2', value: null }])
    assert.equal((await api.call('GET', '/v1/config/status')).json.warnings.length, 2)
  })

  it('has the schemas of resources and plugins', async () => {
    const { json } = await api.call('GET', '/v1/schema')
    assert.deepEqual(Object.keys(json), ['main', 'plugins', 'stream_plugins'])
    const names = [
      'consumer',
      'consumer_group',
      'credential',
      'global_rule',
      'graphql_cost_decoration',
      'plugin_config',
    ]
    const more = ['plugins', 'proto', 'route', 'service', 'ssl', 'stream_route', 'upstream']
    const internal = ['upstream_hash_header_schema', 'upstream_hash_vars_schema']
    assert.deepEqual(Object.keys(json.main).sort(), [...names, ...more, ...internal])
    assert.ok('uri' in json.main.route.properties)
    assert.equal(json.plugins['key-auth'].priority, 2500)
    assert.deepEqual(json.stream_plugins, {})
  })

  it('shows the metadata of plugins', async () => {
    assert.deepEqual((await api.call('GET', '/v1/plugin_metadatas')).json, [])
    await put('plugin_metadata', 'late', { limit: 5 })
    assert.deepEqual((await api.call('GET', '/v1/plugin_metadatas')).json, [{ id: 'late', limit: 5 }])
    assert.deepEqual((await api.call('GET', '/v1/plugin_metadata/late')).json, { id: 'late', limit: 5 })
    const none = await api.call('GET', '/v1/plugin_metadata/x')
    assert.deepEqual([none.status, none.json], [404, { error_msg: 'plugin metadata[x] not found' }])
  })

  it('reloads plugins and collects garbage', async () => {
    const reload = await api.call('PUT', '/v1/plugins/reload')
    assert.deepEqual([reload.status, reload.text], [200, 'done'])
    const gc = await api.call('POST', '/v1/gc')
    assert.deepEqual([gc.status, gc.text], [200, ''])
    assert.deepEqual(called, ['reload', 'gc'])
  })

  it('knows nothing else', async () => {
    for (const [verb, path] of [
      ['GET', '/v1/nobody'],
      ['POST', '/v1/routes'],
      ['GET', '/v1/gc'],
      ['GET', '/v1/plugins/reload'],
      ['GET', '/v1/discovery/dns/dump'],
      ['GET', '/'],
    ] as const) {
      const reply = await api.call(verb, path)
      assert.deepEqual([reply.status, reply.json], [404, { error_msg: 'not found' }])
      assert.equal(reply.headers.get('server'), 'APISIX/3.18.0')
    }
  })

  it('goes on with what it knows while the store is away', async () => {
    await put('routes', '1', { uri: '/a', plugins: {} })
    store.away = true
    assert.equal((await api.call('GET', '/v1/routes')).json.length, 1)
    assert.equal((await api.call('GET', '/v1/route/1')).status, 200)
  })
})
