// limit-count as clients see it, of one gateway and of several on one Redis.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how templates of APISIX look
import assert from 'node:assert/strict'
import limitCount from '../../plugins/limit-count.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type RedisForTest, redisPolicy, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const START = 1_700_000_000_000

describe('limit-count', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let clock: { now: number }

  beforeEach(async () => {
    clock = { now: START }
    upstream = await startUpstream()
    gateway = await startGateway({ now: () => clock.now })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  const route = (config: object) => ({
    uri: '/*',
    plugins: { 'limit-count': config },
    upstream: { type: 'roundrobin', nodes: upstream.nodes },
  })
  async function limited(config: object, at = gateway): Promise<void> {
    await at.put({ routes: { 1: route(config) } })
    assert.deepEqual(at.rejected, [])
  }
  const get = (headers: Record<string, string> = {}, path = '/x') => fetch(gateway.url + path, { headers })
  const statuses = async (count: number, headers: Record<string, string> = {}) => {
    const all: number[] = []
    for (let n = 0; n < count; n++) all.push((await get(headers)).status)
    return all
  }
  const fields = ({ headers }: Response, prefix = '') =>
    ['Limit', 'Remaining', 'Reset'].map(name => headers.get(`X-${prefix}RateLimit-${name}`))

  it('lets `count` requests pass per window, tells how it stands, and refuses the next with 503', async () => {
    await limited({ count: 2, time_window: 60 })
    assert.deepEqual(fields(await get()), ['2', '1', '60'])
    clock.now += 1_234
    assert.deepEqual(fields(await get()), ['2', '0', '58.76'])
    const refused = await get()
    assert.deepEqual([refused.status, ...fields(refused)], [503, '2', '0', '58.76'])
    clock.now += 60_000 - 1_234
    assert.equal((await get()).status, 200)
  })

  it('refuses as it is told to', async () => {
    await limited({
      count: 1,
      time_window: 60,
      rejected_code: 429,
      rejected_msg: 'slow down',
      show_limit_quota_header: false,
    })
    const [first, refused] = [await get(), await get()]
    assert.deepEqual([refused.status, await refused.text()], [429, '{"error_msg":"slow down"}\n'])
    for (const response of [first, refused]) assert.deepEqual(fields(response), [null, null, null])
  })

  it('shows a browser a page', async () => {
    await limited({ count: 1, time_window: 60 })
    await get()
    assert.match(await (await get({ accept: 'text/html' })).text(), /503 Service Unavailable/)
  })

  it('counts by a variable, by several, or all together', async () => {
    await limited({ count: 1, time_window: 60, key: 'http_who' })
    assert.deepEqual([...(await statuses(2, { who: 'a' })), ...(await statuses(2, { who: 'b' }))], [200, 503, 200, 503])
    await limited({ count: 1, time_window: 60, key_type: 'var_combination', key: '$http_who $http_what' })
    assert.deepEqual(
      [...(await statuses(2, { who: 'a', what: '1' })), ...(await statuses(1, { who: 'a' }))],
      [200, 503, 200],
    )
    await limited({ count: 1, time_window: 60, key_type: 'constant', key: 'all' })
    assert.deepEqual([...(await statuses(1, { who: 'a' })), ...(await statuses(1, { who: 'b' }))], [200, 503])
  })

  it('counts by the address of the client where the key has no value', async () => {
    await limited({ count: 1, time_window: 60, key: 'http_absent' })
    assert.deepEqual(await statuses(2), [200, 503])
  })

  it('begins anew when its config is another, and goes on when something else is', async () => {
    const config = { count: 1, time_window: 60 }
    await limited(config)
    await get()
    await gateway.put({ routes: { 1: { ...route(config), desc: 'the same limit' } } })
    assert.equal((await get()).status, 503)
    await limited({ ...config, rejected_msg: 'another' })
    assert.equal((await get()).status, 200)
  })

  it('counts each route by itself, and those of a group together', async () => {
    const both = (config: object) =>
      gateway.put({ routes: { 1: { ...route(config), uri: '/a' }, 2: { ...route(config), uri: '/b' } } })
    const pair = async () => [(await get({}, '/a')).status, (await get({}, '/b')).status]
    await both({ count: 1, time_window: 60 })
    assert.deepEqual(await pair(), [200, 200])
    await both({ count: 1, time_window: 60, group: 'g' })
    assert.deepEqual(await pair(), [200, 503])
  })

  it('counts a limit of a service over its routes', async () => {
    const { plugins, upstream } = route({ count: 1, time_window: 60 })
    await gateway.put({
      services: { s: { plugins, upstream } },
      routes: { 1: { uri: '/a', service_id: 's' }, 2: { uri: '/b', service_id: 's' } },
    })
    assert.deepEqual([(await get({}, '/a')).status, (await get({}, '/b')).status], [200, 503])
  })

  it('takes count and window from variables, and answers 500 when they are no numbers', async () => {
    const config = { count: '$http_limit', time_window: '${http_seconds ?? 60}' }
    await limited(config)
    assert.deepEqual(await statuses(3, { limit: '2' }), [200, 200, 503])
    for (const limit of ['0', '-1', '1.5', 'x', '9007199254740992']) {
      const response = await get({ limit })
      assert.deepEqual(
        [response.status, await response.text()],
        [500, '{"error_msg":"failed to limit count"}\n'],
        limit,
      )
    }
    await limited({ ...config, allow_degradation: true })
    assert.equal((await get({ limit: 'x' })).status, 200)
  })

  it('holds every rule whose key has a value, and tells of each', async () => {
    await limited({
      rules: [
        { key: '${http_user}', count: 1, time_window: 60, header_prefix: 'User' },
        { key: '$http_project', count: 2, time_window: 30 },
      ],
    })
    const first = await get({ user: 'u', project: 'p' })
    assert.deepEqual([...fields(first, 'User-'), ...fields(first, '2-')], ['1', '0', '60', '2', '1', '30'])
    assert.deepEqual(await statuses(2, { project: 'p' }), [200, 503])
    assert.equal((await get({ user: 'u' })).status, 503)
    assert.equal((await get({ user: 'other' })).status, 200)
    assert.equal((await get()).status, 500)
  })

  it('slides', async () => {
    const intoWindow = START % 10_000
    clock.now = START - intoWindow
    await limited({ count: 4, time_window: 10, window_type: 'sliding' })
    assert.deepEqual(await statuses(5), [200, 200, 200, 200, 503])
    clock.now += 15_000
    assert.deepEqual(await statuses(3), [200, 200, 503])
  })

  it('uses the names of fields that its metadata have', async () => {
    await gateway.put({
      plugin_metadata: { 'limit-count': { limit_header: 'My-Limit', remaining_header: 'My-Remaining' } },
      routes: { 1: route({ count: 2, time_window: 60 }) },
    })
    const { headers } = await get()
    const names = ['my-limit', 'my-remaining', 'x-ratelimit-reset']
    assert.deepEqual(
      names.map(name => headers.get(name)),
      ['2', '1', '60'],
    )
  })

  it('is seen in $rate_limiting_info', async () => {
    await gateway.put({
      routes: {
        1: {
          ...route({ count: 2, time_window: 60, key_type: 'constant', key: 'k' }),
          plugins: {
            'limit-count': { count: 2, time_window: 60, key_type: 'constant', key: 'k' },
            'response-rewrite': { headers: { set: { info: '$rate_limiting_info' } } },
          },
        },
      },
    })
    const info = JSON.parse((await get()).headers.get('info') ?? '') as Record<string, unknown>
    assert.match(String(info.rate_limiting_key), /:k$/)
    delete info.rate_limiting_key
    assert.deepEqual(info, { rate_limiting_limit: 2, rate_limiting_remaining: 1, rate_limiting_reset: 60 })
  })

  it('refuses configs that say two things, nothing, or what it cannot do', () => {
    const said = (config: object) =>
      limitCount.check!({ policy: 'local', sync_interval: -1, allow_degradation: false, ...config })
    const rule = { key: '$a', count: 1, time_window: 1 }
    assert.equal(said({ group: 'g', rules: [rule] }), 'group and rules cannot be specified at the same time')
    assert.equal(said({ rules: [rule, rule] }), "duplicate key '$a' in rules")
    const redis = { policy: 'redis', count: 1, time_window: 2 }
    assert.equal(said({ ...redis, sync_interval: 0.05 }), 'sync_interval should not be smaller than 0.1')
    assert.equal(said({ ...redis, sync_interval: 2 }), 'sync_interval should be smaller than time_window')
    assert.match(said({ ...redis, sync_interval: 1 }) ?? '', /not supported/)
    assert.match(said({ ...redis, redis_away: 'local_share' }) ?? '', /redis_share is required/)
    assert.match(said({ policy: 'redis-sentinel', redis_role: 'slave' }) ?? '', /not supported/)
    assert.match(said({ policy: 'redis-cluster', redis_cluster_nodes: ['a:1', 'nowhere'] }) ?? '', /nowhere/)
  })

  it('refuses what the schema does not allow, in its words', async () => {
    const why = async (config: object) => {
      await gateway.put({ routes: { 1: route(config) } })
      return gateway.rejected[0]?.reason ?? ''
    }
    const both = { count: 1, time_window: 1, rules: [{ key: '$a', count: 1, time_window: 1 }] }
    assert.match(await why(both), /matches both schemas 1 and 2/)
    assert.match(await why({ count: 1 }), /matches none/)
    assert.match(await why({ count: 1, time_window: 1, policy: 'redis' }), /then clause did not match/)
    assert.match(await why({ count: 0, time_window: 1 }), /count/)
  })

  describe('on Redis', () => {
    let redis: RedisForTest
    let other: TestGateway

    before(async function () {
      this.timeout(300_000)
      redis = await startRedis(['--requirepass', 'the secret'])
    })
    after(() => redis.close())
    beforeEach(async () => {
      other = await startGateway()
    })
    afterEach(async () => {
      redis.servers[0]!.resume()
      await other.close()
    })

    const config = (more: object = {}) => ({
      count: 5,
      time_window: 600,
      key_type: 'constant',
      key: `${Math.random()}`,
      ...redisPolicy(redis),
      redis_password: 'the secret',
      ...more,
    })

    it('counts what several gateways let pass together', async () => {
      const same = config()
      await limited(same)
      await limited(same, other)
      const all = await Promise.all(
        Array.from({ length: 40 }, async (_, n) => (await fetch((n % 2 === 0 ? gateway : other).url)).status),
      )
      assert.equal(all.filter(status => status === 200).length, 5)
      assert.deepEqual(fields(await get()).slice(0, 2), ['5', '0'])
    })

    for (const [what, more, expected] of [
      ['refuses', {}, [500, 500, 500, 500]],
      ['lets pass', { allow_degradation: true }, [200, 200, 200, 200]],
      ['lets no more than its share pass', { redis_away: 'local_share', redis_share: 0.3 }, [200, 200, 503, 503]],
    ] as const) {
      it(`${what} when Redis does not answer in its time, and shows it`, async () => {
        await limited(config({ ...more, redis_answer_ms: 50, count: 7 }))
        await until(async () => (await get()).headers.get('x-ratelimit-remaining') !== null, 'Redis has answered')
        redis.servers[0]!.pause()
        // On a busy machine Redis may have been too slow before, and the share be used already.
        const all = await statuses(4)
        assert.deepEqual(all.slice(2), expected.slice(2))
        assert.ok(all.every((status, at) => status === expected[at] || status === 503))
        assert.match(gateway.scrape(), /sluice_ledger_away_total\{server="127.0.0.1:\d+",answer="\w+"\} \d/)
        assert.match(gateway.scrape(), /sluice_ledger_redis_away\{server="127.0.0.1:\d+"\} 1/)
      })
    }
  })
})
