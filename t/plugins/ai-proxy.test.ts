// ai-proxy at the front door: the real SDK cannot tell that it does not speak to the provider.
import assert from 'node:assert/strict'
import { Agent, request as httpRequest } from 'node:http'
import OpenAI, { APIError, APIUserAbortError, InternalServerError, RateLimitError } from 'openai'
import { configProblem, fillPlugin } from '../../core/resource/plugin-configs.ts'
import aiProxy from '../../plugins/ai-proxy.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { until } from '../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 }
const completion = {
  id: 'c1',
  object: 'chat.completion',
  created: 1,
  model: 'gpt-x',
  choices: [
    {
      index: 0,
      message: { role: 'assistant', content: '1 + 1 = 2.', refusal: null },
      finish_reason: 'stop',
      logprobs: null,
    },
  ],
  usage,
}
const chunk = (delta: object, finish: string | null = null) => ({
  id: 'c1',
  object: 'chat.completion.chunk',
  created: 1,
  model: 'gpt-x',
  choices: [{ index: 0, delta, finish_reason: finish, logprobs: null }],
})
const usageChunk = { ...chunk({}), choices: [], usage }
const streamOf = async (received: Received, ...events: unknown[]): Promise<void> => {
  received.startStream()
  for (const event of events) await received.event(event)
}
const messages = [{ role: 'user' as const, content: 'What is 1 + 1?' }]
const question = { model: 'gpt-x', messages }

describe('ai-proxy', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let openai: OpenAI

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    for (const [kind, { opened, settled, released, live }] of Object.entries(gateway.book.totals())) {
      assert.deepEqual({ kind, live, ended: settled + released }, { kind, live: 0, ended: opened })
    }
    assert.doesNotMatch(gateway.scrape(), /^apisix_llm_active_connections\{.*\} [^0]/m)
    await gateway.close()
    await upstream.close()
  })

  async function start(config: object = {}, plugins: object = {}): Promise<void> {
    const aiProxyConfig = {
      provider: 'openai-compatible',
      auth: { header: { Authorization: 'Bearer operator' } },
      override: { endpoint: `${upstream.origin}/v1/chat/completions` },
      ...config,
    }
    gateway = await startGateway({
      resources: {
        routes: { 1: { uri: '/*', name: 'chat', plugins: { 'ai-proxy': aiProxyConfig, ...plugins } } },
      },
    })
    assert.deepEqual(gateway.rejected, [])
    openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'client', maxRetries: 0 })
  }

  const post = (body: string | null, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
    fetch(`${gateway.url}/any`, { method: 'POST', body, headers })

  describe('with the openai SDK', () => {
    it('gives a whole answer', async () => {
      await start()
      upstream.script = received => received.json(200, completion, { 'x-request-id': 'req_7' })
      const { data, request_id } = await openai.chat.completions.create(question).withResponse()
      assert.deepEqual({ ...data }, completion)
      assert.equal(request_id, 'req_7')
      const [received] = upstream.received
      assert.equal(received!.headers.authorization, 'Bearer operator')
      assert.deepEqual(JSON.parse((await received!.body).toString()), question)
    })

    it('gives a stream, without the usage that it has asked for behind the client’s back', async () => {
      await start()
      const events = [chunk({ role: 'assistant', content: '' }), chunk({ content: '2' }), chunk({}, 'stop')]
      upstream.script = async received => {
        await streamOf(received, ...events, usageChunk, '[DONE]')
        received.response.end()
      }
      const seen: unknown[] = []
      for await (const part of await openai.chat.completions.create({ ...question, stream: true })) seen.push(part)
      assert.deepEqual(seen, events)
      const body = JSON.parse((await upstream.received[0]!.body).toString()) as object
      assert.deepEqual(body, { ...question, stream: true, stream_options: { include_usage: true } })
    })

    it('gives a stream with usage to a client that asks for it', async () => {
      await start()
      const events = [chunk({ content: '2' }), chunk({}, 'stop'), usageChunk]
      upstream.script = async received => {
        await streamOf(received, ...events, '[DONE]')
        received.response.end()
      }
      const asked = { ...question, stream: true as const, stream_options: { include_usage: true } }
      const seen: unknown[] = []
      for await (const part of await openai.chat.completions.create(asked)) seen.push(part)
      assert.deepEqual(seen, events)
    })

    it('gives each event before the next one is sent', async () => {
      await start()
      upstream.script = () => {}
      const stream = openai.chat.completions.create({ ...question, stream: true })
      const received = await upstream.request(0)
      received.startStream()
      await received.event(chunk({ content: '0' }))
      const parts = (await stream)[Symbol.asyncIterator]()
      for (let at = 0; at < 20; at++) {
        const { value } = await parts.next()
        assert.equal(value!.choices[0]!.delta.content, String(at))
        await received.event(at < 19 ? chunk({ content: String(at + 1) }) : '[DONE]')
      }
      received.response.end()
      assert.equal((await parts.next()).done, true)
    })

    it('tells the provider when the client stops reading', async () => {
      await start()
      upstream.script = received => streamOf(received, chunk({ content: 'a' }))
      const stream = await openai.chat.completions.create({ ...question, stream: true })
      for await (const _ of stream) break
      const [received] = upstream.received
      await received!.closed
      assert.equal(received!.gone, true)
    })

    it('tells the provider when the client gives up before an answer', async () => {
      await start()
      upstream.script = () => {}
      const giveUp = new AbortController()
      const answer = openai.chat.completions.create(question, { signal: giveUp.signal })
      const received = await upstream.request(0)
      giveUp.abort()
      await assert.rejects(answer, APIUserAbortError)
      await received.closed
      assert.equal(received.gone, true)
    })

    for (const stream of [false, true]) {
      it(`gives a 429 as the provider said it, ${stream ? 'streaming' : 'unary'}`, async () => {
        await start()
        const error = { message: 'slow down', type: 'requests', param: null, code: 'rate_limit_exceeded' }
        upstream.script = received =>
          received.json(429, { error }, { 'retry-after': '20', 'x-ratelimit-remaining-requests': '0' })
        await assert.rejects(openai.chat.completions.create({ ...question, stream }), thrown => {
          assert.ok(thrown instanceof RateLimitError)
          assert.deepEqual(thrown.error, error)
          assert.equal(thrown.code, 'rate_limit_exceeded')
          assert.equal(thrown.headers.get('retry-after'), '20')
          assert.equal(thrown.headers.get('x-ratelimit-remaining-requests'), '0')
          return true
        })
      })
    }

    it('gives a 500 as the provider said it', async () => {
      await start()
      upstream.script = received => received.json(500, { error: { message: 'boom', code: 'x' } })
      await assert.rejects(openai.chat.completions.create(question), thrown => {
        assert.ok(thrown instanceof InternalServerError)
        assert.equal(thrown.code, 'x')
        assert.equal(thrown.headers.get('x-apisix-upstream-status'), '500')
        return true
      })
    })

    it('gives an error of our own when the provider cannot be reached', async () => {
      await start({ override: { endpoint: 'http://127.0.0.1:1' } })
      await assert.rejects(openai.chat.completions.create(question), thrown => {
        assert.ok(thrown instanceof InternalServerError)
        assert.deepEqual([thrown.status, thrown.code, thrown.type], [500, 'upstream_refused', 'api_error'])
        return true
      })
    })

    it('throws when a stream breaks, instead of ending it', async () => {
      await start()
      upstream.script = async received => {
        await streamOf(received, chunk({ content: 'a' }))
        received.reset()
      }
      const seen: unknown[] = []
      const read = async () => {
        for await (const part of await openai.chat.completions.create({ ...question, stream: true })) seen.push(part)
      }
      await assert.rejects(read(), thrown => {
        assert.ok(thrown instanceof APIError)
        assert.equal(thrown.code, 'upstream_reset')
        return true
      })
      assert.equal(seen.length, 1)
    })

    it('throws when a whole answer breaks, instead of giving a part of it', async () => {
      await start()
      upstream.script = received => {
        received.response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' })
        received.response.write('{"id":"c1"', () => received.reset())
      }
      await assert.rejects(openai.chat.completions.create(question), { status: 500, code: 'upstream_reset' })
    })
  })

  it('brings bytes to the provider and back as they are', async () => {
    await start()
    const sent = '{ "messages" : [ ],\r\n "é": "\\u00e9", "n":1.0e0 }\n'
    const answer = '{ "choices":[ ],\t"é":1.0 }\n'
    upstream.script = ({ response }) => response.writeHead(200, { 'content-type': 'application/json' }).end(answer)
    const response = await post(sent)
    assert.equal(await response.text(), answer)
    assert.equal(response.headers.get('content-length'), String(Buffer.byteLength(answer)))
    assert.equal((await upstream.received[0]!.body).toString(), sent)
  })

  it('brings a stream to the client as it is', async () => {
    await start()
    const answer = '\uFEFF: hello\r\n\r\nid: 1\r\ndata: {"choices":[{"delta":{"content":"é"}}]}\r\r\ndata: [DONE]'
    upstream.script = ({ response }) =>
      response.writeHead(200, { 'content-type': 'text/event-stream; x=y' }).end(answer)
    const response = await post('{"messages":[],"stream":true,"stream_options":{"include_usage":true}}')
    assert.equal(response.headers.get('content-type'), 'text/event-stream; x=y')
    assert.equal(Buffer.from(await response.arrayBuffer()).toString(), answer)
  })

  it('asks with what its config says', async () => {
    await start({
      provider: 'openai',
      auth: { header: { 'x-key': 'k' }, query: { q: 'secret' } },
      options: { model: 'own' },
      override: {
        endpoint: `${upstream.origin}/base?api-version=1`,
        llm_options: { max_tokens: 5 },
        request_body: { 'openai-chat': { metadata: { a: 1 } } },
      },
    })
    await post('{"messages":[],"max_tokens":9,"metadata":{"b":2}}', {
      'content-type': 'application/json',
      cookie: 'c=1',
    })
    const [received] = upstream.received
    assert.equal(received!.target, '/base?q=secret&api-version=1')
    assert.equal(received!.headers['x-key'], 'k')
    assert.equal(received!.headers.cookie, 'c=1')
    assert.equal(
      (await received!.body).toString(),
      '{"max_completion_tokens":5,"messages":[],"metadata":{"a":1,"b":2},"model":"own"}',
    )
  })

  it('counts a call as active until its stream has ended, under the labels of its route', async () => {
    await start()
    upstream.script = received => streamOf(received, chunk({ content: 'a' }))
    const stream = await openai.chat.completions.create({ ...question, stream: true })
    const labels =
      'route="chat",route_id="1",matched_uri="/*",matched_host="",service="",service_id="",consumer="",' +
      'node="ai-proxy-openai-compatible",request_type="ai_stream",request_llm_model="gpt-x",llm_model="gpt-x"'
    assert.ok(gateway.scrape().includes(`apisix_llm_active_connections{${labels}} 1\n`), gateway.scrape())
    const [received] = upstream.received
    await received!.event('[DONE]')
    received!.response.end()
    for await (const _ of stream);
    await until(() => gateway.scrape().includes(`apisix_llm_active_connections{${labels}} 0\n`), 'the gauge is at zero')
  })

  it('keeps its timeouts apart', async () => {
    await start({ timeout: 600_000, timeouts: { first_content: 40 } })
    upstream.script = received => received.startStream()
    const response = await post('{"messages":[],"stream":true}')
    assert.equal(response.status, 504)
    assert.match(await response.text(), /upstream_first_content_timeout/)
  })

  it('has one timeout for all clocks by default', async () => {
    await start({ timeout: 40 })
    upstream.script = () => {}
    assert.equal((await post('{"messages":[]}')).status, 504)
  })

  it('closes connections to a provider when they shall not be kept', async () => {
    await start({ keepalive: false })
    await (await post('{"messages":[]}')).text()
    assert.equal(upstream.received[0]!.headers.connection, 'close')
  })

  it('does not let the fields of the client’s connection through', async () => {
    await start()
    const agent = new Agent()
    await new Promise<void>((resolve, reject) => {
      const request = httpRequest(`${gateway.url}/x`, {
        agent,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          connection: 'close, x-hop',
          'x-hop': '1',
          te: 'trailers',
          'proxy-authorization': 'Basic secret',
          'accept-encoding': 'gzip',
          'x-own': 'stays',
        },
      })
      request.on('response', response => response.resume().on('end', resolve)).on('error', reject)
      request.end('{"messages":[]}')
    })
    const { headers } = upstream.received[0]!
    assert.deepEqual(Object.keys(headers).sort(), [
      'authorization',
      'connection',
      'content-length',
      'content-type',
      'host',
      'x-own',
    ])
    assert.equal(headers.host, `127.0.0.1:${upstream.port}`)
  })

  describe('refuses', () => {
    const cases: [string, string | null, Record<string, string>, number, string][] = [
      [
        'a content type that is not JSON',
        '{"messages":[]}',
        { 'content-type': 'text/plain' },
        400,
        'unsupported content-type: text/plain, only application/json is supported',
      ],
      ['no body', null, {}, 400, '{"message":"could not get body: request body is empty"}\n'],
      [
        'a body that is too large',
        `{"messages":["${'x'.repeat(100)}"]}`,
        {},
        413,
        '{"message":"could not get body: request size 117 is greater than the maximum size 64 allowed"}\n',
      ],
      ['an empty object', '{}', {}, 400, 'no matching AI protocol for the request'],
      ['a bare number', '5', {}, 400, 'no matching AI protocol for the request'],
      ['null', 'null', {}, 400, 'no matching AI protocol for the request'],
      [
        'a protocol that the provider does not speak',
        '{"input":"x"}',
        {},
        400,
        'provider deepseek does not support openai-embeddings protocol (supported: openai-chat)',
      ],
    ]
    for (const [name, body, headers, status, said] of cases) {
      it(name, async () => {
        await start({ provider: 'deepseek', max_req_body_size: 64 })
        const response = await post(body, { 'content-type': 'application/json', ...headers })
        assert.equal(response.status, status)
        assert.equal(await response.text(), said)
        assert.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8')
        assert.equal(upstream.received.length, 0)
        assert.doesNotMatch(gateway.scrape(), /llm_active_connections\{/)
      })
    }

    it('what is no JSON, with the parser’s words', async () => {
      await start()
      const response = await post('{"messages":')
      assert.equal(response.status, 400)
      assert.match(await response.text(), /^\{"message":"could not parse JSON request body: .+"\}\n$/)
    })

    it('to delete a model', async () => {
      await start()
      const response = await fetch(`${gateway.url}/v1/models/ft:x`, { method: 'DELETE' })
      assert.deepEqual([response.status, upstream.received.length], [400, 0])
    })

    it('an empty chunked body', async () => {
      await start()
      const response = await fetch(gateway.url, {
        method: 'POST',
        body: new ReadableStream({ start: controller => controller.close() }),
        headers: { 'content-type': 'application/json' },
        duplex: 'half',
      })
      assert.equal(await response.text(), '{"message":"could not get body: request body is empty"}\n')
    })
  })

  it('takes a request without a content type for JSON', async () => {
    await start()
    const body = new TextEncoder().encode('{"messages":[]}')
    assert.equal((await fetch(gateway.url, { method: 'POST', body })).status, 200)
  })

  it('does not mind a route without an endpoint until it is asked', async () => {
    await start({ override: {} })
    const response = await post('{"messages":[]}')
    assert.equal(response.status, 500)
    assert.match(await response.text(), /"code":"no_endpoint"/)
  })
})

describe('the config of ai-proxy', () => {
  const problem = (config: object) =>
    configProblem(aiProxy, 'config', config as Record<string, unknown>)?.replace(/^.* err: /, '')
  const good = { provider: 'openai', auth: {} }
  const aws = { access_key_id: 'A', secret_access_key: 'S' }

  for (const config of [
    good,
    { provider: 'openai', auth: { header: { Authorization: 'Bearer k' } }, options: { model: 'm', any: [1] } },
    {
      ...good,
      model: 'ignored',
      timeouts: { connect: 0, total: 5 },
      keepalive_pool: 1,
      streaming_flush_interval_ms: 0,
    },
    {
      ...good,
      override: { request_body: { passthrough: {}, 'openai-chat': { a: null } }, request_body_force_override: true },
    },
    { provider: 'openai-compatible', auth: { query: { 'a[b]': 'c' } } },
    // The minimal ones of facts ai-plugins 6.5.
    {
      provider: 'bedrock',
      auth: { aws },
      provider_conf: { region: 'us-east-1' },
      options: { model: 'anthropic.claude-3-5-sonnet-20241022-v2:0' },
    },
    {
      provider: 'vertex-ai',
      auth: { gcp: { max_ttl: 8 } },
      provider_conf: { project_id: 'p', region: 'us-central1' },
    },
    { provider: 'vertex-ai', auth: {}, override: { endpoint: 'http://h' } },
    { provider: 'anthropic', auth: { header: { 'x-api-key': 'k' } }, forward_headers: 'safe' },
    { provider: 'gemini', auth: { gcp: { service_account_json: '{}' } } },
    { provider: 'gemini', auth: { gcp: { service_account_json: '$ENV://GCP' } } },
    {
      provider: 'bedrock',
      auth: { aws: { access_key_id: '$env://A', secret_access_key: '$secret://vault/1/aws/secret' } },
      provider_conf: { region: 'us-east-1' },
    },
  ]) {
    it(`may be ${JSON.stringify(config)}`, () => assert.equal(problem(config), undefined))
  }

  const wrong: [object, string][] = [
    [{ auth: {} }, 'property "provider" is required'],
    [{ provider: 'openai' }, 'property "auth" is required'],
    [{ provider: 'nobody', auth: {} }, 'property "provider" validation failed: matches none of the enum values'],
    [
      { provider: 'vertex-ai', auth: {} },
      'vertex-ai requires either provider_conf (project_id + region) or override.endpoint',
    ],
    [
      { provider: 'vertex-ai', auth: { gcp: {} }, provider_conf: { region: 'us-central1' } },
      'vertex-ai requires either provider_conf (project_id + region) or override.endpoint',
    ],
    [{ provider: 'bedrock', auth: { aws } }, 'bedrock requires provider_conf.region'],
    [{ provider: 'bedrock', auth: {}, provider_conf: { region: 'us-east-1' } }, 'bedrock requires auth.aws'],
    [{ ...good, auth: { aws } }, 'auth.aws is for bedrock, not for openai'],
    [
      { provider: 'bedrock', auth: { aws: { access_key_id: 'A' } }, provider_conf: { region: 'us-east-1' } },
      'property "auth" validation failed: property "aws" validation failed: property "secret_access_key" is required',
    ],
    [
      { provider: 'bedrock', auth: { aws: { ...aws, session_token: '' } } },
      'property "auth" validation failed: property "aws" validation failed: property "session_token" validation failed: string too short, expected at least 1, got 0',
    ],
    [
      { ...good, provider_conf: { region: '' } },
      'property "provider_conf" validation failed: property "region" validation failed: string too short, expected at least 1, got 0',
    ],
    [
      { ...good, auth: { gcp: { max_ttl: 0 } } },
      'property "auth" validation failed: property "gcp" validation failed: property "max_ttl" validation failed: expected 0 to be at least 1',
    ],
    [
      { ...good, auth: { gcp: { expire_early_secs: -1 } } },
      'property "auth" validation failed: property "gcp" validation failed: property "expire_early_secs" validation failed: expected -1 to be at least 0',
    ],
    [
      { ...good, auth: { gcp: { service_account_json: '{"private_key": nonsense}' } } },
      'invalid gcp service_account_json: it is not JSON',
    ],
    [
      { ...good, auth: { gcp: { service_account_json: 'nonsense' } } },
      'invalid gcp service_account_json: it is not JSON',
    ],
    [
      { ...good, forward_headers: 'none' },
      'property "forward_headers" validation failed: matches none of the enum values',
    ],
    ...(
      [
        ['max_req_body_size', 0, 1],
        ['max_stream_duration_ms', 0, 1],
        ['max_response_bytes', 0, 1],
        ['keepalive_timeout', 999, 1000],
        ['keepalive_pool', 0, 1],
        ['streaming_flush_interval_ms', -1, 0],
      ] as const
    ).map(([name, value, least]): [object, string] => [
      { ...good, [name]: value },
      `property "${name}" validation failed: expected ${value} to be at least ${least}`,
    ]),
    [
      { ...good, override: { endpoint: '' } },
      'property "override" validation failed: property "endpoint" validation failed: string too short, expected at least 1, got 0',
    ],
    [
      { ...good, override: { llm_options: { temperature: 1 } } },
      'property "override" validation failed: property "llm_options" validation failed: additional properties forbidden, found temperature',
    ],
    [
      { ...good, override: { request_body: { 'openai-chat': 'x' } } },
      'property "override" validation failed: property "request_body" validation failed: property "openai-chat" validation failed: wrong type: expected object, got string',
    ],
    [
      { ...good, options: { model: 1 } },
      'property "options" validation failed: property "model" validation failed: wrong type: expected string, got number',
    ],
    [
      { ...good, ssl_verify: 'no' },
      'property "ssl_verify" validation failed: wrong type: expected boolean, got string',
    ],
    [{ ...good, auth: { foo: {} } }, 'property "auth" validation failed: additional properties forbidden, found foo'],
    [
      { ...good, auth: { header: { a: 'line\nbreak' } } },
      'auth.header.a has characters that no header field can carry',
    ],
    [{ ...good, timeout: 0 }, 'property "timeout" validation failed: expected 0 to be at least 1'],
    [{ ...good, timeout: 600_001 }, 'property "timeout" validation failed: expected 600001 to be at most 600000'],
    [
      { ...good, timeouts: { read: 1 } },
      'property "timeouts" validation failed: additional properties forbidden, found read',
    ],
    [
      { ...good, override: { llm_options: { max_tokens: 0 } } },
      'property "override" validation failed: property "llm_options" validation failed: property "max_tokens" validation failed: expected 0 to be at least 1',
    ],
    [
      { ...good, override: { request_body: { 'vertex-predict': {} } } },
      'property "override" validation failed: property "request_body" validation failed: additional properties forbidden, found vertex-predict',
    ],
  ]
  for (const [config, said] of wrong) {
    it(`is not ${JSON.stringify(config)}`, () => assert.equal(problem(config), said))
  }

  it('has the defaults of APISIX’s, and ours', () => {
    const {
      provider: _,
      auth,
      ...defaults
    } = fillPlugin(aiProxy, {
      ...good,
      auth: { gcp: {} },
      override: {},
      logging: {},
    })
    assert.deepEqual(auth, { gcp: { expire_early_secs: 60 } })
    assert.deepEqual(defaults, {
      override: { request_body_force_override: false },
      logging: { summaries: false, payloads: false },
      timeout: 30_000,
      max_req_body_size: 67_108_864,
      keepalive: true,
      keepalive_timeout: 60_000,
      keepalive_pool: 30,
      streaming_flush_interval_ms: 10,
      ssl_verify: true,
      forward_headers: 'all',
    })
  })

  it('never has its secrets quoted', () => {
    const said = problem({ ...good, auth: { header: { Authorization: ['Bearer secret'] } } })
    assert.match(said!, /wrong type/)
    assert.doesNotMatch(said!, /secret/)
    for (const auth of [
      { gcp: { service_account_json: 'planted' } },
      { gcp: { service_account_json: '{"private_key":"planted" planted' } },
      { aws: { access_key_id: 'A', secret_access_key: ['planted'] } },
      { aws: { access_key_id: 'A', secret_access_key: 'S', session_token: ['planted'] } },
    ]) {
      const problems = problem({ provider: 'bedrock', auth, provider_conf: { region: 'r' } })
      assert.ok(problems !== undefined)
      assert.doesNotMatch(problems, /planted/)
    }
  })
})
