// What ai-prompt-guard looks at besides what APISIX's does, and how it says no, at the front door.
import assert from 'node:assert/strict'
import { Anthropic } from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import type { Logger } from '../../../core/observe/log.ts'
import { silent } from '../../../core/observe/log.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { openai as openaiWire } from '../../helpers/llm-answers.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

describe('ai-prompt-guard, of a request,', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let lines: string[]

  beforeEach(async () => {
    upstream = await startUpstream()
    upstream.script = received => received.json(200, openaiWire.whole({ text: 'hi' }))
    lines = []
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    await gateway.close()
    await upstream.close()
  })

  async function start(config: object): Promise<void> {
    const say = (fields: object, text: string) => lines.push(`${text} ${JSON.stringify({ ...fields, request_id: 0 })}`)
    const log: Logger = { ...silent, info: say, warn: say }
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    const route = { uri: '/*', plugins: { 'ai-prompt-guard': config }, upstream: { type: 'roundrobin', nodes } }
    gateway = await startGateway({ resources: { routes: { r: route } }, log })
    assert.deepEqual(gateway.rejected, [])
  }

  /** `passes`, or what the client is told. */
  async function verdict(body: object, path = '/v1/chat/completions'): Promise<string> {
    const response = await fetch(gateway.url + path, { method: 'POST', body: JSON.stringify(body) })
    if (response.status === 200) return 'passes'
    assert.equal(response.status, 400)
    return ((await response.json()) as { message: string }).message
  }
  const PROHIBITED = 'Request contains prohibited content'
  const UNSEEN = 'Request contains content that cannot be checked'

  const call = (args: string) => [{ type: 'function', function: { name: 'f', arguments: args } }]
  const turn = [
    { role: 'system', content: 'be good' },
    { role: 'user', content: 'look it up' },
    { role: 'assistant', content: null, reasoning_content: 'think', tool_calls: call('{"q":"ask\\u0065d"}') },
    { role: 'tool', content: 'first result' },
    { role: 'tool', content: 'second result' },
  ]

  const chosen: [string, object, string, string][] = [
    ['texts of users, and of nobody else', {}, 'result|good|think|asked', 'passes'],
    ['system prompts', { request_check_roles: ['system'], match_all_conversation_history: true }, 'good', PROHIBITED],
    ['what tools said since the model spoke', { request_check_kinds: ['tool_result'] }, 'first', PROHIBITED],
    ['what tools are asked, without escapes', { request_check_kinds: ['tool_arguments'] }, 'asked', PROHIBITED],
    ['what was thought', { request_check_kinds: ['reasoning'] }, 'think', PROHIBITED],
    ['everybody’s texts and what tools say', { match_all_roles: true }, 'second', PROHIBITED],
    ['no arguments where they are not asked for', { match_all_roles: true }, 'asked|think', 'passes'],
  ]
  for (const [what, config, pattern, expected] of chosen) {
    it(`looks at ${what}`, async () => {
      await start({ deny_patterns: [pattern], ...config })
      assert.equal(await verdict({ messages: turn }), expected)
    })
  }

  it('looks at results that users bring in the protocols of Anthropic and Bedrock', async () => {
    await start({ deny_patterns: ['bad'], request_check_kinds: ['tool_result'] })
    const anthropic = [{ role: 'user', content: [{ type: 'tool_result', content: [{ type: 'text', text: 'bad' }] }] }]
    assert.equal(await verdict({ messages: anthropic }, '/v1/messages'), PROHIBITED)
    const bedrock = [{ role: 'user', content: [{ toolResult: { content: [{ text: 'bad' }] } }] }]
    assert.equal(await verdict({ messages: bedrock }, '/model/m/converse'), PROHIBITED)
  })

  it('says in the log by default what it could not look at', async () => {
    await start({})
    const content = [
      { type: 'text', text: 'what is this?' },
      { type: 'image_url', image_url: { url: 'http://secret' } },
    ]
    assert.equal(await verdict({ messages: [{ role: 'user', content }] }), 'passes')
    assert.deepEqual(lines, [
      'not all of a request could be looked at {"plugin":"ai-prompt-guard","route":"r","request_id":0,"not_text":["image_url"]}',
    ])
  })

  it('refuses where it is told to what it cannot look at, but for types that are allowed', async () => {
    await start({ not_text: 'deny', not_text_allowed: ['image_url'] })
    const saying = (type: string) => verdict({ messages: [{ role: 'user', content: [{ type }] }] })
    assert.deepEqual([await saying('image_url'), await saying('input_audio')], ['passes', UNSEEN])
    assert.equal(await verdict({ previous_response_id: 'x', input: 'hi' }, '/v1/responses'), UNSEEN)
    const old = [
      { role: 'user', content: [{ type: 'file' }] },
      { role: 'assistant', content: 'a' },
      { role: 'user', content: 'b' },
    ]
    assert.equal(await verdict({ messages: old }), 'passes')
  })

  it('refuses what has more pieces than are looked at, unless it is not to mind', async () => {
    const many = Array.from({ length: 100_000 }, () => ({ type: 'text', text: 'a' }))
    const messages = [
      { role: 'user', content: many },
      { role: 'assistant', content: 'b' },
      { role: 'user', content: 'bad' },
    ]
    await start({ deny_patterns: ['bad'] })
    assert.equal(await verdict({ messages }), UNSEEN)
    await gateway.close()
    await start({ deny_patterns: ['bad'], not_text: 'pass' })
    assert.equal(await verdict({ messages }), 'passes')
  })

  it('cannot look at a key that stands twice, wherever it does', async () => {
    await start({ deny_patterns: ['bad'], not_text: 'deny' })
    const ask = async (body: string) =>
      (await fetch(`${gateway.url}/chat`, { method: 'POST', body })).status === 200 ? 'passes' : 'is refused'
    const message = (content: string) => `{"messages":[{"role":"user",${content}}]}`
    assert.equal(await ask(message('"content":"good, \\"content\\": bed"')), 'passes')
    assert.equal(await ask(message('"content":"bad","content":"good"')), 'is refused')
    assert.equal(await ask(message('"c\\u006fntent":"bad","content":"good"')), 'is refused')
    assert.equal(await ask('{"messages":[{"role":"user","content":"bad"}],"messages":[]}'), 'is refused')
  })

  it('only says so in monitor mode, and counts it', async () => {
    await start({ deny_patterns: ['a', 'secret'], mode: 'monitor', fail_mode: 'error', not_text: 'pass' })
    assert.equal(await verdict({ messages: [{ role: 'user', content: 'secret' }] }), 'passes')
    assert.equal(await verdict({ messages: [{ role: 'user', content: 'hi' }] }), 'passes')
    assert.equal(await verdict({ prompt: 'secret' }), 'passes')
    assert.deepEqual(lines, [
      'ai-prompt-guard would deny a request: deny_patterns[1] matches {"plugin":"ai-prompt-guard","route":"r","request_id":0}',
      'ai-prompt-guard skipped: Request format not recognized by ai-prompt-guard {"plugin":"ai-prompt-guard","route":"r","request_id":0}',
    ])
    const page = await gateway.scrape()
    for (const word of ['would_deny', 'allow', 'skipped']) {
      const series = `{plugin="ai-prompt-guard",route_id="r",side="request",verdict="${word}"} 1`
      assert.ok(page.includes(`sluice_guard_verdicts_total${series}`), word)
    }
    assert.match(page, /^sluice_guard_seconds_count\{plugin="ai-prompt-guard",side="request"\} 2$/m)
  })

  it('is not stopped by a text that is made to take long, and lets none pass that it cannot judge', async () => {
    await start({ deny_patterns: ['(\\w+\\s?)+!$', '^(?=xyz)xyz(?:\\w+,?){1,99}!$'] })
    assert.equal(await verdict({ messages: [{ role: 'user', content: 'a'.repeat(100_000) }] }), 'passes')
    assert.equal(await verdict({ messages: [{ role: 'user', content: `xyz${'a'.repeat(100_000)}` }] }), PROHIBITED)
    assert.match(lines[0]!, /a pattern of deny_patterns took too long/)
    await gateway.close()
    await start({ allow_patterns: ['^(?=xyz)xyz(?:\\w+,?){1,99}!$'] })
    assert.equal(await verdict({ messages: [{ role: 'user', content: `xyz${'a'.repeat(100_000)}` }] }), PROHIBITED)
  })

  describe('says no as an error of the protocol, which', () => {
    it('OpenAI’s SDK throws', async () => {
      await start({ deny_patterns: ['bad'], deny_as: 'error' })
      const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'x', maxRetries: 0 })
      const refused = { status: 400, code: 'denied', type: 'invalid_request_error' }
      await assert.rejects(
        openai.chat.completions.create({ model: 'm', messages: [{ role: 'user', content: 'bad' }] }),
        refused,
      )
      await assert.rejects(openai.responses.create({ model: 'm', input: 'bad', stream: true }), refused)
      await assert.rejects(openai.embeddings.create({ model: 'm', input: ['good', 'bad'] }), refused)
    })

    it('Anthropic’s SDK throws', async () => {
      await start({ deny_patterns: ['bad'], deny_as: 'error' })
      const anthropic = new Anthropic({ baseURL: gateway.url, apiKey: 'x', maxRetries: 0 })
      const asked = anthropic.messages.create({
        model: 'm',
        max_tokens: 9,
        messages: [{ role: 'user', content: 'bad' }],
      })
      await assert.rejects(asked, (error: unknown) => {
        assert.ok(error instanceof Anthropic.BadRequestError)
        assert.match(error.message, /"type":"invalid_request_error","message":"Request contains prohibited content"/)
        return true
      })
    })
  })

  describe('says no in the model’s place,', () => {
    beforeEach(() => start({ deny_patterns: ['bad'], deny_as: 'answer' }))

    it('which OpenAI’s SDK takes for an answer, streamed or not', async () => {
      const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'x', maxRetries: 0 })
      const chat = { model: 'm', messages: [{ role: 'user' as const, content: 'bad' }] }
      const whole = await openai.chat.completions.create(chat)
      assert.deepEqual([whole.choices[0]!.message.content, whole.model], [PROHIBITED, 'm'])
      const { choices } = await openai.chat.completions.stream(chat).finalChatCompletion()
      assert.equal(choices[0]!.message.content, PROHIBITED)
      const response = await openai.responses.create({ model: 'm', input: 'bad' })
      assert.equal(response.output_text, PROHIBITED)
      const streamed = await openai.responses.stream({ model: 'm', input: 'bad' }).finalResponse()
      assert.equal(streamed.output_text, PROHIBITED)
    })

    it('and so does Anthropic’s', async () => {
      const anthropic = new Anthropic({ baseURL: gateway.url, apiKey: 'x', maxRetries: 0 })
      const asked = { model: 'm', max_tokens: 9, messages: [{ role: 'user' as const, content: 'bad' }] }
      for (const message of [
        await anthropic.messages.create(asked),
        await anthropic.messages.stream(asked).finalMessage(),
      ])
        assert.deepEqual(
          [message.content[0]?.type === 'text' && message.content[0].text, message.model],
          [PROHIBITED, 'm'],
        )
      assert.equal(upstream.received.length, 0)
    })
  })
})
