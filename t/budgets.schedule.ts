// Random calls of several consumers through ai-budget, ended in every way, over two days with two prices; and what must have been spent.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { nanoOf } from '../core/budgets/money.ts'
import { costOf, PriceTable } from '../core/budgets/prices.ts'
import { partsOf, promptEstimate } from '../core/llm/charge.ts'
import { estimateTokens } from '../core/llm/token-estimate.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { type RedisForTest, redisPolicy } from './helpers/redis.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

/** How the provider answers; a client that `left` does so when it has seen all that there will be. */
const ENDS = ['whole', 'streams', 'fails', 'cut before', 'cut in text', 'left before', 'left in text'] as const
/** Of one team are the first two. */
const CONSUMERS = ['jack', 'jill', 'joe'] as const

const call = fc.record({
  who: fc.constantFrom('jack' as const, ...CONSUMERS),
  end: fc.oneof(
    { weight: 1, arbitrary: fc.constant('whole' as const) },
    { weight: 1, arbitrary: fc.constantFrom(...ENDS) },
  ),
  words: fc.integer({ min: 1, max: 60 }),
  completion: fc.integer({ min: 150, max: 200 }),
  prompt: fc.integer({ min: 1, max: 20 }),
  cached: fc.nat(20),
  /** The first that is asked fails, and another model answers. */
  fallsBack: fc.constantFrom(true, false, false, false),
  day: fc.constantFrom(0, 1),
  /** Turns of the loop before the provider answers. */
  pace: fc.nat(50),
})

export const schedule = fc.record({
  backing: fc.constantFrom('local' as const, 'redis' as const),
  /** Small enough to be met. */
  own: fc.constantFrom('1000', '0.0035', '0.0035'),
  overshoot: fc.constantFrom('0', '0.0004', '0.0004'),
  team: fc.constantFrom(10 ** 9, 10 ** 9, 600),
  learned: fc.boolean(),
  calls: fc.array(call, { minLength: 5, maxLength: 20 }),
  edits: fc.nat(2),
})
type Schedule = typeof schedule extends fc.Arbitrary<infer T> ? T : never
type Call = Schedule['calls'][number]

const DAY_MS = 86_400_000
/** Noon of a day that Redis, by its own clock, takes for one to come. */
const START = (Math.floor(Date.now() / DAY_MS) + 3.5) * DAY_MS
const MAX_TOKENS = 200
const LAST = 'green'
const prices = [
  { model: 'big', input: '2.5', output: 10, cached_input: '0.313' },
  { model: 'small', input: '0.15', output: '0.601' },
  { model: '*', input: 3, output: '15.001', from: new Date(START + DAY_MS / 2).toISOString() },
]
const table = new PriceTable(prices)

/** A gateway and a provider on which many schedules are played. */
export class Stage {
  readonly #gateway: TestGateway
  readonly #upstream: ScriptedUpstream
  readonly #clock: { now: number }
  readonly #redis: RedisForTest | undefined
  #played = 0

  private constructor(
    parts: { gateway: TestGateway; upstream: ScriptedUpstream; clock: { now: number } },
    redis?: RedisForTest,
  ) {
    this.#gateway = parts.gateway
    this.#upstream = parts.upstream
    this.#clock = parts.clock
    this.#redis = redis
  }

  /** Without a Redis all is counted in memory. */
  static async open(redis?: RedisForTest): Promise<Stage> {
    const clock = { now: START }
    const gateway = await startGateway({ now: () => clock.now })
    const consumers = CONSUMERS.map(username => {
      const group = username === 'joe' ? {} : { group_id: 'team' }
      return [username, { username, ...group, plugins: { 'key-auth': { key: username } } }]
    })
    await gateway.put({
      plugin_metadata: { 'ai-budget': { prices, thresholds: [] } },
      consumer_groups: { team: { plugins: {} } },
      consumers: Object.fromEntries(consumers),
    })
    return new Stage({ gateway, upstream: await startUpstream(), clock }, redis)
  }

  async close(): Promise<void> {
    await this.#gateway.close()
    await this.#upstream.close()
  }

  async play(played: Schedule): Promise<void> {
    const gateway = this.#gateway
    const n = `${++this.#played}`
    this.#clock.now = START
    const route = this.#route(n, played)
    await gateway.put({ routes: { [n]: route } })
    assert.deepEqual(gateway.rejected, [])
    const passed = new Set<number>()
    for (const day of [0, 1]) {
      this.#clock.now = START + day * DAY_MS
      const arrived = played.calls.map(() => Promise.withResolvers<void>())
      this.#upstream.script = received => answer(received, played.calls, at => arrived[at]!.resolve())
      const asking = played.calls.map(async (each, at) => {
        if (each.day === day && (await this.#ask(n, each, { at, arrived: arrived[at]!.promise }))) passed.add(at)
      })
      for (let edit = 0; edit < played.edits; edit++)
        await gateway.put({ routes: { [n]: { ...route, desc: `${edit}` } } })
      await Promise.all(asking)
      await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
      await this.#check(n, played, { passed, day })
    }
    const { opened, settled, released, live } = gateway.book.totals()['ai-budget']!
    assert.deepEqual([live, settled + released], [0, opened])
    await gateway.put({ routes: { [n]: null } })
  }

  #route(n: string, { own, overshoot, team, learned, backing }: Schedule) {
    const endpoint = `${this.#upstream.origin}/v1/chat/completions`
    const instance = (name: string, priority: number) => ({
      ...{ name, priority, weight: 1, provider: 'openai-compatible', auth: {} },
      ...{ options: { model: name }, override: { endpoint } },
    })
    const multi = {
      instances: [instance('big', 1), instance('small', 0)],
      fallback_strategy: ['http_5xx'],
      timeout: 60_000,
    }
    const budget = (name: string, principal: string, more: object) => ({
      ...{ name: `${name}-${n}`, principal, window: { type: 'balance' } },
      ...more,
    })
    const budgets = [
      budget('own', 'consumer', { unit: 'money', cap: own, overshoot }),
      budget('team', 'consumer_group', { cap: team, window: { type: 'calendar', period: 'day' } }),
      budget('all', 'route', {}),
    ]
    const reserve = learned ? { learned: { after: 2, quantile: 0.5 } } : { output_at_most: 20 }
    const where = backing === 'redis' && this.#redis !== undefined ? redisPolicy(this.#redis, 20_000) : {}
    return {
      uri: `/${n}/*`,
      plugins: { 'key-auth': {}, 'ai-proxy-multi': multi, 'ai-budget': { budgets, reserve, ...where } },
    }
  }

  /** Every account has spent what the provider has said, at the price of that day, and no more than it may. */
  async #check(
    n: string,
    { calls, own, overshoot, team }: Schedule,
    { passed, day }: { passed: Set<number>; day: number },
  ) {
    const spent = calls.map((each, at) => (passed.has(at) ? spentBy(each, at) : { tokens: 0, nano: 0 }))
    const sum = (what: 'tokens' | 'nano', which: (each: Call) => boolean) =>
      calls.reduce((all, each, at) => all + (which(each) ? spent[at]![what] : 0), 0)
    let ofAll = 0
    for (const who of CONSUMERS) {
      const counted = await this.#spent(`own-${n}`, `consumer:${who}`)
      assert.equal(
        counted,
        sum('nano', each => each.who === who),
        who,
      )
      assert.ok(counted <= nanoOf(own)! + nanoOf(overshoot)!, `${counted} of ${own} and ${overshoot}`)
      ofAll += counted
    }
    assert.equal(
      ofAll,
      sum('nano', () => true),
    )
    const byTeam = await this.#spent(`team-${n}`, 'consumer_group:team')
    assert.equal(
      byTeam,
      sum('tokens', each => each.who !== 'joe' && each.day === day),
    )
    assert.ok(byTeam <= team, `${byTeam} of ${team}`)
    assert.equal(
      await this.#spent(`all-${n}`, `route:${n}`),
      sum('tokens', () => true),
    )
  }

  /** In nano-units or tokens; nothing stays reserved. */
  async #spent(budget: string, principal: string): Promise<number> {
    const { books } = this.#gateway
    const kept = books.accounts.find(budget, principal)
    if (kept === undefined) return 0
    let view = await books.view(kept)
    // Redis is told when it is told.
    await until(async () => {
      view = await books.view(kept)
      return Number(view.reserved) === 0
    }, 'nothing is reserved')
    return typeof view.spent === 'number' ? view.spent : nanoOf(view.spent)!
  }

  /** Whether the call was let pass; resolves when the client has seen what it wants of the answer. */
  async #ask(n: string, each: Call, { at, arrived }: { at: number; arrived: Promise<void> }): Promise<boolean> {
    const leaving = new AbortController()
    const asking = fetch(`${this.#gateway.url}/${n}/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', apikey: each.who },
      body: JSON.stringify(bodyOf(at, each)),
      signal: leaving.signal,
    })
    if (each.end === 'left before') {
      const refused = await Promise.race([asking, arrived])
      leaving.abort()
      await asking.catch(() => {})
      return refused === undefined
    }
    const response = await asking
    let text = ''
    try {
      for await (const piece of response.body!) {
        text += Buffer.from(piece).toString()
        if (each.end === 'left in text' && text.includes(LAST)) break
      }
    } catch {
      // It was cut.
    }
    leaving.abort()
    return response.status !== 429
  }
}

const textOf = ({ words }: Call) =>
  `${'What the lighthouse keeper saw was not '.repeat(words).slice(0, 6 * words)} ${LAST}`
const bodyOf = (at: number, { end }: Call) => ({
  ...{ model: 'm', messages: [{ role: 'user', content: `call ${at}` }], max_tokens: MAX_TOKENS },
  stream: /streams|text/.test(end),
})

/** What a call costs that was let pass. */
function spentBy(each: Call, at: number): { tokens: number; nano: number } {
  const none = { cacheRead: 0, cacheCreation: 0, reasoning: 0 }
  const { end, prompt, completion, cached, fallsBack, day } = each
  let usage = { ...none, prompt: 0, completion: 0, total: 0 }
  if (end === 'whole' || end === 'streams')
    usage = { ...usage, prompt, completion, cacheRead: Math.min(cached, prompt) }
  else if (end.includes('in text')) {
    const delivered = estimateTokens([textOf(each)])
    usage = { ...usage, prompt: promptEstimate(bodyOf(at, each), 'openai-chat'), completion: delivered }
  }
  const price = table.find(fallsBack ? 'small' : 'big', 'openai-compatible', START + day * DAY_MS)!
  return { tokens: usage.prompt + usage.completion, nano: costOf(partsOf(usage, 'openai-chat'), price) }
}

async function answer(received: Received, calls: readonly Call[], arrived: (at: number) => void): Promise<void> {
  const body = (await received.body).toString()
  const at = Number(/"call (\d+)"/.exec(body)![1])
  const each = calls[at]!
  const { end, fallsBack, prompt, completion, cached } = each
  if (end === 'fails' || (fallsBack && body.includes('"big"'))) return received.json(500, {})
  arrived(at)
  for (let turn = 0; turn < each.pace; turn++) await new Promise(resolve => setImmediate(resolve))
  const usage = {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: Math.min(cached, prompt) },
  }
  if (end === 'whole') return received.json(200, { choices: [], usage })
  if (end === 'cut before') return received.cut()
  if (end === 'left before') return
  received.startStream()
  for (const piece of textOf(each).match(/.{1,40}(?=.* )| \w+$/gs)!) {
    await received.event({ choices: [{ index: 0, delta: { content: piece }, finish_reason: null }] })
  }
  if (end === 'cut in text') return received.cut()
  if (end !== 'streams') return
  await received.event({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })
  await received.event({ choices: [], usage })
  await received.event('[DONE]')
  received.response.end()
}
