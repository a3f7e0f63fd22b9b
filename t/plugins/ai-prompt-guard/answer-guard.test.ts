// Answers that ai-prompt-guard ends, at the front door: cut anywhere, in every protocol, as the SDKs take them.
import assert from 'node:assert/strict'
import { Anthropic } from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { encodeMessage } from '../../../core/llm/framing/aws-event-stream.ts'
import { cutAt } from '../../helpers/events.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { anthropic as anthropicWire, openai as openaiWire } from '../../helpers/llm-answers.ts'
import { randomness } from '../../helpers/randomness.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const TALK = `${'All is well and nothing is said. '.repeat(6)}The code is 4711-0815, as you know. ${'And so on. '.repeat(20)}`
const CODE = '4711-0815'
const PROHIBITED = 'Response contains prohibited content'

describe('ai-prompt-guard, of an answer,', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  const random = randomness(8)

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    await gateway.close()
    await upstream.close()
  })

  async function start(config: object, provider = 'openai'): Promise<void> {
    const aws = { aws: { access_key_id: 'a', secret_access_key: 's' } }
    const proxy = {
      provider,
      auth: provider === 'bedrock' ? aws : { header: { 'x-op': 'key' } },
      ...(provider === 'bedrock' && { provider_conf: { region: 'r' } }),
      override: { endpoint: upstream.origin },
    }
    const guard = { response_deny_patterns: ['\\b\\d{4}-\\d{4}\\b'], ...config }
    gateway = await startGateway({
      resources: { routes: { r: { uri: '/*', plugins: { 'ai-prompt-guard': guard, 'ai-proxy': proxy } } } },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  /** The upstream answers with these bytes, cut anywhere. */
  function streams(events: readonly (string | Buffer)[], type?: string): void {
    const bytes = Buffer.concat(events.map(event => Buffer.from(event)))
    const places = Array.from({ length: 12 }, () => random(bytes.length))
    upstream.script = async received => {
      received.startStream(...(type === undefined ? [] : [{ 'content-type': type }]))
      for (const piece of cutAt(bytes, places)) await received.write(piece).catch(() => {})
      received.response.end()
    }
  }
  const chat = { model: 'm', messages: [{ role: 'user' as const, content: 'hi' }] }
  const post = (path: string, body: string) =>
    fetch(gateway.url + path, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
  const client = () => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'x', maxRetries: 0 })

  const verdicts = async (word: string) =>
    (await gateway.scrape()).includes(
      `sluice_guard_verdicts_total{plugin="ai-prompt-guard",route_id="r",side="response",verdict="${word}"} 1`,
    )

  it('ends a stream before anything of what is found has left, with an error that the SDK throws', async () => {
    await start({})
    for (let round = 0; round < 5; round++) {
      streams(openaiWire.stream({ text: TALK }))
      let said = ''
      await assert.rejects(
        async () => {
          for await (const chunk of await client().chat.completions.create({ ...chat, stream: true }))
            said += chunk.choices[0]?.delta.content ?? ''
        },
        { code: 'denied' },
      )
      assert.ok(said !== '' && TALK.slice(0, TALK.indexOf(CODE)).startsWith(said), said)
    }
  })

  it('goes on in the model’s place where it is told to, and the SDK sees an answer that ends', async () => {
    await start({ deny_as: 'answer' })
    streams(openaiWire.stream({ text: TALK }))
    const { choices } = await client().chat.completions.stream(chat).finalChatCompletion()
    const { content, refusal } = choices[0]!.message
    assert.ok(`${content}${refusal}`.includes(PROHIBITED) && !`${content}`.includes('4711'), String(content))
    assert.ok(await verdicts('deny'))
  })

  it('refuses a whole one, as an error or in the model’s place', async () => {
    upstream.script = received => received.json(200, openaiWire.whole({ text: TALK }))
    await start({})
    await assert.rejects(client().chat.completions.create(chat), { status: 400, code: 'denied' })
    await gateway.close()
    await start({ deny_as: 'answer' })
    const { choices } = await client().chat.completions.create(chat)
    assert.equal(choices[0]!.message.content, PROHIBITED)
  })

  it('does so in Anthropic’s protocol', async () => {
    await start({ deny_as: 'answer' }, 'anthropic')
    streams(anthropicWire.stream({ thinking: 'hm', text: TALK }))
    const anthropic = new Anthropic({ baseURL: gateway.url, apiKey: 'x', maxRetries: 0 })
    const message = await anthropic.messages.stream({ ...chat, max_tokens: 9 }).finalMessage()
    const text = message.content.map(block => (block.type === 'text' ? block.text : '')).join('')
    assert.ok(text.endsWith(PROHIBITED) && !text.includes('4711'), text)
  })

  it('does so in the protocol of responses', async () => {
    await start({})
    const delta = (text: string) => ({
      type: 'response.output_text.delta',
      output_index: 0,
      content_index: 0,
      delta: text,
    })
    const pieces = [...TALK.matchAll(/.{1,7}/g)].map(([text]) => delta(text))
    streams(pieces.map(event => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`))
    const body = JSON.stringify({ model: 'm', input: 'hi', stream: true })
    const text = await (await post('/v1/responses', body)).text()
    assert.match(text, /event: error\ndata: .*"code":"denied"/)
    assert.ok(!text.includes('4711') && !text.includes('completed'))
  })

  it('does so in Converse', async () => {
    await start({}, 'bedrock')
    const event = (type: string, payload: object) =>
      encodeMessage(
        { ':message-type': 'event', ':event-type': type, ':content-type': 'application/json' },
        Buffer.from(JSON.stringify(payload)),
      )
    const pieces = [...TALK.matchAll(/.{1,7}/g)].map(([text]) =>
      event('contentBlockDelta', { contentBlockIndex: 0, delta: { text } }),
    )
    streams([event('messageStart', { role: 'assistant' }), ...pieces], 'application/vnd.amazon.eventstream')
    const body = JSON.stringify({ messages: [{ role: 'user', content: [{ text: 'hi' }] }], stream: true })
    const bytes = await (await post('/model/m/converse', body)).bytes()
    const text = Buffer.from(bytes).toString('latin1')
    assert.match(text, /modelStreamErrorException.*Response contains prohibited content/s)
    assert.ok(!text.includes('4711'))
  })

  it('leaves one as it came in which nothing is found', async () => {
    await start({ response_deny_patterns: ['never said'] })
    const events = openaiWire.stream({ text: TALK, thinking: 'hm' })
    streams(events)
    const body = JSON.stringify({ ...chat, stream: true, stream_options: { include_usage: true } })
    const response = await post('/v1/chat/completions', body)
    assert.equal(await response.text(), events.join(''))
    await until(() => verdicts('allow'), 'it is counted')
  })

  it('looks at arguments of tools where it is told to', async () => {
    await start({ response_check_kinds: ['tool_arguments'] })
    const tools = [{ id: 'c', name: 'dial', input: { code: CODE } }]
    streams(openaiWire.stream({ text: TALK, tools }))
    await assert.rejects(client().chat.completions.stream(chat).finalChatCompletion(), { code: 'denied' })
  })

  it('only says so in monitor mode', async () => {
    await start({ mode: 'monitor' })
    streams(openaiWire.stream({ text: TALK }))
    const { choices } = await client().chat.completions.stream(chat).finalChatCompletion()
    assert.equal(choices[0]!.message.content, TALK)
    assert.ok(await verdicts('would_deny'))
  })

  it('lets pass what cannot be read where fail_mode says so, and counts it', async () => {
    upstream.script = received => received.json(200, { text: CODE })
    await start({})
    assert.equal((await post('/v1/moderations', '{"input":"hi","model":"m"}')).status, 200)
    assert.ok(await verdicts('skipped'))
  })

  it('knows a whole answer of another shape for one that cannot be read', async () => {
    const shapes = ['{"output_text":"4711-0815"}', '["4711-0815"]', 'The code is 4711-0815']
    for (const fail_mode of ['skip', 'error']) {
      await start({ fail_mode })
      for (const body of shapes) {
        upstream.script = received => received.response.end(body)
        const response = await post('/v1/chat/completions', JSON.stringify(chat))
        const said = await response.text()
        if (fail_mode === 'skip') assert.equal(said, body)
        else assert.match(said, /texts_unknown/)
      }
      await gateway.close()
    }
  })
})
