// Spans of calls to LLMs, as a collector gets them: OpenTelemetry's GenAI conventions, in every protocol.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type Collector, type ReadSpan, startCollector } from '../../helpers/collector.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { anthropic, openai } from '../../helpers/llm-answers.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const fixture = (name: string) => readFileSync(new URL(`../../fixtures/llm/${name}`, import.meta.url))
const chat = { model: 'gpt-x', messages: [{ role: 'user', content: 'What is your secret?' }] }
const said = { text: 'I have none.' }
const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'

describe('spans of calls to LLMs', () => {
  let upstream: ScriptedUpstream
  let collector: Collector
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
    collector = await startCollector()
  })
  afterEach(async () => {
    await gateway.close()
    await collector.close()
    await upstream.close()
  })

  const instance = (endpoint: string) => ({
    provider: 'openai-compatible',
    auth: { header: { Authorization: 'Bearer key' } },
    override: { endpoint },
  })

  async function start(ai: object = {}, tracing: object = {}, plugins?: object): Promise<void> {
    gateway = await startGateway({
      resources: {
        routes: {
          1: {
            uri: '/*',
            plugins: {
              opentelemetry: { sampler: { name: 'always_on' }, ...tracing },
              ...(plugins ?? { 'ai-proxy': { ...instance(upstream.origin), ...ai } }),
            },
          },
        },
        plugin_metadata: {
          opentelemetry: {
            collector: { address: `127.0.0.1:${collector.port}` },
            batch_span_processor: { inactive_timeout: 0.02, batch_timeout: 0.05 },
          },
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  async function ask(path: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
    const response = await fetch(gateway.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
    await response.arrayBuffer().catch(() => {})
    return response
  }

  /** The spans of the next request, the server's left out. */
  async function calls(count = 1): Promise<ReadSpan[]> {
    await until(() => collector.spans.length === count + 1, `${count} calls have come`)
    const [server, ...others] = collector.spans.splice(0)
    assert.equal(server!.kind, 2)
    for (const { kind, parentSpanId } of others) assert.deepEqual([kind, parentSpanId], [3, server!.spanId])
    return others
  }

  const streamed = (events: readonly (string | Buffer)[]) => async (received: Received) => {
    received.startStream()
    for (const event of events) await received.write(event)
    received.response.end()
  }

  it('say who was asked for what, what came of it, and nothing of what was said', async () => {
    upstream.script = received => received.json(200, openai.whole(said))
    await start()
    await ask('/v1/chat/completions', { ...chat, temperature: 1, max_tokens: 20, n: 2 })
    const [call] = await calls()
    assert.equal(call!.name, 'chat gpt-x')
    assert.equal(call!.status, undefined)
    assert.deepEqual(call!.attributes, {
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'openai-compatible',
      'gen_ai.system': 'openai-compatible',
      'gen_ai.request.model': 'gpt-x',
      'gen_ai.request.stream': false,
      'gen_ai.request.max_tokens': 20,
      'gen_ai.request.temperature': 1,
      'gen_ai.request.choice.count': 2,
      'gen_ai.response.id': 'chatcmpl-1',
      'gen_ai.response.model': 'gpt-x',
      'gen_ai.response.finish_reasons': ['stop'],
      'gen_ai.usage.input_tokens': 11,
      'gen_ai.usage.output_tokens': 7,
      'server.address': '127.0.0.1',
      'server.port': upstream.port,
      'http.response.status_code': 200,
      'sluice.llm.instance': 'ai-proxy-openai-compatible',
    })
    const sent = (await Promise.all(collector.received.map(({ body }) => body))).join()
    assert.doesNotMatch(sent, /secret|none\.|Bearer/)
  })

  it('say of a stream what its events say, and how long its first took', async () => {
    upstream.script = streamed(openai.stream({ ...said, finish: 'length' }))
    await start()
    await ask('/v1/chat/completions', { ...chat, stream: true })
    const [{ attributes }] = (await calls()) as [ReadSpan]
    assert.equal(attributes['gen_ai.response.id'], 'chatcmpl-1')
    assert.equal(attributes['gen_ai.response.model'], 'gpt-x')
    assert.deepEqual(attributes['gen_ai.response.finish_reasons'], ['length'])
    assert.equal(attributes['gen_ai.usage.output_tokens'], 7)
    assert.equal(attributes['gen_ai.request.stream'], true)
    const first = attributes['gen_ai.response.time_to_first_chunk'] as number
    assert.ok(first >= 0 && first < 30, `${first}`)
  })

  it("tell of answers in the provider's protocol, converted or not, streamed or whole", async () => {
    await start()
    const claude = { ...chat, max_tokens: 9 }
    const of = async () => {
      const [{ attributes }] = (await calls()) as [ReadSpan]
      return ['response.id', 'response.model', 'response.finish_reasons', 'usage.input_tokens'].map(
        name => attributes[`gen_ai.${name}`],
      )
    }
    // openai-compatible speaks no Anthropic: what is converted is told of as OpenAI's.
    upstream.script = received => received.json(200, openai.whole(said))
    await ask('/v1/messages', claude)
    assert.deepEqual(await of(), ['chatcmpl-1', 'gpt-x', ['stop'], 11])
    upstream.script = streamed(openai.stream(said))
    await ask('/v1/messages', { ...claude, stream: true })
    assert.deepEqual(await of(), ['chatcmpl-1', 'gpt-x', ['stop'], 11])
    upstream.script = received => received.json(200, JSON.parse(fixture('openai-responses.json').toString()))
    await ask('/v1/responses', { model: 'r', input: 'x' })
    assert.deepEqual((await of())[2], ['completed'])
    upstream.script = streamed([fixture('openai-responses-incomplete-stream.sse')])
    await ask('/v1/responses', { model: 'r', input: 'x', stream: true })
    const [id, model, reasons] = await of()
    assert.match(String(id), /^resp_/)
    assert.deepEqual([model, reasons], ['gpt-4.1-2025-04-14', ['max_output_tokens']])
    upstream.script = received => received.json(200, JSON.parse(fixture('openai-embeddings.json').toString()))
    await ask('/v1/embeddings', { model: 'e', input: 'x' })
    await until(() => collector.spans.length === 2, 'the call has come')
    assert.equal(collector.spans[1]!.name, 'embeddings e')
    assert.equal(typeof collector.spans[1]!.attributes['gen_ai.response.model'], 'string')
    assert.equal(collector.spans[1]!.attributes['gen_ai.request.stream'], undefined)
  })

  it('count what a cache had among the input, where the provider counts it besides', async () => {
    const whole = {
      ...anthropic.whole(said),
      usage: { input_tokens: 10, output_tokens: 7, cache_read_input_tokens: 100 },
    }
    upstream.script = received => received.json(200, whole)
    await start({ provider: 'anthropic', override: { endpoint: upstream.origin } })
    await ask('/v1/messages', { ...chat, max_tokens: 9 })
    const [{ attributes }] = (await calls()) as [ReadSpan]
    assert.equal(attributes['gen_ai.provider.name'], 'anthropic')
    assert.equal(attributes['gen_ai.usage.input_tokens'], 110)
    assert.equal(attributes['gen_ai.usage.cache_read.input_tokens'], 100)
    assert.deepEqual(attributes['gen_ai.response.finish_reasons'], ['end_turn'])
    upstream.script = streamed(anthropic.stream(said))
    await ask('/v1/messages', { ...chat, max_tokens: 9, stream: true })
    const [{ attributes: second }] = (await calls()) as [ReadSpan]
    assert.deepEqual(
      ['id', 'model', 'finish_reasons'].map(name => second[`gen_ai.response.${name}`]),
      ['msg_1', 'claude-x', ['end_turn']],
    )
  })

  it('use the names that the conventions have for providers', async () => {
    upstream.script = received => {
      received.response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' })
      received.response.end(Buffer.from(fixture('bedrock-converse-stream.bin')))
    }
    await start({
      provider: 'bedrock',
      auth: { aws: { access_key_id: 'A', secret_access_key: 'S' } },
      provider_conf: { region: 'eu-central-1' },
    })
    await ask('/model/claude/converse-stream', { messages: [{ role: 'user', content: [{ text: 'x' }] }] })
    const [{ attributes, name }] = (await calls()) as [ReadSpan]
    assert.equal(attributes['gen_ai.provider.name'], 'aws.bedrock')
    assert.deepEqual(attributes['gen_ai.response.finish_reasons'], ['end_turn'])
    assert.equal(name, 'chat claude')
  })

  it('are one for each instance that was asked, each with its own end', async () => {
    const good = await startUpstream(received => received.json(200, openai.whole(said)))
    upstream.script = received => received.json(503, openai.error(503, 'Bearer key is tired'))
    await start(
      {},
      {},
      {
        'ai-proxy-multi': {
          fallback_strategy: ['http_5xx'],
          instances: [
            { name: 'tired', weight: 1, priority: 1, ...instance(upstream.origin), options: { model: 'big' } },
            { name: 'awake', weight: 1, priority: 0, ...instance(good.origin), options: { model: 'small' } },
          ],
        },
      },
    )
    assert.equal((await ask('/v1/chat/completions', chat)).status, 200)
    const [first, second] = await calls(2)
    const facts = ({ name, status, attributes }: ReadSpan) => [
      name,
      status?.code,
      attributes['sluice.llm.instance'],
      attributes['http.response.status_code'],
      attributes['error.type'],
      attributes['http.request.resend_count'],
      attributes['gen_ai.usage.output_tokens'],
    ]
    assert.deepEqual(facts(first!), ['chat big', 2, 'tired', 503, '503', undefined, undefined])
    assert.deepEqual(facts(second!), ['chat small', undefined, 'awake', 200, undefined, 1, 7])
    assert.equal(upstream.received[0]!.headers.traceparent, `00-${first!.traceId}-${first!.spanId}-01`)
    assert.equal(good.received[0]!.headers.traceparent, `00-${first!.traceId}-${second!.spanId}-01`)
    await good.close()
  })

  it('have failed where the answer broke, with why, and not where the client left', async () => {
    const events = openai.stream(said)
    upstream.script = async received => {
      received.startStream()
      for (const event of events.slice(0, 2)) await received.write(event)
      received.cut()
    }
    await start()
    await ask('/v1/chat/completions', { ...chat, stream: true })
    const [broken] = await calls()
    assert.deepEqual([broken!.status?.code, broken!.attributes['error.type']], [2, 'reset'])
    upstream.script = async received => {
      received.startStream()
      for (const event of events.slice(0, 3)) await received.write(event)
    }
    const leaves = new AbortController()
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      signal: leaves.signal,
      body: JSON.stringify({ ...chat, stream: true }),
      headers: { 'content-type': 'application/json' },
    })
    await response.body!.getReader().read()
    leaves.abort()
    const [left] = await calls()
    assert.deepEqual([left!.status, left!.attributes['error.type']], [undefined, 'client_disconnect'])
  })

  it('have what was said where that is asked for, and so much of it', async () => {
    upstream.script = received => received.json(200, openai.whole(said))
    await start({}, { capture_content: { input: true, output: true, max_characters: 8 } })
    const messages = [
      { role: 'system', content: 'Be' },
      { role: 'user', content: 'aloof, please' },
      { role: 'user', content: 'now' },
    ]
    await ask('/v1/chat/completions', { ...chat, messages })
    const [{ attributes }] = (await calls()) as [ReadSpan]
    const part = (content: string) => [{ type: 'text', content }]
    assert.deepEqual(JSON.parse(String(attributes['gen_ai.input.messages'])), [
      { role: 'system', parts: part('Be') },
      { role: 'user', parts: part('aloof,') },
    ])
    assert.deepEqual(JSON.parse(String(attributes['gen_ai.output.messages'])), [
      { role: 'assistant', parts: part('I have n'), finish_reason: 'stop' },
    ])
    upstream.script = streamed(openai.stream(said))
    await ask('/v1/chat/completions', { ...chat, stream: true })
    const [{ attributes: second }] = (await calls()) as [ReadSpan]
    assert.match(String(second['gen_ai.output.messages']), /I have n"/)
  })

  it('are kept from the provider where it is not to know of traces', async () => {
    upstream.script = received => received.json(200, openai.whole(said))
    await start({}, { propagate_to_llm: false })
    const fields = {
      traceparent: `00-${TRACE}-${SPAN}-01`,
      tracestate: 'v=1',
      b3: '1',
      baggage: 'who=me',
      'x-b3-traceid': TRACE,
    }
    await ask('/v1/chat/completions', chat, fields)
    await calls()
    for (const name of Object.keys(fields)) assert.equal(upstream.received[0]!.headers[name], undefined, name)
    await gateway.close()
    await start({}, { propagate_to_llm: false, sampler: { name: 'always_off' } })
    await ask('/v1/chat/completions', chat, fields)
    for (const name of Object.keys(fields)) assert.equal(upstream.received[1]!.headers[name], undefined, name)
  })
})
