// ai-rag at the front door: what the two services are asked, what is added to each protocol, and what failures look like.
import assert from 'node:assert/strict'
import { configProblem } from '../../core/resource/plugin-configs.ts'
import aiRag from '../../plugins/ai-rag.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type Line, openJournal } from '../helpers/journal.ts'
import { until } from '../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const found = '{"value":[{"chunk":"Jack \\"is\\" tall"}]}'
const ai_rag = { embeddings: { input: 'who is Jack?', dimensions: 2 }, vector_search: { fields: 'contentVector' } }
const user = { role: 'user', content: 'hi' }
const added = { role: 'user', content: found }

describe('ai-rag', () => {
  let embedder: ScriptedUpstream
  let searcher: ScriptedUpstream
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let lines: Line[]

  beforeEach(async () => {
    embedder = await startUpstream(received =>
      received.json(200, { data: [{ embedding: [0.25, -1] }, { embedding: [7] }] }),
    )
    searcher = await startUpstream(received => void received.response.end(found))
    upstream = await startUpstream()
    const journal = openJournal()
    lines = journal.lines
    gateway = await startGateway({ log: journal.log })
  })
  afterEach(async () => {
    await gateway.close()
    for (const each of [embedder, searcher, upstream]) await each.close()
  })

  const config = () => ({
    embeddings_provider: { azure_openai: { endpoint: `${embedder.origin}/embed?api-version=1`, api_key: 'key-one' } },
    vector_search_provider: {
      azure_ai_search: { endpoint: `${searcher.origin}/search?api-version=2`, api_key: 'key-two' },
    },
  })
  async function serve(plugins: object = {}): Promise<void> {
    const route = { uri: '/*', plugins: { 'ai-rag': config(), ...plugins }, upstream: { nodes: upstream.nodes } }
    await gateway.put({ routes: { r: route } })
    assert.deepEqual(gateway.rejected, [])
  }
  const ask = (body: unknown, path = '/v1/chat/completions', headers: Record<string, string> = {}) =>
    fetch(gateway.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  const sent = async () => JSON.parse(String(await upstream.received[0]!.body)) as unknown
  const said = (pattern: RegExp) =>
    lines.filter(({ level, message }) => level === 'error' && pattern.test(message)).length
  const calls = () => [embedder, searcher, upstream].map(({ received }) => received.length)

  it('has the question embedded, searches for it, and adds what is found', async () => {
    await serve()
    assert.equal((await ask({ model: 'm', messages: [user], ai_rag })).status, 200)
    const [one, two] = [embedder.received[0]!, searcher.received[0]!]
    assert.deepEqual([one.target, one.headers['api-key']], ['/embed?api-version=1', 'key-one'])
    assert.deepEqual(JSON.parse(String(await one.body)), ai_rag.embeddings)
    assert.deepEqual([two.target, two.headers['api-key']], ['/search?api-version=2', 'key-two'])
    assert.equal(
      String(await two.body),
      '{"vectorQueries":[{"kind":"vector","vector":[0.25,-1],"fields":"contentVector"}]}',
    )
    assert.deepEqual(await sent(), { model: 'm', messages: [user, added] })
    assert.match(gateway.scrape(), /^sluice_sidecar_seconds_count\{plugin="ai-rag"\} 2$/m)
  })

  it('tells the services nothing of the client but what it wants looked for', async () => {
    await serve({ 'key-auth': { header: 'x-own-key' } })
    await gateway.put({ consumers: { jill: { username: 'jill', plugins: { 'key-auth': { key: 'of-the-client' } } } } })
    const headers = {
      'x-own-key': 'of-the-client',
      authorization: 'Bearer of-the-client',
      cookie: 'sid=of-the-client',
      'api-key': 'of-the-client',
    }
    const response = await ask({ messages: [user], ai_rag }, '/v1/chat/completions?k=of-the-client', headers)
    assert.equal(response.status, 200)
    for (const { rawHeaders, target, headers } of [embedder.received[0]!, searcher.received[0]!]) {
      assert.doesNotMatch(JSON.stringify([rawHeaders, target]), /of-the-client|cookie|authorization|consumer|jill/i)
      assert.match(headers['api-key'] as string, /^key-(one|two)$/)
    }
  })

  const protocols: [string, string, object, object][] = [
    ['chat', '/v1/chat/completions', { messages: [user] }, { messages: [user, added] }],
    ['responses with a text', '/v1/responses', { input: 'hi' }, { input: `hi\n${found}` }],
    [
      'responses with a list',
      '/v1/responses',
      { input: [user] },
      { input: [user, { type: 'message', role: 'user', content: found }] },
    ],
    [
      'Anthropic’s messages',
      '/v1/messages',
      { system: 's', messages: [user] },
      { system: 's', messages: [user, added] },
    ],
    [
      'Converse',
      '/model/m/converse',
      { messages: [{ role: 'user', content: [{ text: 'hi' }] }] },
      {
        messages: [
          { role: 'user', content: [{ text: 'hi' }] },
          { role: 'user', content: [{ text: found }] },
        ],
      },
    ],
    ['nothing yet', '/any', {}, { messages: [added] }],
    ['nothing but a model', '/any', { model: 'm' }, { model: 'm', messages: [added] }],
  ]
  for (const [name, path, body, expected] of protocols) {
    it(`adds to ${name}`, async () => {
      await serve()
      assert.equal((await ask({ ...body, ai_rag }, path)).status, 200)
      assert.deepEqual(await sent(), expected)
    })
  }

  it('is seen by the plugin that makes the call to an LLM', async () => {
    const provider = { provider: 'openai-compatible', auth: {}, override: { endpoint: upstream.origin } }
    await serve({ 'ai-proxy': provider })
    assert.equal((await ask({ model: 'm', messages: [user], ai_rag })).status, 200)
    assert.deepEqual(await sent(), { model: 'm', messages: [user, added] })
  })

  for (const [path, body] of [
    ['/v1/embeddings', { input: 'x' }],
    ['/v1/moderations', { input: 'x' }],
  ] as const) {
    it(`refuses ${path}, where there is no room for anything`, async () => {
      await serve()
      const response = await ask({ ...body, ai_rag }, path)
      assert.deepEqual(
        [response.status, await response.text()],
        [400, '{"message":"ai-rag can add nothing to a request of this protocol"}\n'],
      )
      assert.deepEqual(calls(), [0, 0, 0])
    })
  }

  const bodies: [string, unknown, string | RegExp, RegExp | undefined][] = [
    ['that is empty', '', '{"message":"could not get body: request body is empty"}\n', undefined],
    ['that is no JSON', '{', /^\{"message":"could not parse JSON request body: .*"\}\n$/, undefined],
    ['that is a list', [1], '', /^request body must have "ai-rag" field$/],
    ['without ai_rag', { messages: [user] }, '', /^request body must have "ai-rag" field$/],
    ['whose ai_rag is null', { ai_rag: null }, '', /^request body fails schema check: /],
    ['without embeddings', { ai_rag: { vector_search: { fields: 'f' } } }, '', /^request body fails schema check: /],
    ['without fields', { ai_rag: { ...ai_rag, vector_search: {} } }, '', /^request body fails schema check: /],
    [
      'with an input that is no text',
      { ai_rag: { ...ai_rag, embeddings: { input: ['x'] } } },
      '',
      /fails schema check/,
    ],
  ]
  for (const [name, body, text, log] of bodies) {
    it(`refuses a body ${name}`, async () => {
      await serve()
      const response = await ask(body)
      assert.equal(response.status, 400)
      const answered = await response.text()
      if (typeof text === 'string') assert.equal(answered, text)
      else assert.match(answered, text)
      if (log !== undefined) assert.equal(said(log), 1)
      assert.deepEqual(calls(), [0, 0, 0])
    })
  }

  const faults: [string, (received: Received) => unknown, [number, string], RegExp][] = [
    ['refuses', received => received.json(403, { why: 'no' }), [403, '{"why":"no"}'], /: status 403$/],
    [
      'answers with another status',
      received => void received.response.writeHead(202).end('x'),
      [202, 'x'],
      /: status 202$/,
    ],
    ['breaks off', received => received.reset(), [500, 'the upstream closed the connection'], /closed the connection$/],
  ]
  for (const [name, script, answer, log] of faults) {
    for (const which of ['embeddings', 'vector_search result']) {
      it(`tells the client when the service of ${which} ${name}, and goes no further`, async () => {
        await serve()
        const service = which === 'embeddings' ? embedder : searcher
        service.script = script
        const response = await ask({ messages: [user], ai_rag })
        assert.deepEqual([response.status, await response.text()], answer)
        assert.equal(said(new RegExp(`^could not get ${which}.*${log.source}`)), 1)
        assert.deepEqual(calls(), [1, which === 'embeddings' ? 0 : 1, 0])
        assert.doesNotMatch(JSON.stringify(lines), /key-one|key-two|Jack/)
      })
    }
  }

  for (const body of ['{"data":[]}', '{"error":"x"}', 'no JSON']) {
    it(`tells the client what came instead of a vector: ${body}`, async () => {
      await serve()
      embedder.script = received => void received.response.end(body)
      const response = await ask({ messages: [user], ai_rag })
      assert.deepEqual([response.status, await response.text()], [500, body])
      assert.deepEqual(calls(), [1, 0, 0])
      assert.match(gateway.scrape(), /^sluice_sidecar_failures_total\{plugin="ai-rag",reason="malformed"\} 1$/m)
    })
  }

  it('asks no longer for a client that has left', async () => {
    await serve()
    searcher.script = () => {}
    const leaving = new AbortController()
    const body = JSON.stringify({ messages: [user], ai_rag })
    const asking = fetch(gateway.url, { method: 'POST', body, signal: leaving.signal })
    const received = await searcher.request(0)
    leaving.abort()
    await assert.rejects(asking)
    await until(() => received.gone, 'the search is told')
    await until(() => gateway.gateway.inFlight === 0, 'the request is over')
    assert.equal(upstream.received.length, 0)
  })

  it('says when keys go where they could be read', async () => {
    await serve({ 'ai-rag': { ...config(), ssl_verify: false } })
    await ask({})
    assert.equal(
      lines.filter(({ level, message }) => level === 'warn' && /not https|ssl_verify is off/.test(message)).length,
      3,
    )
  })

  const one = { endpoint: 'https://x.test/a', api_key: 'k' }
  const written = (embeddings: object, search: object) => ({
    embeddings_provider: embeddings,
    vector_search_provider: search,
  })
  const both = (more: object) => written({ azure_openai: { ...one, ...more } }, { azure_ai_search: one })
  for (const [config, problem] of [
    [{}, /property "(embeddings|vector_search)_provider" is required/],
    [written({}, { azure_ai_search: one }), /property "azure_openai" is required/],
    [written({ azure_openai: one, other: one }, { azure_ai_search: one }), /at most 1/],
    [both({ endpoint: 'x.test' }), /^invalid embeddings_provider\.azure_openai\.endpoint$/],
    [both({ api_key: 'a\nb' }), /^invalid embeddings_provider\.azure_openai\.api_key$/],
  ] as const) {
    it(`is refused when it is written: ${problem.source}`, () => {
      assert.match(configProblem(aiRag, 'config', config)?.replace(/^.* err: /, '') ?? '', problem)
    })
  }

  it('may have its service and key elsewhere', () => {
    assert.equal(
      configProblem(aiRag, 'config', both({ endpoint: '$env://WHERE', api_key: '$secret://vault/1/k' })),
      undefined,
    )
  })
})
