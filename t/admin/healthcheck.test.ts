// What the control API shows of health checks.
import assert from 'node:assert/strict'
import { openApp } from '../../admin/answer.ts'
import { healthcheck } from '../../admin/healthcheck.ts'
import { silent } from '../../core/observe/log.ts'
import type { CheckedUpstream } from '../../core/proxy/health/keeper.ts'
import type { Item } from '../../core/store/store.ts'
import { serve, type TestServer } from '../helpers/admin.ts'

describe('health checks at the control API', () => {
  let api: TestServer
  let checked: CheckedUpstream[]
  const counter = { success: 1, http_failure: 0, tcp_failure: 2, timeout_failure: 0 }
  const upstream: CheckedUpstream = {
    name: '/apisix/upstreams/1',
    type: 'http',
    nodes: [{ ip: '127.0.0.1', port: 80, hostname: '<b>.c', status: 'mostly_healthy', counter }],
  }

  beforeEach(async () => {
    checked = [upstream]
    const items = ['upstreams/1', 'routes/2']
    const app = openApp({ log: silent, serverName: 'x' })
    const catalogue = {
      get: (kind: string, id: string) => (items.includes(`${kind}/${id}`) ? ({} as Item) : undefined),
    }
    app.use(healthcheck({ catalogue, checked: () => checked }).routes())
    api = await serve(app)
  })
  afterEach(() => api.close())

  it('come as a list, which may be empty', async () => {
    for (const accept of ['*/*', 'application/json', 'application/json, text/html;q=0.5']) {
      const reply = await api.call('GET', '/v1/healthcheck', undefined, { Accept: accept })
      assert.deepEqual([reply.status, reply.json], [200, [upstream]], accept)
    }
    checked = []
    assert.equal((await api.call('GET', '/v1/healthcheck')).text, '[]\n')
  })

  it('come as a page to who prefers one, with nothing in it that a name could have brought', async () => {
    const { text, headers } = await api.call('GET', '/v1/healthcheck', undefined, { Accept: 'text/html,*/*;q=0.8' })
    assert.equal(headers.get('content-type'), 'text/html; charset=utf-8')
    assert.match(text, /APISIX upstream check status/)
    assert.match(text, /<td>\/apisix\/upstreams\/1<\/td>/)
    assert.match(text, /<td>mostly_healthy<\/td><td>1<\/td><td>2<\/td><td>0<\/td><td>0<\/td>/)
    assert.ok(!text.includes('<b>'))
  })

  it('come one by one, by what they stand on', async () => {
    assert.deepEqual((await api.call('GET', '/v1/healthcheck/upstreams/1')).json, upstream)
    for (const [path, status, error_msg] of [
      ['consumers/1', 400, 'invalid src type consumers'],
      ['toString', 400, 'invalid src type toString'],
      ['routes', 404, 'missing src id for src type routes'],
      ['routes/9', 404, 'routes[9] not found'],
      ['routes/2', 404, 'no checker for routes[2]'],
      ['stream_routes/1', 404, 'stream_routes[1] not found'],
    ] as const) {
      const reply = await api.call('GET', `/v1/healthcheck/${path}`)
      assert.deepEqual([reply.status, reply.json], [status, { error_msg }])
    }
  })
})
