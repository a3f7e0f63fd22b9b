// ai-budget at the front door: who pays for what, what is refused and in which words, and what calls are charged for however they end.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import OpenAI from 'openai'
import { promptEstimate } from '../../../core/llm/charge.ts'
import { exchange, type Tried } from '../../../core/llm/exchange.ts'
import { estimateTokens } from '../../../core/llm/token-estimate.ts'
import { plugin } from '../../../core/plugin.ts'
import { configProblem } from '../../../core/resource/plugin-configs.ts'
import aiBudget from '../../../plugins/ai-budget/ai-budget.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { type Line, openJournal } from '../../helpers/journal.ts'
import { type RedisForTest, redisPolicy, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const START = Date.parse('2026-11-20T12:00:00Z')
const question = { model: 'm', max_tokens: 50, messages: [{ role: 'user', content: 'What is 1 + 1?' }] }
/** Of the question, with a quarter of its bytes. */
const WORST = Math.ceil(JSON.stringify(question).length / 4) + 50
const usageOf = (prompt: number, completion: number, more: object = {}) => ({
  ...{ prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion },
  ...more,
})
const answer = (usage: object | undefined, content = 'Two.') => ({
  choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
  usage,
})
const chunk = (content: string, finish: string | null = null) => ({
  choices: [{ index: 0, delta: { content }, finish_reason: finish }],
})
const balance = { type: 'balance' }

describe('ai-budget', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let clock: { now: number }
  let lines: Line[]
  /** Of the request that has logged last: who was tried, and what came of it. */
  let tries: readonly Tried[] | undefined

  beforeEach(async () => {
    clock = { now: START }
    upstream = await startUpstream(received => received.json(200, answer(usageOf(8, 4))))
    const journal = openJournal()
    lines = journal.lines
    const spy = plugin({
      ...{ name: 'spy', priority: 1, version: 1, schema: { type: 'object' } },
      setup: () => ({
        log(ctx) {
          tries = exchange.get(ctx)?.tries
        },
      }),
    })
    gateway = await startGateway({ now: () => clock.now, log: journal.log, plugins: [spy] })
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    const none = { opened: 0, settled: 0, released: 0, live: 0 }
    const { opened, settled, released, live } = gateway.book.totals()['ai-budget'] ?? none
    assert.deepEqual([live, settled + released], [0, opened])
    await gateway.close()
    await upstream.close()
  })

  const endpoint = (path = '/v1/chat/completions') => `${upstream.origin}${path}`
  const aiProxy = (more: object = {}) => ({
    ...{ provider: 'openai', auth: { header: { Authorization: 'Bearer x' } }, override: { endpoint: endpoint() } },
    ...more,
  })
  const budget = (more: object = {}) => ({ name: 'b', principal: 'route', cap: 1_000, window: balance, ...more })
  /** Two consumers of one group, one of whom has two credentials, and one of none. */
  const consumers = {
    consumer_groups: { team: { plugins: {} } },
    consumers: {
      jack: { username: 'jack', group_id: 'team', plugins: { 'key-auth': { key: 'jack' } } },
      'jack/credentials/second': { plugins: { 'key-auth': { key: 'jack-2' } } },
      jill: { username: 'jill', group_id: 'team', plugins: { 'key-auth': { key: 'jill' } } },
      joe: { username: 'joe', plugins: { 'key-auth': { key: 'joe' } } },
    },
  }
  async function pays(budgets: object[], more: object = {}, plugins: object = {}, at = gateway): Promise<void> {
    const ai = 'ai-proxy-multi' in plugins ? {} : { 'ai-proxy': aiProxy() }
    await at.put({ routes: { 1: { uri: '/*', plugins: { ...ai, 'ai-budget': { budgets, ...more }, ...plugins } } } })
    assert.deepEqual(at.rejected, [])
  }
  const ask = (
    apikey = '',
    more: object = {},
    { url, signal, headers = {} }: { url?: string; signal?: AbortSignal; headers?: Record<string, string> } = {},
  ) =>
    fetch(`${url ?? gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(apikey !== '' && { apikey }), ...headers },
      body: JSON.stringify({ ...question, ...more }),
      ...(signal && { signal }),
    })
  const field = ({ headers }: Response, what: string, name = 'b') => headers.get(`X-AI-Budget-${what}-${name}`)
  const errorOf = async (response: Response) =>
    ((await response.json()) as { error: { type: string; code: string; message: string } }).error
  /** What is left, as the next request sees it; the provider fails it, so that it costs nothing. */
  async function remaining(apikey = '', name = 'b'): Promise<string | null> {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    const script = upstream.script
    upstream.script = received => received.json(500, {})
    const response = await ask(apikey, { max_tokens: 1 })
    await response.text()
    upstream.script = script
    return field(response, 'Remaining', name)
  }
  const metric = (name: string) => gateway.scrape().match(new RegExp(`^${name}.*$`, 'gm')) ?? []

  describe('takes for a principal', () => {
    beforeEach(() => gateway.put(consumers))

    for (const [principal, same, other] of [
      ['consumer', ['jack', 'jack-2'], 'jill'],
      ['consumer_group', ['jack', 'jill'], undefined],
      ['credential', ['jack-2', 'jack-2'], 'jack'],
      ['route', ['jack', 'joe'], undefined],
      [{ expression: '$consumer_name-$http_team' }, ['jack', 'jack-2'], 'jill'],
    ] as const) {
      it(`what is ${JSON.stringify(principal)}`, async () => {
        await pays([budget({ principal, cap: WORST + 12 })], {}, { 'key-auth': {} })
        const statuses: number[] = []
        for (const key of [...same, same[0]]) statuses.push((await ask(key)).status)
        assert.deepEqual(statuses, [200, 200, 429])
        if (other !== undefined) assert.equal((await ask(other)).status, 200)
      })
    }

    it('and for nobody where there is none', async () => {
      await pays([budget({ principal: 'consumer_group', cap: 1 })], {}, { 'key-auth': {} })
      assert.deepEqual([(await ask('joe')).status, (await ask('jack')).status], [200, 429])
    })

    it('whom the client cannot name: fields of identity that it sends are dropped', async () => {
      await pays([budget({ principal: { expression: '$http_x_consumer_username' }, cap: 1 })])
      const forged = { 'X-Consumer-Username': 'jill', 'X-Credential-Identifier': 'x', 'X-Consumer-Custom-ID': 'y' }
      assert.equal((await ask('', {}, { headers: forged })).status, 200)
      const { headers } = await upstream.request(0)
      assert.deepEqual([headers['x-consumer-username'], headers['x-credential-identifier']], [undefined, undefined])
    })

    it('by a configuration of its own too', async () => {
      const { jack } = consumers.consumers
      const own = { budgets: [budget({ principal: 'consumer', cap: WORST })] }
      await gateway.put({ consumers: { jack: { ...jack, plugins: { ...jack.plugins, 'ai-budget': own } } } })
      await gateway.put({ routes: { 1: { uri: '/*', plugins: { 'ai-proxy': aiProxy(), 'key-auth': {} } } } })
      const statuses: number[] = []
      for (const key of ['jack', 'jack', 'jill', 'jill']) statuses.push((await ask(key)).status)
      assert.deepEqual(statuses, [200, 429, 200, 200])
    })

    it('all that apply together, or nothing', async () => {
      const budgets = [
        budget({ name: 'own', principal: 'consumer', cap: 10_000 }),
        budget({ name: 'team', principal: 'consumer_group', cap: WORST }),
      ]
      await pays(budgets, {}, { 'key-auth': {} })
      assert.equal((await ask('jack')).status, 200)
      const refused = await ask('jill')
      assert.equal(refused.status, 429)
      assert.match((await errorOf(refused)).message, /team/)
      assert.deepEqual(
        [field(refused, 'Remaining', 'own'), field(refused, 'Remaining', 'team')],
        ['10000', `${WORST - 12}`],
      )
      assert.deepEqual([await remaining('jill', 'own'), await remaining('jack', 'own')], ['10000', '9988'])
    })
  })

  describe('refuses', () => {
    it('for good what a balance does not pay for: 429 insufficient_quota, without Retry-After', async () => {
      await pays([budget({ cap: WORST })])
      assert.equal((await ask()).status, 200)
      const refused = await ask()
      assert.deepEqual([refused.status, refused.headers.get('retry-after')], [429, null])
      const { type, code } = await errorOf(refused)
      assert.deepEqual([type, code], ['insufficient_quota', 'insufficient_quota'])
    })

    it('so that SDKs do not try again', async () => {
      await pays([budget({ cap: 1 })])
      const sdk = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'x', maxRetries: 3 })
      const asking = sdk.chat.completions.create({ model: 'm', messages: [{ role: 'user', content: 'hi' }] })
      await assert.rejects(asking, { code: 'insufficient_quota', type: 'insufficient_quota' })
      assert.deepEqual(metric('sluice_budget_refused_total'), [
        'sluice_budget_refused_total{budget="b",mode="enforce"} 1',
      ])
    })

    it('until the next window what a window does not pay for: 429 rate_limit_exceeded, with Retry-After', async () => {
      await pays([budget({ cap: WORST, window: { type: 'rolling', seconds: 60 } })])
      clock.now += 1_500
      assert.equal((await ask()).status, 200)
      const refused = await ask()
      assert.deepEqual([refused.status, refused.headers.get('retry-after'), field(refused, 'Reset')], [429, '59', '59'])
      const { type, code } = await errorOf(refused)
      assert.deepEqual([type, code], ['rate_limit_error', 'rate_limit_exceeded'])
      clock.now = START + 60_000
      assert.equal((await ask()).status, 200)
    })

    it('for good what no window will ever pay for', async () => {
      await pays([
        budget({ cap: WORST - 1, window: { type: 'calendar', period: 'month', time_zone: 'Europe/Berlin' } }),
      ])
      const refused = await ask()
      assert.deepEqual([refused.status, refused.headers.get('retry-after')], [429, null])
      assert.equal((await errorOf(refused)).code, 'insufficient_quota')
    })

    it("in the client's protocol", async () => {
      await pays(
        [budget({ cap: 1 })],
        {},
        { 'ai-proxy': aiProxy({ provider: 'anthropic', override: { endpoint: endpoint('') } }) },
      )
      const refused = await fetch(`${gateway.url}/v1/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(question),
      })
      const { type, error } = (await refused.json()) as { type: string; error: { type: string } }
      assert.deepEqual([refused.status, type, error.type], [429, 'error', 'rate_limit_error'])
      assert.equal(upstream.received.length, 0)
    })
  })

  describe('reserves', () => {
    it('what a request may cost before it is sent, so that nobody passes for whom too little may be left', async () => {
      await pays([budget({ cap: 2 * WORST })])
      const waiting: Received[] = []
      upstream.script = received => void waiting.push(received)
      const two = [ask(), ask()]
      await until(() => waiting.length === 2, 'two are under way')
      const busy = await ask()
      assert.deepEqual([busy.status, busy.headers.get('retry-after')], [429, '1'])
      assert.equal((await errorOf(busy)).code, 'rate_limit_exceeded')
      for (const received of waiting) received.json(200, answer(usageOf(8, 4)))
      const [first] = await Promise.all(two)
      assert.deepEqual([field(first!, 'Limit'), Number(field(first!, 'Remaining')) > WORST], [`${2 * WORST}`, true])
      assert.equal(await remaining(), `${2 * WORST - 24}`)
    })

    it('of what the operator asks for in the place of the client', async () => {
      await pays([budget({ cap: 1_000 })], {}, { 'ai-proxy': aiProxy({ options: { max_tokens: 2_000 } }) })
      assert.equal((await ask()).status, 429)
      assert.equal(upstream.received.length, 0)
    })

    it('a byte for each token where that is said, and as much output as is said for who does not say', async () => {
      const bytes = JSON.stringify({ ...question, max_tokens: undefined }).length
      const reserve = { bytes_per_token: 1, default_output: 10 }
      await pays([budget({ cap: bytes + 9 })], { reserve })
      assert.equal((await ask('', { max_tokens: undefined })).status, 429)
      await pays([budget({ cap: bytes + 10 })], { reserve })
      assert.equal((await ask('', { max_tokens: undefined })).status, 200)
    })

    it('what it asks the provider for where the client asks for nothing, and for no more', async () => {
      const reserve = { default_output: 30, limit_output: true }
      await pays([budget()], { reserve }, { 'ai-proxy': aiProxy({ provider: 'openai-compatible' }) })
      const asked: unknown[] = []
      upstream.script = async received => {
        asked.push((JSON.parse((await received.body).toString()) as { max_tokens?: number }).max_tokens)
        received.json(200, answer(usageOf(8, 4)))
      }
      await ask('', { max_tokens: undefined })
      await ask('', { max_tokens: 500 })
      assert.deepEqual(asked, [30, 500])
    })

    it('for what a client may get that says little under one name and much under another', async () => {
      await pays([budget({ cap: 100 })])
      assert.equal((await ask('', { max_completion_tokens: 1, max_tokens: 5_000 })).status, 429)
      assert.equal((await ask('', { max_tokens: 1, MAX_TOKENS: 5_000 })).status, 429)
    })

    it('no more output than is thought of where the cap may be overshot, and never more than the bound in all', async () => {
      const overshoot = 10_000
      await pays([budget({ cap: 1_000, overshoot })], { reserve: { output_at_most: 100 } })
      const waiting: Received[] = []
      upstream.script = received => void waiting.push(received)
      const huge = { max_tokens: 4_000 }
      const under = [ask('', huge), ask('', huge)]
      await until(() => waiting.length === 2, 'two are under way')
      // Its worst has no room below the cap and the overshoot.
      assert.equal((await ask('', huge)).status, 429)
      for (const received of waiting) received.json(200, answer(usageOf(20, 4_000)))
      await Promise.all(under)
      upstream.script = received => received.json(200, answer(usageOf(8, 4)))
      assert.deepEqual([(await ask('', huge)).status, await remaining()], [429, '0'])
    })

    it('as much output as answers had, once that was learned', async () => {
      const learned = { quantile: 0.9, after: 3 }
      await pays([budget({ cap: 1_000, overshoot: 20_000 })], { reserve: { learned } })
      const huge = { max_tokens: 5_000 }
      assert.equal((await ask('', huge)).status, 429)
      for (let n = 0; n < 3; n++) assert.equal((await ask('', { max_tokens: 500 })).status, 200)
      assert.equal((await ask('', huge)).status, 200)
    })
  })

  describe('charges', () => {
    const spent = async (cap = 1_000) => cap - Number(await remaining())

    it('nothing for what failed, was cut before it began, or asks no model anything', async () => {
      await pays([budget()])
      for (const script of [
        (received: Received) => received.json(429, { error: { message: 'no' } }),
        (received: Received) => received.cut(),
      ]) {
        upstream.script = script
        await (await ask()).text()
      }
      assert.equal(await spent(), 0)
    })

    it('what a whole answer says, and the fields say what is left then', async () => {
      await pays([budget({ window: { type: 'calendar', period: 'day' } })])
      const { headers } = await ask()
      const fields = ['Limit', 'Remaining', 'Reset'].map(what => headers.get(`X-AI-Budget-${what}-b`))
      assert.deepEqual(fields, ['1000', '988', '43200'])
    })

    it('what the bytes tell of an answer of which nothing is known', async () => {
      await pays([budget({ cap: 10_000 })])
      const body = { choices: [{ index: 0, message: { role: 'assistant', tool_calls: [{ id: 'x' }] } }] }
      upstream.script = received => received.json(200, body)
      await ask()
      const bytes = JSON.stringify(body).length
      assert.equal(await spent(10_000), WORST - 50 + Math.ceil(bytes / 4))
    })

    it('as if it said nothing what a provider reports without numbers: nothing is free by accident', async () => {
      await pays([budget({ cap: 10_000 })])
      for (const usage of [{}, usageOf(0, 0), { prompt_tokens: '8', completion_tokens: '4' }]) {
        const before = await spent(10_000)
        upstream.script = received => received.json(200, answer(usage))
        await ask()
        const bytes = JSON.stringify(answer(usage)).length
        assert.equal(await spent(10_000), before + WORST - 50 + Math.ceil(bytes / 4))
      }
    })

    it('every attempt for what it has consumed, and a fallback by the budgets of the model that serves', async () => {
      const instance = (name: string, priority: number) => ({
        ...aiProxy({ options: { model: name } }),
        ...{ name, weight: 1, priority },
      })
      const multi = {
        instances: [instance('big', 1), instance('small', 0)],
        fallback_strategy: ['http_5xx'],
      }
      const budgets = [
        budget(),
        budget({ name: 'small', models: ['smal*'], cap: WORST + 20 }),
        budget({ name: 'asked', models: ['m'] }),
        budget({ name: 'other', models: ['n'] }),
      ]
      await pays(budgets, {}, { 'ai-proxy-multi': multi, spy: {} })
      upstream.script = async received => {
        const { model } = JSON.parse((await received.body).toString()) as { model: string }
        if (model === 'big') return received.json(500, { usage: usageOf(100, 100) })
        received.json(200, answer(usageOf(10, 20)))
      }
      const first = await ask()
      assert.equal(first.status, 200)
      assert.deepEqual(
        ['b', 'small', 'asked', 'other'].map(name => field(first, 'Remaining', name)),
        ['970', `${WORST - 10}`, '970', null],
      )
      const refused = await ask()
      assert.equal(refused.status, 429)
      assert.match((await errorOf(refused)).message, /small/)
      assert.equal(upstream.received.length, 3)
      await until(() => gateway.gateway.inFlight === 0, 'it has logged')
      assert.deepEqual(
        tries?.map(({ instance, status, reason }) => [instance, status, reason]),
        [
          ['big', 500, undefined],
          ['small', 429, 'not_admitted'],
        ],
      )
    })

    it('an attempt that has begun and failed, and the one that made it good', async () => {
      const instance = (name: string, priority: number) => ({
        ...{
          name,
          weight: 1,
          priority,
          provider: 'anthropic',
          auth: {},
          override: { endpoint: endpoint('/v1/messages') },
        },
        options: { model: name },
      })
      const multi = { instances: [instance('one', 1), instance('two', 0)], fallback_strategy: ['http_5xx'] }
      await pays([budget()], {}, { 'ai-proxy-multi': multi })
      const event = (received: Received, data: { type: string }) =>
        received.write(`event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`)
      upstream.script = async received => {
        const first = (await received.body).includes('"one"')
        const usage = { input_tokens: first ? 30 : 20, output_tokens: 1 }
        received.startStream()
        const message = {
          id: 'x',
          type: 'message',
          role: 'assistant',
          model: 'm',
          content: [],
          stop_reason: null,
          usage,
        }
        await event(received, { type: 'message_start', message } as { type: string })
        if (first)
          await event(received, { type: 'error', error: { type: 'overloaded_error', message: 'no' } } as {
            type: string
          })
        else {
          const delta = { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 5 } }
          for (const each of [delta, { type: 'message_stop' }]) await event(received, each)
        }
        received.response.end()
      }
      const response = await fetch(`${gateway.url}/v1/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...question, stream: true }),
      })
      assert.match(await response.text(), /message_stop/)
      assert.equal(upstream.received.length, 2)
      assert.equal(await spent(), 31 + 25)
    })

    it('what passes through without a protocol by its bytes, and questions without a body not at all', async () => {
      await pays([budget({ cap: 10_000 })])
      upstream.script = received => received.json(200, { data: 'x'.repeat(89) })
      const passed = await fetch(`${gateway.url}/v1/audio/speech`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'm', input: 'x'.repeat(75) }),
      })
      assert.equal(passed.status, 200)
      assert.equal((await fetch(`${gateway.url}/v1/models`)).status, 200)
      assert.equal(await spent(10_000), 25 + 25)
    })

    it('a converted call by what its provider says', async () => {
      const anthropic = aiProxy({ provider: 'openai', override: { endpoint: endpoint() } })
      await pays([budget()], {}, { 'ai-proxy': anthropic })
      const response = await fetch(`${gateway.url}/v1/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(question),
      })
      assert.equal(response.status, 200)
      assert.equal(((await response.json()) as { type: string }).type, 'message')
      assert.equal(field(response, 'Remaining'), '988')
    })

    describe('a stream', () => {
      const text = 'What the lighthouse keeper saw was not green'
      const pieces = text.match(/.{1,7}/gs)!
      const begun = async (received: Received) => {
        received.startStream()
        for (const piece of pieces) await received.event(chunk(piece))
      }
      /** Leaves when it has seen all that comes. */
      async function leave(): Promise<void> {
        const leaving = new AbortController()
        const { body } = await ask('', { stream: true }, { signal: leaving.signal })
        let seen = ''
        for await (const piece of body!) {
          seen += Buffer.from(piece).toString()
          if (seen.includes(JSON.stringify(pieces.at(-1)))) break
        }
        leaving.abort()
      }
      const delivered = promptEstimate(question, 'openai-chat') + estimateTokens([text])

      it('at its end', async () => {
        await pays([budget()])
        upstream.script = async received => {
          await begun(received)
          await received.event(chunk('', 'stop'))
          await received.event({ choices: [], usage: usageOf(20, 30) })
          await received.event('[DONE]')
          received.response.end()
        }
        await (await ask('', { stream: true })).text()
        assert.equal(await spent(), 50)
      })

      it('that is cut short for no more than it asked for, however it is estimated', async () => {
        await pays([budget()])
        upstream.script = async received => {
          await begun(received)
          received.cut()
        }
        await (await ask('', { stream: true, max_tokens: 3 })).text()
        assert.equal(await spent(), promptEstimate(question, 'openai-chat') + 3)
      })

      for (const [policy, charged] of [
        ['delivered', delivered],
        [
          'reserved',
          Math.ceil(JSON.stringify({ ...question, stream: true, stream_options: { include_usage: true } }).length / 4) +
            50,
        ],
        ['zero', 0],
      ] as const) {
        it(`whose client leaves: ${policy}`, async () => {
          await pays([budget()], { on_abandon: policy })
          upstream.script = begun
          await leave()
          assert.equal(await spent(), charged)
        })
      }

      it('that the provider breaks off, for what has passed, whatever becomes of those that clients leave', async () => {
        await pays([budget()], { on_abandon: 'zero' })
        upstream.script = async received => {
          await begun(received)
          received.cut()
        }
        await (await ask('', { stream: true })).text()
        assert.equal(await spent(), delivered)
      })
    })
  })

  describe('counts in money', () => {
    const prices = [
      { model: 'm', input: 2.5, output: 10, cached_input: 1.25 },
      { model: 'm', input: 5, output: 20, from: '2026-11-20T13:00:00Z' },
    ]
    const priced = (rows: object[] = prices) =>
      gateway.put({ plugin_metadata: { 'ai-budget': { currency: 'EUR', prices: rows } } })

    it('what tokens cost on their day, to the last digit', async () => {
      await priced()
      await pays([budget({ unit: 'money', cap: '1.00' })])
      const usage = usageOf(1_000, 101, { prompt_tokens_details: { cached_tokens: 400 } })
      upstream.script = received => received.json(200, answer(usage))
      // 600 at 2.5, 400 at 1.25 and 101 at 10 per million.
      assert.equal(field(await ask(), 'Remaining'), '0.99699')
      clock.now += 3_600_000
      assert.equal(field(await ask(), 'Remaining'), '0.98997')
      assert.deepEqual(metric('sluice_spend_money_total'), [
        'sluice_spend_money_total{consumer="",credential="",currency="EUR"} 0.01003',
      ])
    })

    it('no model that has no price, unless one stands for all; tokens need none', async () => {
      await priced([{ model: 'other', input: 1, output: 1 }])
      await pays([budget({ unit: 'money', cap: 1 })])
      const refused = await ask()
      assert.deepEqual([refused.status, (await errorOf(refused)).code], [400, 'model_not_priced'])
      assert.equal(upstream.received.length, 0)
      await pays([budget({ unit: 'money', cap: 1, mode: 'shadow', name: 's' }), budget()])
      assert.equal((await ask()).status, 200)
      assert.deepEqual(metric('sluice_budget_unpriced_total'), ['sluice_budget_unpriced_total{route_id="1"} 2'])
      await priced([{ model: '*', input: 1, output: 1 }])
      await pays([budget({ unit: 'money', cap: 1, name: 'c' })])
      assert.equal(field(await ask(), 'Remaining', 'c'), '0.999988')
    })

    it('and refuses a table that is none', () => {
      assert.match(aiBudget.checkMetadata!({ prices: [...prices, prices[0]] }) ?? '', /two prices/)
    })
  })

  it('only watches in shadow mode, and tells whom it would have refused', async () => {
    await gateway.put(consumers)
    await pays([budget({ principal: 'consumer', mode: 'shadow', cap: WORST })], {}, { 'key-auth': {} })
    const left: unknown[] = []
    for (let n = 0; n < 3; n++) {
      const answer = await ask('jack')
      left.push([answer.status, field(answer, 'Remaining')])
    }
    // Each costs 12; nothing is left of what is exceeded.
    assert.deepEqual(
      left,
      [12, 24, 36].map(spent => [200, String(Math.max(0, WORST - spent))]),
    )
    assert.deepEqual(metric('sluice_budget_refused_total'), ['sluice_budget_refused_total{budget="b",mode="shadow"} 2'])
    const line = lines.find(({ message }) => message.includes('would have been refused'))?.fields
    assert.deepEqual([line?.budget, line?.principal], ['b', 'consumer:jack'])
  })

  it('shows what was spent by consumer and credential', async () => {
    await gateway.put(consumers)
    await pays([budget({ principal: 'consumer', cap: undefined })], { show_budget_header: false }, { 'key-auth': {} })
    for (const key of ['jack', 'jack-2', 'jack-2']) assert.equal(field(await ask(key), 'Remaining'), null)
    assert.deepEqual(metric('sluice_spend_tokens_total'), [
      'sluice_spend_tokens_total{consumer="jack",credential=""} 12',
      'sluice_spend_tokens_total{consumer="jack",credential="second"} 24',
    ])
    assert.deepEqual(metric('sluice_spend_completion_tokens_total{consumer="jack",credential="second"}'), [
      'sluice_spend_completion_tokens_total{consumer="jack",credential="second"} 8',
    ])
  })

  it('counts for the metrics once where a global rule has budgets too', async () => {
    await gateway.put({
      global_rules: { 1: { plugins: { 'ai-budget': { budgets: [budget({ name: 'all', cap: WORST })] } } } },
    })
    await pays([budget()])
    assert.equal((await ask()).status, 200)
    assert.match(metric('sluice_spend_tokens_total')[0] ?? '', / 12$/)
    assert.equal((await ask()).status, 429)
    assert.equal(await remaining(), '988')
  })

  it('counts for the metrics also what only the second configuration has to do with', async () => {
    const other = budget({ name: 'other', principal: 'consumer' })
    await gateway.put({ global_rules: { 1: { plugins: { 'ai-budget': { budgets: [other] } } } } })
    await pays([budget()])
    for (let n = 0; n < 2; n++) assert.equal((await ask()).status, 200)
    assert.deepEqual(metric('sluice_spend_tokens_total'), ['sluice_spend_tokens_total{consumer="",credential=""} 24'])
  })

  it('takes every configuration that its page shows', () => {
    const page = readFileSync('docs/budgets.md', 'utf8')
    const shown = [...page.matchAll(/^```json\n(.*?)^```/gms)].map(
      ([, json]) => JSON.parse(json!) as { budgets?: object[] },
    )
    const configs = shown.filter(each => each.budgets?.some(budget => 'principal' in budget && 'name' in budget))
    assert.equal(configs.length, 2)
    for (const config of configs) assert.equal(configProblem(aiBudget, 'config', { ...config }), undefined)
  })

  it('refuses configurations that cannot be', () => {
    const said = (...budgets: object[]) => configProblem(aiBudget, 'config', { budgets })
    assert.equal(said(budget()), undefined)
    assert.match(said(budget(), budget()) ?? '', /b is there twice/)
    assert.match(said(budget({ cap: 1.5 })) ?? '', /cap is not a whole number/)
    assert.match(said(budget({ unit: 'money', cap: '0.1234567891' })) ?? '', /cap/)
    assert.match(said(budget({ cap: undefined, overshoot: 1 })) ?? '', /overshoot without a cap/)
    assert.match(said(budget({ models: ['a*b'] })) ?? '', /a\*b/)
    assert.match(said(budget({ window: { type: 'rolling' } })) ?? '', /seconds/)
    assert.match(said(budget({ principal: 'nobody' })) ?? '', /principal/)
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

    it('is one budget for two gateways, of which nobody overspends', async () => {
      const budgets = [budget({ cap: 20 * WORST }), budget({ name: 'wide', cap: 10 ** 6 })]
      const where = redisPolicy(redis, 20_000)
      await pays(budgets, where)
      await pays(budgets, where, {}, other)
      // Of each the provider reports what was the worst case.
      upstream.script = received => received.json(200, answer(usageOf(WORST - 50, 50)))
      const statuses = await Promise.all(
        Array.from(
          { length: 60 },
          async (_, n) => (await ask('', {}, { url: n % 2 === 0 ? gateway.url : other.url })).status,
        ),
      )
      const passed = statuses.filter(status => status === 200).length
      assert.deepEqual([passed, upstream.received.length], [20, 20])
      assert.equal(await remaining('', 'wide'), `${10 ** 6 - 20 * WORST}`)
    })

    it('is answered 503 with Retry-After while that is away, or passes', async () => {
      const where = { ...redisPolicy(redis, 100), redis_host: '127.0.0.1', redis_port: 1 }
      await pays([budget()], where)
      const refused = await ask()
      assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '1'])
      const { type, code } = await errorOf(refused)
      assert.deepEqual([type, code], ['api_error', 'service_unavailable'])
      const hourly = budget({ cap: 100, window: { type: 'rolling', seconds: 3600 } })
      await pays([hourly], { ...where, allow_degradation: true })
      const passed = await ask()
      const end = Math.ceil((3_600_000 - (clock.now % 3_600_000)) / 1000)
      assert.deepEqual([passed.status, field(passed, 'Remaining'), field(passed, 'Reset')], [200, '88', `${end}`])
    })
  })
})
