// The real openai SDK through the gateway: tools, responses, embeddings, models and all else, as if the provider were there.
// Plain chat is in plugins/ai-proxy.test.ts.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import OpenAI, { APIError, APIUserAbortError, RateLimitError } from 'openai'
import type { Responses } from 'openai/resources/responses/responses'
import { named } from './helpers/events.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const fixture = (name: string) => readFileSync(new URL(`fixtures/llm/${name}`, import.meta.url), 'utf8')
const answer = (name: string) => (received: Received) =>
  received.response.writeHead(200, { 'content-type': 'application/json' }).end(fixture(name))
const stream = (name: string) => async (received: Received) => {
  received.startStream()
  // Event by event, each in two halves.
  for (const event of fixture(name)
    .split(/(?<=\n\n)/)
    .map(text => Buffer.from(text))) {
    await received.write(event.subarray(0, event.length / 2))
    await received.write(event.subarray(event.length / 2))
  }
  received.response.end()
}
const messages = [{ role: 'user' as const, content: 'What is the weather?' }]
const tools = [
  { type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: {} } } },
  { type: 'function' as const, function: { name: 'time' } },
]
const model = 'gpt-4o'

describe('the openai SDK', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let openai: OpenAI

  beforeEach(async () => {
    upstream = await startUpstream()
    const aiProxy = {
      provider: 'openai',
      auth: { header: { Authorization: 'Bearer operator' } },
      override: { endpoint: upstream.origin },
    }
    gateway = await startGateway({ resources: { routes: { 1: { uri: '/*', plugins: { 'ai-proxy': aiProxy } } } } })
    assert.deepEqual(gateway.rejected, [])
    openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'client', maxRetries: 0 })
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    for (const { opened, settled, released, live } of Object.values(gateway.book.totals()))
      assert.deepEqual([live, settled + released], [0, opened])
    await gateway.close()
    await upstream.close()
  })

  const sent = async (n = -1) => JSON.parse((await upstream.received.at(n)!.body).toString()) as Record<string, unknown>

  describe('with tools', () => {
    it('is told of parallel calls, and sends what came of them', async () => {
      upstream.script = answer('openai-chat-tools.json')
      const first = await openai.chat.completions.create({ model, messages, tools, parallel_tool_calls: true })
      const calls = first.choices[0]!.message.tool_calls!
      assert.deepEqual(
        calls.map(call => call.type === 'function' && [call.id, call.function.name, call.function.arguments]),
        [
          ['call_a', 'weather', '{"city":"Köln"}'],
          ['call_b', 'time', '{}'],
        ],
      )
      upstream.script = answer('openai-chat.json')
      const results = calls.map(({ id }) => ({ role: 'tool' as const, tool_call_id: id, content: 'sunny' }))
      const round = [...messages, first.choices[0]!.message, ...results]
      const second = await openai.chat.completions.create({ model, messages: round, tools })
      assert.equal(second.choices[0]!.message.content, 'Grüße!')
      assert.deepEqual((await sent()).messages, JSON.parse(JSON.stringify(round)))
    })

    it('forces one of them', async () => {
      upstream.script = answer('openai-chat-tools.json')
      const tool_choice = { type: 'function' as const, function: { name: 'weather' } }
      await openai.chat.completions.create({ model, messages, tools, tool_choice })
      assert.deepEqual(await sent(), { model, messages, tools, tool_choice })
    })

    it('is told of calls in pieces, and puts them together', async () => {
      upstream.script = stream('openai-chat-tools-stream.sse')
      const runner = openai.chat.completions.stream({ model, messages, tools })
      const { choices } = await runner.finalChatCompletion()
      assert.equal(choices[0]!.finish_reason, 'tool_calls')
      assert.deepEqual(
        choices[0]!.message.tool_calls?.map(call => call.type === 'function' && call.function.arguments),
        ['{"city":"Köln"}', '{"zone":"CET"}'],
      )
    })
  })

  it('has its answers in the structure it asks for', async () => {
    const content = '{"city":"Köln","degrees":21}'
    upstream.script = received =>
      received.json(200, { choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }] })
    const schema = { type: 'object', properties: { city: { type: 'string' } }, additionalProperties: false }
    const response_format = { type: 'json_schema' as const, json_schema: { name: 'place', strict: true, schema } }
    const { choices } = await openai.chat.completions.parse({ model, messages, response_format })
    assert.deepEqual(choices[0]!.message.parsed ?? JSON.parse(choices[0]!.message.content!), JSON.parse(content))
    assert.deepEqual((await sent()).response_format, response_format)
  })

  describe('with responses', () => {
    const asked = { model: 'gpt-4.1', input: 'Greet me', instructions: 'Be kind.' }

    it('has a whole one', async () => {
      upstream.script = answer('openai-responses.json')
      const response = await openai.responses.create(asked)
      assert.equal(response.output_text, 'Grüße aus "Köln" 👋🏽')
      assert.equal(response.usage?.output_tokens_details.reasoning_tokens, 5)
      const [received] = upstream.received
      assert.deepEqual([received!.target, received!.headers.authorization], ['/v1/responses', 'Bearer operator'])
      assert.deepEqual(await sent(), asked)
    })

    it('has one that failed as the API says it, with 200', async () => {
      upstream.script = answer('openai-responses-failed.json')
      const { status, error } = await openai.responses.create(asked)
      assert.deepEqual([status, error?.code], ['failed', 'server_error'])
    })

    it('has a stream, every event of it', async () => {
      upstream.script = stream('openai-responses-stream.sse')
      const seen: Responses.ResponseStreamEvent[] = []
      for await (const event of await openai.responses.create({ ...asked, stream: true })) seen.push(event)
      const lines = fixture('openai-responses-stream.sse').split('\n')
      assert.deepEqual(
        seen,
        lines.filter(line => line.startsWith('data: ')).map(line => JSON.parse(line.slice(6)) as unknown),
      )
    })

    it('puts a stream with a call together', async () => {
      upstream.script = stream('openai-responses-tools-stream.sse')
      const tool = { type: 'function' as const, name: 'weather', parameters: {}, strict: true }
      const response = await openai.responses.stream({ ...asked, tools: [tool] }).finalResponse()
      const call = response.output.find(({ type }) => type === 'function_call') as Responses.ResponseFunctionToolCall
      assert.deepEqual([call.name, call.arguments], ['weather', '{"city":"Köln"}'])
    })

    it('has each event before the next one is sent', async () => {
      upstream.script = () => {}
      const opening = openai.responses.create({ ...asked, stream: true })
      const received = await upstream.request(0)
      received.startStream()
      const delta = (n: number) => named('response.output_text.delta', { delta: String(n), sequence_number: n })
      await received.write(delta(0))
      const events = (await opening)[Symbol.asyncIterator]()
      for (let at = 0; at < 20; at++) {
        const { value } = (await events.next()) as { value: Responses.ResponseTextDeltaEvent }
        assert.equal(value.delta, String(at))
        await received.write(at < 19 ? delta(at + 1) : named('response.completed', { response: {} }))
      }
      received.response.end()
      await events.next()
      assert.equal((await events.next()).done, true)
    })

    it('lets the provider know when it stops reading', async () => {
      upstream.script = async received => {
        received.startStream()
        await received.write(named('response.output_text.delta', { delta: 'a' }))
      }
      for await (const _ of await openai.responses.create({ ...asked, stream: true })) break
      const [received] = upstream.received
      await received!.closed
      assert.equal(received!.gone, true)
    })

    it('lets the provider know when it gives up before an answer', async () => {
      upstream.script = () => {}
      const giveUp = new AbortController()
      const pending = openai.responses.create(asked, { signal: giveUp.signal })
      const received = await upstream.request(0)
      giveUp.abort()
      await assert.rejects(pending, APIUserAbortError)
      await received.closed
      assert.equal(received.gone, true)
    })

    it('throws an error that comes before the stream, as the provider said it', async () => {
      const error = { message: 'slow down', type: 'requests', param: null, code: 'rate_limit_exceeded' }
      upstream.script = received => received.json(429, { error }, { 'retry-after': '20' })
      await assert.rejects(openai.responses.create({ ...asked, stream: true }), thrown => {
        assert.ok(thrown instanceof RateLimitError)
        assert.deepEqual([thrown.code, thrown.headers.get('retry-after')], ['rate_limit_exceeded', '20'])
        return true
      })
    })

    it('throws when a stream breaks, instead of ending it', async () => {
      upstream.script = async received => {
        received.startStream()
        await received.write(named('response.output_text.delta', { delta: 'a' }))
        received.reset()
      }
      const seen: string[] = []
      const read = async () => {
        for await (const { type } of await openai.responses.create({ ...asked, stream: true })) seen.push(type)
      }
      await assert.rejects(read(), thrown => thrown instanceof APIError && thrown.code === 'upstream_reset')
      assert.deepEqual(seen, ['response.output_text.delta'])
    })
  })

  describe('with embeddings', () => {
    const asked = { model: 'text-embedding-3-small', input: ['a', 'b'] }

    it('has them as base64, which it asks for by itself', async () => {
      upstream.script = answer('openai-embeddings-base64.json')
      const { data, usage } = await openai.embeddings.create(asked)
      const expected = [...new Float32Array([0.0023064255, -0.009327292, 0.015625, -0.25])]
      assert.deepEqual([...data[0]!.embedding], expected)
      assert.equal(usage.total_tokens, 8)
      assert.equal(upstream.received[0]!.target, '/v1/embeddings')
      assert.deepEqual(await sent(), { ...asked, encoding_format: 'base64' })
    })

    it('has them as numbers', async () => {
      upstream.script = answer('openai-embeddings.json')
      const { data } = await openai.embeddings.create({ ...asked, encoding_format: 'float' })
      assert.deepEqual(data[0]!.embedding, [0.0023064255, -0.009327292, 0.015625, -0.25])
    })
  })

  it('lists models and finds one, with the operator’s key', async () => {
    const found = { id: 'ft:gpt-4o:us::x', object: 'model', created: 1, owned_by: 'us' }
    upstream.script = received =>
      received.json(200, received.target === '/v1/models' ? { object: 'list', data: [found] } : found)
    assert.deepEqual((await openai.models.list()).data, [found])
    assert.deepEqual({ ...(await openai.models.retrieve(found.id)) }, found)
    assert.deepEqual(
      upstream.received.map(({ method, target, headers }) => [method, target, headers.authorization]),
      [
        ['GET', '/v1/models', 'Bearer operator'],
        ['GET', '/v1/models/ft:gpt-4o:us::x', 'Bearer operator'],
      ],
    )
  })

  it('has what passes through: old completions and moderations', async () => {
    upstream.script = stream('passthrough-completions-stream.sse')
    let text = ''
    const old = { model: 'gpt-3.5-turbo-instruct', prompt: 'Say', stream: true as const }
    for await (const { choices } of await openai.completions.create(old)) text += choices[0]!.text
    assert.equal(text, 'This is a test.')
    assert.equal(upstream.received[0]!.target, '/v1/completions')
    upstream.script = received => received.json(200, { id: 'm', results: [{ flagged: false }] })
    const { results } = await openai.moderations.create({ input: 'x' })
    assert.deepEqual([results[0]!.flagged, upstream.received[1]!.target], [false, '/v1/moderations'])
  })

  it('sends 600 KB as they are', async () => {
    upstream.script = answer('openai-chat.json')
    const long = [{ role: 'user' as const, content: 'Köln 👋 '.repeat(60_000) }]
    await openai.chat.completions.create({ model, messages: long })
    const { length } = await upstream.received[0]!.body
    assert.ok(length > 600_000)
    assert.deepEqual((await sent()).messages, long)
    await openai.responses.create({ model, input: long[0]!.content }).catch(() => {})
    assert.equal((await sent()).input, long[0]!.content)
  })

  it('asks twenty times at once, and each has its own answer', async () => {
    upstream.script = async received => {
      const { input } = JSON.parse((await received.body).toString()) as { input: string }
      await until(() => upstream.received.length >= 20, 'all have asked')
      received.startStream()
      for (const delta of input) await received.write(named('response.output_text.delta', { delta }))
      await received.write(named('response.completed', { response: { status: 'completed' } }))
      received.response.end()
    }
    const texts = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        let text = ''
        for await (const event of await openai.responses.create({ model, input: `answer ${n}`, stream: true }))
          if (event.type === 'response.output_text.delta') text += event.delta
        return text
      }),
    )
    assert.deepEqual(
      texts,
      texts.map((_, n) => `answer ${n}`),
    )
  })
})
