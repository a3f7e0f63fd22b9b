// What becomes of what ai-budget charges: shown to its own consumer, told at thresholds, kept over restarts, changed by operators.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { carryOut } from '../core/budgets/desk.ts'
import type { AccountView } from '../core/budgets/view.ts'
import { startAdmin } from './helpers/admin.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { type Line, openJournal } from './helpers/journal.ts'
import { type RedisForTest, redisPolicy, startRedis } from './helpers/redis.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const START = Date.parse('2026-11-20T12:00:00Z')
const question = { model: 'm', max_tokens: 10, messages: [{ role: 'user', content: 'What is 1 + 1?' }] }
/** Each answer costs 8 + 12 tokens, and 8 x 1 + 12 x 2 millionths. */
const answer = {
  choices: [{ index: 0, message: { role: 'assistant', content: 'Two.' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 8, completion_tokens: 12, total_tokens: 20 },
}

describe('what ai-budget has charged', () => {
  const closing: (() => Promise<void>)[] = []
  let upstream: ScriptedUpstream
  let hook: ScriptedUpstream
  let clock: { now: number }
  let lines: Line[]

  beforeEach(async () => {
    clock = { now: START }
    lines = []
    upstream = await startUpstream(received => received.json(200, answer))
    hook = await startUpstream(received => received.json(200, {}))
  })
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close()
    await upstream.close()
    await hook.close()
  })

  function route(budgets: object[], policy: object = {}): Record<string, unknown> {
    const aiProxy = {
      provider: 'openai',
      auth: { header: { Authorization: 'Bearer x' } },
      override: { endpoint: `${upstream.origin}/v1/chat/completions` },
    }
    return { uri: '/v1/*', plugins: { 'key-auth': {}, 'ai-proxy': aiProxy, 'ai-budget': { budgets, ...policy } } }
  }

  async function start({ budgets, metadata, policy = {}, dataFolder }: Setting): Promise<TestGateway> {
    const journal = openJournal()
    lines = journal.lines
    const gateway = await startGateway({
      now: () => clock.now,
      log: journal.log,
      ...(dataFolder !== undefined && { dataFolder }),
      resources: {
        consumers: {
          jack: { username: 'jack', group_id: 'team', plugins: { 'key-auth': { key: 'jack' } } },
          'jack/credentials/second': { plugins: { 'key-auth': { key: 'jack-2' } } },
          jill: { username: 'jill', group_id: 'team', plugins: { 'key-auth': { key: 'jill' } } },
        },
        consumer_groups: { team: { plugins: {} } },
        routes: {
          llm: route(budgets, policy),
          mine: { uri: '/mine', plugins: { 'key-auth': {}, 'public-api': { uri: '/apisix/plugin/ai-budget' } } },
          open: { uri: '/apisix/plugin/ai-budget', plugins: { 'public-api': {} } },
        },
        ...(metadata && { plugin_metadata: { 'ai-budget': metadata } }),
      },
    })
    closing.push(gateway.close)
    assert.deepEqual(gateway.rejected, [])
    return gateway
  }

  const post = async (gateway: TestGateway, apikey: string) => {
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', apikey },
      body: JSON.stringify(question),
    })
    await response.text()
    return response
  }
  const ask = async (gateway: TestGateway, apikey: string) => (await post(gateway, apikey)).status
  const mine = async (gateway: TestGateway, apikey: string) => {
    const response = await fetch(`${gateway.url}/mine?consumer=jack`, { headers: { apikey } })
    return { status: response.status, ...((await response.json()) as { consumer?: string; budgets: AccountView[] }) }
  }
  /** The books have looked at everything that was told. */
  const written = async (gateway: TestGateway) => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    await gateway.books.write()
  }
  const balance = { type: 'balance' }

  it('is shown to the consumer who was charged, and nobody else’s', async () => {
    const gateway = await start({
      budgets: [
        { name: 'each', principal: 'consumer', cap: 1_000, window: balance },
        { name: 'key', principal: 'credential', window: balance },
        { name: 'team', principal: 'consumer_group', cap: 5_000, window: balance },
      ],
    })
    assert.deepEqual((await mine(gateway, 'jack')).budgets, [])
    for (const key of ['jack', 'jack-2', 'jill']) assert.equal(await ask(gateway, key), 200)
    const shown = async (key: string) => {
      const { status, consumer, budgets } = await mine(gateway, key)
      return [status, consumer, budgets.map(({ budget, principal, spent }) => [budget, principal, spent])]
    }
    assert.deepEqual(await shown('jack'), [
      200,
      'jack',
      [
        ['each', 'consumer:jack', 40],
        ['key', 'credential:jack', 20],
      ],
    ])
    assert.deepEqual(await shown('jack-2'), [
      200,
      'jack',
      [
        ['each', 'consumer:jack', 40],
        ['key', 'credential:jack/second', 20],
      ],
    ])
    assert.deepEqual(await shown('jill'), [
      200,
      'jill',
      [
        ['each', 'consumer:jill', 20],
        ['key', 'credential:jill', 20],
      ],
    ])
    const { available, cap, window } = (await mine(gateway, 'jack')).budgets[0]!
    assert.deepEqual([available, cap, window], [960, 1_000, { type: 'balance' }])
    assert.equal((await mine(gateway, 'nobody')).status, 401)
    const open = await fetch(`${gateway.url}/apisix/plugin/ai-budget`, { headers: { apikey: 'jack' } })
    assert.equal(open.status, 401)
  })

  it('is told once at each threshold, to the log and to a webhook that is tried again', async () => {
    let failures = 1
    hook.script = received => received.json(failures-- > 0 ? 500 : 200, {})
    const gateway = await start({
      budgets: [{ name: 'each', principal: 'consumer', unit: 'money', cap: '0.00032', window: balance }],
      metadata: {
        currency: 'EUR',
        prices: [{ model: 'm', input: 1, output: 2 }],
        thresholds: [50, 100],
        webhook: { uri: `${hook.origin}/hook`, auth_header: 'Bearer hook' },
      },
    })
    for (let n = 0; n < 4; n++) {
      assert.equal(await ask(gateway, 'jack'), 200)
      await written(gateway)
    }
    assert.equal(hook.received.length, 0)
    assert.equal(await ask(gateway, 'jack'), 200)
    await written(gateway)
    await until(() => hook.received.length === 2, 'the webhook was asked again')
    const [, told] = hook.received
    assert.equal(told!.headers.authorization, 'Bearer hook')
    const event = JSON.parse((await told!.body).toString())
    const { event: what, threshold, budget, principal, unit, cap, spent, at } = event
    assert.deepEqual(
      { what, threshold, budget, principal, unit, cap, spent, at },
      {
        what: 'budget_threshold',
        threshold: 50,
        budget: 'each',
        principal: 'consumer:jack',
        unit: 'EUR',
        cap: '0.00032',
        spent: '0.00016',
        at: '2026-11-20T12:00:00.000Z',
      },
    )
    // The rest of the money, as far as reservations let it be spent.
    while ((await Promise.all([ask(gateway, 'jack'), ask(gateway, 'jack')])).includes(200)) await written(gateway)
    await written(gateway)
    const said = lines.filter(({ message }) => message === 'a threshold of a budget is reached')
    assert.deepEqual(
      said.map(({ fields }) => fields.threshold),
      [50],
    )
    assert.equal(hook.received.length, 2)
    assert.ok(!JSON.stringify(lines).includes('Bearer hook'))
  })

  it('may be granted before the first request, and follows the cap as it is configured now', async () => {
    const each = { name: 'each', principal: 'consumer', cap: 0, window: balance }
    const gateway = await start({ budgets: [each] })
    const found = () => gateway.books.accounts.find('each', 'consumer:jack')
    await until(() => found() !== undefined, 'the configuration is known')
    await carryOut(gateway.books, found()!, { what: 'top_up', who: 'ops', amount: 100 })
    assert.deepEqual([await ask(gateway, 'jack'), await ask(gateway, 'jill')], [200, 429])
    await gateway.put({ routes: { llm: route([{ ...each, cap: 500 }]) } })
    await until(() => found()?.account.budget.cap === 500, 'the new cap is known')
    assert.deepEqual((await mine(gateway, 'jack')).budgets[0]!.available, 580)
    await gateway.put({ routes: { llm: null } })
    await until(() => gateway.books.accounts.budgets()[0]?.budget.cap === 0, 'it is what it was when it was used')
  })

  it('is asked for by the kind of principal that the budget has, so that nobody else is topped up', async () => {
    const gateway = await start({ budgets: [{ name: 'each', principal: 'consumer', cap: 100, window: balance }] })
    const api = await startAdmin({ books: gateway.books })
    closing.push(api.close)
    const topUp = (principal: string) => api.admin('POST', `/budgets/each/${principal}/top_up`, { amount: 1 })
    await until(async () => (await topUp('consumer:jack')).status === 200, 'the configuration is known')
    for (const wrong of ['jack', 'consumr:jack', 'consumer_group:jack']) {
      const { status, json } = await topUp(wrong)
      assert.deepEqual([status, json.error_msg], [404, 'the principals of budget each are written consumer:...'])
    }
  })

  it('leaves nothing while it is frozen, as the fields of a refusal say too', async () => {
    const gateway = await start({ budgets: [{ name: 'each', principal: 'consumer', cap: 100, window: balance }] })
    const found = () => gateway.books.accounts.find('each', 'consumer:jack')
    await until(() => found() !== undefined, 'the configuration is known')
    await carryOut(gateway.books, found()!, { what: 'freeze', who: 'ops' })
    const { status, headers } = await post(gateway, 'jack')
    assert.deepEqual([status, headers.get('x-ai-budget-remaining-each')], [429, '0'])
  })

  it('is there when the gateway begins again, with what operators have changed', async () => {
    const dataFolder = mkdtempSync(join(tmpdir(), 'sluice-'))
    closing.push(async () => rmSync(dataFolder, { recursive: true, force: true }))
    const budgets = [{ name: 'each', principal: 'consumer', cap: 100, window: { type: 'calendar', period: 'month' } }]
    let gateway = await start({ budgets, dataFolder })
    // The books look at the account while the call is under way, and again when it is over.
    const gate = Promise.withResolvers<void>()
    upstream.script = async received => {
      await gate.promise
      received.json(200, answer)
    }
    const both = Promise.all([ask(gateway, 'jack'), ask(gateway, 'jill')])
    await until(() => upstream.received.length === 2, 'both are under way')
    await gateway.books.write()
    gate.resolve()
    assert.deepEqual(await both, [200, 200])
    await written(gateway)
    assert.equal(gateway.books.accounts.find('each', 'consumer:jack')!.used, 20)
    await carryOut(gateway.books, gateway.books.accounts.find('each', 'consumer:jill')!, { what: 'freeze', who: 'ops' })
    await closing.pop()!()
    gateway = await start({ budgets, dataFolder })
    assert.deepEqual([await ask(gateway, 'jack'), await ask(gateway, 'jill')], [200, 429])
    assert.equal((await mine(gateway, 'jack')).budgets[0]!.spent, 40)
    clock.now = Date.parse('2026-12-01T00:00:00Z')
    assert.equal(await ask(gateway, 'jack'), 200)
    assert.equal((await mine(gateway, 'jack')).budgets[0]!.spent, 20)
  })

  describe('in Redis', () => {
    let redis: RedisForTest
    before(async function () {
      this.timeout(300_000)
      redis = await startRedis()
    })
    after(() => redis.close())

    it('is the same for all gateways: shown, changed, and told by one of them', async () => {
      const setting: Setting = {
        budgets: [{ name: 'each', principal: 'consumer', cap: 200, window: balance }],
        metadata: { thresholds: [50], webhook: { uri: `${hook.origin}/hook` } },
        policy: redisPolicy(redis),
      }
      const [one, other] = [await start(setting), await start(setting)]
      for (const gateway of [one, other, one, other, one]) assert.equal(await ask(gateway, 'jack'), 200)
      const spent = async (gateway: TestGateway) => (await mine(gateway, 'jack')).budgets[0]?.spent
      await until(async () => (await spent(one)) === 100 && (await spent(other)) === 100, 'both have settled')
      // Redis may have been told later than the books.
      for (const { books } of [one, other]) books.lookAtAll()
      await Promise.all([written(one), written(other)])
      await until(() => hook.received.length === 1, 'somebody tells of it')
      await carryOut(other.books, other.books.accounts.find('each', 'consumer:jack')!, { what: 'freeze', who: 'ops' })
      assert.equal(await ask(one, 'jack'), 429)
      await Promise.all([written(one), written(other)])
      assert.equal(hook.received.length, 1)
      // A gateway that begins knows from its configuration where to look.
      const late = await start(setting)
      await until(async () => (await spent(late)) === 100, 'the configuration is known')
      const { frozen, available } = (await mine(late, 'jack')).budgets[0]!
      assert.deepEqual([frozen, available], [true, 0])
      assert.deepEqual((await mine(late, 'jill')).budgets, [])
    })
  })
})

interface Setting {
  budgets: object[]
  metadata?: Record<string, unknown>
  policy?: object
  dataFolder?: string
}
