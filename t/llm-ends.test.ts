// How calls end, in every protocol at the front door: what is not whole never looks whole, and each clock says its name.
import assert from 'node:assert/strict'
import { plugin } from '../core/plugin.ts'
import { variable } from '../core/router/vars.ts'
import { startDeafPort } from './helpers/deaf-port.ts'
import { named } from './helpers/events.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

/** Long enough for whatever comes at once to have come, also on a busy machine. */
const ROOMY = 1_000
const SHORT = 50

interface Speech {
  path: string
  /** openai-compatible without it. */
  provider?: string
  /** The provider speaks another protocol: it is asked at this path, and what the client sees is `shown`. */
  converted?: { path: string; shown: RegExp }
  body: object
  /** Events up to the first content. */
  begin: string
  /** The same event once more, cut within its JSON. */
  half: string
  end: string
  /** Of the end, and of nothing else. */
  terminator: RegExp
  /** What the provider says when it fails in the middle. */
  failure: string
  /** A stream without its end is no stream. */
  hasEnd: boolean
}

const CONVERTED = 'to be converted'
const chatChunk = (content: string) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`
const speeches: Record<string, Speech> = {
  'openai-chat': {
    path: '/v1/chat/completions',
    body: { messages: [{ role: 'user', content: 'hi' }] },
    begin: chatChunk('a'),
    half: `${chatChunk('b').slice(0, -9)}\n\n`,
    end: 'data: [DONE]\n\n',
    terminator: /\[DONE\]|finish_reason/,
    failure: 'data: {"error":{"message":"overloaded","code":"busy"}}\n\n',
    hasEnd: true,
  },
  'openai-responses': {
    path: '/v1/responses',
    body: { input: 'hi' },
    begin:
      named('response.created', { response: { status: 'in_progress' }, sequence_number: 0 }) +
      named('response.output_text.delta', { delta: 'a', sequence_number: 1 }),
    half: `${named('response.completed', { response: { status: 'completed' } }).slice(0, -6)}\n\n`,
    end: named('response.completed', { response: { status: 'completed', output: [] } }),
    terminator: /^event: response\.completed\ndata: \{.*\}\}$/m,
    failure: named('error', { code: 'busy', message: 'overloaded', error: { code: 'busy' } }),
    hasEnd: true,
  },
  'anthropic-messages': {
    path: '/native/v1/messages',
    provider: 'anthropic',
    body: { messages: [{ role: 'user', content: 'hi' }], max_tokens: 5 },
    begin:
      named('message_start', { message: { usage: { input_tokens: 3, output_tokens: 1 } } }) +
      named('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }) +
      named('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'a' } }),
    half: `${named('message_delta', { delta: { stop_reason: 'end_turn' } }).slice(0, -5)}\n\n`,
    end: named('message_stop'),
    terminator: /^event: message_stop$/m,
    failure: named('error', { error: { type: 'overloaded_error', message: 'busy' } }),
    hasEnd: true,
  },
  'anthropic-messages, converted': {
    path: '/v1/messages',
    converted: { path: '/v1/chat/completions', shown: /^event: message_start\n.*"text_delta","text":"a"/s },
    body: { messages: [{ role: 'user', content: CONVERTED }], max_tokens: 5 },
    begin: chatChunk('a'),
    half: `${chatChunk('b').slice(0, -9)}\n\n`,
    end: 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    terminator: /message_stop/,
    failure: 'data: {"error":{"message":"overloaded","code":"busy"}}\n\n',
    hasEnd: true,
  },
  passthrough: {
    path: '/v1/other',
    body: { prompt: 'hi' },
    begin: 'data: {"text":"a"}\n\n',
    half: 'data: {"text":\n\n',
    end: 'data: [DONE]\n\n',
    terminator: /\[DONE\]/,
    failure: 'data: {"error":{"message":"overloaded","code":"busy"}}\n\n',
    hasEnd: false,
  },
}

describe('a call that does not come to its end', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  /** `$llm_cut_by` of every request that has logged, by path. */
  let cuts: Map<string, unknown>

  beforeEach(async () => {
    upstream = await startUpstream()
    cuts = new Map()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function start(config: object = {}, endpoint = upstream.origin): Promise<void> {
    const observer = plugin({
      name: 'observer',
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({ log: ctx => void cuts.set(ctx.request.path, variable(ctx, 'llm_cut_by')) }),
    })
    const aiProxy = { provider: 'openai-compatible', auth: {}, override: { endpoint }, timeout: 60_000, ...config }
    const native = { ...aiProxy, provider: 'anthropic' }
    gateway = await startGateway({
      plugins: [observer],
      resources: {
        routes: {
          1: { uri: '/*', plugins: { 'ai-proxy': aiProxy, observer: {} } },
          2: { uri: '/native/*', plugins: { 'ai-proxy': native, observer: {} } },
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  async function ask({ path, body }: Speech, stream = true): Promise<{ status: number; text: string }> {
    const response = await fetch(gateway.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'm', ...body, stream }),
    })
    return { status: response.status, text: await response.text() }
  }

  /** The upstream does the same to all who ask for a stream that has begun. */
  function begunThen(act: (received: Received, speech: Speech) => unknown): void {
    upstream.script = async received => {
      const { target } = received
      const { messages } = JSON.parse((await received.body).toString()) as { messages?: { content: unknown }[] }
      // Clients of two protocols meet at one path.
      const wasConverted = messages?.[0]?.content === CONVERTED
      const speech = Object.values(speeches).find(({ path, converted }) =>
        wasConverted ? converted?.path === target : converted === undefined && path.endsWith(target),
      )!
      received.startStream()
      await received.write(speech.begin)
      await act(received, speech)
    }
  }

  const codeOf = (json: string) => (JSON.parse(json) as { error: { code: string } }).error.code

  async function isCountedAs({ path, provider = 'openai-compatible' }: Speech, reason: string): Promise<void> {
    await until(() => cuts.has(path), 'the request has logged')
    assert.equal(cuts.get(path), reason)
    const route = provider === 'anthropic' ? 2 : 1
    const series = `sluice_llm_cut_total{route_id="${route}",node="ai-proxy-${provider}",reason="${reason}"} `
    assert.ok(gateway.scrape().includes(series), gateway.scrape())
  }

  const both = Object.keys(speeches)
  const withEnd = both.filter(name => speeches[name]!.hasEnd)
  const ends: [string, (received: Received, speech: Speech) => unknown, string, string[], object?][] = [
    ['by a reset', received => received.reset(), 'reset', both],
    [
      'by a reset within an event',
      (received, { half }) => received.write(half.trimEnd()).then(() => received.reset()),
      'reset',
      both,
    ],
    ['in good order, but without saying so', ({ response }) => response.end(), 'incomplete', withEnd],
    [
      'in good order, but within its last event',
      ({ response }, { half }) => response.end(half.trimEnd()),
      'incomplete',
      withEnd,
    ],
    [
      'with an event that is cut, whatever follows',
      ({ response }, { half, end }) => response.end(half + end),
      'malformed',
      withEnd,
    ],
    ['in silence', () => {}, 'idle_timeout', both, { timeouts: { idle: ROOMY } }],
    ['in nothing but pings, in time', pinging, 'total_timeout', both, { timeouts: { total: ROOMY } }],
    ['later than it may', pinging, 'max_stream_duration_ms', both, { max_stream_duration_ms: ROOMY }],
    [
      'larger than it may be',
      received => received.write(`: ${'x'.repeat(5_000)}\n\n`),
      'max_response_bytes',
      both,
      { max_response_bytes: 4_000 },
    ],
  ]
  for (const [how, act, reason, names, config] of ends) {
    it(`${how}: the client is told in its own protocol, and sees no end (${reason})`, async () => {
      await start(config)
      begunThen(act)
      await Promise.all(
        names.map(async name => {
          const speech = speeches[name]!
          const { status, text } = await ask(speech)
          assert.equal(status, 200)
          const events = text.split('\n\n').filter(event => event !== '' && !event.startsWith(':'))
          if (speech.converted) assert.match(text, speech.converted.shown)
          else assert.equal(text.startsWith(speech.begin), true)
          assert.doesNotMatch(speech.converted ? text : text.slice(speech.begin.length), speech.terminator, name)
          const data = /^data: (.*)$/m.exec(events.at(-1)!)![1]!
          assert.equal(codeOf(data), /^max_/.test(reason) ? reason : `upstream_${reason}`, name)
          assert.equal(text.endsWith('\n\n'), true)
          await isCountedAs(speech, reason)
        }),
      )
      await until(() => upstream.received.every(({ response }) => response.closed), 'the provider is let go')
    })
  }

  it('with the provider’s own error: it reaches the client as it is, and nothing is added', async () => {
    await start()
    begunThen(({ response }, { failure }) => response.end(failure))
    await Promise.all(
      Object.values(speeches).map(async speech => {
        const { status, text } = await ask(speech)
        assert.equal(status, 200)
        if (speech.converted) assert.match(text, /"text":"a".*\nevent: error\ndata: \{"type":"error".*\}\n\n$/s)
        else assert.equal(text, speech.begin + speech.failure)
        await isCountedAs(speech, 'upstream_error')
      }),
    )
  })

  it('is not one that ends as it should', async () => {
    await start()
    begunThen(({ response }, { end }) => response.end(end))
    await Promise.all(
      Object.values(speeches).map(async speech => {
        const { status, text } = await ask(speech)
        assert.equal(status, 200)
        if (speech.converted) assert.match(text.slice(-200), speech.terminator)
        else assert.equal(text, speech.begin + speech.end)
        await until(() => cuts.has(speech.path), 'the request has logged')
        assert.equal(cuts.get(speech.path), undefined)
      }),
    )
    assert.doesNotMatch(gateway.scrape(), /sluice_llm_cut_total\{/)
  })

  it('because the client left: the provider hears of it', async () => {
    await start()
    begunThen(() => {})
    const leave = new AbortController()
    const { path, body } = speeches['openai-responses']!
    const response = await fetch(gateway.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, stream: true }),
      signal: leave.signal,
    })
    await response.body!.getReader().read()
    leave.abort()
    const received = await upstream.request(0)
    await received.closed
    assert.equal(received.gone, true)
    await isCountedAs(speeches['openai-responses']!, 'client_disconnect')
  })

  describe('before there was anything to send', () => {
    const clocks: [string, string, (received: Received) => unknown][] = [
      ['headers', 'headers_timeout', () => {}],
      ['first_content', 'first_content_timeout', received => received.startStream()],
      ['idle', 'idle_timeout', received => received.startStream()],
      ['total', 'total_timeout', received => received.startStream()],
    ]
    for (const [clock, reason, script] of clocks) {
      it(`because of the clock ${clock} is a 504 with a name of its own`, async () => {
        await start({ timeouts: { [clock]: SHORT } })
        upstream.script = script
        await Promise.all(
          Object.values(speeches).map(async speech => {
            const { status, text } = await ask(speech)
            assert.deepEqual([status, codeOf(text)], [504, `upstream_${reason}`])
            await isCountedAs(speech, reason)
          }),
        )
      })
    }

    it('because of the clock connect is a 504 with a name of its own', async () => {
      const deaf = await startDeafPort()
      await start({ timeouts: { connect: SHORT } }, `http://127.0.0.1:${deaf.port}`)
      const { status, text } = await ask(speeches['openai-chat']!)
      await deaf.close()
      assert.deepEqual([status, codeOf(text)], [504, 'upstream_connect_timeout'])
      await isCountedAs(speeches['openai-chat']!, 'connect_timeout')
    })

    it('with pings is told within the stream, which they have begun', async () => {
      await start({ timeouts: { first_content: ROOMY } })
      upstream.script = received => {
        received.startStream()
        return pinging(received)
      }
      const { status, text } = await ask(speeches['openai-responses']!)
      assert.equal(status, 200)
      assert.match(text, /^: ping\n\n.*event: error\ndata: [^\n]*"code":"upstream_first_content_timeout"[^\n]*\n\n$/s)
    })
  })

  describe('though its status says that it has', () => {
    const answers: [string, object, number][] = [
      ['openai-chat', { error: { message: 'slow down', code: 429 } }, 429],
      ['openai-chat', { error: { message: 'overloaded', code: 'busy' } }, 502],
      ['openai-responses', { error: { message: 'overloaded' } }, 502],
      ['openai-responses', { status: 'failed', error: { code: 'server_error' }, output: [] }, 200],
    ]
    for (const [name, answer, status] of answers) {
      it(`is recognised: ${name} with ${JSON.stringify(answer)} is a ${status}`, async () => {
        await start()
        upstream.script = received => received.json(200, answer)
        const speech = speeches[name]!
        assert.deepEqual(await ask(speech, false), { status, text: JSON.stringify(answer) })
        await isCountedAs(speech, 'upstream_error')
      })
    }
  })
})

/** Says nothing with many words, until nobody listens. */
async function pinging(received: Received): Promise<void> {
  const ping = setInterval(() => received.response.write(': ping\n\n'), 10)
  await received.closed
  clearInterval(ping)
}
