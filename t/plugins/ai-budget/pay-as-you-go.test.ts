// ai-budget with stop_at_cap: streams pay as they go, and end in good order where no budget pays for more.
import assert from 'node:assert/strict'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
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

  async function pays(cap: number, more: object = {}): Promise<void> {
    const endpoint = `${upstream.origin}/v1/chat/completions`
    const aiProxy = { provider: 'openai', auth: { header: { Authorization: 'Bearer x' } }, override: { endpoint } }
    const budgets = [{ name: 'b', principal: 'route', cap, window: { type: 'balance' }, ...more }]
    const aiBudget = { budgets, stop_at_cap: true }
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
