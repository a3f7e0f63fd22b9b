// What the admin API says when resources contradict each other.
import assert from 'node:assert/strict'
import { plugin } from '../../core/plugin.ts'
import { fakePlugins, type Reply, startAdmin, type TestAdmin } from '../helpers/admin.ts'
import { pem } from '../helpers/samples.ts'
import { until } from '../helpers/until.ts'

describe('references', () => {
  let api: TestAdmin

  beforeEach(async () => {
    api = await startAdmin()
  })
  afterEach(() => api.close())

  function isError(reply: Reply, message: string): void {
    assert.deepEqual([reply.status, reply.json], [400, { error_msg: message }])
  }

  const ok = async (reply: Promise<Reply>) => assert.ok([200, 201].includes((await reply).status), (await reply).text)

  it('to what does not exist are refused, on PUT, POST and PATCH', async () => {
    const upstream = 'failed to fetch upstream info by upstream id [9], response code: 404'
    const service = 'failed to fetch service info by service id [9], response code: 404'
    isError(await api.admin('PUT', '/routes/1', { uri: '/a', upstream_id: 9 }), upstream)
    isError(await api.admin('PUT', '/routes/1', { uri: '/a', service_id: '9' }), service)
    isError(await api.admin('POST', '/routes', { uri: '/a', service_id: '9' }), service)
    isError(await api.admin('PUT', '/services/1', { upstream_id: '9' }), upstream)
    await ok(api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} }))
    isError(await api.admin('PATCH', '/routes/1', { service_id: '9' }), service)
    isError(await api.admin('PATCH', '/routes/1/upstream_id', '9'), upstream)
    await ok(api.admin('PUT', '/upstreams/9', { nodes: {} }))
    await ok(api.admin('PATCH', '/routes/1/upstream_id', '9'))
  })

  it('keep an upstream and a service from being deleted, unless by force', async () => {
    await ok(api.admin('PUT', '/upstreams/1', { nodes: {} }))
    await ok(api.admin('PUT', '/services/1', { upstream_id: 1 }))
    await ok(api.admin('PUT', '/routes/r', { uri: '/a', service_id: 1 }))
    isError(
      await api.admin('DELETE', '/upstreams/1'),
      'can not delete this upstream, service [1] is still using it now',
    )
    isError(
      await api.admin('DELETE', '/services/1'),
      'can not delete this service directly, route [r] is still using it now',
    )
    await ok(api.admin('PATCH', '/routes/r', { upstream_id: '1' }))
    isError(await api.admin('DELETE', '/upstreams/1'), 'can not delete this upstream, route [r] is still using it now')
    isError(
      await api.admin('DELETE', '/upstreams/1?force=1'),
      'can not delete this upstream, route [r] is still using it now',
    )
    await ok(api.admin('DELETE', '/upstreams/1?force=true'))
    await ok(api.admin('DELETE', '/routes/r'))
    await ok(api.admin('DELETE', '/services/1'))
  })

  it('never end up dangling when a service is deleted while a route is being put on it', async () => {
    await ok(api.admin('PUT', '/services/1', {}))
    let store = () => {}
    const held = new Promise<void>(resolve => {
      store = resolve
    })
    let writing = false
    api.store.beforeWrite = async ([change]) => {
      if (change?.kind !== 'routes') return
      writing = true
      await held
    }
    const put = api.admin('PUT', '/routes/1', { uri: '/a', service_id: 1 })
    await until(() => writing, 'the route has been checked and is being written')
    const remove = api.admin('DELETE', '/services/1')
    // Time enough for the deletion to be done, if it did not wait.
    for (let round = 0; round < 5; round++) await ok(api.admin('GET', '/routes'))
    store()
    assert.equal((await put).status, 201)
    isError(await remove, 'can not delete this service directly, route [1] is still using it now')
  })

  it('of two consumers to one key are refused, also when the other one is encrypted', async () => {
    const consumer = (username: string, key: string) => ({ username, plugins: { 'key-auth': { key } } })
    await ok(api.admin('PUT', '/consumers', consumer('jack', 'same')))
    const said = 'duplicate key of plugin key-auth found with consumer: jack'
    isError(await api.admin('PUT', '/consumers', consumer('rose', 'same')), said)
    await ok(api.admin('PUT', '/consumers/jack', consumer('jack', 'same')))
    await ok(api.admin('PUT', '/consumers', consumer('rose', 'other')))
    isError(await api.admin('PUT', '/consumers', consumer('rose', 'same')), said)
    await ok(api.admin('PUT', '/consumers', consumer('jack', 'new')))
    await ok(api.admin('PUT', '/consumers', consumer('rose', 'same')))
    await ok(api.admin('PUT', '/consumers', { username: 'none' }))
  })

  it('of a consumer and of credentials to one key are refused, whoever has it', async () => {
    const keyed = (key: string) => ({ plugins: { 'key-auth': { key } } })
    await ok(api.admin('PUT', '/consumers', { username: 'jack', ...keyed('one') }))
    await ok(api.admin('PUT', '/consumers', { username: 'rose' }))
    const ofConsumer = 'duplicate key of plugin key-auth found with consumer: jack'
    isError(await api.admin('PUT', '/consumers/rose/credentials/c1', keyed('one')), ofConsumer)
    await ok(api.admin('PUT', '/consumers/rose/credentials/c1', keyed('two')))
    await ok(api.admin('PUT', '/consumers/rose/credentials/c1', { ...keyed('two'), desc: 'again' }))
    const ofCredential = 'duplicate key of plugin key-auth found with credential: c1 of consumer: rose'
    isError(await api.admin('PUT', '/consumers/jack/credentials/c1', keyed('two')), ofCredential)
    isError(await api.admin('PUT', '/consumers', { username: 'jack', ...keyed('two') }), ofCredential)
    await ok(api.admin('DELETE', '/consumers/rose'))
    await ok(api.admin('PUT', '/consumers', { username: 'jack', ...keyed('two') }))
  })

  it('to a consumer that does not exist are refused, and credentials go with their consumer', async () => {
    const missing = await api.admin('PUT', '/consumers/jack/credentials/c1', {})
    assert.deepEqual([missing.status, missing.json], [404, { error_msg: 'consumer not found' }])
    await ok(api.admin('PUT', '/consumers', { username: 'jack' }))
    await ok(api.admin('PUT', '/consumers', { username: 'jackson' }))
    for (const path of ['/consumers/jack/credentials/c1', '/consumers/jackson/credentials/c1']) {
      await ok(api.admin('PUT', path, {}))
    }
    assert.equal((await api.admin('GET', '/consumers')).json.total, 2)
    await ok(api.admin('DELETE', '/consumers/jack'))
    const gone = await api.admin('DELETE', '/consumers/jack/credentials/c1')
    assert.deepEqual([gone.status, gone.json], [404, { message: 'Key not found' }])
    assert.equal((await api.admin('GET', '/consumers/jackson/credentials')).json.total, 1)
  })

  it('of a GraphQL cost decoration to its service are the path it is at', async () => {
    const path = '/services/1/graphql_cost_decorations/d'
    const cost = { field_path: 'a' }
    isError(await api.admin('PUT', path, cost), 'failed to fetch service info by service id [1], response code: 404')
    await ok(api.admin('PUT', '/services/1', {}))
    await ok(api.admin('PUT', path, cost))
    assert.equal((await api.admin('GET', '/services')).json.total, 1)
    await ok(api.admin('DELETE', '/services/1'))
    await ok(api.admin('PUT', '/services/1', {}))
    assert.equal((await api.admin('GET', path)).status, 404)
  })

  it('cannot be smuggled past a consumer by a slash in a name', async () => {
    await ok(api.admin('PUT', '/consumers', { username: 'jack' }))
    await ok(api.admin('PUT', '/consumers/jack/credentials/c1', {}))
    const inner = 'jack%2Fcredentials%2Fc1'
    for (const path of [
      `/consumers/${inner}/credentials/c2`,
      '/consumers/a%2Fb/credentials/c2',
      `/consumers/${inner}`,
    ]) {
      for (const verb of ['GET', 'DELETE']) assert.equal((await api.admin(verb, path)).status, 404, path)
    }
    assert.equal((await api.admin('PUT', `/consumers/${inner}/credentials/c2`, {})).status, 404)
    const long = `/consumers/jack/credentials/${inner}`
    isError(await api.admin('PUT', long, {}), 'wrong credential id')
    assert.equal((await api.store.list()).revision, 2)
  })

  it('that an attribute makes keep a plugin config, a consumer group and a service from being deleted', async () => {
    await ok(api.admin('PUT', '/plugin_configs/1', { plugins: {} }))
    await ok(api.admin('PUT', '/consumer_groups/1', { plugins: {} }))
    await ok(api.admin('PUT', '/ssls/1', { type: 'client', cert: pem('client'), key: pem('client-key') }))
    // As another gateway may have stored them, which serves what this one does not yet.
    const value = (more: object) => ({ uri: '/a', plugins: {}, ...more })
    await api.store.write([
      { kind: 'routes', id: 'r', value: value({ plugin_config_id: 1 }) },
      { kind: 'consumers', id: 'jack', value: { username: 'jack', group_id: '1' } },
    ])
    isError(
      await api.admin('DELETE', '/plugin_configs/1'),
      'can not delete this plugin config, route [r] is still using it now',
    )
    isError(
      await api.admin('DELETE', '/consumer_groups/1'),
      'can not delete this consumer group, consumer [jack] is still using it now',
    )
    await ok(api.admin('DELETE', '/plugin_configs/1?force=true'))
    await ok(api.admin('DELETE', '/consumer_groups/1?force=true'))
    await ok(api.admin('DELETE', '/ssls/1'))
  })

  it('to metadata are what a config leaves to them, and must be there when it is written', async () => {
    const needy = plugin({
      name: 'needy',
      priority: 1,
      version: 1,
      schema: { type: 'object', properties: { path: { type: 'string' } } },
      orMetadata: ['path'],
      setup: () => ({}),
    })
    await api.close()
    api = await startAdmin({ plugins: new Map([...fakePlugins, ['needy', needy]]) })
    const put = (config: object) => api.admin('PUT', '/global_rules/1', { plugins: { needy: config } })
    const lacking = `property "path" is not set in either the plugin conf or the metadata`
    const refused = `failed to check the configuration of plugin needy err: ${lacking}`
    isError(await put({}), refused)
    await ok(put({ path: '/a' }))
    await ok(put({ _meta: { disable: true } }))
    await ok(api.admin('PUT', '/plugin_metadata/needy', { other: 1 }))
    isError(await put({}), refused)
    await ok(api.admin('PUT', '/plugin_metadata/needy', { path: '/b' }))
    await ok(put({}))
    // As in APISIX nobody asks who needs them.
    await ok(api.admin('DELETE', '/plugin_metadata/needy'))
  })

  it('to plugin configs, consumer groups and client certificates must lead to one', async () => {
    await ok(api.admin('PUT', '/ssls/server', { sni: 'a', cert: pem('self-signed'), key: pem('self-signed-key') }))
    const tls = (client_cert_id: string) => ({ nodes: {}, tls: { client_cert_id } })
    for (const [path, body, said] of [
      [
        '/routes/1',
        { uri: '/a', plugins: {}, plugin_config_id: 9 },
        'failed to fetch plugin config info by plugin config id [9], response code: 404',
      ],
      [
        '/consumers/jack',
        { username: 'jack', group_id: 9 },
        'failed to fetch consumer group info by consumer group id [9], response code: 404',
      ],
      ['/upstreams/1', tls('9'), 'failed to fetch ssl info by ssl id [9], response code: 404'],
      ['/upstreams/1', tls('server'), 'failed to fetch ssl info by ssl id [server], wrong ssl type'],
      ['/services/1', { upstream: tls('9') }, 'failed to fetch ssl info by ssl id [9], response code: 404'],
      [
        '/routes/1',
        { uri: '/a', upstream_id: 8, service_id: 9, plugin_config_id: 7 },
        'failed to fetch upstream info by upstream id [8], response code: 404',
      ],
    ] as const) {
      isError(await api.admin('PUT', path, body), said)
    }
  })

  it('that a plugin makes count too', async () => {
    await ok(api.admin('PUT', '/upstreams/1', { nodes: {} }))
    await ok(api.admin('PUT', '/protos/1', { content: 'syntax = "proto3";' }))
    const split = { 'traffic-split': { rules: [{ weighted_upstreams: [{ weight: 1 }, { upstream_id: 1 }] }] } }
    const transcode = { 'grpc-transcode': { proto_id: '1' } }
    await api.store.write([
      { kind: 'global_rules', id: 'g', value: { plugins: split } },
      { kind: 'services', id: 's', value: { plugins: transcode } },
    ])
    isError(
      await api.admin('DELETE', '/upstreams/1'),
      'can not delete this upstream, plugin in global_rules [g] is still using it now',
    )
    isError(await api.admin('DELETE', '/protos/1'), 'can not delete this proto, service [s] is still using it now')
    await api.store.write([{ kind: 'plugin_configs', id: 'p', value: { plugins: split } }])
    await ok(api.admin('DELETE', '/global_rules/g'))
    isError(
      await api.admin('DELETE', '/upstreams/1'),
      'can not delete this upstream, plugin in plugin_config [p] is still using it now',
    )
    await ok(api.admin('PUT', '/routes/r', { uri: '/a', upstream_id: 1 }))
    isError(await api.admin('DELETE', '/upstreams/1'), 'can not delete this upstream, route [r] is still using it now')
  })

  it('of many name the same one every time: routes before services, in the order of their ids', async () => {
    await ok(api.admin('PUT', '/upstreams/1', { nodes: {} }))
    await ok(api.admin('PUT', '/services/a', { upstream_id: 1 }))
    for (const id of ['z', 'b', 'c']) await ok(api.admin('PUT', `/routes/${id}`, { uri: '/a', upstream_id: '1' }))
    isError(await api.admin('DELETE', '/upstreams/1'), 'can not delete this upstream, route [b] is still using it now')
    for (const id of ['z', 'b', 'c']) await ok(api.admin('DELETE', `/routes/${id}`))
    isError(
      await api.admin('DELETE', '/upstreams/1'),
      'can not delete this upstream, service [a] is still using it now',
    )
  })

  it('hold when somebody else removes what they lead to at the same moment', async () => {
    await ok(api.admin('PUT', '/services/1', {}))
    api.store.beforeWrite = async () => {
      api.store.beforeWrite = () => {}
      await api.store.write([{ kind: 'services', id: '1', value: null }])
    }
    isError(
      await api.admin('PUT', '/routes/1', { uri: '/a', service_id: 1 }),
      'failed to fetch service info by service id [1], response code: 404',
    )
    assert.equal((await api.admin('GET', '/routes')).json.total, 0)
    // Who only changes it meanwhile does no harm.
    await ok(api.admin('PUT', '/services/1', {}))
    api.store.beforeWrite = async () => {
      api.store.beforeWrite = () => {}
      await api.store.write([{ kind: 'services', id: '1', value: { name: 'new' } }])
    }
    await ok(api.admin('PUT', '/routes/1', { uri: '/a', service_id: 1 }))
  })

  it('of two global rules to one plugin are refused', async () => {
    await ok(api.admin('PUT', '/global_rules/1', { plugins: { late: {} } }))
    await ok(api.admin('PUT', '/global_rules/1', { plugins: { late: { n: 1 } } }))
    isError(
      await api.admin('PUT', '/global_rules/2', { plugins: { late: {} } }),
      "plugin 'late' already exists in global rule with id '1'",
    )
    await ok(api.admin('PUT', '/global_rules/2', { plugins: { 'key-auth': {} } }))
    isError(
      await api.admin('PATCH', '/global_rules/2', { plugins: { late: {} } }),
      "plugin 'late' already exists in global rule with id '1'",
    )
  })
})
