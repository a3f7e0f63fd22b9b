// ai-budget with stop_at_cap: streams pay as they go, and end in good order where no budget pays for more.
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'
import fc from 'fast-check'
import { type Claimed, claim } from '../../../core/budgets/account.ts'
import { spendKey } from '../../../core/budgets/budget.ts'
import { mostCostOf, type Price } from '../../../core/budgets/prices.ts'
import { LedgerError, type Standing } from '../../../core/ledger/ledger.ts'
import { type AnswerEvent, EndsHere } from '../../../core/llm/answer-event.ts'
import { worstCase } from '../../../core/llm/charge.ts'
import { rulesOf } from '../../../plugins/ai-budget/config.ts'
import { firstOf, PayAsYouGo } from '../../../plugins/ai-budget/pay-as-you-go.ts'
import { amountOf } from '../../../plugins/ai-budget/share.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { ledgers } from '../../helpers/ledgers.ts'
import { redisPolicy, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const question = { model: 'm', max_tokens: 100_000, messages: [{ role: 'user', content: 'Tell me all.' }] }
const chunk = (delta: object, finish: string | null = null) => ({
  ...{ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm' },
  choices: [{ index: 0, delta, finish_reason: finish }],
})
/** A token each, as they are estimated. */
const words = (count: number) => 'word '.repeat(count)
/** A quarter of the bytes of what goes to the provider. */
const PROMPT = Math.ceil(
  JSON.stringify({ ...question, stream: true, stream_options: { include_usage: true } }).length / 4,
)

describe('ai-budget with stop_at_cap', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
    gateway = await startGateway()
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    const { opened, settled, released, live } = gateway.book.totals()['ai-budget']!
    assert.deepEqual([live, settled + released], [0, opened])
    await gateway.close()
    await upstream.close()
  })

  async function pays(cap: number, more: object = {}, where: object = {}): Promise<void> {
    const endpoint = `${upstream.origin}/v1/chat/completions`
    const aiProxy = { provider: 'openai', auth: { header: { Authorization: 'Bearer x' } }, override: { endpoint } }
    const budgets = [{ name: 'b', principal: 'route', cap, window: { type: 'balance' }, ...more }]
    const aiBudget = { budgets, stop_at_cap: true, ...where }
    await gateway.put({ routes: { 1: { uri: '/*', plugins: { 'ai-proxy': aiProxy, 'ai-budget': aiBudget } } } })
    assert.deepEqual(gateway.rejected, [])
  }
  const ask = (more: object = { stream: true }) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...question, ...more }),
    })
  /** Sends so many words, ten at a time, and then nothing. */
  const talks = (count: number) => async (received: Received) => {
    received.startStream()
    await received.event(chunk({ role: 'assistant', content: '' }))
    for (let said = 0; said < count && !received.gone; said += 10) await received.event(chunk({ content: words(10) }))
  }
  const talksOn = async (received: Received, count: number) => {
    for (let said = 0; said < count; said += 10) await received.event(chunk({ content: words(10) }))
  }
  const ends = (completion: number) => async (received: Received) => {
    await received.event(chunk({}, 'stop'))
    const usage = { prompt_tokens: 8, completion_tokens: completion, total_tokens: 8 + completion }
    await received.event({ choices: [], usage })
    await received.event('[DONE]')
    received.response.end()
  }
  const remaining = async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    upstream.script = received => received.json(500, {})
    const response = await ask({ max_tokens: 1 })
    await response.text()
    return Number(response.headers.get('X-AI-Budget-Remaining-b'))
  }
  const countOf = (text: string) => text.match(/word/g)?.length ?? 0

  it('ends a stream where the budget ends, as the model would end it at its own limit', async () => {
    await pays(PROMPT + 600)
    upstream.script = talks(5_000)
    const response = await ask()
    const text = await response.text()
    assert.ok(countOf(text) > 560 && countOf(text) <= 600, `${countOf(text)}`)
    assert.match(text, /"finish_reason":"length"\}\]\}\n\ndata: \[DONE\]\n\n$/)
    await until(() => upstream.received[0]!.gone, 'the provider is hung up on')
    const left = await remaining()
    assert.ok(left <= PROMPT + 30, `${left}`)
    assert.match(gateway.scrape(), /sluice_budget_refused_total\{budget="b",mode="stopped"\} 1/)
  })

  it("ends it in the client's protocol where the provider speaks another", async () => {
    await pays(2_000)
    upstream.script = talks(5_000)
    const client = new Anthropic({ baseURL: gateway.url, apiKey: 'x', maxRetries: 0 })
    const asked = { model: 'm', max_tokens: 100_000, messages: [{ role: 'user' as const, content: 'Tell me all.' }] }
    const message = await client.messages.stream(asked).finalMessage()
    assert.equal(message.stop_reason, 'max_tokens')
    const said = countOf(message.content.map(block => (block.type === 'text' ? block.text : '')).join(''))
    assert.ok(said > 1_900 && said <= 2_000 && message.usage.output_tokens >= said, `${said}`)
  })

  it('lets a stream begin that may need more than there is, and charges it for what it used', async () => {
    await pays(PROMPT + 1_000)
    upstream.script = async received => {
      await talks(700)(received)
      await ends(690)(received)
    }
    const text = await (await ask()).text()
    assert.equal(countOf(text), 700)
    assert.equal(await remaining(), PROMPT + 1_000 - 698)
    // A whole answer cannot be ended: it must have room.
    assert.equal((await ask({})).status, 429)
  })

  it('divides what is left among those that come at once, and all of them together do not exceed it', async () => {
    await pays(5 * PROMPT + 3_000)
    upstream.script = talks(10_000)
    const texts = await Promise.all(Array.from({ length: 5 }, async () => (await ask()).text()))
    const said = texts.reduce((sum, text) => sum + countOf(text), 0)
    // Those that have ended free what their prompts were thought to need; of each share there may be too little for a read.
    assert.ok(said <= 3_000 + 5 * PROMPT && said > 3_000 - 5 * 30, `${said}`)
  })

  it('asks Redis for more where that counts, and ends no stream because it has gone', async function () {
    this.timeout(300_000)
    const redis = await startRedis()
    await pays(PROMPT + 600, {}, redisPolicy(redis, 20_000))
    upstream.script = talks(5_000)
    const said = countOf(await (await ask()).text())
    assert.ok(said > 560 && said <= 600, `${said}`)
    await pays(PROMPT + 6_000, { name: 'other' }, redisPolicy(redis, 200))
    upstream.script = async received => {
      await talks(200)(received)
      await redis.servers[0]!.kill()
      await talksOn(received, 1_000)
      await ends(1_200)(received)
    }
    assert.equal(countOf(await (await ask()).text()), 1_200)
    await redis.servers[0]!.start()
    await gateway.put({ routes: { 1: null } })
    await redis.close()
  })

  it('counts arguments of tools too', async () => {
    await pays(PROMPT + 300)
    upstream.script = async received => {
      received.startStream()
      for (let n = 0; n < 200 && !received.gone; n++) {
        const called = { index: 0, id: 'x', type: 'function', function: { name: 'f', arguments: words(10) } }
        await received.event(chunk({ tool_calls: [called] }))
      }
    }
    const said = countOf(await (await ask()).text())
    assert.ok(said <= 300 && said > 250, `${said}`)
    const left = await remaining()
    assert.ok(left <= PROMPT + 30, `${left}`)
  })

  it('ends nothing for the sake of a budget that only watches', async () => {
    await pays(300, { mode: 'shadow' })
    upstream.script = async received => {
      await talks(2_000)(received)
      await ends(2_000)(received)
    }
    assert.equal(countOf(await (await ask()).text()), 2_000)
  })
})

describe('streams that pay as they go', () => {
  const price: Price = { input: 3e9, cachedInput: 1e9, cacheWrite: 4e9, output: 15e9, reasoning: 15e9 }
  const PROMPT_TOKENS = 10
  const worst = worstCase({ max_tokens: 100_000 }, 4 * PROMPT_TOKENS, { spoken: 'openai-chat' })
  const says = (words: number) =>
    ({ pieces: [{ kind: 'text', of: '0', text: 'word '.repeat(words) }] }) as unknown as AnswerEvent

  it('never let more come than a budget pays for, however they take turns', () => {
    const turn = fc.record({
      which: fc.nat(3),
      words: fc.integer({ min: 1, max: 200 }),
      ends: fc.nat(9).map(n => n === 0),
    })
    let played = 0
    fc.assert(
      fc.property(fc.nat(6_000), fc.boolean(), fc.array(turn, { maxLength: 60 }), (tokens, inMoney, turns) => {
        const ledger = ledgers().own
        // As many tokens of output as that, in whatever unit.
        const cap = inMoney ? tokens * 15_000 : tokens
        const window = { type: 'balance' } as const
        const config = { name: 'b', principal: 'route', unit: inMoney ? 'money' : 'tokens', window } as const
        const [rule] = rulesOf(
          { budgets: [{ ...config, cap: 1, mode: 'enforce' }], show_budget_header: false } as never,
          'EUR',
        )
        const { budget } = rule!
        const account = { budget: { ...budget, cap }, principal: `p${played++}`, period: rule!.period(0) }
        const costOfAll = (output: number) =>
          inMoney ? mostCostOf({ prompt: PROMPT_TOKENS, completion: output }, price) : PROMPT_TOKENS + output
        let spent = 0
        const open = [0, 1, 2, 3].map(() => {
          const amount = amountOf(rule!, firstOf(worst), price)
          const first = { account, expected: amount, worst: amount, unbound: false }
          const { reservation } = claim(ledger, [first]) as Claimed
          const shares = [{ rule: rule!, claim: first }]
          const goes = new PayAsYouGo({ ledger, shares, price, worst, stopped() {} })
          return { reservation, goes, said: 0 }
        })
        const end = (stream: (typeof open)[number]) => {
          if (stream.reservation === undefined) return
          const cost = costOfAll(stream.said)
          void stream.reservation.settle([cost])
          stream.goes.close()
          stream.reservation = undefined
          spent += cost
        }
        for (const { which, words, ends } of turns) {
          const stream = open[which]!
          if (stream.reservation === undefined) continue
          try {
            void stream.goes.filter(says(words), [])
            stream.said += words
          } catch (error) {
            assert.ok(error instanceof EndsHere)
            end(stream)
          }
          if (ends) end(stream)
        }
        for (const stream of open) end(stream)
        assert.ok(spent <= cap, `${spent} of ${cap}`)
        assert.equal((ledger.look(spendKey(account), { kind: 'balance', limit: cap }) as Standing).used, spent)
      }),
      { numRuns: 300, seed: 9 },
    )
  })

  it('ask a ledger that is away again only when as much more has come, not with every event', async () => {
    let asked = 0
    const away = () => {
      asked++
      throw new LedgerError('away', 'Redis did not answer')
    }
    const ledger = { take: away, takeAll: away, look: away, adjust: away }
    const config = {
      name: 'b',
      principal: 'route',
      unit: 'tokens',
      window: { type: 'balance' },
      cap: 1,
      mode: 'enforce',
    }
    const [rule] = rulesOf({ budgets: [config], show_budget_header: false } as never, 'EUR')
    const account = { budget: rule!.budget, principal: 'route:1', period: rule!.period(0) }
    const shares = [{ rule: rule!, claim: { account, expected: 1, worst: 1, unbound: false } }]
    const goes = new PayAsYouGo({ ledger, shares, price: undefined, worst, stopped() {} })
    for (let n = 0; n < 200; n++) await goes.filter(says(10), [])
    assert.ok(asked >= 2 && asked <= 4, `${asked} times`)
  })
})
