// The Prometheus page of a real gateway with two workers: every family moves as docs/metrics.md says, and promtool reads it.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensure } from '../helpers/debian-package.ts'
import { configFolder, type GatewayProcess, startProcess } from '../helpers/process.ts'
import { connectRaw } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const WORKERS = 2
const MAX_BUFFERED = 64 * 1024
const THROWING = `export default {
  name: 'throwing', priority: 1, version: 1, schema: { type: 'object' },
  setup: () => ({ access() { throw new Error('of the plugin') } }),
}`
const main = new URL('../../core/main.ts', import.meta.url).pathname
const DOCS = new URL('../../docs/metrics.md', import.meta.url)
const PAGE = '/apisix/prometheus/metrics'

/** Values by series, as they stand on a page: `name{label="value"}`. */
type Page = ReadonlyMap<string, number>

interface Answer {
  status: number
  body: string
}

let upstream: ScriptedUpstream
let gateway: GatewayProcess
let folder: string
let plugins: string

async function start(): Promise<void> {
  upstream = await startUpstream(answerOf)
  plugins = mkdtempSync(join(tmpdir(), 'sluice-plugins-'))
  writeFileSync(join(plugins, 'throwing.js'), THROWING)
  const place = configFolder(`sluice: {max_buffered_bytes: ${MAX_BUFFERED}, plugin_dirs: ["${plugins}"]}\n`)
  folder = place.folder
  gateway = await startProcess(place, ['env', `APISIX_WORKER_PROCESSES=${WORKERS}`, 'node', main])
  const node = `127.0.0.1:${upstream.port}`
  const proxied = { upstream: { type: 'roundrobin', nodes: { [node]: 1 } } }
  const llm = {
    provider: 'openai-compatible',
    auth: {},
    options: { model: 'given' },
    override: { endpoint: `${upstream.origin}/v1/chat/completions` },
  }
  const resources: Record<string, object> = {
    'consumers/jack': { username: 'jack', plugins: { 'key-auth': { key: 'of-jack' } } },
    'services/s': { name: 'shop', ...proxied },
    // Its health is shown, and not looked at.
    'routes/plain': {
      uri: '/plain',
      plugins: { prometheus: {} },
      upstream: { ...proxied.upstream, checks: { active: {} } },
    },
    'routes/named': {
      name: 'front',
      uri: '/named/*',
      host: 'shop.test',
      service_id: 's',
      plugins: {
        prometheus: { prefer_name: true },
        'key-auth': {},
        'limit-conn': { conn: 100, burst: 0, default_conn_delay: 1, key: 'remote_addr' },
      },
    },
    'routes/llm': {
      name: 'chat',
      uri: '/llm',
      service_id: 's',
      plugins: { prometheus: {}, 'key-auth': {}, 'ai-proxy': llm, 'ai-rate-limiting': { limit: 1e9, time_window: 60 } },
    },
    'routes/several': {
      uri: '/several',
      plugins: {
        'ai-proxy-multi': {
          fallback_strategy: ['http_5xx'],
          instances: [
            {
              ...llm,
              name: 'ill',
              priority: 1,
              weight: 1,
              override: { endpoint: `${upstream.origin}/ill?status=503` },
            },
            { ...llm, name: 'well', priority: 0, weight: 1 },
          ],
        },
      },
    },
    'routes/rewritten': {
      uri: '/rewritten',
      plugins: {
        'ai-request-rewrite': { ...llm, prompt: 'x', override: { endpoint: `${upstream.origin}/ill?status=503` } },
      },
      ...proxied,
    },
    'routes/guarded': { uri: '/guarded', plugins: { 'ai-prompt-guard': { deny_patterns: ['bad'] } }, ...proxied },
    'plugin_metadata/ai-budget': { currency: 'EUR', prices: [{ model: 'priced', input: 1, output: 1 }] },
    ...Object.fromEntries(
      Object.entries({ paid: { unit: 'money', cap: 1 }, broke: { cap: 1 } }).map(([name, cap]) => [
        `routes/${name}`,
        {
          uri: `/${name}`,
          plugins: {
            'ai-proxy': { ...llm, options: {} },
            'ai-budget': { budgets: [{ name, principal: 'route', window: { type: 'balance' }, ...cap }] },
          },
        },
      ]),
    ),
    'routes/logged': {
      uri: '/logged',
      plugins: { 'file-logger': { path: join(folder, 'not', 'there', 'access.log') } },
      ...proxied,
    },
    'routes/batched': {
      uri: '/batched',
      plugins: { 'http-logger': { uri: upstream.origin, inactive_timeout: 3_600, buffer_duration: 3_600 } },
      ...proxied,
    },
    'routes/throwing': { uri: '/throwing', plugins: { throwing: {} }, ...proxied },
    'routes/slow': { uri: '/slow', ...proxied },
    'routes/exposed': { uri: PAGE, plugins: { 'public-api': {} } },
  }
  for (const [path, value] of Object.entries(resources)) {
    const { status, body } = await gateway.admin('PUT', `/${path}`, value)
    assert.equal(status, 201, JSON.stringify(body))
  }
}

async function stop(): Promise<void> {
  await gateway.dispose()
  rmSync(plugins, { recursive: true })
  await upstream.close()
}

/** What the upstream says, by path; an LLM answers 11 tokens to 5. */
async function answerOf(received: Received): Promise<void> {
  const { pathname, searchParams } = new URL(received.target, 'http://upstream')
  if (pathname === '/slow') return
  const usage = { prompt_tokens: 5, completion_tokens: 11, total_tokens: 16 }
  const body = (await received.body).toString()
  if (pathname !== '/v1/chat/completions') {
    received.response.writeHead(Number(searchParams.get('status') ?? 200))
    received.response.end('x'.repeat(Number(searchParams.get('size') ?? 2)))
  } else if (body.includes('"cut"')) {
    received.cut()
  } else if (!body.includes('"stream":true')) {
    received.json(200, { choices: [{ message: { role: 'assistant', content: 'hello' } }], usage })
  } else {
    received.startStream()
    await received.event({ choices: [{ index: 0, delta: { content: 'hello' } }] })
    if (body.includes('wait')) return
    await received.event({ choices: [], usage })
    await received.event('[DONE]')
    received.response.end()
  }
}

/** A request on a connection of its own. */
function send(method: string, path: string, headers: Record<string, string> = {}, body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(gateway.urls.requests + path, { method, headers, agent: false }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode!, body: text }))
      response.on('error', reject)
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

const chat = (body: object) =>
  send(
    'POST',
    '/llm',
    { apikey: 'of-jack', 'content-type': 'application/json' },
    JSON.stringify({ model: 'asked', messages: [{ role: 'user', content: 'hi' }], ...body }),
  )

/** Bytes on a connection, and the status line that comes back. */
async function raw(bytes: string): Promise<void> {
  const client = await connectRaw(Number(new URL(gateway.urls.requests).port))
  client.write(bytes)
  await client.reads('HTTP/1.1 ')
  client.close()
}

async function text(): Promise<string> {
  const answer = await fetch(gateway.urls.prometheus + PAGE)
  assert.equal(answer.status, 200)
  return await answer.text()
}

async function page(): Promise<Page> {
  const lines = (await text()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

/** The family that a series is of. */
const familyOf = (series: string) => series.replace(/\{.*/s, '').replace(/_(bucket|sum|count)$/, '')

const plain =
  'service="",consumer="",node="127.0.0.1",request_type="traditional_http",request_llm_model="",llm_model=""'
const named =
  'service="shop",consumer="jack",node="127.0.0.1",request_type="traditional_http",request_llm_model="",llm_model=""'
const llm = (type: string) =>
  `consumer="jack",node="ai-proxy-openai-compatible",request_type="${type}",request_llm_model="asked",llm_model="given"`
const status = (code: number, route: string, matched: string, who: string, source: string) =>
  `apisix_http_status{code="${code}",route="${route}",${matched},${who},response_source="${source}"}`
const ofPlain = 'matched_uri="/plain",matched_host=""'
const ofNamed = 'matched_uri="/named/*",matched_host="shop.test"'
const ofLlm = 'matched_uri="/llm",matched_host=""'

/** The series of a histogram that are exact: its buckets from `from` on, and its count. */
function histogram(name: string, labels: string, by: number, from = '+Inf'): Record<string, number> {
  const bounds = name.startsWith('apisix_llm_p') || name.startsWith('apisix_llm_c') ? TOKENS : LATENCY
  const moved: Record<string, number> = { [`${name}_count{${labels}}`]: by }
  for (const bound of bounds.slice(bounds.indexOf(from))) moved[`${name}_bucket{${labels},le="${bound}"}`] = by
  return moved
}

const LATENCY = '1 2 5 10 20 50 100 200 500 1000 2000 5000 10000 30000 60000 +Inf'.split(' ')
const TOKENS = '1 10 50 100 200 500 1000 2000 5000 10000 20000 50000 100000 200000 500000 1000000 +Inf'.split(' ')

function llmLatency(requestType: string, types: readonly string[]): Record<string, number> {
  const labels = `route_id="llm",service_id="s",${llm(requestType)}`
  return Object.assign({}, ...types.map(type => histogram('apisix_llm_latency', `type="${type}",${labels}`, 1)))
}

const GREETING = 'POST /plain HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello'

/** Something that is done to the gateway, and every exact change of the families that are named. */
interface Case {
  what: string
  act(): Promise<unknown>
  moves: Record<string, number>
  /** Series that move too, by what nobody can foretell. */
  alsoMoves?: RegExp
}

const cases: readonly Case[] = [
  {
    what: 'requests by status, with what their upstream said',
    act: () => Promise.all(['', '?status=404', '', '?status=503'].map(query => send('GET', `/plain${query}`))),
    moves: {
      [status(200, 'plain', ofPlain, plain, 'upstream')]: 2,
      [status(404, 'plain', ofPlain, plain, 'upstream')]: 1,
      [status(503, 'plain', ofPlain, plain, 'upstream')]: 1,
      apisix_http_requests_total: 4,
    },
  },
  {
    what: 'requests by the names of route, service and consumer, and those that the gateway answers',
    async act() {
      await send('GET', '/named/x', { host: 'shop.test', apikey: 'of-jack' })
      await send('GET', '/named/x', { host: 'shop.test' })
    },
    moves: {
      [status(200, 'front', ofNamed, named, 'upstream')]: 1,
      [status(401, 'front', ofNamed, named.replace('jack', '').replace('127.0.0.1', ''), 'apisix')]: 1,
    },
  },
  {
    what: 'the time that requests take, all in all, upstream and in the gateway',
    act: () => Promise.all([send('GET', '/plain'), send('GET', '/plain')]),
    moves: Object.assign(
      {},
      ...['request', 'upstream', 'apisix'].map(type =>
        histogram('apisix_http_latency', `type="${type}",route="plain",${plain}`, 2),
      ),
    ),
    alsoMoves: /^apisix_http_latency_(bucket|sum)\{type="\w+",route="plain",/,
  },
  {
    what: 'bytes that come in, exactly',
    act: () => raw(GREETING),
    moves: { [`apisix_bandwidth{type="ingress",route="plain",${plain}}`]: GREETING.length },
    alsoMoves: /^apisix_bandwidth\{type="egress",route="plain",/,
  },
  {
    what: 'tokens and time of a call to an LLM',
    act: () => chat({}),
    moves: {
      [status(200, 'llm', ofLlm, `service="s",${llm('ai_chat')}`, 'upstream')]: 1,
      [`apisix_llm_prompt_tokens{route_id="llm",service_id="s",${llm('ai_chat')}}`]: 5,
      [`apisix_llm_completion_tokens{route_id="llm",service_id="s",${llm('ai_chat')}}`]: 11,
      ...histogram('apisix_llm_prompt_tokens_dist', `route_id="llm",service_id="s",${llm('ai_chat')}`, 1, '10'),
      [`apisix_llm_prompt_tokens_dist_sum{route_id="llm",service_id="s",${llm('ai_chat')}}`]: 5,
      ...histogram('apisix_llm_completion_tokens_dist', `route_id="llm",service_id="s",${llm('ai_chat')}`, 1, '50'),
      [`apisix_llm_completion_tokens_dist_sum{route_id="llm",service_id="s",${llm('ai_chat')}}`]: 11,
      ...llmLatency('ai_chat', ['total']),
      'sluice_holds_opened_total{kind="llm_active_connections"}': 1,
      'sluice_holds_settled_total{kind="llm_active_connections"}': 1,
      'sluice_holds_opened_total{kind="ai-rate-limiting"}': 1,
      'sluice_holds_settled_total{kind="ai-rate-limiting"}': 1,
      'sluice_ledger_tickets{kind="fixed_window",backing="shared_memory",state="opened"}': 1,
      'sluice_ledger_tickets{kind="fixed_window",backing="shared_memory",state="settled"}': 1,
      'sluice_llm_charged_total{route_id="llm",counted="reported"}': 16,
    },
    alsoMoves: /^apisix_llm_latency_(bucket|sum)\{/,
  },
  {
    what: 'the first token of a call that streams',
    act: () => chat({ stream: true }),
    moves: {
      [`apisix_llm_prompt_tokens{route_id="llm",service_id="s",${llm('ai_stream')}}`]: 5,
      [`apisix_llm_completion_tokens{route_id="llm",service_id="s",${llm('ai_stream')}}`]: 11,
      ...llmLatency('ai_stream', ['total', 'ttft']),
    },
    alsoMoves: /^apisix_llm_latency_(bucket|sum)\{/,
  },
  {
    what: 'how fast a stream of an LLM is',
    act: () => chat({ stream: true }),
    moves: {
      ...Object.fromEntries(
        [
          'time_to_first_token_seconds',
          'time_per_output_token_seconds',
          'tokens_per_second',
          'request_duration_seconds',
        ].map(name => [
          `sluice_llm_${name}_count{route_id="llm",node="ai-proxy-openai-compatible",llm_model="given"}`,
          1,
        ]),
      ),
      'sluice_llm_attempts_total{route_id="llm",node="ai-proxy-openai-compatible"}': 1,
    },
    alsoMoves: /^sluice_llm_\w+_(seconds|second)_(bucket|sum)\{/,
  },
  {
    what: 'attempts at nodes',
    act: () => send('GET', '/plain'),
    moves: { 'sluice_upstream_attempts_total{route="plain",node="127.0.0.1",outcome="answered"}': 1 },
  },
  {
    what: 'calls to LLMs that are cut short, by reason',
    act: () => chat({ user: 'cut' }),
    moves: { 'sluice_llm_cut_total{route_id="llm",node="ai-proxy-openai-compatible",reason="reset"}': 1 },
  },
  {
    what: 'verdicts of guards, and their time',
    async act() {
      const body = JSON.stringify({ messages: [{ role: 'user', content: 'bad' }] })
      assert.equal((await send('POST', '/guarded', {}, body)).status, 400)
    },
    moves: {
      'sluice_guard_verdicts_total{plugin="ai-prompt-guard",route_id="guarded",side="request",verdict="deny"}': 1,
      'sluice_guard_seconds_count{plugin="ai-prompt-guard",side="request"}': 1,
    },
    alsoMoves: /^sluice_guard_seconds_(bucket|sum)\{/,
  },
  {
    what: 'instances in the place of which another was asked',
    async act() {
      const body = JSON.stringify({ messages: [{ role: 'user', content: 'hi' }] })
      const { status: answered } = await send('POST', '/several', { 'content-type': 'application/json' }, body)
      assert.equal(answered, 200)
    },
    moves: { 'sluice_llm_fallbacks_total{route_id="several",node="ill",code="503",reason="status"}': 1 },
  },
  {
    what: 'calls of plugins of their own, and those that were of no use',
    act: () => send('POST', '/rewritten', {}, 'hello'),
    moves: {
      'sluice_sidecar_seconds_count{plugin="ai-request-rewrite"}': 1,
      'sluice_sidecar_seconds_bucket{plugin="ai-request-rewrite",le="+Inf"}': 1,
      'sluice_sidecar_failures_total{plugin="ai-request-rewrite",reason="status 503"}': 1,
    },
    alsoMoves: /^sluice_sidecar_seconds_(bucket|sum)\{/,
  },
  {
    what: 'what budgets pay for, and what they do not',
    async act() {
      const ask = async (path: string, model: string) => {
        const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] })
        return (await send('POST', path, { 'content-type': 'application/json' }, body)).status
      }
      assert.deepEqual(
        [await ask('/paid', 'priced'), await ask('/paid', 'dear'), await ask('/broke', 'priced')],
        [200, 400, 429],
      )
    },
    moves: {
      'sluice_spend_tokens_total{consumer="",credential=""}': 16,
      'sluice_spend_prompt_tokens_total{consumer="",credential=""}': 5,
      'sluice_spend_completion_tokens_total{consumer="",credential=""}': 11,
      'sluice_spend_money_total{consumer="",credential="",currency="EUR"}': 0.000016,
      'sluice_budget_unpriced_total{route_id="paid"}': 1,
      'sluice_budget_refused_total{budget="broke",mode="enforce"}': 1,
    },
  },
  {
    what: 'what was no request',
    act: () => raw('nonsense\r\n\r\n'),
    moves: { 'sluice_requests_refused_total{status="400"}': 1, apisix_http_requests_total: 1 },
  },
  {
    what: 'what there was no room for',
    async act() {
      const { status: refused } = await chat({ user: 'x'.repeat(MAX_BUFFERED) })
      assert.equal(refused, 503)
    },
    moves: { 'sluice_shed_total{reason="buffered_bytes"}': 1 },
  },
  {
    what: 'log entries that cannot be written',
    act: () => Promise.all([send('GET', '/logged'), send('GET', '/logged')]),
    moves: { 'sluice_log_entries_dropped_total{plugin="file-logger",reason="failed"}': 2 },
  },
  {
    what: 'log entries that wait for their batch',
    act: () => send('GET', '/batched'),
    moves: { 'apisix_batch_process_entries{name="http logger",route_id="batched",server_addr=""}': 1 },
  },
  {
    what: 'hooks that throw',
    act: () => send('GET', '/throwing'),
    moves: { 'sluice_plugin_failures_total{plugin="throwing",reason="error"}': 1 },
  },
  {
    what: 'the revision that is served',
    act: () => gateway.admin('PUT', '/routes/unused', { uri: '/unused', service_id: 's' }),
    moves: { sluice_config_revision: 1 },
  },
]

describe('the Prometheus page', function () {
  this.timeout(60_000)

  describe('of a gateway with two workers', () => {
    before(start)
    after(stop)

    for (const { what, act, moves, alsoMoves } of cases) {
      it(`counts ${what}`, async () => {
        const before = await page()
        await act()
        const families = new Set(Object.keys(moves).map(familyOf))
        const moved = async () => {
          const after = await page()
          const changes = [...after].map(([series, value]) => [series, value - (before.get(series) ?? 0)] as const)
          return Object.fromEntries(changes.filter(([series, by]) => by !== 0 && families.has(familyOf(series))))
        }
        const arrived = (now: Record<string, number>) =>
          Object.entries(moves).every(([series, by]) => (now[series] ?? 0) >= by)
        await until(async () => arrived(await moved()), `all of ${what} has moved`).catch(async () =>
          assert.deepEqual(await moved(), moves),
        )
        const exact = Object.entries(await moved()).filter(
          ([series]) => moves[series] !== undefined || !alsoMoves?.test(series),
        )
        assert.deepEqual(Object.fromEntries(exact), moves)
      })
    }

    it('counts bytes that go out by the body', async () => {
      const series = `apisix_bandwidth{type="egress",route="plain",${plain}}`
      const sizes: number[] = []
      for (const size of [1_000, 3_500]) {
        const before = (await page()).get(series) ?? 0
        await send('GET', `/plain?size=${size}`)
        await until(async () => (await page()).get(series) !== before, 'it has counted')
        sizes.push((await page()).get(series)! - before)
      }
      assert.equal(sizes[1]! - sizes[0]!, 2_500)
    })

    it('shows connections by what they are at', async () => {
      const states = async () => {
        const now = await page()
        const value = (state: string) => now.get(`apisix_nginx_http_current_connections{state="${state}"}`)
        return ['active', 'reading', 'writing', 'waiting', 'accepted', 'handled', 'total'].map(value)
      }
      await until(async () => (await states())[0] === 0, 'the connections of before are gone')
      const [, , , , accepted, handled, total] = (await states()) as number[]
      const port = Number(new URL(gateway.urls.requests).port)
      const clients = await Promise.all(Array.from({ length: 5 }, () => connectRaw(port)))
      const get = 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n'
      for (const client of clients.slice(0, 2)) client.write(get)
      const open = [5, 0, 2, 3, accepted! + 5, handled! + 5, total! + 2]
      await until(async () => String(await states()) === String(open), `it shows ${open}`)
      for (const client of clients) client.close()
      const closed = [0, 0, 0, 0, ...open.slice(4)]
      await until(async () => String(await states()) === String(closed), `it shows ${closed}`)
    })

    it('shows a call to an LLM while it is under way', async () => {
      const labels = `route="chat",route_id="llm",${ofLlm},service="shop",service_id="s",${llm('ai_stream')}`
      const live = async () => {
        const now = await page()
        return [
          now.get(`apisix_llm_active_connections{${labels}}`),
          now.get('sluice_holds_live{kind="llm_active_connections"}'),
        ]
      }
      const asked = upstream.received.length
      const answer = chat({ stream: true, user: 'wait' })
      const { response } = await upstream.request(asked)
      await until(async () => String(await live()) === '1,1', 'it is shown')
      response.end()
      await answer
      await until(async () => String(await live()) === '0,0', 'it is shown no more')
    })

    it('shows how much of the memory is free that workers share', async () => {
      const of = async (what: string, name: string) =>
        (await page()).get(`apisix_shared_dict_${what}_bytes{name="${name}"}`) ?? assert.fail(`no ${what} of ${name}`)
      for (const name of ['balancer-cursors', 'balancer-loads', 'balancer-latencies', 'balancer-rests', 'health'])
        assert.ok((await of('free_space', name)) <= (await of('capacity', name)), name)
      const asked = upstream.received.length
      const answer = chat({ stream: true, user: 'wait' })
      const { response } = await upstream.request(asked)
      assert.ok((await of('free_space', 'limits')) < (await of('capacity', 'limits')), 'a ticket is open')
      response.end()
      await answer
    })

    it('has what the Grafana dashboard of APISIX asks for, but for etcd', async () => {
      const now = [...(await page()).keys()]
      for (const query of DASHBOARD) {
        for (const [selector, family, matchers = ''] of query.matchAll(/(apisix_\w+)(?:\{([^}]*)\})?/g)) {
          const wanted = [...matchers.matchAll(/(\w+) *(=~?) *"([^"]*)"/g)].map(
            ([, label, how, value]) => new RegExp(`[{,]${label}="${how === '=' ? value : `(${value})`}"`),
          )
          const found = now.filter(
            series => series.startsWith(family!) && wanted.every(matcher => matcher.test(series)),
          )
          assert.notEqual(found.length, 0, `${selector} of ${query}`)
          const [, by] = /(?:by|on) \((\w+)\)/.exec(query) ?? []
          for (const series of found) assert.ok(by === undefined || series.includes(`${by}="`), `${query}: ${series}`)
        }
      }
    })

    it('measures how late the loop of each worker is', async () => {
      const counts = async () => {
        const now = await page()
        return [0, 1, 2].map(worker => now.get(`sluice_worker_loop_lag_seconds_count{worker="${worker}"}`) ?? 0)
      }
      const before = await counts()
      await until(async () => (await counts())[0]! > before[0]! && (await counts())[1]! > before[1]!, 'both have')
      assert.equal(before[2], 0)
    })

    it('names the gateway', async () => {
      const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
        version: string
      }
      assert.equal((await page()).get(`apisix_node_info{hostname="${hostname()}",version="${version}"}`), 1)
    })

    it('is at its own server only, as long as it has one', async () => {
      const { status: answered } = await send('GET', PAGE)
      assert.equal(answered, 404)
    })

    it('answers HEAD, and nothing but GET and HEAD at its path', async () => {
      const ask = async (method: string, path: string) => {
        const { status: code, headers } = await fetch(gateway.urls.prometheus + path, { method })
        return [code, headers.get('content-type')]
      }
      const prometheus = 'text/plain; version=0.0.4; charset=utf-8'
      assert.deepEqual(await ask('GET', PAGE), [200, prometheus])
      assert.deepEqual(await ask('HEAD', PAGE), [200, prometheus])
      assert.deepEqual((await ask('POST', PAGE))[0], 405)
      assert.deepEqual((await ask('GET', '/'))[0], 404)
    })
  })

  describe('of a gateway whose workers were replaced when everything had moved', () => {
    /** Before the workers were replaced, and after. */
    let pages: readonly [string, string]

    before(async function () {
      this.timeout(600_000)
      await ensure('prometheus', 'promtool')
      await start()
      for (const { act } of cases) await act()
      const counted = status(200, 'plain', ofPlain, plain, 'upstream')
      await until(async () => (await page()).get(counted) === 6, 'the requests have counted')
      const before = await text()
      gateway.child.kill('SIGHUP')
      const replaced = 'sluice_worker_replacements_total{reason="planned",plugin=""}'
      await until(async () => (await page()).get(replaced) === WORKERS, 'the workers are new', 20_000)
      assert.equal((await page()).get(counted), 6)
      pages = [before, await text()]
    })
    after(stop)

    it('passes promtool, but for the names that APISIX gave', async () => {
      for (const page of pages) {
        const said = await promtool(page)
        assert.deepEqual(
          said.filter(line => !ALLOWED.includes(line)),
          [],
        )
      }
    })

    it('is what docs/metrics.md says, family by family', async () => {
      const documented = readDocs()
      const shown = new Map(pages.flatMap(page => [...readFamilies(page)]))
      for (const [name, family] of shown) {
        const { type, labels } = documented.get(name) ?? assert.fail(`${name} is not documented`)
        assert.equal(family.type, type, name)
        if (family.labels !== undefined) assert.equal(family.labels, labels, name)
      }
      const missing = [...documented.keys()].filter(name => !shown.has(name))
      assert.deepEqual(missing.sort(), [...CANNOT_MOVE_HERE].sort())
    })

    it('has the buckets that docs/metrics.md names', () => {
      const docs = readFileSync(DOCS, 'utf8').replace(/\s+/g, ' ')
      for (const [name, bounds] of Object.entries({
        apisix_http_latency: LATENCY,
        apisix_llm_latency: LATENCY,
        apisix_llm_prompt_tokens_dist: TOKENS,
        apisix_llm_completion_tokens_dist: TOKENS,
      })) {
        const buckets = [...pages[0].matchAll(new RegExp(`^${name}_bucket\\{.*,le="(.*)"`, 'gm'))]
        const shown = buckets.slice(0, bounds.length).map(([, bound]) => bound)
        assert.deepEqual(shown, bounds)
        assert.ok(docs.includes(`Buckets ${bounds.slice(0, -1).join(' ')}.`), name)
      }
      for (const [, name] of docs.matchAll(/`(sluice_\w+)`, histogram(?! by `kind`)/g)) {
        const buckets = [...pages[0].matchAll(new RegExp(`^${name}_bucket\\{.*,le="([\\d.]+)"`, 'gm'))]
        const bounds = [...new Set(buckets.map(([, bound]) => bound))]
        const said = docs.slice(docs.indexOf(`- \`${name}\``)).split(' - `', 1)[0]!
        assert.ok(said.includes(`Buckets ${bounds.join(' ')}.`), `${name}: ${bounds.join(' ')}`)
      }
    })

    it('has nothing of a deleted route, whoever counted it', async () => {
      assert.match(pages[1], /route="plain"/)
      assert.equal((await gateway.admin('DELETE', '/routes/plain')).status, 200)
      await until(async () => !(await text()).includes('route="plain"'), 'its series are gone')
      assert.match(await text(), /route="front"/)
    })
  })
})

/**
 * Selectors and groupings of apisix-grafana-dashboard.json (gnetId 11719) as APISIX publishes it; `instance` is Prometheus's
 * own, and where its variables stand is any value. Its panels of etcd have theirs in t/core/store/backing.test.ts.
 */
const DASHBOARD = [
  'apisix_http_requests_total',
  'apisix_nginx_http_current_connections{state="accepted"}',
  'apisix_nginx_http_current_connections{state="handled"}',
  ...['active', 'reading', 'writing', 'waiting'].map(
    state => `sum(apisix_nginx_http_current_connections{state=~"${state}"}) by (state)`,
  ),
  'sum(apisix_bandwidth) by (type)',
  ...['ingress', 'egress'].flatMap(type =>
    ['service', 'route'].map(by => `sum(apisix_bandwidth{type="${type}", service =~".*",route=~".*"}) by (${by})`),
  ),
  ...['code', 'service', 'route'].map(by => `sum(apisix_http_status{service=~".*",route=~".*"}) by (${by})`),
  ...['request', 'apisix', 'upstream'].map(
    type =>
      `sum(apisix_http_latency_bucket{type=~"${type}",service=~".*",consumer=~".*",node=~".*",route=~".*"}) by (le)`,
  ),
  'apisix_nginx_metric_errors_total',
  '(apisix_shared_dict_free_space_bytes * 100) / on (name) apisix_shared_dict_capacity_bytes',
  // label_values(family, label)
  ...['service', 'route', 'consumer', 'node'].map(label => `apisix_http_status{${label}=~".*"}`),
]

/** What promtool 2.42 has to say of names that APISIX's dashboards ask for. */
const ALLOWED = [
  'apisix_bandwidth counter metrics should have "_total" suffix',
  'apisix_http_requests_total non-counter metrics should not have "_total" suffix',
  'apisix_http_status counter metrics should have "_total" suffix',
  'apisix_llm_completion_tokens counter metrics should have "_total" suffix',
  'apisix_llm_prompt_tokens counter metrics should have "_total" suffix',
]

/** It takes ten thousand series, Redis, and etcd: other tests have them. */
const CANNOT_MOVE_HERE = [
  'sluice_metric_series_overflow_total',
  'sluice_ledger_away_total',
  'sluice_ledger_lost_total',
  'sluice_ledger_redis_away',
  'apisix_etcd_reachable',
  'apisix_etcd_modify_indexes',
  'sluice_config_age_seconds',
  'sluice_config_worker_revision',
  'sluice_etcd_last_contact_seconds',
]

/** The lines of `promtool check metrics`: what it cannot parse, and what it would do otherwise. */
function promtool(input: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = execFile('promtool', ['check', 'metrics'], (error, stdout, stderr) => {
      // 3 is for opinions, anything else for what is no Prometheus text.
      if (error !== null && error.code !== 3) reject(new Error(stderr || error.message))
      else resolve(`${stdout}${stderr}`.split('\n').filter(line => line !== ''))
    })
    child.stdin!.end(input)
  })
}

interface FamilyFacts {
  type: string
  /** Names in order; undefined when there is no series to see them by. */
  labels: string | undefined
}

function readFamilies(of: string): Map<string, FamilyFacts> {
  const families = new Map<string, FamilyFacts>()
  for (const line of of.split('\n')) {
    const [, name, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
    if (name !== undefined) families.set(name, { type: type!, labels: undefined })
    else if (line !== '' && !line.startsWith('#')) {
      const family = families.get(line.replace(/[{ ].*/s, '')) ?? families.get(familyOf(line.replace(/ .*/s, '')))!
      const labels = [...line.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)].map(([, label]) => label!)
      family.labels ??= labels.filter(label => label !== 'le').join()
    }
  }
  return families
}

/** Entries of the form "- `name`, type by `label`, `label`: what it is". */
function readDocs(): Map<string, { type: string; labels: string }> {
  const docs = readFileSync(DOCS, 'utf8')
  const entries = [...docs.matchAll(/^- `(\w+)`, (\w+)(?: by ([^:]*))?:/gm)]
  return new Map(
    entries.map(([, name, type, labels = '']) => [name!, { type: type!, labels: labels.replace(/[`\s]/g, '') }]),
  )
}
