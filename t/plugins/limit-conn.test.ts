// limit-conn as clients see it.
import assert from 'node:assert/strict'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type RedisForTest, redisPolicy, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('limit-conn', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream(() => {})
    gateway = await startGateway()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function limited(config: object, at = gateway): Promise<void> {
    const plugins = { 'limit-conn': { key: 'remote_addr', default_conn_delay: 0.001, burst: 0, ...config } }
    await at.put({ routes: { 1: { uri: '/*', plugins, upstream: { type: 'roundrobin', nodes: upstream.nodes } } } })
    assert.deepEqual(at.rejected, [])
  }
  const get = (more: RequestInit = {}) => fetch(gateway.url, more)
  const open = (count: number) => until(() => upstream.received.length === count, `${count} are under way`)
  const answerAll = () => {
    for (const received of upstream.received) if (!received.response.writableEnded) received.json(200, {})
  }

  it('refuses who comes while `conn` are under way, and lets pass who comes after one has ended', async () => {
    await limited({ conn: 2 })
    const two = [get(), get()]
    await open(2)
    assert.equal((await get()).status, 503)
    upstream.received[0]!.json(200, {})
    assert.equal((await Promise.race(two)).status, 200)
    await until(() => gateway.book.totals()['limit-conn']?.live === 1, 'its place is free')
    two.push(get())
    await open(3)
    answerAll()
    await Promise.all(two)
  })

  it('counts nobody who has left, was refused by another plugin, or whose upstream failed', async () => {
    await limited({ conn: 1 })
    const free = () => until(() => gateway.book.totals()['limit-conn']?.live === 0, 'nobody is counted')
    const leaving = new AbortController()
    const left = get({ signal: leaving.signal })
    await open(1)
    leaving.abort()
    await assert.rejects(left)
    await free()
    const failed = get()
    await open(2)
    upstream.received[1]!.cut()
    assert.equal((await failed).status, 502)
    await free()
    const last = get()
    await open(3)
    answerAll()
    assert.equal((await last).status, 200)
    await free()
    assert.match(gateway.scrape(), /sluice_holds_opened_total\{kind="limit-conn"\} 3/)
  })

  it('lets a burst wait before it goes on', async () => {
    await limited({ conn: 1, burst: 1, default_conn_delay: 0.2, only_use_default_delay: true })
    const first = get()
    await open(1)
    const began = performance.now()
    const second = get()
    await open(2)
    assert.ok(performance.now() - began >= 195)
    assert.equal((await get()).status, 503)
    answerAll()
    await Promise.all([first, second])
  })

  it('waits as long as requests take, after it has seen some', async () => {
    upstream.script = received => received.json(200, {})
    await limited({ conn: 1, burst: 1, default_conn_delay: 60 })
    for (let n = 0; n < 16; n++) await (await get()).text()
    upstream.script = () => {}
    const first = get()
    await open(17)
    const began = performance.now()
    const second = get()
    await open(18)
    // 60 s, halved 16 times.
    assert.ok(performance.now() - began < 20_000)
    answerAll()
    await Promise.all([first, second])
  })

  it('refuses as it is told to', async () => {
    await limited({ conn: 1, rejected_code: 429, rejected_msg: 'too many' })
    const first = get()
    await open(1)
    const refused = await get()
    assert.deepEqual([refused.status, await refused.text()], [429, '{"error_msg":"too many"}\n'])
    answerAll()
    await first
  })

  it('takes its numbers from variables, and holds every rule that applies', async () => {
    const rules = [
      { key: '$http_who', conn: '$http_most', burst: 0 },
      { key: '$http_group', conn: 2, burst: 0 },
    ]
    const plugins = { 'limit-conn': { default_conn_delay: 0.001, rules } }
    await gateway.put({
      routes: { 1: { uri: '/*', plugins, upstream: { type: 'roundrobin', nodes: upstream.nodes } } },
    })
    assert.deepEqual(gateway.rejected, [])
    const of = (headers: Record<string, string>) => get({ headers })
    const under = [of({ who: 'a', most: '1', group: 'g' })]
    await open(1)
    assert.equal((await of({ who: 'a', most: '1' })).status, 503)
    under.push(of({ who: 'b', most: '1', group: 'g' }))
    await open(2)
    assert.equal((await of({ who: 'c', most: '1', group: 'g' })).status, 503)
    assert.equal((await of({ who: 'a', most: 'many' })).status, 500)
    assert.equal((await of({})).status, 500)
    // Who was refused by the second rule is not counted by the first.
    under.push(of({ who: 'c', most: '1' }))
    await open(3)
    answerAll()
    await Promise.all(under)
  })

  describe('on Redis', () => {
    let redis: RedisForTest
    let other: TestGateway
    before(async function () {
      this.timeout(300_000)
      redis = await startRedis()
    })
    after(() => redis.close())
    beforeEach(async () => {
      other = await startGateway()
    })
    afterEach(() => other.close())

    it('counts what is under way at all gateways', async () => {
      const at = redisPolicy(redis)
      await limited({ conn: 2, ...at })
      await limited({ conn: 2, ...at }, other)
      const two = [get(), fetch(other.url)]
      await open(2)
      assert.deepEqual([(await get()).status, (await fetch(other.url)).status], [503, 503])
      answerAll()
      for (const { status } of await Promise.all(two)) assert.equal(status, 200)
      upstream.script = received => received.json(200, {})
      await until(async () => (await get()).status === 200, 'they have been given back')
    })
  })
})
