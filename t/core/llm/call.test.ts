// One call to a provider on real sockets: what is sent, what comes back, and how it fails.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Context } from '../../../core/context.ts'
import { ClientGone } from '../../../core/errors.ts'
import type { CallLimits } from '../../../core/llm/attempt.ts'
import { llmCall } from '../../../core/llm/call.ts'
import { type Exchange, exchange, openExchange } from '../../../core/llm/exchange.ts'
import { detectProtocol } from '../../../core/llm/protocols/detect.ts'
import { providers } from '../../../core/llm/providers/table.ts'
import { openTarget, type TargetConfig } from '../../../core/llm/target.ts'
import { Transport } from '../../../core/proxy/transport.ts'
import { type Reply, readAll } from '../../../core/reply.ts'
import { makeContext } from '../../helpers/context.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const clocks = { connect: 5_000, send: 5_000, headers: 5_000, firstContent: 5_000, idle: 5_000, total: 0 }
const chat = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
const streamed = '{"model":"m","messages":[],"stream":true}'
const chunk = (content: string) => ({ choices: [{ index: 0, delta: { content } }] })
const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 }

interface Call {
  ctx: Context
  call: Exchange
  reply: Promise<Reply>
  /** Reasons for which attempts did not come to their end. */
  cuts: string[]
  /** Attempts under way, as the gauge has it. */
  readonly active: number
}

describe('a call', () => {
  let upstream: ScriptedUpstream
  let transport: Transport

  beforeEach(async () => {
    upstream = await startUpstream()
    transport = new Transport()
  })
  afterEach(async () => {
    await upstream.close()
    await transport.close()
  })

  async function call(
    body: string,
    given: {
      script?: (received: Received) => unknown
      target?: Partial<TargetConfig>
      limits?: Partial<CallLimits>
      headers?: Record<string, string>
      path?: string
      method?: string
      outbound?: string
      payloads?: boolean
    } = {},
  ): Promise<Call> {
    if (given.script !== undefined) upstream.script = given.script
    const target = openTarget({
      provider: providers.get('openai-compatible')!,
      instance: 'ai-proxy-openai-compatible',
      endpoint: upstream.origin,
      headers: { Authorization: 'Bearer secret' },
      query: {},
      options: {},
      maxTokens: undefined,
      requestBody: {},
      force: false,
      verify: true,
      keepAlive: true,
      ...given.target,
    })
    const limits = { clocks, maxStreamMs: 0, maxResponseBytes: undefined, ...given.limits }
    let active = 0
    const enter = () => {
      active++
      return () => {
        active--
      }
    }
    const ctx = await makeContext({
      method: given.method ?? 'POST',
      target: given.path ?? '/any',
      headers: { 'Content-Type': 'application/json', ...given.headers },
      body,
    })
    if (given.outbound !== undefined) ctx.outbound.target = given.outbound
    const parsed = body === '' ? undefined : (JSON.parse(body) as Record<string, unknown>)
    const json = parsed ?? {}
    const current = openExchange({
      protocol: detectProtocol(parsed, ctx.request.path)!,
      requestType: json.stream === true ? 'ai_stream' : 'ai_chat',
      requestModel: json.model,
      instance: target.instance,
      logging: { summaries: false, payloads: given.payloads ?? false },
    })
    exchange.set(ctx, current)
    const cuts: string[] = []
    const cut = (_ctx: Context, _call: Exchange, reason: string) => cuts.push(reason)
    const reply = Promise.resolve(llmCall(target, limits, { transport, enter, cut }).send(ctx))
    reply.catch(() => {})
    return {
      ctx,
      call: current,
      reply,
      cuts,
      get active() {
        return active
      },
    }
  }

  const textOf = async ({ body }: Reply): Promise<string> =>
    body === null
      ? ''
      : (Buffer.isBuffer(body) ? body : await readAll(body, 1 << 24, () => new Error('large'))).toString()

  /** Status and body of a call that failed, and that its books are closed. */
  async function failure(made: Call): Promise<{ status: number; type: string | undefined; body: string }> {
    const reply = await made.reply
    assert.equal(reply.source, 'gateway')
    assert.equal(made.active, 0)
    assert.equal(made.call.done, true)
    assert.ok(made.ctx.error !== undefined)
    return { status: reply.status, type: reply.headers.get('content-type'), body: await textOf(reply) }
  }

  const errorCode = (body: string): string => (JSON.parse(body) as { error: { code: string } }).error.code

  it('asks with POST, at the provider’s path, with the operator’s key and the client’s bytes', async () => {
    const odd = '{ "messages":[] , "n":1.0}\n'
    const made = await call(odd, {
      headers: { 'X-Mine': '1', Authorization: 'Bearer client', 'Accept-Encoding': 'gzip' },
    })
    await made.reply
    const [received] = upstream.received
    assert.equal(received!.method, 'POST')
    assert.equal(received!.target, '/v1/chat/completions')
    assert.equal((await received!.body).toString(), odd)
    assert.deepEqual(
      { ...received!.headers, host: undefined },
      {
        host: undefined,
        connection: 'keep-alive',
        'content-type': 'application/json',
        'content-length': String(odd.length),
        'x-mine': '1',
        authorization: 'Bearer secret',
      },
    )
  })

  it('closes the connection behind it when told so', async () => {
    const made = await call(chat, { target: { keepAlive: false } })
    await made.reply
    assert.equal(upstream.received[0]!.headers.connection, 'close')
    await until(() => upstream.openConnections() === 0, 'the connection is closed')
  })

  it('trusts a certificate that does not verify only when told so', async () => {
    const pem = (name: string) => readFileSync(new URL(`../../fixtures/tls/${name}.pem`, import.meta.url))
    const server = createServer({ key: pem('self-signed-key'), cert: pem('self-signed') }, (_, response) =>
      response.end('{}'),
    )
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const endpoint = `https://localhost:${(server.address() as AddressInfo).port}`
    const strict = await call(chat, { target: { endpoint } })
    assert.equal((await failure(strict)).status, 500)
    const lax = await call(chat, { target: { endpoint, verify: false } })
    assert.equal((await lax.reply).status, 200)
    server.close()
    server.closeAllConnections()
  })

  it('brings a whole answer back byte for byte and reads it on the way', async () => {
    const answer = `{ "choices":[{"message":{"content":"hello","tool_calls":[{}]}}],\n "usage":${JSON.stringify(usage)} }`
    const made = await call('{"messages":[],"tools":[{},{}],"user":"u","model":"m"}', {
      payloads: true,
      script: ({ response }) =>
        response
          .writeHead(201, { 'content-type': 'application/json', 'x-request-id': 'r', 'x-secret': 's' })
          .end(answer),
    })
    const reply = await made.reply
    assert.equal(reply.status, 201)
    assert.equal(reply.source, 'upstream')
    assert.deepEqual(
      [...reply.headers],
      [
        ['content-type', 'application/json'],
        ['x-request-id', 'r'],
      ],
    )
    assert.equal(await textOf(reply), answer)
    const { call: facts } = made
    assert.deepEqual(facts.usage, { prompt: 3, completion: 4, total: 7, cacheRead: 0, cacheCreation: 0, reasoning: 0 })
    assert.deepEqual(
      [
        facts.model,
        facts.instance,
        facts.toolCount,
        facts.endUserId,
        facts.hasToolCalls,
        facts.responseText,
        facts.streaming,
      ],
      ['m', 'ai-proxy-openai-compatible', 2, 'u', true, 'hello', false],
    )
    assert.equal(facts.timeToFirstTokenMs, facts.upstreamMs)
    assert.deepEqual([facts.done, facts.aborted, made.active], [true, undefined, 0])
  })

  it('passes an answer that is no JSON', async () => {
    const made = await call(chat, { script: ({ response }) => response.end('<html>') })
    assert.equal(await textOf(await made.reply), '<html>')
    assert.equal(made.call.usage, undefined)
  })

  it('keeps the text of an answer only when it is asked to', async () => {
    const made = await call(chat, {
      script: received => received.json(200, { choices: [{ message: { content: 'x' } }] }),
    })
    await made.reply
    assert.equal(made.call.responseText, undefined)
  })

  it('is under way until its answer has ended', async () => {
    const made = await call(streamed, {
      script: async received => {
        received.startStream()
        await received.event(chunk('a'))
      },
    })
    const reply = await made.reply
    assert.equal(made.active, 1)
    assert.deepEqual(made.ctx.attempts.length, 1)
    const text = textOf(reply)
    const [received] = upstream.received
    await received!.event('[DONE]')
    received!.response.end()
    assert.equal(await text, `data: ${JSON.stringify(chunk('a'))}\n\ndata: [DONE]\n\n`)
    assert.equal(made.active, 0)
    assert.deepEqual([made.call.streaming, made.call.done, made.call.aborted], [true, true, undefined])
    assert.ok(made.call.timeToFirstTokenMs! <= made.call.upstreamMs!)
  })

  it('asks a stream for its usage, reads it, and hides it from a client that has not asked', async () => {
    const script = async (received: Received) => {
      received.startStream()
      for (const event of [chunk('a'), { choices: [], usage }, '[DONE]']) await received.event(event)
      received.response.end()
    }
    const hidden = await call(streamed, { script, payloads: true })
    assert.doesNotMatch(await textOf(await hidden.reply), /usage/)
    assert.equal(hidden.call.usage?.total, 7)
    assert.equal(hidden.call.responseText, 'a')
    const asked = '{"messages":[],"stream":true, "stream_options":{"include_usage":true}}'
    const shown = await call(asked, { script })
    assert.match(await textOf(await shown.reply), /usage/)
    assert.equal(shown.call.usage?.total, 7)
    const bodies = await Promise.all(upstream.received.map(async received => (await received.body).toString()))
    assert.deepEqual(bodies, [`${streamed.slice(0, -1)},"stream_options":{"include_usage":true}}`, asked])
  })

  it('takes the model of the operator before that of the client', async () => {
    const made = await call(chat, { target: { options: { model: 'own' } } })
    await made.reply
    assert.deepEqual([made.call.requestModel, made.call.model], ['m', 'own'])
    assert.equal((JSON.parse((await upstream.received[0]!.body).toString()) as { model: string }).model, 'own')
  })

  it('sends what a plugin has put in the place of the body', async () => {
    upstream.script = received => received.json(200, {})
    const ctx = await makeContext({ method: 'POST', body: chat })
    ctx.body.replace(Buffer.from('{"messages":["other"]}'))
    exchange.set(
      ctx,
      openExchange({
        protocol: 'openai-chat',
        requestType: 'ai_chat',
        requestModel: 'm',
        instance: 'i',
        logging: { summaries: false, payloads: false },
      }),
    )
    const target = openTarget({
      provider: providers.get('openai')!,
      instance: 'i',
      endpoint: upstream.origin,
      headers: {},
      query: {},
      options: {},
      maxTokens: undefined,
      requestBody: {},
      force: false,
      verify: true,
      keepAlive: true,
    })
    await llmCall(
      target,
      { clocks, maxStreamMs: 0, maxResponseBytes: undefined },
      { transport, enter: () => () => {}, cut: () => {} },
    ).send(ctx)
    assert.equal((await upstream.received[0]!.body).toString(), '{"messages":["other"]}')
  })

  it('is refused by name for a protocol that the provider does not have', async () => {
    const made = await call('{"messages":[]}', { path: '/model/x/converse' })
    const reply = await made.reply
    assert.equal(reply.status, 400)
    assert.match(
      await textOf(reply),
      /^provider openai-compatible does not support bedrock-converse protocol \(supported: openai-chat, /,
    )
    assert.deepEqual([upstream.received.length, made.call.done, made.call.model], [0, false, undefined])
  })

  it('passes what it does not know through, with method, path and arguments', async () => {
    const asked: [string, string, string, string | undefined][] = [
      ['PUT', '/v1/things/a%20b?x=1', '{"a":1}', '{"a":1,"model":"own"}'],
      ['POST', '/v1/list', '[1, 2]', '[1, 2]'],
      ['GET', '/v1/models?limit=2', '', undefined],
    ]
    for (const [method, path, body, sent] of asked) {
      const made = await call(body, { method, path, target: { options: { model: 'own' } } })
      assert.equal((await made.reply).status, 200)
      const received = upstream.received.at(-1)!
      assert.equal(made.call.protocol, 'passthrough')
      assert.deepEqual([received.method, received.target], [method, path])
      assert.equal((await received.body).toString(), sent ?? '')
      assert.equal(received.headers['content-length'], sent && String(sent.length))
      assert.deepEqual(made.call.upstream, { scheme: 'http', host: '127.0.0.1', path: path.split('?')[0] })
    }
  })

  it('passes through to where a plugin has sent it', async () => {
    const made = await call('{"a":1}', { path: '/mine', target: { query: { k: 's' } }, outbound: '/theirs?x=?' })
    await made.reply
    assert.equal(upstream.received[0]!.target, '/theirs?k=s&x=%3F')
  })

  it('fails when nobody has said where the provider is', async () => {
    const made = await call(chat, { target: { endpoint: undefined } })
    const reply = await made.reply
    assert.equal(reply.status, 500)
    assert.equal(errorCode(await textOf(reply)), 'no_endpoint')
  })

  describe('that fails', () => {
    it('to connect is a 500 in the protocol’s envelope, without the address or the key', async () => {
      const made = await call(chat, { target: { endpoint: 'http://127.0.0.1:1/v1?k=1', query: { q: 'secret' } } })
      const { status, type, body } = await failure(made)
      assert.equal(status, 500)
      assert.equal(type, 'application/json')
      assert.deepEqual(JSON.parse(body), {
        error: {
          message: 'could not connect to the AI service',
          type: 'api_error',
          param: null,
          code: 'upstream_refused',
        },
      })
      assert.doesNotMatch(String(made.ctx.error), /secret/)
      assert.equal(made.call.timeToFirstTokenMs, undefined)
    })

    const faults: [string, (received: Received) => unknown, number, string, Partial<CallLimits>?][] = [
      ['by a reset before the answer', received => received.reset(), 500, 'upstream_reset'],
      ['by nonsense', received => received.lie('HTTP/1.1 nonsense\r\n\r\n'), 500, 'upstream_malformed'],
      ['by silence', () => {}, 504, 'upstream_headers_timeout', { clocks: { ...clocks, headers: 30 } }],
      [
        'by taking too long',
        () => {},
        504,
        'upstream_total_timeout',
        { clocks: { ...clocks, total: 30 }, maxStreamMs: 30 },
      ],
      [
        'by a break in the body',
        received => {
          received.response.writeHead(200, { 'content-length': '100' })
          received.response.write('{"choices":', () => received.reset())
        },
        500,
        'upstream_reset',
      ],
      [
        'by stopping in the body',
        ({ response }) => response.writeHead(200).write('{"choices":'),
        504,
        'upstream_idle_timeout',
        { clocks: { ...clocks, idle: 30 } },
      ],
      [
        'by a coding nobody knows',
        ({ response }) => response.writeHead(200, { 'content-encoding': 'rot13' }).end('x'),
        500,
        'upstream_malformed',
      ],
      [
        'by broken compression',
        ({ response }) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
        500,
        'upstream_malformed',
      ],
    ]
    for (const [name, script, status, code, limits] of faults) {
      it(`${name} is a ${status} ${code}`, async () => {
        const made = await call(chat, { script, limits: limits ?? {} })
        const { status: got, body } = await failure(made)
        assert.equal(got, status)
        assert.equal(errorCode(body), code)
        assert.deepEqual(made.cuts, [code.slice('upstream_'.length)])
        assert.equal(made.call.cutBy, made.cuts[0])
      })
    }

    for (const [name, script] of [
      ['declared', (received: Received) => received.json(200, { text: 'x'.repeat(100) })],
      [
        'chunked',
        ({ response }: Received) => {
          response.writeHead(200).flushHeaders()
          response.end('x'.repeat(100))
        },
      ],
      [
        'compressed',
        ({ response }: Received) =>
          response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('x'.repeat(100_000)).subarray(0)),
      ],
    ] as const) {
      it(`by a ${name} answer that is too large is a 502 in APISIX’s words`, async () => {
        const limit = name === 'compressed' ? 1000 : 50
        const made = await call(chat, { script, limits: { maxResponseBytes: limit } })
        assert.deepEqual(await failure(made), {
          status: 502,
          type: 'text/plain; charset=utf-8',
          body: 'max_response_bytes exceeded',
        })
        assert.equal(made.call.aborted, 'max_response_bytes')
      })
    }

    it('by an answer that is declared too large lets go of the provider', async () => {
      const made = await call(chat, {
        script: ({ response }) => response.writeHead(200, { 'content-length': '1000' }).write('x'),
        limits: { maxResponseBytes: 50 },
      })
      await failure(made)
      assert.equal(made.ctx.attempts[0]!.fault, 'too_large')
      await upstream.received[0]!.closed
    })

    it('because the client is gone lets go of the provider', async () => {
      const made = await call(chat, { script: () => {} })
      const received = await upstream.request(0)
      made.ctx.abort(new ClientGone())
      await assert.rejects(made.reply, ClientGone)
      await received.closed
      assert.equal(received.gone, true)
      assert.deepEqual([made.call.aborted, made.active], ['client_disconnect', 0])
    })
  })

  describe('with an answer that is an error', () => {
    for (const [status, type, body, answer] of [
      [429, 'application/json', chat, '{"error":{"message":"slow down"}}\n'],
      [500, 'text/html', streamed, '<h1>oops'],
      [503, 'text/event-stream', streamed, 'data: {"error":{}}\n\ndata: unfinished'],
      [400, 'text/event-stream', streamed, 'data: {"choices":[]}\n\ndata: unfinished'],
      [404, 'application/json', chat, ''],
    ] as const) {
      it(`brings ${status} ${type} back as it is`, async () => {
        const made = await call(body, {
          script: ({ response }) =>
            response
              .writeHead(status, { 'content-type': type, 'retry-after': '7', 'x-ratelimit-reset': '1s' })
              .end(answer),
        })
        const reply = await made.reply
        assert.equal(reply.source, 'upstream')
        assert.equal(reply.status, status)
        assert.deepEqual(
          [...reply.headers],
          [
            ['content-type', type],
            ['retry-after', '7'],
            ['x-ratelimit-reset', '1s'],
          ],
        )
        assert.equal(await textOf(reply), answer)
        assert.deepEqual([made.call.timeToFirstTokenMs, made.active], [made.call.upstreamMs, 0])
      })
    }

    it('decompresses it when the provider compresses unasked', async () => {
      const made = await call(chat, {
        script: ({ response }) =>
          response.writeHead(429, { 'content-encoding': 'gzip' }).end(gzipSync('{"slow":"down"}')),
      })
      const reply = await made.reply
      assert.equal(await textOf(reply), '{"slow":"down"}')
      assert.equal(reply.headers.get('content-encoding'), undefined)
    })
  })

  describe('with a stream', () => {
    const begun = async (received: Received): Promise<void> => {
      received.startStream()
      await received.event(chunk('a'))
    }

    it('that breaks before its first byte is answered with a status', async () => {
      const made = await call(streamed, {
        script: received => {
          received.startStream()
          received.reset()
        },
      })
      const { status, body } = await failure(made)
      assert.deepEqual([status, errorCode(body), made.call.aborted], [500, 'upstream_reset', 'read_error'])
    })

    it('that ends before its first byte is answered with a status', async () => {
      const made = await call(streamed, {
        script: received => {
          received.startStream()
          received.response.end()
        },
      })
      const { status, body } = await failure(made)
      assert.deepEqual([status, errorCode(body), made.call.aborted], [500, 'upstream_incomplete', 'incomplete'])
    })

    it('that brings no content in time is answered with 504, and pings do not help', async () => {
      const limits = { clocks: { ...clocks, firstContent: 40 } }
      const silent = await call(streamed, { script: received => received.startStream(), limits })
      const { status, body } = await failure(silent)
      assert.deepEqual([status, errorCode(body)], [504, 'upstream_first_content_timeout'])
      const pinging = await call(streamed, {
        script: async received => {
          received.startStream()
          const ping = setInterval(() => received.response.write(': ping\n\n'), 5)
          await received.closed
          clearInterval(ping)
        },
        limits,
      })
      const text = await textOf(await pinging.reply)
      assert.match(text, /^: ping\n\n/)
      assert.match(text, /"code":"upstream_first_content_timeout"\}\}\n\n$/)
    })

    it('that breaks ends with an error event', async () => {
      const made = await call(streamed, {
        script: async received => {
          await begun(received)
          received.reset()
        },
      })
      const text = await textOf(await made.reply)
      assert.match(
        text,
        /\{"error":\{"message":"[^"]+","type":"api_error","param":null,"code":"upstream_reset"\}\}\n\n$/,
      )
      assert.doesNotMatch(text, /DONE|127\.0\.0\.1/)
      assert.deepEqual([made.call.aborted, made.active], ['read_error', 0])
      assert.equal((made.ctx.error as { code: string }).code, 'upstream_reset')
    })

    it('that stalls ends with an error event', async () => {
      const made = await call(streamed, { script: begun, limits: { clocks: { ...clocks, idle: 40 } } })
      assert.match(await textOf(await made.reply), /upstream_idle_timeout/)
    })

    it('that takes longer than it may is stopped', async () => {
      const short = { maxStreamMs: 60 }
      const late = await call(streamed, { script: received => received.startStream(), limits: short })
      assert.deepEqual(await failure(late), {
        status: 504,
        type: 'text/plain; charset=utf-8',
        body: 'max_stream_duration_ms exceeded',
      })
      const long = await call(streamed, { script: begun, limits: { maxStreamMs: 400 } })
      assert.match(await textOf(await long.reply), /"code":"max_stream_duration_ms"/)
      assert.equal(long.call.aborted, 'max_stream_duration_ms')
      await upstream.received[1]!.closed
      const whole = await call(chat, {
        script: received => setTimeout(() => received.json(200, {}), 90),
        limits: short,
      })
      assert.equal((await whole.reply).status, 200)
    })

    it('that is larger than it may be is stopped', async () => {
      const limits = { maxResponseBytes: 100 }
      const script = async (received: Received) => {
        await begun(received)
        await received.event('x'.repeat(100))
      }
      const made = await call(streamed, { script, limits })
      assert.match(await textOf(await made.reply), /"code":"max_response_bytes"/)
      const [received] = upstream.received
      await received!.closed
      assert.equal(received!.gone, true)
    })

    it('that is compressed is refused', async () => {
      const made = await call(streamed, { script: received => received.startStream({ 'content-encoding': 'gzip' }) })
      const { status, body } = await failure(made)
      assert.deepEqual([status, errorCode(body)], [502, 'upstream_compressed_stream'])
      assert.equal(made.ctx.attempts[0]!.fault, 'malformed')
      await upstream.received[0]!.closed
    })

    it('whose client goes lets go of the provider', async () => {
      const made = await call(streamed, { script: begun })
      const reply = await made.reply
      const read = textOf(reply)
      made.ctx.abort(new ClientGone())
      await assert.rejects(read, ClientGone)
      const [received] = upstream.received
      await received!.closed
      assert.deepEqual([received!.gone, made.call.aborted, made.active], [true, 'client_disconnect', 0])
    })

    it('that nobody wants is let go', async () => {
      const made = await call(streamed, { script: begun })
      const { body } = await made.reply
      assert.ok(body !== null && !Buffer.isBuffer(body))
      body.cancel(new ClientGone())
      await upstream.received[0]!.closed
      assert.equal(made.active, 0)
    })

    it('answered with plain JSON is a whole answer', async () => {
      const made = await call(streamed, { script: received => received.json(200, { usage }) })
      assert.equal(await textOf(await made.reply), JSON.stringify({ usage }))
      assert.deepEqual([made.call.streaming, made.call.usage?.total], [false, 7])
      // Its first byte is content enough.
      const slow = await call(streamed, {
        script: ({ response }) => {
          response.writeHead(200).write('{')
          setTimeout(() => response.end('}'), 600)
        },
        limits: { clocks: { ...clocks, firstContent: 400 } },
      })
      assert.equal(await textOf(await slow.reply), '{}')
    })

    it('that the operator has turned on is not adorned', async () => {
      const made = await call(chat, {
        target: { options: { stream: true } },
        script: async received => {
          received.startStream()
          for (const event of [chunk('a'), { choices: [], usage }, '[DONE]']) await received.event(event)
          received.response.end()
        },
      })
      assert.match(await textOf(await made.reply), /usage/)
      assert.equal(made.call.requestType, 'ai_chat')
      assert.doesNotMatch((await upstream.received[0]!.body).toString(), /stream_options/)
    })
  })

  describe('of a client of Anthropic’s', () => {
    const ask = (more: object = {}) =>
      JSON.stringify({ model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'x' }], ...more })
    const path = '/v1/messages'
    const cached = { ...usage, prompt_tokens_details: { cached_tokens: 2 } }
    const counted = { prompt: 3, completion: 4, total: 7, cacheRead: 2, cacheCreation: 0, reasoning: 0 }

    it('is laid over and counted in the provider’s own protocol', async () => {
      const choices = [{ message: { content: 'a', tool_calls: [{ id: '1', function: {} }] }, finish_reason: 'stop' }]
      const made = await call(ask({ tools: [{ name: 'f' }], metadata: { user_id: 'u' } }), {
        path,
        payloads: true,
        script: received => received.json(200, { id: 'c', choices, usage: cached }, { 'content-type': 'text/json' }),
        target: {
          options: { model: 'own' },
          maxTokens: 5,
          requestBody: { 'openai-chat': { seed: 1 }, 'anthropic-messages': { top_k: 1 } },
        },
      })
      const reply = await made.reply
      const { model, usage: told } = JSON.parse(await textOf(reply)) as { model: string; usage: object }
      assert.deepEqual(told, { input_tokens: 1, output_tokens: 4, cache_read_input_tokens: 2 })
      assert.deepEqual(
        [model, reply.headers.get('content-type'), reply.source],
        ['own', 'application/json', 'upstream'],
      )
      const { usage: charged, hasToolCalls, responseText, toolCount, endUserId, protocol } = made.call
      assert.deepEqual(charged, counted)
      assert.deepEqual(
        { hasToolCalls, responseText, toolCount, endUserId, protocol },
        { hasToolCalls: true, responseText: 'a', toolCount: 1, endUserId: 'u', protocol: 'anthropic-messages' },
      )
      const received = upstream.received[0]!
      assert.equal(received.target, '/v1/chat/completions')
      assert.deepEqual(JSON.parse((await received.body).toString()), {
        max_completion_tokens: 9,
        max_tokens: 5,
        messages: [{ role: 'user', content: 'x' }],
        model: 'own',
        seed: 1,
        tools: [{ type: 'function', function: { name: 'f' } }],
        user: 'u',
      })
    })

    it('that streams is counted as whole ones are', async () => {
      const made = await call(ask({ stream: true }), {
        path,
        payloads: true,
        script: async received => {
          received.startStream()
          for (const event of [chunk('a'), chunk('b'), { choices: [], usage: cached }, '[DONE]'])
            await received.event(event)
          received.response.end()
        },
      })
      assert.match(await textOf(await made.reply), /"input_tokens":1,.*\n\nevent: message_stop/s)
      assert.deepEqual([made.call.usage, made.call.responseText, made.call.aborted], [counted, 'ab', undefined])
    })

    it('is refused when it cannot be said otherwise, and leaves nothing behind', async () => {
      const made = await call(ask({ messages: [] }), { path })
      await assert.rejects(made.reply, { status: 400, code: 'not_convertible', message: 'missing messages' })
      assert.deepEqual([upstream.received.length, made.active, made.call.done], [0, 0, true])
    })

    it('is told in its own words that nobody answers, and what limits are', async () => {
      const refused = await call(ask(), { path, target: { endpoint: 'http://127.0.0.1:1' } })
      const { status, body } = await failure(refused)
      const { type, error } = JSON.parse(body) as { type: string; error: { type: string; code: string } }
      assert.deepEqual([status, type, error.type, error.code], [500, 'error', 'api_error', 'upstream_refused'])
      const long = await call(ask({ stream: true }), {
        path,
        limits: { maxResponseBytes: 300 },
        script: async received => {
          received.startStream()
          for (let at = 0; at < 9; at++) await received.event(chunk('a'))
        },
      })
      const text = await textOf(await long.reply)
      assert.match(text, /event: error\ndata: .*"max_response_bytes"/)
      assert.doesNotMatch(text, /message_stop/)
      assert.equal(long.call.aborted, 'max_response_bytes')
    })
  })
})
