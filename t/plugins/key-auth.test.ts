// key-auth as clients and upstreams see it.
import assert from 'node:assert/strict'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('key-auth', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function start(config: object, consumers: Record<string, Record<string, unknown>> = {}): Promise<void> {
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    gateway = await startGateway({
      resources: {
        routes: { 1: { uri: '/*', plugins: { 'key-auth': config }, upstream: { type: 'roundrobin', nodes } } },
        consumers: {
          jack: { username: 'jack', labels: { custom_id: 'c-7' }, plugins: { 'key-auth': { key: 'secret-1' } } },
          ...consumers,
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  it('lets a known key through, and tells the upstream whose it is', async () => {
    await start({})
    const response = await fetch(`${gateway.url}/x`, { headers: { apikey: 'secret-1', 'X-Consumer-Username': 'root' } })
    assert.equal(response.status, 200)
    const { headers } = upstream.received[0]!
    assert.equal(headers['x-consumer-username'], 'jack')
    assert.equal(headers['x-consumer-custom-id'], 'c-7')
    assert.equal(headers.apikey, 'secret-1')
  })

  it('refuses a request without a key, and one with a wrong key, with a challenge', async () => {
    await start({ realm: 'basement' })
    for (const [headers, message] of [
      [{}, 'Missing API key in request'],
      [{ apikey: 'Secret-1' }, 'Invalid API key in request'],
    ] as const) {
      const response = await fetch(gateway.url, { headers })
      assert.equal(response.status, 401)
      assert.deepEqual(await response.json(), { message })
      assert.equal(response.headers.get('www-authenticate'), 'apikey realm="basement"')
    }
    assert.equal(upstream.received.length, 0)
  })

  it('looks at the query only when there is no header', async () => {
    await start({ header: 'X-Key', query: 'k' })
    assert.equal((await fetch(`${gateway.url}/?k=secret-1`)).status, 200)
    assert.equal((await fetch(`${gateway.url}/?k=secret-1`, { headers: { 'x-key': 'wrong' } })).status, 401)
    assert.equal((await fetch(`${gateway.url}/?apikey=secret-1`)).status, 401)
  })

  it('hides the key that was used from the upstream, and nothing else', async () => {
    await start({ hide_credentials: true })
    await fetch(`${gateway.url}/a?x=%2f&apikey=other`, { headers: { apikey: 'secret-1' } })
    await fetch(`${gateway.url}/a?x=%2f&apikey=secret-1&y=+`)
    await fetch(`${gateway.url}/a?apikey=secret-1`)
    assert.deepEqual(
      upstream.received.map(({ target, headers }) => [target, headers.apikey]),
      [
        ['/a?x=%2f&apikey=other', undefined],
        ['/a?x=%2f&y=+', undefined],
        ['/a', undefined],
      ],
    )
  })

  it('takes everybody else for the anonymous consumer, if there is one', async () => {
    await start({ anonymous_consumer: 'guest' }, { guest: { username: 'guest' } })
    assert.equal((await fetch(gateway.url)).status, 200)
    assert.equal((await fetch(gateway.url, { headers: { apikey: 'wrong' } })).status, 200)
    assert.equal((await fetch(gateway.url, { headers: { apikey: 'secret-1' } })).status, 200)
    assert.deepEqual(
      upstream.received.map(({ headers }) => headers['x-consumer-username']),
      ['guest', 'guest', 'jack'],
    )
    await gateway.put({ consumers: { guest: null } })
    const response = await fetch(gateway.url)
    assert.equal(response.status, 401)
    assert.deepEqual(await response.json(), { message: 'Invalid user authorization' })
  })
})
