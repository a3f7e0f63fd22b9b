// Instances that are chosen by what the client wants: scores, thresholds, the fallback, and what the embeddings service is told.
import assert from 'node:assert/strict'
import { llmFields } from '../../../core/observe/log-entry.ts'
import { plugin } from '../../../core/plugin.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { type Line, openJournal } from '../../helpers/journal.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

/** What texts mean: code, a poem, or something between the two. */
const MEANINGS: Record<string, readonly number[]> = {
  'write a function': [2, 0, 0],
  'fix this bug': [1, 0, 1],
  'write a poem': [0, 3, 0],
  code: [4, 0, 0],
  verse: [0, 1, 0],
  both: [1, 1, 0],
  neither: [0, 0, 1],
  against: [-1, -1, 0],
}
const KEY = 'a-key-for-operators'

interface Asked {
  model?: string
  input: string[]
}
const embed = async (received: Received) => {
  const { input } = JSON.parse(String(await received.body)) as Asked
  const data = input.map((text, index) => ({ index, embedding: MEANINGS[text] ?? [0, 0, 1] }))
  // Not in their order.
  received.json(200, { data: data.reverse() })
}

describe('instances that are chosen by meaning', () => {
  let service: ScriptedUpstream
  let models: ScriptedUpstream
  let gateway: TestGateway
  let lines: Line[]
  let summaries: unknown[]

  beforeEach(async () => {
    service = await startUpstream(embed)
    models = await startUpstream(received => {
      const content = received.target.slice(1)
      received.json(200, { choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }] })
    })
    const journal = openJournal()
    lines = journal.lines
    summaries = []
    const observer = plugin({
      name: 'observer',
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({
        async log(ctx) {
          summaries.push((await llmFields(ctx)).llm_summary)
        },
      }),
    })
    gateway = await startGateway({ log: journal.log, plugins: [observer], explain: 1 << 20, debugKey: KEY })
  })
  afterEach(async () => {
    await gateway.close()
    await service.close()
    await models.close()
  })

  const instance = (name: string, examples: string[], more: object = {}) => ({
    name,
    provider: 'openai-compatible',
    weight: 1,
    auth: { header: { Authorization: 'Bearer model' } },
    override: { endpoint: `${models.origin}/${name}` },
    examples,
    ...more,
  })
  const coder = (more: object = {}) => instance('coder', ['write a function', 'fix this bug'], more)
  const poet = (more: object = {}) => instance('poet', ['write a poem'], more)
  async function serve(
    instances: object[] = [coder(), poet()],
    { embeddings, config, ...opts }: { embeddings?: object; config?: object; [key: string]: unknown } = {},
  ): Promise<void> {
    const semantic_opts = {
      embeddings: {
        provider: 'openai',
        model: 'embed-1',
        endpoint: `${service.origin}/v1/embeddings?v=1`,
        auth: { header: { Authorization: 'Bearer embeddings' }, query: { k: '1' } },
        ...embeddings,
      },
      debugging: true,
      ...opts,
    }
    const multi = { instances, balancer: { algorithm: 'semantic' }, semantic_opts, ...config }
    await gateway.put({
      routes: { r: { uri: '/*', plugins: { 'ai-proxy-multi': multi, observer: {}, 'request-id': {} } } },
    })
    assert.deepEqual(gateway.rejected, [])
  }
  const ask = (body: object, path = '/v1/chat/completions', headers: Record<string, string> = {}) =>
    fetch(gateway.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
  const question = (text: string) => ({ model: 'm', messages: [{ role: 'user', content: text }] })
  /** Who has answered, and the two fields for debugging. */
  async function route(text: string): Promise<[string, string | null, string | null]> {
    const response = await ask(question(text))
    const json = (await response.json()) as { choices: { message: { content: string } }[] }
    const [scores, picked] = ['scores', 'picked-instance'].map(name => response.headers.get(`x-ai-semantic-${name}`))
    return [json.choices[0]!.message.content, scores!, picked!]
  }
  const says = (pattern: RegExp) => lines.some(({ level, message }) => level === 'warn' && pattern.test(message))

  it('are those whose examples are likest, whatever their weight', async () => {
    await serve([coder({ weight: 0 }), poet()])
    assert.deepEqual(await route('code'), ['coder', 'coder:1.0000,poet:0.0000', 'coder'])
    assert.deepEqual(await route('verse'), ['poet', 'poet:1.0000,coder:0.0000', 'poet'])
    assert.deepEqual(await route('both'), ['coder', 'coder:0.7071,poet:0.7071', 'coder'])
  })

  it('must be as like as their thresholds say, or the fallback is asked', async () => {
    await serve([coder({ threshold: 0.8 }), poet()], { threshold: 0.6 })
    assert.deepEqual(await route('both'), ['poet', 'coder:0.7071,poet:0.7071', 'poet'])
    assert.deepEqual(await route('against'), ['coder', 'coder:-0.5000,poet:-0.7071', 'fallback'])
    assert.ok(
      says(/^semantic routing: no instance cleared threshold \(scores: coder:-0\.5000, poet:-0\.7071\), falling back$/),
    )
    await serve([coder(), poet()], { threshold: 0.9, fallback: 'poet' })
    assert.deepEqual(await route('both'), ['poet', 'coder:0.7071,poet:0.7071', 'fallback'])
  })

  it('are compared by one look at all examples, and one at the last thing that the user has said', async () => {
    await serve()
    const messages = [
      { role: 'system', content: 'verse' },
      { role: 'user', content: 'verse' },
      { role: 'assistant', content: 'verse' },
      { role: 'user', content: [{ type: 'text', text: 'code' }] },
      { role: 'assistant', content: 'verse' },
    ]
    for (let n = 0; n < 3; n++) await (await ask({ model: 'm', messages })).text()
    const bodies = await Promise.all(service.received.map(async ({ body }) => JSON.parse(String(await body)) as Asked))
    assert.deepEqual(bodies, [
      { model: 'embed-1', input: ['write a function', 'fix this bug', 'write a poem'] },
      ...[1, 2, 3].map(() => ({ model: 'embed-1', input: ['code'] })),
    ])
  })

  it('are asked about once however many ask at first, and anew with another config', async () => {
    await serve()
    await Promise.all([1, 2, 3, 4].map(() => route('code')))
    assert.equal(service.received.length, 5)
    await serve([coder({ examples: ['verse'] }), poet({ examples: ['code'] })])
    assert.equal((await route('code'))[0], 'poet')
  })

  for (const [protocol, path, body] of [
    ['openai-responses', '/v1/responses', { input: [{ role: 'user', content: 'verse' }] }],
    ['anthropic-messages', '/v1/messages', { max_tokens: 9, messages: [{ role: 'user', content: 'verse' }] }],
    ['bedrock-converse', '/model/m/converse', { messages: [{ role: 'user', content: [{ text: 'verse' }] }] }],
  ] as const) {
    it(`understand ${protocol}`, async () => {
      await serve()
      const response = await ask({ model: 'm', ...body }, path)
      await response.text()
      assert.equal(response.headers.get('x-ai-semantic-picked-instance'), 'poet')
    })
  }

  it('know no more of what was said than 16,384 bytes', async () => {
    await serve()
    await route(`a${'ä€'.repeat(4_000)}`)
    const { input } = JSON.parse(String(await service.received[1]!.body)) as Asked
    assert.equal(Buffer.byteLength(input[0]!), 16_383)
  })

  it('tell the service nothing of the client, and the client nothing of the service', async () => {
    await serve()
    const secrets = { authorization: 'Bearer of-the-client', cookie: 'sid=of-the-client', 'x-api-key': 'of-the-client' }
    const response = await ask(question('code'), '/v1/chat/completions?key=of-the-client', secrets)
    await response.text()
    assert.equal(service.received.length, 2)
    for (const { target, rawHeaders, headers } of service.received) {
      assert.equal(target, '/v1/embeddings?v=1&k=1')
      assert.equal(headers.authorization, 'Bearer embeddings')
      assert.doesNotMatch(JSON.stringify(rawHeaders), /of-the-client|cookie|undici|node/i)
    }
  })

  it('of Azure are named by the endpoint', async () => {
    await serve(undefined, { embeddings: { provider: 'azure-openai' } })
    assert.equal((await route('verse'))[0], 'poet')
    assert.equal(String(await service.received[1]!.body), '{"input":["verse"]}')
  })

  const bad = (body: unknown) => (received: Received) => received.json(200, body)
  const vector = (embedding: unknown, index = 0) => ({ data: [{ index, embedding }] })
  const faults: [string, (received: Received) => unknown, RegExp][] = [
    ['refuses', received => received.json(429, { error: 'sk-secret' }), /embedding endpoint returned status 429/],
    ['breaks off', received => received.reset(), /embedding request failed: /],
    ['says nothing in time', () => {}, /embedding request failed: /],
    ['talks nonsense', bad('{'), /invalid embedding response: /],
    ['has no data', bad({ data: {} }), /invalid embedding response: /],
    ['has an entry that is none', bad({ data: [7] }), /invalid embedding entry at index 0/],
    ['has an entry that was not asked for', bad(vector([1, 0, 0], 1)), /invalid embedding index at entry 0/],
    ['has an empty vector', bad(vector([])), /invalid embedding vector at index 0/],
    ['has a vector of words', bad(vector([1, 'x', 0])), /non-numeric embedding component at index 0/],
    ['leaves one out', bad({ data: [] }), /missing embedding for input index 0/],
    ['thinks in other dimensions', bad(vector([1, 0])), /embedding dimension mismatch/],
  ]
  for (const [name, script, said] of faults) {
    it(`are the fallback for a request about which the service ${name}, and no other`, async () => {
      await serve(undefined, { fallback: 'poet', embeddings: { timeout: 1_000 } })
      await route('code')
      service.script = script
      assert.deepEqual(await route('code'), ['poet', null, null])
      assert.ok(says(new RegExp(`^semantic routing: (query embedding failed: )?${said.source}.*, falling back$`)))
      assert.doesNotMatch(JSON.stringify(lines), /sk-secret/)
      service.script = embed
      assert.equal((await route('code'))[0], 'coder')
    })
  }

  it('are the fallback until their examples are understood', async () => {
    await serve()
    service.script = received => received.json(500, {})
    assert.deepEqual(await route('verse'), ['coder', null, null])
    assert.ok(
      says(
        /^semantic routing: failed to fetch reference embeddings: embedding endpoint returned status 500, falling back$/,
      ),
    )
    service.script = embed
    assert.equal((await route('verse'))[0], 'poet')
  })

  it('are the fallback where the user has said nothing', async () => {
    await serve()
    await (await ask({ messages: [{ role: 'system', content: 'verse' }] })).text()
    assert.equal(service.received.length, 0)
    assert.ok(says(/^semantic routing: no user message found, falling back$/))
    assert.equal(models.received[0]!.target, '/coder')
  })

  it('are not followed by others when they fail, and their error is the client’s', async () => {
    models.script = received => received.json(500, { error: { message: 'mine' } })
    await serve(undefined, { config: { fallback_strategy: ['http_5xx', 'http_429'] } })
    const response = await ask(question('verse'))
    assert.deepEqual([response.status, await response.text()], [500, '{"error":{"message":"mine"}}'])
    assert.deepEqual(
      models.received.map(({ target }) => target),
      ['/poet'],
    )
  })

  it('are not waited for by a client that has left', async () => {
    await serve()
    await route('code')
    service.script = () => {}
    const leaving = new AbortController()
    const asking = fetch(`${gateway.url}/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(question('code')),
      signal: leaving.signal,
    })
    const received = await service.request(2)
    leaving.abort()
    await assert.rejects(asking)
    await until(() => received.gone, 'the service is told')
    await until(() => gateway.gateway.inFlight === 0, 'the request is over')
    assert.equal(models.received.length, 1)
  })

  it('are written down with their scores, in the log, in a field for whoever has the key, and for whoever asks why', async () => {
    await serve([coder(), poet({ threshold: 0.5 })], { config: { logging: { summaries: true } } })
    const response = await ask(question('code'), '/', { 'x-request-id': 'why', 'x-sluice-debug': KEY })
    await response.text()
    assert.deepEqual(
      (JSON.parse(response.headers.get('x-sluice-trace')!) as { llm: { candidates: unknown } }).llm.candidates,
      [['coder (priority 0 weight 1 score 1): is asked', 'poet (priority 0 weight 1 score 0): below its threshold']],
    )
    await until(() => summaries.length === 1 && gateway.gateway.inFlight === 0, 'it is logged')
    const known = gateway.gateway.explain('why')?.llm?.candidates[0]
    assert.deepEqual(
      known?.map(({ instance, score, skipped }) => [instance, score, skipped]),
      [
        ['coder', 1, undefined],
        ['poet', 0, 'below its threshold'],
      ],
    )
    const { candidates, attempts } = summaries[0] as { candidates: unknown; attempts: { instance: string }[] }
    const common = { priority: 0, weight: 1 }
    assert.deepEqual(JSON.parse(JSON.stringify(candidates)), [
      [
        { instance: 'coder', ...common, score: 1 },
        { instance: 'poet', ...common, score: 0, skipped: 'below its threshold' },
      ],
    ])
    assert.deepEqual(
      attempts.map(({ instance }) => instance),
      ['coder'],
    )
    assert.match(gateway.scrape(), /^sluice_sidecar_seconds_count\{plugin="ai-proxy-multi"\} 2$/m)
  })
})
