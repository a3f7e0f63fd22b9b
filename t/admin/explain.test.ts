// Explanations at the control API: what an operator may ask, and what is never shown.
import assert from 'node:assert/strict'
import Koa from 'koa'
import { answering } from '../../admin/answer.ts'
import { Catalogue } from '../../admin/catalogue.ts'
import { type ExplainDeps, explain } from '../../admin/explain.ts'
import type { AskedRequest, Rehearsal } from '../../core/explain/rehearsal.ts'
import { Keyring } from '../../core/keyring.ts'
import { silent } from '../../core/observe/log.ts'
import type { Kind } from '../../core/store/store.ts'
import { fakePlugins, serve, type TestServer } from '../helpers/admin.ts'
import { MemoryStore } from '../helpers/memory-store.ts'

describe('explanations at the control API', () => {
  let api: TestServer
  let store: MemoryStore
  let catalogue: Catalogue
  let asked: (string | AskedRequest)[]
  let decided: Awaited<ReturnType<ExplainDeps['decision']>>
  let rehearsed: Awaited<ReturnType<ExplainDeps['rehearse']>>
  const keyring = new Keyring(['0123456789abcdef'])
  const checkedNode = { ip: '10.0.0.1', port: 1, hostname: '10.0.0.1', status: 'unhealthy' } as const
  const counter = { success: 0, tcp_failure: 2, http_failure: 0, timeout_failure: 0 }
  const checkedAs = (name: string) => ({ name, type: 'http', nodes: [{ ...checkedNode, counter }] })

  const nothing: Rehearsal = {
    revision: 1,
    refused: undefined,
    route: undefined,
    candidates: [],
    more_candidates: 0,
    lack: undefined,
    consumer: { username: undefined, not_evaluated: [] },
    global_plugins: [],
    plugins: [],
    order: {},
    upstream: undefined,
  }

  beforeEach(async () => {
    store = new MemoryStore()
    asked = []
    decided = { found: undefined, silent: [] }
    rehearsed = nothing
    catalogue = new Catalogue({ source: store, tags: () => [], log: silent })
    await catalogue.start()
    const router = explain({
      catalogue,
      keyring,
      plugins: fakePlugins,
      decision: async id => {
        asked.push(id)
        return decided
      },
      rehearse: async request => {
        asked.push(request)
        return rehearsed
      },
      checked: () => ['/apisix/routes/1', "/apisix/routes/2#plugins['x']", '/apisix/routes/22'].map(checkedAs),
    })
    const app = new Koa()
    app.use(answering(silent))
    app.use(router.routes())
    api = await serve(app)
  })
  afterEach(async () => {
    await api.close()
    catalogue.close()
    await store.close()
  })

  const put = (kind: Kind, id: string, value: Record<string, unknown>) =>
    store.write([{ kind, id, value: keyring.sealItem({ kind, id, value: { id, ...value } }, fakePlugins) }])

  it('has a request by its id, whatever is in that', async () => {
    decided = { found: { worker: 1, request_id: 'a/b' }, silent: [] }
    const { status, json } = await api.call('GET', '/v1/explain/a%2Fb')
    assert.deepEqual([status, json, asked], [200, decided.found, ['a/b']])
  })

  it('says of a request that it is not known, and whether a worker has not answered', async () => {
    const unknown = await api.call('GET', '/v1/explain/x')
    assert.equal(unknown.status, 404)
    assert.match(unknown.json.error_msg, /^request\[x\] is not known/)
    decided = { found: undefined, silent: [0, 2] }
    const away = await api.call('GET', '/v1/explain/x')
    assert.equal(away.status, 503)
    assert.match(away.json.error_msg, /workers 0, 2 did not$/)
  })

  it('asks for the request that is described, with what is left out', async () => {
    assert.equal((await api.call('POST', '/v1/explain', { uri: '/a' })).status, 200)
    const full = {
      method: 'POST',
      uri: '/a?b=c',
      host: 'x.test',
      headers: { 'X-A': ['1', '2'], 'x-b': '3' },
      remote_addr: '2001:db8::1',
      body: { model: 'm' },
      consumer: 'jack',
    }
    assert.equal((await api.call('POST', '/v1/explain', full)).status, 200)
    const fields = ['Host', 'x.test', 'X-A', '1', 'X-A', '2', 'x-b', '3', 'Content-Type', 'application/json']
    const { host: _, ...rest } = full
    const bare = { method: 'GET', uri: '/a', headers: [], remote_addr: '127.0.0.1' }
    assert.deepEqual(asked, [
      { ...bare, body: undefined, consumer: undefined },
      { ...rest, headers: fields, body: '{"model":"m"}' },
    ])
  })

  const nonsense: [what: string, body: unknown][] = [
    ['nothing', undefined],
    ['a list', []],
    ['no uri', { method: 'GET' }],
    ['a uri that is no path', { uri: 'http://x/' }],
    ['a uri of two lines', { uri: '/\r\nX: y' }],
    ['a method of small letters', { uri: '/', method: 'get' }],
    ['a field that is none', { uri: '/', headers: { 'a b': 'c' } }],
    ['a value of two lines', { uri: '/', headers: { a: 'b\nc: d' } }],
    ['a number as value', { uri: '/', headers: { a: 1 } }],
    ['two hosts', { uri: '/', host: 'a', headers: { HOST: 'b' } }],
    ['an address that is none', { uri: '/', remote_addr: 'localhost' }],
    ['a body that is a number', { uri: '/', body: 1 }],
    ['what nobody knows', { uri: '/', cookies: {} }],
    ['no JSON', '{'],
    ['too much', { uri: '/', body: 'x'.repeat(2_000_000) }],
  ]
  for (const [what, body] of nonsense) {
    it(`refuses ${what}`, async () => {
      const { status, json } = await api.call('POST', '/v1/explain', body)
      assert.equal(status, 400)
      assert.match(json.error_msg, /^invalid request( body)?: /)
      assert.deepEqual(asked, [])
    })
  }

  it('says what cannot be said, and that nobody answers', async () => {
    rehearsed = { problem: 'there is no consumer jill' }
    const none = await api.call('POST', '/v1/explain', { uri: '/', consumer: 'jill' })
    assert.deepEqual([none.status, none.json], [400, { error_msg: 'there is no consumer jill' }])
    rehearsed = undefined
    assert.equal((await api.call('POST', '/v1/explain', { uri: '/' })).status, 503)
  })

  it('shows the config of each plugin without its secrets, and what checks have found', async () => {
    const ai = (secret: string) => ({ provider: 'openai', auth: { header: { Authorization: secret } } })
    await put('routes', '1', { uri: '/', plugins: { 'ai-proxy': ai('top-secret') } })
    await put('global_rules', '2', { plugins: { 'ai-proxy': ai('also-secret') } })
    const use = { name: 'ai-proxy', priority: 1, overrides: [], disabled: false, phases: ['access'] }
    rehearsed = {
      ...nothing,
      plugins: [{ ...use, from: { kind: 'routes', id: '1' } }],
      global_plugins: [{ ...use, from: { kind: 'global_rules', id: '2' } }],
      upstream: {
        from: { kind: 'routes', id: '2' },
        type: 'roundrobin',
        scheme: 'http',
        nodes: [],
        service_name: undefined,
      },
    }
    const { text, json } = await api.call('POST', '/v1/explain', { uri: '/' })
    assert.doesNotMatch(text, /secret/)
    assert.equal(json.plugins[0].config.provider, 'openai')
    assert.equal(json.global_plugins[0].config.provider, 'openai')
    assert.deepEqual(
      json.health.map(({ name }: { name: string }) => name),
      ['/apisix/routes/1', "/apisix/routes/2#plugins['x']"],
    )
  })
})
