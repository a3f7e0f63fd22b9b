// file-logger as whoever reads its file sees it.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { noAccounts } from '../../core/budgets/touched.ts'
import { exchange, openExchange } from '../../core/llm/exchange.ts'
import { silent } from '../../core/observe/log.ts'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'
import { plugin } from '../../core/plugin.ts'
import { localState } from '../../core/proxy/balancer/state.ts'
import { Transport } from '../../core/proxy/transport.ts'
import fileLogger from '../../plugins/file-logger.ts'
import { makeContext } from '../helpers/context.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { ledgers } from '../helpers/ledgers.ts'
import { noAccount } from '../helpers/no-account.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

interface Line {
  request: {
    url: string
    uri: string
    method: string
    headers: Record<string, string>
    querystring: Record<string, unknown>
    size: number
    body?: string
    body_truncated?: true
  }
  response: { status: number; headers: Record<string, string>; size: number; body?: string; body_truncated?: true }
  [field: string]: unknown
}

/** Makes every request an LLM call that is over, without an LLM. */
const pretender = plugin({
  name: 'pretender',
  priority: 1040,
  version: 1,
  schema: { type: 'object', properties: { summaries: { type: 'boolean' }, payloads: { type: 'boolean' } } },
  setup: ({ summaries = false, payloads = false }) => ({
    async access(ctx) {
      await ctx.body.bytes(1 << 20)
      const call = openExchange({
        protocol: 'openai-chat',
        requestType: 'ai_stream',
        requestModel: 'asked',
        instance: 'ai-proxy-openai',
        logging: { summaries, payloads },
      })
      call.model = 'given'
      call.upstream = { scheme: 'https', host: 'llm.test', path: '/v1/chat' }
      call.usage = { prompt: 23, completion: 8, total: 31, cacheRead: 1, cacheCreation: 2, reasoning: 3 }
      call.timeToFirstTokenMs = 12
      call.upstreamMs = 34
      call.toolCount = 2
      call.hasToolCalls = true
      call.endUserId = 'u1'
      call.responseText = 'hello'
      exchange.set(ctx, call)
    },
  }),
})

describe('file-logger', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let folder: string
  let path: string

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-file-logger-'))
    path = join(folder, 'access.log')
    upstream = await startUpstream()
    gateway = await startGateway({ plugins: [pretender] })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
    rmSync(folder, { recursive: true })
  })

  async function configure(config: object, plugins: object = {}): Promise<void> {
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    await gateway.put({
      routes: {
        1: {
          uri: '/*',
          plugins: { 'file-logger': { path, ...config }, ...plugins },
          upstream: { type: 'roundrobin', nodes },
        },
      },
      consumers: { jack: { username: 'jack', plugins: { 'key-auth': { key: 'secret-1' } } } },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  const lines = (): Line[] => {
    try {
      return readFileSync(path, 'utf8')
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line) as Line)
    } catch {
      return []
    }
  }

  /** Sends a request and gives the line that it leaves. */
  async function logged(target: string, init: RequestInit = {}): Promise<Line> {
    const before = lines().length
    await (await fetch(gateway.url + target, init)).arrayBuffer()
    await until(() => lines().length > before, 'a line in the file')
    return lines()[before]!
  }

  it('writes the entry that APISIX writes', async () => {
    await configure({})
    const began = Date.now()
    const entry = await logged('/a%20b?x=1&y=2&y=3', { method: 'POST', headers: { 'X-A': 'b' }, body: 'hello' })
    assert.equal(entry.request.url, `http://127.0.0.1:${gateway.port}/a b?x=1&y=2&y=3`)
    assert.equal(entry.request.uri, '/a b?x=1&y=2&y=3')
    assert.equal(entry.request.method, 'POST')
    assert.equal(entry.request.headers['x-a'], 'b')
    assert.deepEqual(entry.request.querystring, { x: '1', y: ['2', '3'] })
    assert.ok(entry.request.size > 'POST /a%20b HTTP/1.1'.length + 5)
    assert.equal(entry.request.body, undefined)
    assert.equal(entry.response.status, 200)
    assert.equal(entry.response.headers['content-type'], 'application/json')
    assert.ok(entry.response.size > 0)
    assert.deepEqual(entry.server, { hostname: hostname(), version: '3.18.0' })
    assert.equal(entry.upstream, `127.0.0.1:${upstream.port}`)
    assert.equal(entry.route_id, '1')
    assert.equal(entry.service_id, '')
    assert.equal(entry.client_ip, '127.0.0.1')
    assert.equal(entry.consumer, undefined)
    assert.ok(Math.abs((entry.start_time as number) - began) < 5_000)
    const latency = entry.latency as number
    const upstreamLatency = entry.upstream_latency as number
    assert.ok(latency > 0 && upstreamLatency > 0 && upstreamLatency <= latency)
    assert.equal(entry.apisix_latency, latency - upstreamLatency)
  })

  it('writes one line for each request, of several instances into one file', async () => {
    await configure({})
    await gateway.put({ routes: { 2: { uri: '/two', plugins: { 'file-logger': { path } } } } })
    const requests = Array.from({ length: 30 }, (_, n) => fetch(`${gateway.url}/${n % 2 ? 'two' : n}`))
    for (const response of await Promise.all(requests)) await response.arrayBuffer()
    await until(() => lines().length === 30, '30 lines')
    assert.equal(lines().filter(line => line.route_id === '2' && line.response.status === 503).length, 15)
  })

  it('logs requests that no route matches, by their host', async () => {
    await gateway.put({ global_rules: { 1: { plugins: { 'file-logger': { path } } } } })
    const entry = await logged('/nowhere')
    assert.equal(entry.response.status, 404)
    assert.equal(entry.service_id, '127.0.0.1')
    assert.equal(entry.route_id, undefined)
    assert.equal(entry.upstream_latency, undefined)
  })

  it('writes no secrets down', async () => {
    await configure({ include_req_body: true }, { 'key-auth': { header: 'X-Private', query: 'private' } })
    const secrets = {
      Authorization: 'Bearer s3cret',
      Cookie: 's=s3cret',
      'X-Api-Key': 's3cret',
      'X-Private': 'secret-1',
    }
    const entry = await logged('/?apikey=s3cret&private=s3cret&x=1', { headers: secrets })
    assert.deepEqual(entry.consumer, { username: 'jack' })
    assert.deepEqual(entry.request.querystring, { apikey: '[redacted]', private: '[redacted]', x: '1' })
    assert.equal(entry.request.uri, '/?apikey=[redacted]&private=[redacted]&x=1')
    assert.equal(entry.request.headers.authorization, '[redacted]')
    const text = readFileSync(path, 'utf8')
    assert.doesNotMatch(text, /s3cret|secret-1/)
  })

  it('writes no secrets into a format of the user either', async () => {
    const log_format = {
      request: '$request',
      uri: '$request_uri',
      args: '$args',
      one: '$arg_private',
      two: '$http_x_api_key',
      three: '$cookie_s',
      other: '$arg_x $http_x_other',
      x: '$arg_x',
      referer: '$http_referer',
    }
    await configure({ log_format }, { 'key-auth': { header: 'X-Private', query: 'private' } })
    const headers = { 'X-Api-Key': 's3cret', Cookie: 's=s3cret', Referer: 'http://a.test/?access_token=s3cret&y=2' }
    const entry = (await logged('/a?private=secret-1&x=1', { headers })) as unknown as Record<string, string>
    assert.equal(entry.request, 'GET /a?private=[redacted]&x=1 HTTP/1.1')
    assert.equal(entry.uri, '/a?private=[redacted]&x=1')
    assert.equal(entry.args, 'private=[redacted]&x=1')
    assert.deepEqual([entry.one, entry.two, entry.three, entry.x], ['[redacted]', '[redacted]', '[redacted]', '1'])
    assert.equal(entry.referer, 'http://a.test/?access_token=[redacted]&y=2')
  })

  it('includes the bodies where it is told to, cut where they are too long', async () => {
    const limits = { max_req_body_bytes: 8, max_resp_body_bytes: 5 }
    await configure({ include_req_body: true, include_resp_body: true, ...limits })
    const short = await logged('/', { method: 'POST', body: 'request' })
    assert.equal(short.request.body, 'request')
    assert.equal(short.response.body, '{"ok"')
    assert.equal(short.response.body_truncated, true)
    const long = await logged('/', { method: 'POST', body: 'too long a request' })
    assert.equal(long.request.body, undefined)
    assert.equal(long.request.body_truncated, true)
    assert.equal((await upstream.received[1]!.body).toString(), 'too long a request')
    const none = await logged('/')
    assert.equal('body' in none.request, false)
  })

  it('cuts a long body that is in memory anyhow', async () => {
    await configure({ include_req_body: true, max_req_body_bytes: 8 }, { pretender: {} })
    const { request } = await logged('/', { method: 'POST', body: 'too long a request' })
    assert.equal(request.body, 'too long')
    assert.equal(request.body_truncated, true)
  })

  it('includes a body only where its expression holds', async () => {
    const only = [['arg_body', '==', 'yes']]
    await configure({
      include_req_body: true,
      include_req_body_expr: only,
      include_resp_body: true,
      include_resp_body_expr: only,
    })
    const without = await logged('/?body=no', { method: 'POST', body: 'request' })
    assert.deepEqual([without.request.body, without.response.body], [undefined, undefined])
    const having = await logged('/?body=yes', { method: 'POST', body: 'request' })
    assert.deepEqual([having.request.body, having.response.body], ['request', '{"ok":true}'])
  })

  it('logs a compressed response body as text', async () => {
    upstream.script = ({ response }) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      response.end(gzipSync('plain text'))
    }
    await configure({ include_resp_body: true })
    const entry = await logged('/')
    assert.equal(entry.response.body, 'plain text')
    assert.equal(entry.response.headers['content-encoding'], 'gzip')
  })

  it('writes in the format it is given', async () => {
    await configure({
      include_resp_body: true,
      log_format: {
        '@timestamp': '$time_iso8601',
        who: { ip: '$remote_addr', none: '$arg_none', deep: { status: '$status' } },
        text: 'a $remote_addr',
        sent: '$request_body',
        got: '$resp_body',
      },
    })
    const entry = await logged('/', { method: 'POST', body: 'request' })
    assert.match(String(entry['@timestamp']), /^\d{4}-/)
    delete entry['@timestamp']
    assert.deepEqual(entry as unknown, {
      who: { ip: '127.0.0.1', deep: { status: '200' } },
      text: 'a $remote_addr',
      sent: 'request',
      got: '{"ok":true}',
      service_id: '',
      route_id: '1',
    })
  })

  it('adds fields to the default entry without replacing any', async () => {
    await configure({ log_format_extra: { mine: '$arg_x', request: 'no', route_id: 'no' } })
    const entry = await logged('/?x=1')
    assert.equal(entry.mine, '1')
    assert.equal(entry.request.method, 'GET')
    assert.equal(entry.route_id, '1')
  })

  it('logs only what one of its expressions matches', async () => {
    await configure({ match: [[['status', '==', 500]], [['arg_log', '==', 'me']]] })
    await (await fetch(`${gateway.url}/?log=not`)).arrayBuffer()
    const entry = await logged('/?log=me')
    assert.equal(entry.request.uri, '/?log=me')
    assert.equal(lines().length, 1)
  })

  it('tells of a call to an LLM what its logging asks for', async () => {
    await configure({}, { pretender: { summaries: true, payloads: true } })
    const messages = [{ role: 'user', content: 'hi' }]
    const entry = await logged('/', { method: 'POST', body: JSON.stringify({ model: 'asked', messages }) })
    assert.deepEqual(entry.llm_summary, {
      request_model: 'asked',
      model: 'given',
      duration: 12,
      prompt_tokens: 23,
      completion_tokens: 8,
      total_tokens: 31,
      upstream_response_time: 34,
      stream: 'true',
      tool_count: 2,
      has_tool_calls: 'true',
      end_user_id: 'u1',
      cache_read_input_tokens: 1,
      cache_creation_input_tokens: 2,
      reasoning_tokens: 3,
      content_risk_level: '',
    })
    assert.deepEqual(entry.llm_request, { messages, stream: true })
    assert.deepEqual(entry.llm_response_text, { content: 'hello' })
    await configure({ log_format: { a: 'b' } }, { pretender: { summaries: true } })
    const custom = await logged('/', { method: 'POST', body: '{}' })
    assert.equal((custom.llm_summary as { model: string }).model, 'given')
    assert.equal(custom.llm_request, undefined)
  })

  it('takes what its config does not say from its metadata, and follows them', async () => {
    const metadata = (value: object) => gateway.put({ plugin_metadata: { 'file-logger': { path, ...value } } })
    await metadata({ log_format: { from: 'metadata', who: '$arg_who', body: '$request_body' } })
    await configure({ path: undefined })
    const posted = await logged('/?who=me', { method: 'POST', body: 'hello' })
    assert.deepEqual(posted, { from: 'metadata', who: 'me', body: 'hello', route_id: '1', service_id: '' })
    await configure({ log_format: { from: 'config' } })
    assert.equal((await logged('/')).from, 'config')
    await configure({})
    await metadata({ log_format_extra: { added: 'by metadata' } })
    const extra = await logged('/')
    assert.deepEqual([extra.added, extra.response.status], ['by metadata', 200])
    await configure({ log_format_extra: { added: 'by config' } })
    assert.equal((await logged('/')).added, 'by config')
  })

  it('counts the lines it could not write', async () => {
    await configure({ path: folder })
    await (await fetch(gateway.url)).arrayBuffer()
    await until(() => /dropped_total\{plugin="file-logger",reason="failed"\} 1$/m.test(gateway.scrape()), 'the counter')
  })

  it('has written everything when it is closed', async () => {
    const metrics = new MetricsWriter({ publish: () => {} })
    const owner = { kind: 'route', id: '1' } as const
    const transport = new Transport()
    const clock = { now: Date.now, random: Math.random }
    const more = {
      transport,
      gcpTokens: noAccount(),
      ledger: ledgers(),
      accounts: noAccounts,
      owner,
      metadata: undefined,
      metadataOf: () => undefined,
      use: () => ({}),
    }
    const env = { ...clock, balancing: localState(clock), log: silent, metrics, ...more }
    const hooks = fileLogger.setup({ path, max_req_body_bytes: 1, max_resp_body_bytes: 1 }, env)
    for (let n = 0; n < 20; n++) await hooks.log!(await makeContext({ target: `/${n}` }))
    await hooks.close!()
    assert.equal(lines().length, 20)
  })

  it('refuses what it cannot do', () => {
    const check = (config: object) => fileLogger.check!(config)
    assert.match(
      check({ path, match: [['a', '==', 'b']] })!,
      /^failed to validate the 'match' expression: rule should be wrapped/,
    )
    assert.match(check({ path, include_req_body_expr: [['a']] })!, /'include_req_body_expr' expression: rule too short/)
    const deep = { a: { b: { c: { d: { e: { f: 1 } } } } } }
    assert.match(check({ path, log_format: deep })!, /deeper than 5/)
    assert.match(check({ path, log_format_extra: deep })!, /deeper than 5/)
    assert.equal(check({ path, log_format: deep.a }), undefined)
  })
})
