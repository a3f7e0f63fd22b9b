// Every provider at the front door: what of a request reaches it, to the byte, and who hears of whose secrets.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { inspect } from 'node:util'
import OpenAI, { RateLimitError } from 'openai'
import type { Logger } from '../../../../core/observe/log.ts'
import { startGateway, type TestGateway } from '../../../helpers/gateway.ts'
import { testAccount } from '../../../helpers/service-account.ts'
import { until } from '../../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../../helpers/upstream.ts'

const sent = '{"model":"c","messages":[{"role":"user","content":"hi"}],"max_tokens":9}'
const messages = '"messages":[{"content":"hi","role":"user"}]'

/** What a client sends with it. */
const client = {
  'Content-Type': 'application/json; charset=utf-8',
  Authorization: 'Bearer client',
  'Accept-Encoding': 'gzip, br',
  'X-Custom': 'client',
  Cookie: 'a=b',
}

interface Row {
  /** Of the config, besides auth and endpoint. */
  readonly config?: object
  readonly path: string
  /** The body, where it is not the client's. */
  readonly body?: string
  /** The body with `llm_options.max_tokens: 5`. */
  readonly limited: string
}

const renamed = `{"max_completion_tokens":5,"max_tokens":9,${messages},"model":"c"}`
const kept = `{"max_tokens":5,${messages},"model":"c"}`

/** facts ai-plugins 3.1, A.4. */
const rows: Readonly<Record<string, Row>> = {
  openai: { path: '/v1/chat/completions', limited: `{"max_completion_tokens":5,${messages},"model":"c"}` },
  'openai-compatible': { path: '/v1/chat/completions', limited: kept },
  'azure-openai': {
    path: '/completions',
    body: `{"max_tokens":9,${messages}}`,
    limited: `{"max_tokens":5,${messages}}`,
  },
  deepseek: { path: '/chat/completions', limited: kept },
  aimlapi: { path: '/chat/completions', limited: kept },
  openrouter: { path: '/api/v1/chat/completions', limited: kept },
  gemini: { path: '/v1beta/openai/chat/completions', limited: renamed },
  anthropic: { path: '/v1/chat/completions', limited: kept },
  'vertex-ai': {
    config: { provider_conf: { project_id: 'my project', region: 'us-central1' } },
    path: '/v1beta1/projects/my%20project/locations/us-central1/endpoints/openapi/chat/completions',
    limited: renamed,
  },
}

describe('a provider', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  const auth = { header: { Authorization: 'Bearer operator' }, query: { key: 's 1' } }

  async function start(provider: string, config: object, options: { log?: Logger; account?: string } = {}) {
    const plugins = { 'ai-proxy': { provider, auth, override: { endpoint: upstream.origin }, ...config } }
    gateway = await startGateway({
      resources: { routes: { 1: { uri: '/*', plugins } } },
      ...(options.log && { log: options.log }),
      ...(options.account !== undefined && { gcpServiceAccount: options.account }),
    })
    assert.deepEqual(gateway.rejected, [])
  }

  const ask = (path = '/any?client=1', body = sent): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      request(gateway.url + path, { method: 'POST', headers: client }, async response => {
        const text = Buffer.concat(await response.toArray()).toString()
        resolve({ status: response.statusCode!, text })
      })
        .on('error', reject)
        .end(body)
    })

  const bodyOf = async (received: Received | undefined) => (await received!.body).toString()

  for (const [name, { config = {}, path, body = sent, limited }] of Object.entries(rows)) {
    it(`${name} is asked as its row says`, async () => {
      await start(name, config)
      assert.equal((await ask()).status, 200)
      const [received] = upstream.received
      assert.deepEqual([received!.method, received!.target], ['POST', `${path}?key=s+1`])
      assert.equal(await bodyOf(received), body)
      assert.deepEqual(received!.headers, {
        host: `127.0.0.1:${upstream.port}`,
        connection: 'keep-alive',
        authorization: 'Bearer operator',
        'x-custom': 'client',
        cookie: 'a=b',
        'content-type': 'application/json',
        'content-length': String(body.length),
      })
    })

    it(`${name} has its own name for max_tokens`, async () => {
      await start(name, { ...config, override: { endpoint: upstream.origin, llm_options: { max_tokens: 5 } } })
      await ask()
      assert.equal(await bodyOf(upstream.received[0]), limited)
    })
  }

  describe('gemini, with the openai SDK', () => {
    const asked = { model: 'any', messages: [{ role: 'user' as const, content: 'hi' }] }
    const options = { model: 'gemini-3-pro' }
    let openai: OpenAI

    beforeEach(async () => {
      await start('gemini', { auth: { header: { Authorization: 'Bearer AIza' } }, options })
      openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'client', maxRetries: 0 })
    })

    it('gives a whole answer that calls a tool', async () => {
      const call = { id: 't', type: 'function' as const, function: { name: 'weather', arguments: '{"city":"Rome"}' } }
      const message = { role: 'assistant', content: null, tool_calls: [call] }
      const completion = { id: 'g', choices: [{ index: 0, message, finish_reason: 'tool_calls' }] }
      upstream.script = received => received.json(200, completion)
      const tools = [{ type: 'function' as const, function: { name: 'weather', parameters: {} } }]
      const { choices } = await openai.chat.completions.create({ ...asked, tools, tool_choice: 'required' })
      assert.deepEqual(choices[0]!.message.tool_calls, [call])
      const [received] = upstream.received
      assert.deepEqual(
        [received!.target, received!.headers.authorization],
        ['/v1beta/openai/chat/completions', 'Bearer AIza'],
      )
      const sent = JSON.parse(await bodyOf(received)) as object
      assert.deepEqual(sent, { ...asked, tools, tool_choice: 'required', model: 'gemini-3-pro' })
    })

    it('gives a stream, tells of one that is given up, and throws when one breaks', async () => {
      const text = readFileSync('t/fixtures/llm/gemini-chat-stream.sse', 'utf8')
      const streamed = () => openai.chat.completions.create({ ...asked, stream: true })
      upstream.script = ({ response }) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(text)
      let said = ''
      for await (const { choices } of await streamed()) said += choices[0]?.delta.content ?? ''
      assert.equal(said, 'The sky is blue.')

      upstream.script = async received => {
        received.startStream()
        await received.write(text.slice(0, text.indexOf('\n\n') + 2))
      }
      for await (const _ of await streamed()) break
      const given = upstream.received[1]!
      await given.closed
      assert.equal(given.gone, true)

      upstream.script = async received => {
        received.startStream()
        await received.write(text.slice(0, text.indexOf('\n\n') + 2))
        received.reset()
      }
      const reading = (async () => {
        for await (const _ of await streamed());
      })()
      await assert.rejects(reading, { code: 'upstream_reset' })
    })

    it('gives an error as Google said it', async () => {
      const error = { code: 429, message: 'Resource has been exhausted', status: 'RESOURCE_EXHAUSTED' }
      upstream.script = received => received.json(429, { error })
      await assert.rejects(openai.chat.completions.create(asked), thrown => {
        assert.ok(thrown instanceof RateLimitError)
        assert.deepEqual(thrown.error, error)
        return true
      })
    })
  })

  it('gets the same arguments of auth.query with every request', async () => {
    await start('openai', { override: { endpoint: `${upstream.origin}/p?v=2` } })
    for (let round = 0; round < 3; round++) await ask(`/any?key=client&round=${round}`)
    assert.deepEqual(
      upstream.received.map(({ target }) => target),
      Array(3).fill('/p?key=s+1&v=2'),
    )
  })

  it('gets of a client only what is safe, where the operator wants it so', async () => {
    await start('openai', { forward_headers: 'safe' })
    await ask()
    const names = Object.keys(upstream.received[0]!.headers).sort()
    assert.deepEqual(names, ['authorization', 'connection', 'content-length', 'content-type', 'host'])
  })

  it('keeps no more idle connections than keepalive_pool', async () => {
    await start('openai', { keepalive_pool: 2 })
    upstream.script = () => {}
    const asked = Array.from({ length: 5 }, () => ask())
    for (const received of await Promise.all(asked.map((_, at) => upstream.request(at)))) received.json(200, {})
    await Promise.all(asked)
    await until(() => upstream.openConnections() === 2, 'three connections are closed')
  })

  it('loses its idle connections after keepalive_timeout', async () => {
    await start('openai', { keepalive_timeout: 1_000 })
    await ask()
    assert.equal(upstream.openConnections(), 1)
    await until(() => upstream.openConnections() === 0, 'the connection is closed')
  })

  describe('with a service account of Google’s', () => {
    const gcp = { auth: { gcp: {} }, provider_conf: { project_id: 'p', region: 'r' } }
    let google: ScriptedUpstream

    beforeEach(async () => {
      google = await startUpstream(received => received.json(200, { access_token: 'ya29.token', expires_in: 3600 }))
    })
    afterEach(() => google.close())

    it('is asked with its token, which many requests share', async () => {
      await start('vertex-ai', gcp, { account: testAccount(`${google.origin}/token`).json })
      await Promise.all(Array.from({ length: 20 }, () => ask()))
      assert.deepEqual(
        new Set(upstream.received.map(({ headers }) => headers.authorization)),
        new Set(['Bearer ya29.token']),
      )
      assert.deepEqual([upstream.received.length, google.received.length], [20, 1])
    })

    it('gives embeddings to the openai SDK', async () => {
      await start('vertex-ai', gcp, { account: testAccount(`${google.origin}/token`).json })
      const predictions = [[0.25, -1], [0.5]].map(values => ({
        embeddings: { values, statistics: { token_count: 3 } },
      }))
      upstream.script = received => received.json(200, { predictions })
      const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'client', maxRetries: 0 })
      const asked = { model: 'text-embedding-005', input: ['a', 'b'], encoding_format: 'float' as const }
      const { data, usage } = await openai.embeddings.create(asked)
      assert.deepEqual(
        data.map(({ embedding }) => embedding),
        [[0.25, -1], [0.5]],
      )
      assert.deepEqual(usage, { prompt_tokens: 6, total_tokens: 6 })
      const [received] = upstream.received
      assert.equal(received!.target, '/v1/projects/p/locations/r/publishers/google/models/text-embedding-005:predict')
      assert.equal(received!.headers.authorization, 'Bearer ya29.token')
      assert.deepEqual(JSON.parse(await bodyOf(received)), { instances: [{ content: 'a' }, { content: 'b' }] })
    })

    it('is not asked without a token', async () => {
      google.script = received => received.json(400, { error: 'invalid_grant' })
      await start('vertex-ai', { ...gcp, auth: { gcp: { service_account_json: testAccount(google.origin).json } } })
      assert.deepEqual(await ask(), {
        status: 500,
        text: '{"error_msg":"failed to get gcp access token: failed to get google oauth token","code":"gcp_token_failed"}\n',
      })
      assert.equal(upstream.received.length, 0)
      await until(() => gateway.gateway.inFlight === 0, 'the request has logged')
      assert.match(gateway.scrape(), /^apisix_llm_active_connections\{.*\} 0$/m)
    })
  })

  describe('and secrets', () => {
    const planted = {
      key: 'planted-key-of-the-gateway',
      header: 'planted-header-of-the-provider',
      query: 'planted-query-of-the-provider',
      aws: 'planted-secret-of-aws',
      session: 'planted-session-of-aws',
      token: 'planted-token-of-google',
      client: 'planted-token-of-the-client',
    }
    const all = /planted-[a-z-]+/g
    let google: ScriptedUpstream
    let lines: unknown[]
    let account: ReturnType<typeof testAccount>

    beforeEach(async () => {
      google = await startUpstream(received => received.json(200, { access_token: planted.token }))
      account = testAccount(google.origin)
      lines = []
    })
    afterEach(() => google.close())

    /** A route for each way to prove who asks, behind key-auth. */
    async function startAll(forward_headers = 'all'): Promise<void> {
      const log = (...said: unknown[]) => void lines.push(inspect(said, { depth: 12 }))
      const override = { endpoint: upstream.origin }
      const conf = { project_id: 'p', region: 'r' }
      const ways: Record<string, object> = {
        fixed: {
          provider: 'openai',
          auth: { header: { Authorization: `Bearer ${planted.header}` }, query: { k: planted.query } },
        },
        aws: {
          provider: 'bedrock',
          provider_conf: conf,
          auth: { aws: { access_key_id: 'A', secret_access_key: planted.aws, session_token: planted.session } },
        },
        gcp: { provider: 'vertex-ai', provider_conf: conf, auth: { gcp: { service_account_json: account.json } } },
      }
      const routes = Object.entries(ways).map(([name, config]) => [
        name,
        {
          uri: `/${name}/*`,
          plugins: {
            'key-auth': { header: 'x-gateway-key' },
            'ai-proxy': { ...config, override, forward_headers, timeout: 300 },
            prometheus: {},
          },
        },
      ])
      gateway = await startGateway({
        resources: {
          routes: Object.fromEntries(routes) as Record<string, Record<string, unknown>>,
          consumers: { jack: { username: 'jack', plugins: { 'key-auth': { key: planted.key } } } },
        },
        log: { debug: log, info: log, warn: log, error: log },
      })
      assert.deepEqual(gateway.rejected, [])
    }

    const headers = {
      'content-type': 'application/json',
      'x-gateway-key': planted.key,
      authorization: `Bearer ${planted.client}`,
      'x-amz-security-token': planted.client,
    }
    const body = '{"model":"m","messages":[]}'
    const seenBy = (received: Received) =>
      [...new Set(`${received.target} ${received.rawHeaders}`.match(all) ?? [])].sort()

    it('each hears only of its own, and of the client’s own what the operator lets through, never of the gateway’s', async () => {
      for (const [forward, ofClient] of [
        ['all', [planted.client]],
        ['safe', []],
      ] as const) {
        upstream.received.length = 0
        await startAll(forward)
        for (const path of ['/fixed/x', '/aws/converse', '/gcp/x', '/fixed/v1/models?a=1&X-Gateway-Key=planted-x']) {
          const models = path.includes('/models')
          const asked = { method: models ? 'GET' : 'POST', headers, ...(!models && { body }) }
          assert.equal((await fetch(gateway.url + path, asked)).status, 200)
        }
        const fixed = [planted.header, planted.query, ...ofClient].sort()
        // What signs for AWS takes the place of the client's signature.
        assert.deepEqual(upstream.received.map(seenBy), [
          ...[fixed, [planted.session], [planted.token, ...ofClient].sort(), fixed],
        ])
        if (forward === 'all') await gateway.close()
      }
    })

    it('nobody else hears of any: not the client, the log nor the metrics', async () => {
      await startAll()
      const ends: ((received: Received) => unknown)[] = [
        received => received.json(200, { choices: [] }),
        received => received.json(401, { error: { message: 'no' } }),
        received => received.json(500, { error: { message: 'no' } }),
        received => received.reset(),
        received => received.lie('nonsense\r\n\r\n'),
        () => {},
      ]
      const heard: string[] = []
      const hear = async (path: string) => {
        const response = await fetch(gateway.url + path, { method: 'POST', headers, body })
        heard.push(`${response.status} ${inspect([...response.headers])} ${await response.text()}`)
      }
      for (const script of ends) {
        upstream.script = script
        await Promise.all(['/fixed/x', '/aws/converse', '/gcp/x'].map(hear))
      }
      google.script = received => received.json(400, { error: planted.token, error_description: account.secret })
      await gateway.put({
        routes: {
          lost: {
            uri: '/lost/*',
            plugins: {
              'ai-proxy': {
                provider: 'vertex-ai',
                provider_conf: { project_id: 'p', region: 'r' },
                auth: { gcp: { service_account_json: account.json, max_ttl: 7 } },
              },
            },
          },
        },
      })
      await hear('/lost/x')
      await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
      assert.ok(lines.length > 0)
      assert.match(heard.at(-1)!, /^500 .*gcp_token_failed/s)
      for (const text of [...heard, ...lines.map(String), gateway.scrape()]) {
        assert.doesNotMatch(text, all)
        assert.ok(!text.includes(account.secret))
      }
    })
  })
})
