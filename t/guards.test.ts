// Guards that ask a service, together and at odd places: side by side, in a row, in global rules, behind a converter.
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { type Exchange, exchange, plugin, type Reply, reply } from '../core/sluice.ts'
import { type Resources, startGateway, type TestGateway } from './helpers/gateway.ts'
import { assertNothingOfTheClient, chunk, done, streams, textOf, whole } from './helpers/guarded.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const CHAT = '/v1/chat/completions'
const asked = { model: 'm', messages: [{ role: 'user', content: 'Hi!' }] }

describe('guards that ask a service', () => {
  let provider: ScriptedUpstream
  let service: ScriptedUpstream
  let gateway: TestGateway
  let calls: Exchange[]
  /** What another plugin says to requests. */
  let refusal: Promise<Reply> | undefined

  beforeEach(async () => {
    provider = await startUpstream(received => received.json(200, whole('fine')))
    service = await startUpstream(judges)
    calls = []
    refusal = undefined
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    await gateway.close()
    await provider.close()
    await service.close()
  })

  /** As all three services at once: what says `bad` to one of them, by its first letter, is bad. */
  async function judges(received: Received): Promise<void> {
    const body = decodeURIComponent((await received.body).toString())
    if (received.target === '/lakera') return received.json(200, { flagged: body.includes('lakera-bad') })
    if (received.headers['x-amz-target'] !== undefined)
      return received.json(200, { ResultList: [{ Toxicity: body.includes('comprehend-bad') ? 1 : 0, Labels: [] }] })
    received.json(200, { Data: { RiskLevel: body.includes('aliyun-bad') ? 'high' : 'none' } })
  }

  const guards = (more: object = {}) => ({
    'ai-aws-content-moderation': {
      comprehend: { access_key_id: 'a', secret_access_key: 's', region: 'r', endpoint: service.origin },
      deny_message: 'says Comprehend',
      ...more,
    },
    'ai-aliyun-content-moderation': {
      endpoint: service.origin,
      region_id: 'r',
      access_key_id: 'a',
      access_key_secret: 's',
      deny_message: 'says Aliyun',
      ...more,
    },
    'ai-lakera-guard': {
      api_key: 'k',
      lakera_endpoint: `${service.origin}/lakera`,
      direction: 'both',
      request_failure_message: 'says Lakera',
      response_failure_message: 'says Lakera',
      ...more,
    },
  })

  async function start(plugins: object, globals: object = {}, kind = 'openai-compatible'): Promise<void> {
    const proxy = { provider: kind, auth: {}, override: { endpoint: provider.origin } }
    const resources: Resources = {
      routes: { 1: { uri: '/*', plugins: { 'ai-proxy': proxy, spy: {}, ...plugins } } },
      ...(Object.keys(globals).length > 0 && { global_rules: { 1: { plugins: globals } } }),
    }
    const spy = plugin({
      name: 'spy',
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({
        access(ctx) {
          calls.push(exchange.get(ctx)!)
          return refusal
        },
      }),
    })
    gateway = await startGateway({ plugins: [spy], resources })
    assert.deepEqual(gateway.rejected, [])
  }

  const ask = (body: object, path = CHAT) =>
    fetch(gateway.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer of-the-client', cookie: 'of-the-client' },
      body: JSON.stringify(body),
    })
  const said = async (answer: Response) =>
    ((await answer.json()) as ReturnType<typeof whole>).choices[0]!.message.content
  const saying = (content: string) => ({ ...asked, messages: [{ role: 'user', content }] })

  it('are asked one after the other, in the order of their priority', async () => {
    await start(guards())
    assert.equal(await said(await ask(saying('aliyun-bad lakera-bad'))), 'says Aliyun')
    assert.equal(service.received.length, 2)
    assert.equal(provider.received.length, 0)
    assert.equal(await said(await ask(asked)), 'fine')
    for (const received of service.received) await assertNothingOfTheClient(received)
  })

  it('are asked at the same time where that is wanted, and the model not before all have answered', async () => {
    await start(guards({ parallel: true }))
    const waiting: Received[] = []
    service.script = received => waiting.push(received)
    const pending = ask(asked)
    await until(() => waiting.length === 3, 'all three are asked')
    // Other plugins have had their turn meanwhile.
    await until(() => calls.length === 1, 'the request has gone on')
    await judges(waiting[0]!)
    await judges(waiting[2]!)
    assert.equal(provider.received.length, 0)
    service.script = judges
    await judges(waiting[1]!)
    assert.equal(await said(await pending), 'fine')
    assert.equal(await said(await ask(saying('lakera-bad'))), 'says Lakera')
  })

  it('are given up where another plugin refuses meanwhile', async () => {
    await start(guards({ parallel: true }))
    const refused = Promise.withResolvers<Reply>()
    refusal = refused.promise
    service.script = () => {}
    const pending = ask(asked)
    const all = await Promise.all([0, 1, 2].map(n => service.request(n)))
    refused.resolve(reply(429, 'not now'))
    assert.equal((await pending).status, 429)
    for (const received of all) {
      await received.closed
      assert.equal(received.gone, true)
    }
    assert.doesNotMatch(gateway.scrape(), /sluice_guard_verdicts_total\{/)
  })

  it('guard answers in a row, each what the one before it has let pass', async () => {
    await start(guards({ check_response: true, stream_check_mode: 'final_packet' }))
    provider.script = streams(chunk('a'), chunk('b'), chunk(null, 'stop'), done)
    const got = await (await ask({ ...asked, stream: true })).text()
    assert.equal(textOf(got), 'ab')
    assert.deepEqual([got.match(/\[DONE\]/g)?.length, got.match(/"risk_level":"none"/g)?.length], [1, 1])

    provider.script = streams(chunk('lakera'), chunk('-bad'), chunk(null, 'stop'), done)
    const refused = await (await ask({ ...asked, stream: true })).text()
    assert.deepEqual([textOf(refused), refused.endsWith(done)], ['says Lakera', true])
    assert.doesNotMatch(refused, /risk_level|lakera-/)
  })

  it('guard requests and answers also from global rules', async () => {
    await start({}, guards({ check_response: true, stream_check_mode: 'realtime', direction: 'input' }))
    assert.equal(await said(await ask(saying('comprehend-bad'))), 'says Comprehend')
    assert.equal(provider.received.length, 0)
    provider.script = received => received.json(200, whole('so aliyun-bad'))
    assert.equal(await said(await ask(asked)), 'says Aliyun')
    provider.script = streams(chunk('aliyun'), chunk('-bad'), chunk(null, 'stop'), done)
    assert.equal(textOf(await (await ask({ ...asked, stream: true })).text()), 'aliyun-badsays Aliyun')
  })

  it('refuse behind a converter in the client’s protocol, and what was used is in its words', async () => {
    await start(guards({ check_response: true, stream_check_mode: 'realtime', direction: 'input' }))
    const question = { ...asked, max_tokens: 9 }
    provider.script = received => received.json(200, whole('so aliyun-bad'))
    const message = (await (await ask(question, '/v1/messages')).json()) as Record<string, unknown>
    assert.deepEqual([message.type, message.content], ['message', [{ type: 'text', text: 'says Aliyun' }]])
    assert.deepEqual(
      Object.keys(message.usage as object).filter(key => /prompt|completion/.test(key)),
      [],
    )
    provider.script = streams(chunk('aliyun'), chunk('-bad'), chunk(null, 'stop'), done)
    const got = await (await ask({ ...question, stream: true }, '/v1/messages')).text()
    assert.equal(got.match(/event: message_start/g)?.length, 1)
    assert.match(got, /"text":"says Aliyun"/)
    assert.ok(got.endsWith('event: message_stop\ndata: {"type":"message_stop"}\n\n'))
  })

  it('refuse requests and answers so that the SDKs read it as an answer, streamed or not', async () => {
    await start(guards({ check_response: true, stream_check_mode: 'realtime', stream_hold: true }))
    provider.script = async received => {
      const { stream } = JSON.parse((await received.body).toString()) as { stream?: boolean }
      if (stream !== true) return received.json(200, whole('so aliyun-bad'))
      await streams(chunk('so aliyun'), chunk('-bad'), chunk(null, 'stop'), done)(received)
    }
    const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'of-the-client', maxRetries: 0 })
    const anthropic = new Anthropic({ baseURL: gateway.url, apiKey: 'of-the-client', maxRetries: 0 })
    for (const [content, expected] of [
      ['lakera-bad', 'says Lakera'],
      ['Hi!', 'says Aliyun'],
    ] as const) {
      const messages = [{ role: 'user' as const, content }]
      const question = { model: 'm', messages }
      const { choices } = await openai.chat.completions.create(question)
      const streamed = await openai.chat.completions.stream(question).finalChatCompletion()
      assert.deepEqual([choices[0]!.message.content, streamed.choices[0]!.message.content], [expected, expected])
      const message = await anthropic.messages.create({ ...question, max_tokens: 9 })
      const final = await anthropic.messages.stream({ ...question, max_tokens: 9 }).finalMessage()
      for (const { content: blocks, stop_reason } of [message, final])
        assert.deepEqual([blocks, stop_reason], [[{ type: 'text', text: expected }], 'end_turn'])
    }
    for (const received of service.received) await assertNothingOfTheClient(received)
  })

  it('charge in full for an answer that was refused', async () => {
    await start(guards({ check_response: true }))
    provider.script = received => received.json(200, whole('so aliyun-bad'))
    assert.equal(await said(await ask(asked)), 'says Aliyun')
    assert.equal(calls[0]!.usage?.total, 7)
  })

  it('say how long they have kept requests and answers', async () => {
    await start(guards({ check_response: true }))
    await ask(asked)
    await until(() => gateway.gateway.inFlight === 0, 'it has logged')
    const page = gateway.scrape()
    for (const side of ['request', 'response']) {
      for (const name of Object.keys(guards()))
        assert.match(page, new RegExp(`sluice_guard_seconds_count\\{plugin="${name}",side="${side}"\\} 1\n`))
    }
  })
})
