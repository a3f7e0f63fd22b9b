// The front door of the admin API: the matrix of kinds and verbs, what every answer has, and that nothing brings it down.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Logger } from '../../core/observe/log.ts'
import { type Reply, startAdmin, type TestAdmin } from '../helpers/admin.ts'

const nodes = { 'a:1': 1 }

/** Which verbs a collection has (facts core 4.2), what it is called, and whether this version serves it. */
const matrix: [collection: string, name: string, verbs: string, served: boolean][] = [
  ['routes', 'route', 'GET POST PUT PATCH DELETE', true],
  ['services', 'service', 'GET POST PUT PATCH DELETE', true],
  ['upstreams', 'upstream', 'GET POST PUT PATCH DELETE', true],
  ['global_rules', 'global rule', 'GET PUT PATCH DELETE', true],
  ['consumers', 'consumer', 'GET PUT DELETE', true],
  ['ssls', 'ssl', 'GET POST PUT PATCH DELETE', false],
  ['protos', 'proto', 'GET POST PUT DELETE', false],
  ['plugin_configs', 'plugin config', 'GET PUT PATCH DELETE', false],
  ['consumer_groups', 'consumer group', 'GET PUT PATCH DELETE', false],
  ['plugin_metadata', 'plugin_metadata', 'GET PUT DELETE', false],
  ['secrets', 'secret', 'GET PUT PATCH DELETE', false],
]

describe('the admin API', () => {
  let api: TestAdmin
  const errors: string[] = []
  const log: Logger = { debug() {}, info() {}, warn() {}, error: (_, message) => void errors.push(message) }

  beforeEach(async () => {
    errors.length = 0
    api = await startAdmin({ log })
  })
  afterEach(async () => {
    await api.close()
    assert.deepEqual(errors, [])
  })

  function isError(reply: Reply, status: number, message: string): void {
    assert.deepEqual([reply.status, reply.json], [status, { error_msg: message }])
  }

  for (const [collection, name, verbs, served] of matrix) {
    it(`has for ${collection} the verbs ${verbs}`, async () => {
      for (const verb of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
        const body = verb === 'GET' || verb === 'DELETE' ? undefined : {}
        for (const path of [`/${collection}`, `/${collection}/1`, `/${collection}/1/labels`]) {
          const reply = await api.admin(verb, path, body)
          const said = `not supported \`${verb}\` method for ${name}`
          if (verbs.includes(verb)) assert.notEqual(reply.status, 405, `${verb} ${path}`)
          else isError(reply, 405, said)
        }
      }
    })

    if (!served) {
      it(`has no ${collection} and makes none`, async () => {
        assert.equal((await api.admin('GET', `/${collection}`)).text, '{"total":0,"list":[]}\n')
        for (const verb of ['GET', 'DELETE']) {
          const reply = await api.admin(verb, `/${collection}/1`)
          assert.deepEqual([reply.status, reply.json], [404, { message: 'Key not found' }])
        }
        for (const verb of ['POST', 'PUT', 'PATCH'].filter(each => verbs.includes(each))) {
          const said = `${collection} is not served by this version of Sluice`
          isError(await api.admin(verb, `/${collection}/1`, {}), 400, said)
        }
      })
    }
  }

  it('has no credentials and makes none', async () => {
    for (const path of ['/consumers/jack/credentials', '/consumers/jack/credentials/1']) {
      const get = await api.admin('GET', path)
      assert.deepEqual([get.status, get.json], [404, { message: 'Key not found' }])
      isError(await api.admin('PUT', path, {}), 400, 'credentials is not served by this version of Sluice')
      isError(await api.admin('POST', path, {}), 405, 'not supported `POST` method for credential')
      isError(await api.admin('PATCH', path, {}), 405, 'not supported `PATCH` method for credential')
    }
    assert.equal((await api.admin('DELETE', '/consumers/jack/credentials/1')).status, 404)
  })

  it('has no stream routes, as where only http is proxied', async () => {
    for (const verb of ['GET', 'PUT', 'POST', 'DELETE']) {
      const said = 'stream mode is disabled, can not add stream routes'
      isError(await api.admin(verb, '/stream_routes/1'), 400, said)
    }
  })

  it('says so when it has never heard of a path', async () => {
    isError(await api.admin('GET', '/nobody'), 404, 'Unsupported resource type: nobody')
    isError(await api.admin('GET', '/toString'), 404, 'Unsupported resource type: toString')
    isError(await api.admin('GET', '/routes/1/2'), 404, 'not found')
    isError(await api.admin('PUT', '/routes/1/2', {}), 404, 'not found')
    for (const path of ['/', '/apisix', '/apisix/admin', '/apisix/administrator/routes', '/ui/']) {
      isError(await api.call('GET', path), 404, 'not found')
    }
  })

  it('gives every answer its name, its version and JSON as its type', async () => {
    const replies = [
      await api.admin('GET', '/routes'),
      await api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} }),
      await api.admin('PUT', '/routes/1', '{'),
      await api.admin('GET', '/routes/9'),
      await api.admin('GET', '/routes', undefined, 'wrong'),
      await api.admin('GET', '/plugins/list?subsystem=x'),
      await api.call('GET', '/'),
    ]
    for (const { headers } of replies) {
      assert.equal(headers.get('server'), 'APISIX/3.18.0')
      assert.equal(headers.get('x-gateway'), 'Sluice/0.1.0')
      assert.equal(headers.get('x-api-version'), 'v3')
      assert.equal(headers.get('content-type'), 'application/json')
    }
  })

  it('warns of what it accepts without effect, and only then', async () => {
    const ai = { provider: 'openai', auth: {}, keepalive_pool: 1, 'mödle\n': 1 }
    const value = { uri: '/a', upstream: { nodes, keepalive_pool: {} }, plugins: { 'ai-proxy': ai } }
    const reply = await api.admin('PUT', '/routes/1', value)
    assert.equal(reply.status, 201)
    assert.equal(
      reply.headers.get('x-sluice-warning'),
      'upstream.keepalive_pool has no effect; plugins.ai-proxy.keepalive_pool has no effect; plugins.ai-proxy.m?dle? has no effect',
    )
    const plain = await api.admin('PUT', '/routes/2', { uri: '/a', upstream: { nodes } })
    assert.equal(plain.headers.get('x-sluice-warning'), null)
  })

  it('is unavailable while its store is, and says why', async () => {
    api.store.away = true
    for (const [verb, path, body] of [
      ['GET', '/routes', undefined],
      ['GET', '/routes/1', undefined],
      ['PUT', '/routes/1', { uri: '/a', plugins: {} }],
      ['POST', '/routes', { uri: '/a', plugins: {} }],
      ['DELETE', '/routes/1', undefined],
    ] as const) {
      isError(await api.admin(verb, path, body), 503, 'the store is away')
    }
    api.store.away = false
    assert.equal((await api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} })).status, 201)
  })

  it('hides a bug from its clients and shows it in the log', async () => {
    api.store.beforeWrite = () => {
      throw new TypeError('top-secret')
    }
    const reply = await api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} })
    isError(reply, 500, 'internal error, see the error log')
    assert.deepEqual(errors.splice(0), ['request of an admin server failed'])
  })

  it('answers nonsense with what is wrong with it, and changes the store only when it says so', async () => {
    const word = fc.constantFrom(
      ...['routes', 'services', 'upstreams', 'consumers', 'global_rules', 'ssls', 'schema', 'plugins', 'validate'],
      ...['credentials', '1', 'a', '', '%2F', '%00', '..', '__proto__', 'labels', 'list', 'configs', 'stream_routes'],
    )
    const path = fc.array(word, { maxLength: 5 }).map(words => `/${words.join('/')}`)
    const query = fc.oneof(
      fc.constant(''),
      fc.constantFrom('?ttl=5', '?force=true', '?page=1&page_size=10', '?name=[', '?filter=%25', '?all=true'),
      fc.webQueryParameters().map(text => `?${text}`),
    )
    const leaf = fc.constantFrom<unknown>('/a', 'a', 1, '1', nodes, { nodes }, {}, [], null, true, { late: { n: 1 } })
    const names = [
      'id',
      'uri',
      'plugins',
      'upstream',
      'upstream_id',
      'service_id',
      'nodes',
      'username',
      'labels',
      '__proto__',
    ]
    const likely = fc.dictionary(fc.constantFrom(...names), leaf, { noNullPrototype: true })
    const body = fc.oneof(
      likely.map(value => JSON.stringify(value)),
      fc.json({ maxDepth: 4 }),
      fc.string(),
      fc.constant(undefined),
    )
    const call = fc.tuple(fc.constantFrom('GET', 'PUT', 'POST', 'PATCH', 'DELETE'), path, query, body)
    const wellMeant = fc.tuple(
      fc.constantFrom('PUT', 'PATCH', 'DELETE', 'GET'),
      fc.constantFrom(
        '/routes/1',
        '/services/1',
        '/upstreams/1',
        '/consumers/jack',
        '/global_rules/1',
        '/routes/1/labels',
      ),
      fc.constant(''),
      fc
        .constantFrom<object>(
          { uri: '/a', plugins: {} },
          { nodes },
          { username: 'jack' },
          { plugins: { late: {} } },
          {},
        )
        .map(value => JSON.stringify(value)),
    )
    let changed = 0
    await fc.assert(
      fc.asyncProperty(fc.oneof(call, wellMeant), async ([verb, path, query, body]) => {
        const before = await api.store.list()
        const reply = await api.admin(verb, path + query, verb === 'GET' ? undefined : body)
        const after = await api.store.list()
        const what = `${verb} ${path}${query} ${body} -> ${reply.status} ${reply.text}`
        assert.ok(reply.status < 500, what)
        if (reply.status >= 300 || verb === 'GET') assert.equal(after.revision, before.revision, what)
        else if (after.revision > before.revision) changed++
        if (reply.status >= 400) assert.ok(reply.json?.error_msg || reply.json?.message || reply.text.length > 10, what)
      }),
      { numRuns: 600 },
    )
    assert.ok(changed > 10, `${changed} changes`)
  })
})
