// What the admin API says when resources contradict each other.
import assert from 'node:assert/strict'
import { type Reply, startAdmin, type TestAdmin } from '../helpers/admin.ts'
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
