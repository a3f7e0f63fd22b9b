// What the clients of APISIX's admin API ask, replayed: the declarative CLI, the dashboard, and what both lean on.
import assert from 'node:assert/strict'
import { adminKey, startAdmin, type TestAdmin } from './helpers/admin.ts'
import { pem, samples } from './helpers/samples.ts'

type Kind = keyof typeof samples

/**
 * The requests that were seen (facts clients), each with the answers that it got. Of a collection `list`, `page` and
 * `filter` are GETs; of an item 201 and 200 say whether it was there, 404 that it was not, 400 that something was wrong.
 */
const seen: readonly [Kind, string][] = [
  ['consumer_groups', 'list 200, page 200, put 200 201, get 200, delete 200'],
  ['consumers', 'list 200, page 200, put_collection 200 201, put 200 201, delete 200 404, get 200'],
  ['credentials', 'list 200 404, username 200 404, put 200 201, delete 200 404, get 200'],
  ['global_rules', 'list 200, put 200 201, delete 200, get 200'],
  ['plugin_configs', 'list 200, page 200, put 200 201, get 200, delete 200'],
  ['plugin_metadata', 'list 200, put 200 201, delete 200 404, get 200 404'],
  ['protos', 'list 200, post 201, page 200, get 200 404, put 200 201, delete 200 404'],
  [
    'routes',
    'list 200 401, post 201 400, filter 200, page 200 401, put 200 201 400, delete 200 404, get 200, force 200',
  ],
  ['secrets', 'list 200, page 200, put 201 200 400, get 200 404, delete 200 404'],
  ['services', 'list 200, post 201, page 200 401, put 201 200, delete 200, get 200, force 200'],
  ['ssls', 'list 200, post 201, page 200, put 201 200, delete 200, get 200'],
  ['upstreams', 'list 200, post 201 400, page 200, put 200 201, delete 200 400, get 200, force 200'],
]

describe('clients of the admin API', () => {
  let api: TestAdmin

  beforeEach(async () => {
    api = await startAdmin()
  })
  afterEach(() => api.close())

  const ids = (reply: { json: { list: { value: { id: string } }[] } }) => reply.json.list.map(({ value }) => value.id)

  for (const [kind, requests] of seen) {
    const { collection, id, value, first } = samples[kind]
    const path = `/${collection}/${id}`

    it(`get the answers they know from ${kind}`, async () => {
      for (const request of requests.split(', ')) {
        const [what = '', ...statuses] = request.split(' ')
        for (const status of statuses.map(Number)) {
          await api.close()
          api = await startAdmin()
          if (first !== undefined) await api.admin('PUT', ...first)
          const reply = await ask(what, status)
          assert.equal(reply.status, status, `${what} ${status}: ${reply.text}`)
        }
      }
    })

    async function ask(what: string, status: number) {
      const key = status === 401 ? 'wrong' : adminKey
      const wanted = status === 200 || (status === 400 && what === 'delete')
      if (wanted && what !== 'post') await api.admin('PUT', path, value)
      const body = status === 400 ? { ...value, uri: 5, nodes: 5, token: undefined } : value
      switch (what) {
        case 'list':
          return api.admin('GET', `/${collection}`, undefined, key)
        case 'page':
          return api.admin('GET', `/${collection}?page=1&page_size=10`, undefined, key)
        case 'filter':
          return api.admin('GET', `/${collection}?filter=service_id%3D1&page=1&page_size=10`)
        case 'username':
          return api.admin('GET', `/${collection}?username=rose`)
        case 'post':
          return api.admin('POST', `/${collection}`, body)
        case 'put_collection':
          return api.admin('PUT', `/${collection}`, body)
        case 'put':
          return api.admin('PUT', path, body)
        case 'get':
          return api.admin('GET', path)
        default: {
          if (status === 400) await api.admin('PUT', '/routes/user', { uri: '/a', upstream_id: id })
          return api.admin('DELETE', path + (what === 'force' ? '?force=true' : ''))
        }
      }
    }
  }

  it('have forms filled from schemas and plugins', async () => {
    const all = (await api.admin('GET', '/plugins?all=true')).json
    const list = (await api.admin('GET', '/plugins/list')).json as string[]
    assert.deepEqual(Object.keys(all).sort(), [...list].sort())
    for (const name of list) assert.equal((await api.admin('GET', `/schema/plugins/${name}`)).status, 200)
    for (const [status, document] of [
      [200, { routes: [{ id: '1', ...samples.routes.value }] }],
      [400, { routes: [{ id: '1' }] }],
    ] as const) {
      assert.equal((await api.admin('POST', '/configs/validate', document)).status, status)
    }
  })

  it('choose their dialect by the name of the server', async () => {
    assert.match((await api.admin('GET', '/routes')).headers.get('server') ?? '', /^APISIX\/3\.18\.0$/)
  })

  it('see a whole list in the order of its keys, and a page in the order of creation', async () => {
    for (const id of ['c', 'a', 'B', 'b10', 'b9']) await api.admin('PUT', `/routes/${id}`, samples.routes.value)
    assert.deepEqual(ids(await api.admin('GET', '/routes')), ['B', 'a', 'b10', 'b9', 'c'])
    assert.deepEqual(ids(await api.admin('GET', '/routes?page=1&page_size=10')), ['c', 'a', 'B', 'b10', 'b9'])
  })

  it('see of a value what they sent, an id and two times, so that nothing differs the next time', async () => {
    for (const [kind, { collection, id, value, first }] of Object.entries(samples)) {
      if (first !== undefined) await api.admin('PUT', ...first)
      await api.admin('PUT', `/${collection}/${id}`, value)
      const shown = (await api.admin('GET', `/${collection}/${id}`)).json.value
      const { id: _, create_time, update_time, service_id, ...rest } = shown
      const { key: __, ...sent } = value
      assert.deepEqual(rest, kind === 'ssls' ? sent : value, kind)
    }
  })

  it('can apply a service: its upstream, itself, its routes; and take it away again', async () => {
    const steps = [
      ['PUT', '/upstreams/s1', { nodes: [{ host: 'a', port: 80, weight: 1 }], type: 'roundrobin' }, 201],
      ['PUT', '/services/s1', { name: 's', upstream_id: 's1' }, 201],
      ['PUT', '/routes/r1', { name: 'r', uris: ['/a'], methods: ['GET'], service_id: 's1' }, 201],
      ['PUT', '/routes/r1', { name: 'r', uris: ['/b'], methods: ['GET'], service_id: 's1' }, 200],
      ['DELETE', '/upstreams/s1', undefined, 400],
      ['DELETE', '/routes/r1', undefined, 200],
      ['DELETE', '/services/s1', undefined, 200],
      ['DELETE', '/upstreams/s1', undefined, 200],
    ] as const
    for (const [verb, path, body, status] of steps) {
      const reply = await api.admin(verb, path, body)
      assert.equal(reply.status, status, `${verb} ${path} ${reply.text}`)
    }
  })

  it('can apply a consumer with credentials, and delete them after it', async () => {
    assert.equal((await api.admin('GET', '/consumers/jack/credentials')).status, 404)
    await api.admin('PUT', '/consumers/jack', { username: 'jack', labels: { team: 'x' } })
    assert.equal((await api.admin('GET', '/consumers/jack/credentials')).status, 404)
    const secret = { plugins: { 'key-auth': { key: 'top-secret' } } }
    for (const status of [201, 200]) {
      assert.equal((await api.admin('PUT', '/consumers/jack/credentials/c1', secret)).status, status)
    }
    const [listed] = (await api.admin('GET', '/consumers/jack/credentials')).json.list
    assert.equal(listed.key, '/apisix/consumers/jack/credentials/c1')
    // It is compared with what is to be.
    assert.deepEqual(listed.value.plugins, secret.plugins)
    assert.equal((await api.admin('DELETE', '/consumers/jack')).status, 200)
    const late = await api.admin('DELETE', '/consumers/jack/credentials/c1')
    assert.deepEqual([late.status, late.json], [404, { message: 'Key not found' }])
  })

  it('never see the key of a certificate', async () => {
    await api.admin('PUT', '/ssls/1', { ...samples.ssls.value, certs: [pem('client')], keys: [pem('client-key')] })
    for (const path of ['/ssls', '/ssls/1']) {
      const { text } = await api.admin('GET', path)
      assert.ok(!/PRIVATE KEY|"keys?":\[|"key":"-/.test(text), text)
    }
  })

  it('find the name of a plugin at the end of the key of its metadata', async () => {
    await api.admin('PUT', '/plugin_metadata/late', { limit: 1 })
    const [item] = (await api.admin('GET', '/plugin_metadata')).json.list
    assert.equal(item.key, '/apisix/plugin_metadata/late')
    assert.deepEqual(item.value, { id: 'late', limit: 1 })
  })

  it('are told that streams are not proxied, in the words that they know', async () => {
    const reply = await api.admin('GET', '/stream_routes')
    assert.deepEqual([reply.status, reply.json.error_msg], [400, 'stream mode is disabled, can not add stream routes'])
  })
})
