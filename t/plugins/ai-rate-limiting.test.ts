// ai-rate-limiting as clients see it: how it stands, what is refused and how, and what calls are charged for.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import OpenAI, { RateLimitError } from 'openai'
import aiRateLimiting from '../../plugins/ai-rate-limiting.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type RedisForTest, redisPolicy, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const english = JSON.parse(readFileSync(new URL('../fixtures/text/english.json', import.meta.url), 'utf8')) as {
  text: string
  o200k_base: number
}[]

const START = 1_700_000_000_000
const question = { model: 'm', messages: [{ role: 'user', content: 'What is 1 + 1?' }] }
const usageOf = (prompt: number, completion: number) => ({
  prompt_tokens: prompt,
  completion_tokens: completion,
  total_tokens: prompt + completion,
})
const answer = (usage: object | undefined, content = 'Two.') => ({
  choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
  usage,
})

describe('ai-rate-limiting', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let clock: { now: number }

  beforeEach(async () => {
    clock = { now: START }
    upstream = await startUpstream(received => received.json(200, answer(usageOf(8, 4))))
    gateway = await startGateway({ now: () => clock.now })
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    const { opened, settled, released, live } = gateway.book.totals()['ai-rate-limiting'] ?? {
      ...{ opened: 0, settled: 0, released: 0, live: 0 },
    }
    assert.deepEqual([live, settled + released], [0, opened])
    await gateway.close()
    await upstream.close()
  })

  const aiProxy = () => ({
    provider: 'openai',
    auth: { header: { Authorization: 'Bearer x' } },
    override: { endpoint: `${upstream.origin}/v1/chat/completions` },
  })
  const route = (config: object, more: object = {}) => ({
    uri: '/*',
    plugins: { 'ai-proxy': aiProxy(), 'ai-rate-limiting': config, ...more },
  })
  async function limited(config: object, at = gateway): Promise<void> {
    await at.put({ routes: { 1: route(config) } })
    assert.deepEqual(at.rejected, [])
  }
  const ask = (
    headers: Record<string, string> = {},
    more: object = {},
    { url, signal }: { url?: string; signal?: AbortSignal } = {},
  ) =>
    fetch(`${url ?? gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ ...question, ...more }),
      ...(signal && { signal }),
    })
  const fields = ({ headers }: Response, before = 'X-AI-', behind = '-ai-proxy-openai') =>
    ['Limit', 'Remaining', 'Reset'].map(name => headers.get(`${before}RateLimit-${name}${behind}`))
  /** What is left of the limit, as the next request would see it; it costs nothing. */
  async function remaining(): Promise<number> {
    const script = upstream.script
    upstream.script = received => received.json(500, {})
    const left = Number(fields(await ask())[1])
    upstream.script = script
    return left
  }

  it('counts what answers cost, and refuses who comes when nothing is left', async () => {
    await limited({ limit: 20, time_window: 60, rejected_msg: 'slow down' })
    assert.deepEqual(fields(await ask()), ['20', '20', '60'])
    clock.now += 625
    assert.deepEqual(fields(await ask()), ['20', '8', '59.37'])
    const refused = await ask()
    assert.deepEqual([refused.status, ...fields(refused)], [503, '20', '0', '59.37'])
    assert.equal(await refused.text(), '{"error_msg":"slow down"}\n')
    clock.now += 60_000
    assert.equal((await ask()).status, 200)
  })

  it('refuses in the words of the protocol, with when to come again', async () => {
    await limited({ limit: 1, time_window: 60 })
    await ask()
    clock.now += 500
    const refused = await ask()
    assert.deepEqual([refused.status, refused.headers.get('retry-after')], [429, '60'])
    const { error } = (await refused.json()) as { error: { type: string; code: string } }
    assert.deepEqual([error.type, error.code], ['rate_limit_error', 'rate_limit_exceeded'])
    const sdk = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'x', maxRetries: 0 })
    const asking = sdk.chat.completions.create({ model: 'm', messages: [{ role: 'user', content: 'hi' }] })
    await assert.rejects(asking, RateLimitError)
  })

  it('refuses with an empty body where only a code is configured', async () => {
    await limited({ limit: 1, time_window: 60, rejected_code: 402, show_limit_quota_header: false })
    assert.deepEqual(fields(await ask()), [null, null, null])
    const refused = await ask()
    assert.deepEqual([refused.status, await refused.text()], [402, ''])
  })

  for (const [strategy, more, cost] of [
    ['total_tokens', {}, 12],
    ['prompt_tokens', {}, 8],
    ['completion_tokens', {}, 4],
    ['expression', { cost_expr: 'prompt_tokens * 0.5 + math.max(completion_tokens, 10)' }, 14],
  ] as const) {
    it(`counts by ${strategy}`, async () => {
      await limited({ limit: 1_000, time_window: 60, limit_strategy: strategy, ...more })
      await ask()
      assert.equal(await remaining(), 1_000 - cost)
    })
  }

  it('limits the instance that is named, and others by what all have', async () => {
    const instances = [{ name: 'ai-proxy-openai', limit: 5, time_window: 30 }]
    await limited({ limit: 1_000, time_window: 60, instances })
    assert.deepEqual(fields(await ask()), ['5', '5', '30'])
    assert.equal((await ask()).status, 429)
    await limited({ instances: [{ ...instances[0]!, name: 'another' }] })
    assert.deepEqual(fields(await ask()), [null, null, null])
  })

  it('holds every rule that applies', async () => {
    const rules = [
      { key: '$http_user', count: 13, time_window: 60, header_prefix: 'user' },
      { key: '$http_team', count: '$http_most', time_window: 30 },
      { key: 'constant', count: 1, time_window: 30 },
    ]
    await limited({ rules })
    const first = await ask({ user: 'a', team: 't', most: '1000' })
    assert.deepEqual(fields(first, 'X-AI-user-', ''), ['13', '13', '60'])
    assert.deepEqual(fields(first, 'X-AI-2-', ''), ['1000', '1000', '30'])
    await ask({ user: 'a' })
    assert.equal((await ask({ user: 'a', team: 't', most: '1000' })).status, 429)
    assert.equal((await ask({ user: 'b' })).status, 200)
    assert.deepEqual([(await ask()).status, (await ask({ team: 't', most: 'x' })).status], [500, 500])
  })

  it('counts consumers by themselves', async () => {
    const consumer = (key: string) => ({
      plugins: { 'key-auth': { key }, 'ai-rate-limiting': { limit: 5, time_window: 60 } },
    })
    await gateway.put({
      consumers: { a: { username: 'a', ...consumer('key-a') }, b: { username: 'b', ...consumer('key-b') } },
      routes: { 1: { uri: '/*', plugins: { 'ai-proxy': aiProxy(), 'key-auth': {} } } },
    })
    const statuses: number[] = []
    for (const apikey of ['key-a', 'key-a', 'key-b', 'key-b']) statuses.push((await ask({ apikey })).status)
    assert.deepEqual(statuses, [200, 429, 200, 429])
  })

  it('does nothing where no LLM is called', async () => {
    await gateway.put({
      routes: {
        1: {
          uri: '/*',
          plugins: { 'ai-rate-limiting': { limit: 1, time_window: 60 } },
          upstream: { type: 'roundrobin', nodes: upstream.nodes },
        },
      },
    })
    assert.deepEqual([(await ask()).status, (await ask()).status, (await ask()).status], [200, 200, 200])
  })

  it('charges nothing for answers that failed', async () => {
    await limited({ limit: 10, time_window: 60 })
    upstream.script = received => received.json(429, { error: { message: 'no' } })
    for (let n = 0; n < 3; n++) assert.equal((await ask()).status, 429)
    assert.equal(await remaining(), 10)
    upstream.script = received => received.cut()
    await ask()
    assert.equal(await remaining(), 10)
  })

  it('lets all pass that ask at once, as long as something is left, with `check`', async () => {
    await limited({ limit: 1, time_window: 60 })
    const waiting: Received[] = []
    upstream.script = received => void waiting.push(received)
    const all = Array.from({ length: 10 }, () => ask())
    await until(() => waiting.length === 10, 'all have passed')
    for (const received of waiting) received.json(200, answer(usageOf(8, 4)))
    await Promise.all(all)
    assert.equal((await ask()).status, 429)
  })

  it('lets nobody pass for whom too little may be left, with `reserve`, and gives back what was not used', async () => {
    await limited({ limit: 250, time_window: 60, admission: 'reserve' })
    const waiting: Received[] = []
    upstream.script = received => void waiting.push(received)
    const most = { max_tokens: 80 }
    const two = [ask({}, most), ask({}, most)]
    await until(() => waiting.length === 2, 'two are under way')
    const refused = await ask({}, most)
    assert.deepEqual([refused.status, fields(refused)[1]], [429, '0'])
    for (const received of waiting) received.json(200, answer(usageOf(8, 4)))
    for (const { status } of await Promise.all(two)) assert.equal(status, 200)
    upstream.script = received => received.json(200, answer(usageOf(8, 4)))
    assert.deepEqual(fields(await ask({}, most)).slice(0, 2), ['250', String(250 - 24)])
  })

  it('admits by itself what may need more than the whole limit', async () => {
    await limited({ limit: 100, time_window: 60, admission: 'reserve' })
    assert.equal((await ask()).status, 200)
    assert.equal((await ask()).status, 429)
    clock.now += 60_000
    assert.equal((await ask()).status, 200)
  })

  describe('of a stream', () => {
    const chunk = (content: string, finish: string | null = null) => ({
      choices: [{ index: 0, delta: { content }, finish_reason: finish }],
    })
    /** As a provider cuts it: a few letters at a time. */
    async function streamed(received: Received, text: string): Promise<void> {
      received.startStream()
      for (const piece of text.match(/.{1,5}/gs)!) await received.event(chunk(piece))
    }

    it('counts the usage at its end', async () => {
      await limited({ limit: 1_000, time_window: 60 })
      upstream.script = async received => {
        await streamed(received, 'Two, of course.')
        await received.event(chunk('', 'stop'))
        await received.event({ choices: [], usage: usageOf(20, 30) })
        await received.event('[DONE]')
        received.response.end()
      }
      await (await ask({}, { stream: true })).text()
      assert.equal(await remaining(), 950)
      assert.match(gateway.scrape(), /sluice_llm_charged_total\{route_id="1",counted="reported"\} 50/)
    })

    for (const [at, { text, o200k_base }] of english.entries()) {
      it(`counts what was delivered, within a tenth, when the client leaves before that (text ${at + 1})`, async () => {
        await limited({ limit: 10_000, time_window: 60 })
        upstream.script = received => streamed(received, text)
        const leaving = new AbortController()
        const prompt = english.map(({ text }) => text).join(' ')
        const messages = [{ role: 'user', content: prompt }]
        const { body } = await ask({}, { stream: true, messages }, { signal: leaving.signal })
        let seen = ''
        for await (const piece of body!) {
          seen += Buffer.from(piece).toString()
          if (seen.includes(JSON.stringify(text.slice(-(text.length % 5 || 5))))) break
        }
        leaving.abort()
        await until(() => gateway.gateway.inFlight === 0, 'it has logged')
        const delivered = o200k_base + english.reduce((sum, each) => sum + each.o200k_base, 0)
        const charged = 10_000 - (await remaining())
        assert.ok(Math.abs(charged / delivered - 1) <= 0.1, `${charged} where ${delivered} were delivered`)
        assert.match(gateway.scrape(), /sluice_llm_charged_total\{route_id="1",counted="estimated"\} \d/)
      })
    }

    it('counts nothing when nothing was delivered', async () => {
      await limited({ limit: 1_000, time_window: 60 })
      upstream.script = received => received.startStream()
      const leaving = new AbortController()
      const asking = ask({}, { stream: true }, { signal: leaving.signal })
      await upstream.request(0)
      leaving.abort()
      await assert.rejects(asking)
      await until(() => gateway.gateway.inFlight === 0, 'it has logged')
      assert.equal(await remaining(), 1_000)
    })

    it('counts what was delivered of one that the provider breaks off', async () => {
      await limited({ limit: 10_000, time_window: 60, limit_strategy: 'completion_tokens' })
      const { text, o200k_base } = english[0]!
      upstream.script = async received => {
        await streamed(received, text)
        received.cut()
      }
      await (await ask({}, { stream: true })).text()
      const charged = 10_000 - (await remaining())
      assert.ok(Math.abs(charged / o200k_base - 1) <= 0.1, `${charged}`)
    })
  })

  it('refuses configs that cannot be', () => {
    const said = (config: object) => aiRateLimiting.check!({ policy: 'local', limit_strategy: 'expression', ...config })
    assert.equal(said({}), "cost_expr is required when limit_strategy is 'expression'")
    assert.match(said({ cost_expr: '1 +' }) ?? '', /^invalid cost_expr: /)
    assert.equal(said({ cost_expr: 'a + 1' }), undefined)
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

    it('lets 200 clients at two gateways have exactly what is left, with `reserve`', async function () {
      this.timeout(60_000)
      const config = {
        ...{ limit: 2_000, time_window: 3_600, admission: 'reserve' },
        ...redisPolicy(redis, 20_000),
      }
      await limited(config)
      await limited(config, other)
      // Of each of them the provider reports what was the worst case.
      let served = 0
      upstream.script = async received => {
        const body = await received.body
        const cost = Math.ceil(body.length / 4) + 150
        served += cost
        received.json(200, answer(usageOf(cost - 150, 150)))
      }
      const sizes = new Set<number>()
      const all = await Promise.all(
        Array.from({ length: 200 }, async (_, n) => {
          const url = n % 2 === 0 ? gateway.url : other.url
          const response = await ask({}, { max_tokens: 150 }, { url })
          await response.text()
          sizes.add(response.status)
          return response.status
        }),
      )
      assert.deepEqual([...sizes].sort(), [200, 429])
      const passed = all.filter(status => status === 200).length
      const each = served / passed
      assert.ok(served <= 2_000, `${served} were served`)
      assert.ok(2_000 - served < each, `${2_000 - served} are left, and ${each} would have been enough`)
    })
  })
})
