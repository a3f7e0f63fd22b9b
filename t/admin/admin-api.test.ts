// The front door of the admin API: what every answer has, what is warned of, and that nothing brings it down.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Logger } from '../../core/observe/log.ts'
import { type Reply, startAdmin, type TestAdmin } from '../helpers/admin.ts'
import { call, mustBeSane } from './nonsense.ts'

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

  it('says at which revision a write was made, and of a look nothing', async () => {
    const revisions = []
    for (const [method, path, body] of [
      ['PUT', '/routes/1', { uri: '/a', upstream: { nodes: {} } }],
      ['POST', '/routes', { uri: '/b', upstream: { nodes: {} } }],
      ['PATCH', '/routes/1', { desc: 'x' }],
      ['GET', '/routes/1', undefined],
      ['DELETE', '/routes/1', undefined],
    ] as const) {
      revisions.push((await api.admin(method, path, body)).headers.get('x-sluice-revision'))
    }
    assert.deepEqual(revisions, ['1', '2', '3', null, '4'])
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
    const value = { uri: '/a', upstream: { nodes, tls: {} }, plugins: { 'ai-proxy': ai } }
    const reply = await api.admin('PUT', '/routes/1', value)
    assert.equal(reply.status, 201)
    assert.equal(
      reply.headers.get('x-sluice-warning'),
      'upstream.tls has no effect with scheme "http"; plugins.ai-proxy.keepalive_pool has no effect; plugins.ai-proxy.m?dle? has no effect',
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
    let changes = 0
    await fc.assert(
      fc.asyncProperty(call, async each => {
        const { changed } = await mustBeSane(api, each)
        if (changed) changes++
      }),
      { numRuns: 600 },
    )
    assert.ok(changes > 0, `${changes} changes`)
  })

  it('says the same of the same mistakes, in the order of the schema', async () => {
    const wrong = { uri: 5, methods: ['x'], status: 7, host: ' ', priority: 'p', timeout: {}, plugins: { late: 5 } }
    const entries = Object.entries(wrong)
    for (const rotated of entries.map((_, at) => [...entries.slice(at), ...entries.slice(0, at)])) {
      const said = 'invalid configuration: property "uri" validation failed: wrong type: expected string, got number'
      isError(await api.admin('PUT', '/routes/1', Object.fromEntries(rotated)), 400, said)
    }
  })
})
