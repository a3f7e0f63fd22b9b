// limit-req as clients see it.
import assert from 'node:assert/strict'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type RedisForTest, redisPolicy, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('limit-req', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let clock: { now: number }

  beforeEach(async () => {
    clock = { now: 1_700_000_000_000 }
    upstream = await startUpstream()
    gateway = await startGateway({ now: () => clock.now })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function limited(config: object): Promise<void> {
    const plugins = { 'limit-req': { key: 'remote_addr', ...config } }
    await gateway.put({
      routes: { 1: { uri: '/*', plugins, upstream: { type: 'roundrobin', nodes: upstream.nodes } } },
    })
    assert.deepEqual(gateway.rejected, [])
  }
  const get = (signal?: AbortSignal) => fetch(gateway.url, { ...(signal && { signal }) })
  const statuses = async (count: number) => {
    const all: number[] = []
    for (let n = 0; n < count; n++) all.push((await get()).status)
    return all
  }

  it('lets a burst pass at once with nodelay, and then what the rate allows', async () => {
    await limited({ rate: 2, burst: 1, nodelay: true })
    assert.deepEqual(await statuses(3), [200, 200, 503])
    clock.now += 499
    assert.deepEqual(await statuses(1), [503])
    clock.now += 1
    assert.deepEqual(await statuses(2), [200, 503])
  })

  it('lets a burst wait for its turn', async () => {
    await limited({ rate: 10, burst: 5 })
    await get()
    const began = performance.now()
    const [a, b] = await Promise.all([get(), get()])
    assert.deepEqual([a.status, b.status], [200, 200])
    assert.ok(performance.now() - began >= 195)
  })

  it('does not wait for a client that has left', async () => {
    await limited({ rate: 0.001, burst: 5 })
    await get()
    const leaving = new AbortController()
    const waiting = get(leaving.signal)
    await until(() => gateway.gateway.inFlight === 1, 'it waits')
    leaving.abort()
    await assert.rejects(waiting)
    await until(() => gateway.gateway.inFlight === 0, 'nobody waits')
    assert.equal(upstream.received.length, 1)
  })

  it('refuses as it is told to', async () => {
    await limited({ rate: 1, burst: 0, rejected_code: 429, rejected_msg: 'too fast' })
    await get()
    const refused = await get()
    assert.deepEqual([refused.status, await refused.text()], [429, '{"error_msg":"too fast"}\n'])
    assert.equal(refused.headers.get('x-ratelimit-limit'), null)
  })

  describe('on Redis', () => {
    let redis: RedisForTest
    before(async function () {
      this.timeout(300_000)
      redis = await startRedis()
    })
    after(() => redis.close())

    it('counts there, and answers 500 without it', async () => {
      const at = redisPolicy(redis)
      await limited({ rate: 0.001, burst: 1, nodelay: true, ...at })
      assert.deepEqual(await statuses(3), [200, 200, 503])
      await redis.servers[0]!.kill()
      await until(async () => (await get()).status === 500, 'Redis is missed')
      await limited({ rate: 0.001, burst: 1, nodelay: true, allow_degradation: true, ...at })
      assert.deepEqual(await statuses(3), [200, 200, 200])
    })
  })
})
