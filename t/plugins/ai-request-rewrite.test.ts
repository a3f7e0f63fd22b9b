// ai-request-rewrite at the front door: what the model is asked, what the upstream gets, and what the client sees of failures.
import assert from 'node:assert/strict'
import { configProblem } from '../../core/resource/plugin-configs.ts'
import aiRequestRewrite from '../../plugins/ai-request-rewrite.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type Line, openJournal } from '../helpers/journal.ts'
import { until } from '../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const saying = (content: unknown) => ({ choices: [{ index: 0, message: { role: 'assistant', content } }] })
const prompt = 'remove all names'

describe('ai-request-rewrite', () => {
  let model: ScriptedUpstream
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let lines: Line[]

  beforeEach(async () => {
    model = await startUpstream(received => received.json(200, saying('rewritten')))
    upstream = await startUpstream()
    const journal = openJournal()
    lines = journal.lines
    gateway = await startGateway({ log: journal.log })
  })
  afterEach(async () => {
    await gateway.close()
    await model.close()
    await upstream.close()
  })

  async function serve(config: object = {}, plugins: object = {}): Promise<void> {
    const rewriting = {
      prompt,
      provider: 'openai-compatible',
      auth: { header: { Authorization: 'Bearer operator' }, query: { k: 'v' } },
      override: { endpoint: model.origin },
      ...config,
    }
    const route = {
      uri: '/*',
      plugins: { 'ai-request-rewrite': rewriting, ...plugins },
      upstream: { nodes: upstream.nodes },
    }
    await gateway.put({ routes: { r: route } })
    assert.deepEqual(gateway.rejected, [])
  }
  const ask = (body: string | null = 'call Jack', headers: Record<string, string> = {}, path = '/some?q=1') =>
    fetch(gateway.url + path, { method: 'POST', headers: { 'content-type': 'text/plain', ...headers }, body })
  const asked = async (n = 0) => JSON.parse(String(await model.received[n]!.body)) as unknown
  const said = (pattern: RegExp) =>
    lines.filter(({ level, message }) => level === 'error' && pattern.test(message)).length

  it('gives the upstream what the model says in the place of the body, and nothing else that is new', async () => {
    await serve({ options: { model: 'small', temperature: 0.5 } })
    assert.equal((await ask()).status, 200)
    assert.equal(model.received[0]!.target, '/v1/chat/completions?k=v')
    assert.deepEqual(await asked(), {
      messages: [
        { role: 'system', content: prompt },
        { role: 'user', content: 'call Jack' },
      ],
      model: 'small',
      stream: false,
      temperature: 0.5,
    })
    const [sent] = upstream.received
    assert.deepEqual([sent!.method, sent!.target, String(await sent!.body)], ['POST', '/some?q=1', 'rewritten'])
    assert.deepEqual([sent!.headers['content-type'], sent!.headers['content-length']], ['text/plain', '9'])
    assert.match(gateway.scrape(), /^sluice_sidecar_seconds_count\{plugin="ai-request-rewrite"\} 1$/m)
  })

  it('tells the model nothing of the client but its body', async () => {
    await serve({}, { 'key-auth': { header: 'x-own-key' } })
    await gateway.put({ consumers: { jack: { username: 'jack', plugins: { 'key-auth': { key: 'of-the-client' } } } } })
    const headers = { 'x-own-key': 'of-the-client', authorization: 'Bearer of-the-client', cookie: 'sid=of-the-client' }
    assert.equal((await ask('hi', { ...headers, 'x-trace': 'of-the-client' }, '/?apikey=of-the-client')).status, 200)
    const { rawHeaders, target } = model.received[0]!
    assert.doesNotMatch(JSON.stringify([rawHeaders, target]), /of-the-client|cookie|consumer|jack/i)
    assert.equal(model.received[0]!.headers.authorization, 'Bearer operator')
  })

  const clients: [protocol: string, path: string, answer: object][] = [
    ['openai-chat', '/v1/chat/completions', saying('hello')],
    ['openai-responses', '/v1/responses', { output: [] }],
    ['openai-embeddings', '/v1/embeddings', { data: [] }],
  ]
  const bodies: Record<string, object> = {
    'openai-chat': { model: 'm', messages: [{ role: 'user', content: 'call somebody' }] },
    'openai-responses': { model: 'm', input: 'call somebody' },
    'openai-embeddings': { model: 'm', input: 'call somebody' },
    'anthropic-messages': { model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'call somebody' }] },
    'bedrock-converse': { messages: [{ role: 'user', content: [{ text: 'call somebody' }] }] },
    passthrough: { task: 'call somebody' },
  }
  for (const [protocol, path, answer] of [
    ...clients,
    ['anthropic-messages', '/v1/messages', saying('hello')],
    ['passthrough', '/v1/other', { done: true }],
  ] as typeof clients) {
    it(`rewrites a call to an LLM that speaks ${protocol}, which is made as the model has written it`, async () => {
      const provider = await startUpstream(received => received.json(200, answer))
      const multi = { provider: 'openai-compatible', auth: {}, override: { endpoint: provider.origin } }
      await serve({}, { 'ai-proxy': multi })
      model.script = received => received.json(200, saying(JSON.stringify(bodies[protocol])))
      const original = JSON.stringify(bodies[protocol]).replace('somebody', 'Jack')
      const response = await ask(original, { 'content-type': 'application/json' }, path)
      assert.equal(response.status, 200, await response.text())
      const { messages } = (await asked()) as { messages: { content: string }[] }
      assert.equal(messages[1]!.content, original)
      assert.match(String(await provider.received[0]!.body), /call somebody/)
      await provider.close()
    })
  }

  it('is followed by a refusal where a call to an LLM is written anew as none', async () => {
    await serve(
      {},
      { 'ai-proxy': { provider: 'openai-compatible', auth: {}, override: { endpoint: upstream.origin } } },
    )
    const response = await ask('{"messages":[]}', { 'content-type': 'application/json' })
    assert.equal(response.status, 400)
    assert.match(await response.text(), /^\{"message":"could not parse JSON request body: /)
  })

  it('asks Bedrock in its own protocol, at the path that the endpoint names', async () => {
    await serve({
      provider: 'bedrock',
      override: { endpoint: `${model.origin}/model/x/converse` },
      options: { max_tokens: 50 },
    })
    model.script = received => received.json(200, { output: { message: { content: [{ text: 'of Bedrock' }] } } })
    assert.equal((await ask()).status, 200)
    assert.equal(model.received[0]!.target, '/model/x/converse?k=v')
    assert.deepEqual(await asked(), {
      inferenceConfig: { maxTokens: 50 },
      max_tokens: 50,
      messages: [{ role: 'user', content: [{ text: 'call Jack' }] }],
      system: [{ text: prompt }],
    })
    assert.equal(String(await upstream.received[0]!.body), 'of Bedrock')
  })

  it('refuses what has no body, or too large a one, before anybody is asked', async () => {
    await serve({ max_req_body_size: 4 })
    for (const body of [null, 'call Jack']) {
      const response = await ask(body)
      assert.deepEqual([response.status, await response.text()], [400, ''])
    }
    assert.equal(said(/^missing request body$/), 1)
    assert.equal(said(/^failed to get request body: request size 9 is greater than the maximum size 4 allowed$/), 1)
    assert.deepEqual([model.received.length, upstream.received.length], [0, 0])
  })

  const faults: [string, (received: Received) => unknown, RegExp][] = [
    ['refuses', received => received.json(401, { error: 'sk-secret' }), /^LLM service returned error status: 401$/],
    ['answers with another status', received => received.json(201, saying('x')), /error status: 201$/],
    ['breaks off', received => received.reset(), /^failed to request LLM: the upstream closed the connection$/],
    ['says nothing in time', () => {}, /^failed to request LLM: the upstream did not finish within 300 ms$/],
    ['speaks no JSON', received => void received.response.end('hello'), /^failed to decode LLM response$/],
    ['says nothing', received => received.json(200, { choices: [] }), /^failed to extract text from LLM response$/],
    ['says an empty thing', received => received.json(200, saying('')), /^failed to extract text from LLM response$/],
    ['only calls tools', received => received.json(200, saying(null)), /^failed to extract text from LLM response$/],
  ]
  for (const [name, script, log] of faults) {
    it(`lets nothing pass when the model ${name}`, async () => {
      await serve({ timeout: 300 })
      model.script = script
      const response = await ask()
      assert.deepEqual([response.status, await response.text()], [500, ''])
      assert.equal(said(log), 1)
      assert.equal(upstream.received.length, 0)
      assert.match(
        gateway.scrape(),
        /^sluice_sidecar_failures_total\{plugin="ai-request-rewrite",reason="[\w ]+"\} 1$/m,
      )
      assert.doesNotMatch(JSON.stringify(lines), /sk-secret|Bearer|Jack/)
    })
  }

  it('asks no longer for a client that has left', async () => {
    await serve()
    model.script = () => {}
    const leaving = new AbortController()
    const asking = fetch(gateway.url, { method: 'POST', body: 'x', signal: leaving.signal })
    const received = await model.request(0)
    leaving.abort()
    await assert.rejects(asking)
    await until(() => received.gone, 'the model is told')
    await until(() => gateway.gateway.inFlight === 0, 'the request is over')
    assert.equal(upstream.received.length, 0)
  })

  const one = { prompt, provider: 'openai', auth: {} }
  for (const [config, problem] of [
    [{ ...one, provider: 'openai-compatible' }, 'override.endpoint is required for openai-compatible provider'],
    [{ ...one, override: { endpoint: 'nowhere' } }, 'invalid override.endpoint'],
    [{ ...one, auth: { aws: {} } }, 'property "auth" validation failed: additional properties forbidden, found aws'],
    [{ ...one, timeout: 60_001 }, 'property "timeout" validation failed: expected 60001 to be at most 60000'],
    [{ provider: 'openai', auth: {} }, 'property "prompt" is required'],
    [{ ...one, auth: { header: { A: 'x\n' } } }, 'auth.header.A has characters that no header field can carry'],
  ] as const) {
    it(`is refused when it is written: ${problem}`, () => {
      assert.equal(configProblem(aiRequestRewrite, 'config', config)?.replace(/^.* err: /, ''), problem)
    })
  }

  it('may stand where its provider cannot be asked, and says so', async () => {
    await serve({ provider: 'vertex-ai', override: undefined })
    const response = await ask()
    assert.equal(response.status, 500)
    assert.ok(lines.some(({ message }) => /^every request will fail: override\.endpoint must say/.test(message)))
  })
})
