// The front door of the admin API: what every answer has, what is warned of, and that nothing brings it down.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Logger } from '../../core/observe/log.ts'
import { type Reply, startAdmin, type TestAdmin } from '../helpers/admin.ts'
import { sampleList } from '../helpers/samples.ts'

const nodes = { 'a:1': 1 }

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
      ...sampleList.flatMap(([, { collection, id }]) => [...collection.split('/'), ...id.split('/')]),
      ...['schema', 'plugins', 'validate', 'list', 'configs', 'stream_routes', 'reload', 'vault', 'labels'],
      ...['1', '', '%2F', '%00', '..', '__proto__', 'constructor', 'jack%2Fcredentials%2Fc1'],
    )
    const path = fc.array(word, { maxLength: 5 }).map(words => `/${words.join('/')}`)
    const query = fc.oneof(
      fc.constant(''),
      fc.constantFrom('?ttl=5', '?force=true', '?page=1&page_size=10', '?name=[', '?filter=%25', '?all=true'),
      fc.webQueryParameters().map(text => `?${text}`),
    )
    const leaf = fc.constantFrom<unknown>('/a', 'a', 1, '1', nodes, { nodes }, {}, [], null, true, { late: { n: 1 } })
    const names = sampleList.flatMap(([, { value, change }]) => [...Object.keys(value), change[0]])
    const likely = fc.dictionary(fc.constantFrom(...names, 'id', 'upstream_id', 'service_id', '__proto__'), leaf, {
      noNullPrototype: true,
    })
    const body = fc.oneof(
      likely.map(value => JSON.stringify(value)),
      fc.json({ maxDepth: 4 }),
      fc.string(),
      fc.constant(undefined),
    )
    const call = fc.tuple(fc.constantFrom('GET', 'PUT', 'POST', 'PATCH', 'DELETE'), path, query, body)
    const wellMeant = fc
      .tuple(fc.constantFrom('PUT', 'POST', 'PATCH', 'DELETE', 'GET'), fc.constantFrom(...sampleList), likely)
      .map(([verb, [, { collection, id, value }], more]): [string, string, string, string] => {
        const path = verb === 'POST' ? `/${collection}` : `/${collection}/${id}`
        const some = verb === 'PATCH' ? more : Object.keys(more).length > 2 ? { ...value, ...more } : value
        return [verb, path, '', JSON.stringify(some)]
      })
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
