// prometheus as a scrape sees it.
import assert from 'node:assert/strict'
import { PluginMap } from '../../core/known-plugins.ts'
import { exchange, openExchange } from '../../core/llm/exchange.ts'
import type { MetricSettings } from '../../core/observe/family-traits.ts'
import { plugin } from '../../core/plugin.ts'
import { reply } from '../../core/reply.ts'
import prometheus from '../../plugins/prometheus.ts'
import { startAdmin } from '../helpers/admin.ts'
import { attempt } from '../helpers/context.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

/** Makes every request an LLM call of which the config knows how it went. */
const pretender = plugin({
  name: 'pretender',
  priority: 1040,
  version: 1,
  schema: {
    type: 'object',
    properties: {
      stream: { type: 'boolean', default: true },
      exit: { type: 'integer' },
      first_token: { type: 'integer' },
      took: { type: 'integer', default: 150 },
      prompt: { type: 'number' },
      model: {},
    },
  },
  setup: ({ stream, exit, first_token, took, prompt, model }) => ({
    access(ctx) {
      const call = openExchange({
        protocol: 'openai-chat',
        requestType: stream ? 'ai_stream' : 'ai_chat',
        requestModel: model,
        instance: 'ai-proxy-openai',
        logging: { summaries: false, payloads: false },
      })
      call.model = 'given'
      if (first_token !== undefined) call.timeToFirstTokenMs = first_token
      call.upstreamMs = took
      call.streaming = stream
      // Something was tried before, for a second.
      call.askedTick = ctx.startTick + 1_000
      if (prompt !== undefined)
        call.usage = { prompt, completion: 8, total: 0, cacheRead: 0, cacheCreation: 0, reasoning: 0 }
      exchange.set(ctx, call)
      if (exit !== undefined) ctx.attempts.push(attempt({ headerMs: undefined }))
      return exit === undefined ? undefined : reply(exit, 'no')
    },
  }),
})

describe('prometheus', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
    gateway = await startGateway({ plugins: [pretender] })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function configure(plugins: object, route: object = {}): Promise<void> {
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    await gateway.put({
      services: { s1: { name: 'svc' } },
      routes: {
        r1: {
          name: 'chat',
          uri: '/v1/*',
          host: '127.0.0.1',
          service_id: 's1',
          plugins,
          upstream: { type: 'roundrobin', nodes },
          ...route,
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  /** Sends a request to the route, and gives the page once it has been logged. */
  async function page(target = '/v1/x', init: RequestInit = {}): Promise<string> {
    const before = total(gateway.scrape())
    await (await fetch(gateway.url + target, init)).arrayBuffer()
    await until(() => total(gateway.scrape()) > before, 'the request counted')
    return gateway.scrape()
  }

  const total = (text: string): number =>
    [...text.matchAll(/^apisix_http_status\{.*\} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0)

  /** The value of the one series whose name and labels begin so. */
  function value(text: string, series: string): number {
    const found = text.split('\n').filter(line => line.startsWith(series))
    assert.equal(found.length, 1, `${series} in\n${text}`)
    return Number(found[0]!.slice(found[0]!.lastIndexOf(' ') + 1))
  }

  it('counts a plain request with all its labels', async () => {
    await configure({ prometheus: {} })
    const text = await page()
    const who =
      'service="s1",consumer="",node="127.0.0.1",request_type="traditional_http",request_llm_model="",llm_model=""'
    const status = `apisix_http_status{code="200",route="r1",matched_uri="/v1/*",matched_host="127.0.0.1",${who},response_source="upstream"}`
    assert.equal(value(text, status), 1)
    for (const type of ['request', 'upstream', 'apisix'])
      assert.equal(value(text, `apisix_http_latency_count{type="${type}",route="r1",${who}}`), 1)
    for (const type of ['ingress', 'egress'])
      assert.ok(value(text, `apisix_bandwidth{type="${type}",route="r1",${who}}`) > 50)
    assert.match(text, /^apisix_http_latency_bucket\{type="request".*,le="60000"\} 1$/m)
    assert.match(text, /^# TYPE apisix_http_latency histogram$/m)
    assert.doesNotMatch(text, /apisix_llm_/)
    assert.equal(total(await page()), 2)
  })

  it('carries names where it is told to', async () => {
    await configure({ prometheus: { prefer_name: true } })
    assert.match(await page(), /^apisix_http_status\{.*route="chat",.*service="svc",/m)
    await configure({ prometheus: { prefer_name: true } }, { name: undefined })
    await until(() => !gateway.scrape().includes('route="chat"'), 'the name it has no more is forgotten')
    assert.match(await page(), /^apisix_http_status\{.*route="r1",.*service="svc",/m)
  })

  it('tells who made the response', async () => {
    await configure({ prometheus: {}, 'key-auth': {} })
    assert.match(await page(), /code="401",.*response_source="apisix"\} 1$/m)
    upstream.script = received => received.reset()
    await configure({ prometheus: {} })
    assert.match(await page(), /code="502",.*response_source="nginx"\} 1$/m)
    upstream.script = received => received.json(503, {})
    assert.match(await page(), /code="503",.*response_source="upstream"\} 1$/m)
  })

  it('counts a request that no route matches, in a global rule, with empty labels', async () => {
    await gateway.put({ global_rules: { 1: { plugins: { prometheus: {} } } } })
    assert.match(
      await page('/nowhere'),
      /^apisix_http_status\{code="404",route="",matched_uri="",matched_host="",service=""/m,
    )
  })

  it('counts a request once that a global rule and its route both ask for', async () => {
    await configure({ prometheus: {} })
    await gateway.put({ global_rules: { 1: { plugins: { prometheus: {} } } } })
    assert.equal(total(await page()), 1)
  })

  it('knows the consumer', async () => {
    await configure({ prometheus: {}, 'key-auth': {} })
    await gateway.put({ consumers: { jack: { username: 'jack', plugins: { 'key-auth': { key: 'k' } } } } })
    assert.match(await page('/v1/x', { headers: { apikey: 'k' } }), /consumer="jack"/)
  })

  const ai =
    'route_id="r1",service_id="s1",consumer="",node="ai-proxy-openai",request_type="TYPE",request_llm_model="asked",llm_model="given"'

  it('measures a streamed call to an LLM', async () => {
    await configure({ prometheus: {}, pretender: { first_token: 70, prompt: 23, model: 'asked' } })
    const text = await page()
    const labels = ai.replace('TYPE', 'ai_stream')
    assert.match(
      text,
      /^apisix_http_status\{.*node="ai-proxy-openai",request_type="ai_stream",request_llm_model="asked"/m,
    )
    assert.equal(value(text, `apisix_llm_latency_sum{type="total",${labels}}`), 150)
    assert.equal(value(text, `apisix_llm_latency_sum{type="ttft",${labels}}`), 70)
    assert.equal(value(text, `apisix_llm_prompt_tokens{${labels}}`), 23)
    assert.equal(value(text, `apisix_llm_completion_tokens{${labels}}`), 8)
    assert.equal(value(text, `apisix_llm_prompt_tokens_dist_bucket{${labels},le="10"}`), 0)
    assert.equal(value(text, `apisix_llm_prompt_tokens_dist_bucket{${labels},le="50"}`), 1)
    assert.equal(value(text, `apisix_llm_completion_tokens_dist_sum{${labels}}`), 8)
    assert.match(text, /^apisix_llm_prompt_tokens_dist_bucket\{.*,le="1000000"\} 1$/m)
  })

  describe('measures how fast a call to an LLM is answered', () => {
    const speed = 'route_id="r1",node="ai-proxy-openai",llm_model="given"'
    const ask = async (call: object) => {
      await configure({ prometheus: {}, pretender: { prompt: 1, ...call } })
      const text = await page()
      return {
        text,
        sum: (name: string) => value(text, `sluice_llm_${name}_sum{${speed}}`),
      }
    }

    it('that is a stream: from its first token on', async () => {
      const { text, sum } = await ask({ first_token: 70, took: 470 })
      // Of what is tried before a client is not told either.
      assert.ok(Math.abs(sum('time_to_first_token_seconds') - 1.07) < 1e-9)
      assert.equal(sum('tokens_per_second'), 20)
      assert.equal(sum('time_per_output_token_seconds'), 0.4 / 7)
      assert.match(text, /^sluice_llm_request_duration_seconds_count\{.*\} 1$/m)
      const duration = sum('request_duration_seconds')
      assert.ok(duration > 0 && duration < 60, String(duration))
    })

    it('that came all at once: over the whole request', async () => {
      const { sum } = await ask({ first_token: 70, took: 169 })
      assert.ok(Math.abs(sum('tokens_per_second') * sum('request_duration_seconds') - 8) < 1e-9)
      assert.equal(sum('time_per_output_token_seconds'), 0.099 / 7)
    })

    it('that is no stream: over the whole request, and nothing else', async () => {
      const { text, sum } = await ask({ stream: false, first_token: 470, took: 470 })
      assert.ok(Math.abs(sum('tokens_per_second') * sum('request_duration_seconds') - 8) < 1e-9)
      assert.doesNotMatch(text, /sluice_llm_time_/)
    })

    it('and not one that was refused, or of which nothing is said', async () => {
      assert.doesNotMatch((await ask({ first_token: 70, exit: 429 })).text, /sluice_llm_t|sluice_llm_request/)
      await configure({ prometheus: {}, pretender: { first_token: 70 } })
      assert.match(await page(), /^sluice_llm_time_to_first_token_seconds_count\{.*\} 1$/m)
      assert.doesNotMatch(gateway.scrape(), /sluice_llm_time_per_output_token|sluice_llm_tokens/)
    })
  })

  it('counts attempts at nodes, and what became of each', async () => {
    const deaf = await startUpstream(received => received.reset())
    const retried = { [`127.0.0.1:${deaf.port}`]: 1, [`127.0.0.1:${upstream.port}`]: 1 }
    try {
      await configure({ prometheus: {} }, { upstream: { type: 'roundrobin', nodes: retried } })
      // Of two requests in a round robin of two nodes one at least comes upon the one that resets.
      await page()
      const text = await page()
      assert.match(text, /^sluice_upstream_attempts_total\{route="r1",node="127.0.0.1",outcome="reset"\} [12]$/m)
      assert.match(text, /^sluice_upstream_attempts_total\{route="r1",node="127.0.0.1",outcome="answered"\} 2$/m)
      await configure({ prometheus: {}, pretender: {} }, { upstream: { type: 'roundrobin', nodes: retried } })
      assert.doesNotMatch(await page(), /outcome="answered"\} 3$/m)
    } finally {
      await deaf.close()
    }
  })

  it('measures no first token of a call that is not streamed', async () => {
    await configure({ prometheus: {}, pretender: { stream: false, first_token: 70, model: 'asked' } })
    const text = await page()
    assert.equal(value(text, `apisix_llm_latency_count{type="total",${ai.replace('TYPE', 'ai_chat')}}`), 1)
    assert.doesNotMatch(text, /type="ttft"/)
  })

  it('counts the tokens of every call, and the time only of those that were answered', async () => {
    for (const config of [{ exit: 429, first_token: 5 }, {}]) {
      await configure({ prometheus: {}, pretender: { model: 'asked', ...config } })
      await page()
    }
    const text = gateway.scrape()
    const labels = ai.replace('TYPE', 'ai_stream')
    assert.equal(value(text, `apisix_llm_prompt_tokens{${labels}}`), 0)
    assert.equal(value(text, `apisix_llm_prompt_tokens_dist_count{${labels}}`), 2)
    assert.doesNotMatch(text, /apisix_llm_latency/)
    assert.match(text, /code="429",.*response_source="apisix"\} 1$/m)
  })

  it('believes no count below zero, and cuts what clients call a model', async () => {
    await configure({ prometheus: {}, pretender: { prompt: -5, model: 'm'.repeat(500) } })
    const text = await page()
    assert.match(text, /^apisix_llm_prompt_tokens\{.*\} 0$/m)
    assert.match(text, /request_llm_model="m{128}"/)
    await configure({ prometheus: {}, pretender: { model: { a: 1 } } })
    assert.match(await page(), /request_llm_model="<non-scalar>"/)
  })

  it('gives statuses that HTTP does not know one label', async () => {
    upstream.script = received => received.json(777, {})
    await configure({ prometheus: {} })
    assert.match(await page(), /^apisix_http_status\{code="other",route="r1"/m)
  })

  it('counts on after its route is deleted and comes back, from zero', async () => {
    await configure({ prometheus: {} })
    await page()
    await page()
    await gateway.put({ routes: { r1: null } })
    await configure({ prometheus: {} })
    const text = await page()
    assert.equal(total(text), 1)
    assert.match(text, /^apisix_http_latency_count\{type="request",route="r1",.*\} 1$/m)
  })

  it('follows a route to another service', async () => {
    await configure({ prometheus: {} })
    await page()
    await gateway.put({ services: { s2: { name: 'other' } } })
    await configure({ prometheus: {} }, { service_id: 's2' })
    const text = await page()
    assert.match(text, /^apisix_http_status\{.*service="s1",.*\} 1$/m)
    assert.match(text, /^apisix_http_status\{.*service="s2",.*\} 1$/m)
  })

  it('counts a client that leaves before the response as 499', async () => {
    upstream.script = () => {}
    await configure({ prometheus: {} })
    const gone = new AbortController()
    const left = fetch(`${gateway.url}/v1/x`, { signal: gone.signal })
    await upstream.request(0)
    gone.abort()
    await assert.rejects(left)
    await until(() => total(gateway.scrape()) === 1, 'the request counted')
    assert.match(gateway.scrape(), /^apisix_http_status\{code="499",route="r1"/m)
    assert.match(gateway.scrape(), /^apisix_bandwidth\{type="egress".*\} 0$/m)
  })

  it('forgets a route with the route', async () => {
    await configure({ prometheus: {} })
    assert.match(await page(), /route="r1"/)
    await gateway.put({ routes: { r1: null } })
    await until(() => !gateway.scrape().includes('route="r1"'), 'its series are gone')
  })

  it('gives a hundred models that clients make up a label, and the rest one together', async () => {
    await configure({
      prometheus: {},
      'ai-proxy': { provider: 'openai-compatible', auth: {}, override: { endpoint: 'http://127.0.0.1:1/x' } },
    })
    for (let model = 0; model < 105; model++) {
      const answer = await fetch(`${gateway.url}/v1/x`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: `made-up-${model}`, messages: [] }),
      })
      await answer.text()
    }
    await until(() => gateway.gateway.inFlight === 0, 'all have logged')
    await configure({
      prometheus: {},
      'ai-proxy': {
        provider: 'openai-compatible',
        auth: {},
        options: { model: 'configured' },
        override: { endpoint: 'http://127.0.0.1:1/x' },
      },
    })
    const json = { 'content-type': 'application/json' }
    assert.match(
      await page('/v1/x', { method: 'POST', headers: json, body: '{"model":"made-up-104","messages":[]}' }),
      /request_llm_model="other",llm_model="configured"/,
    )
    const models = new Set([...gateway.scrape().matchAll(/request_llm_model="([^"]*)"/g)].map(([, model]) => model))
    assert.equal(models.size, 101)
    assert.ok(models.has('other'))
  })

  describe('where its metadata disables labels', () => {
    const disable = (labels: object) => gateway.put({ plugin_metadata: { prometheus: { disabled_labels: labels } } })

    it('leaves them empty in that family, from the next request on', async () => {
      await configure({ prometheus: {} })
      assert.match(await page(), /^apisix_http_status\{.*matched_uri="\/v1\/\*",.*node="127.0.0.1"/m)
      await disable({ http_status: ['node', 'matched_uri'], bandwidth: ['route'] })
      const text = await page()
      assert.match(
        text,
        /^apisix_http_status\{code="200",route="r1",matched_uri="",matched_host="127.0.0.1",.*node="",/m,
      )
      assert.match(text, /^apisix_bandwidth\{type="egress",route="",service="s1",/m)
      assert.match(text, /^apisix_http_latency_count\{type="request",route="r1",.*node="127.0.0.1",.*\} 2$/m)
      await disable({})
      assert.match(await page(), /^apisix_http_status\{.*matched_uri="\/v1\/\*",.*\} 2$/m)
    })

    it('leaves them empty in the gauge of calls to LLMs, which moves without it', async () => {
      await disable({ llm_active_connections: ['route', 'request_llm_model'] })
      const ask = async () => {
        await fetch(`${gateway.url}/v1/x`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"model":"asked","messages":[]}',
        })
        return gateway.scrape()
      }
      await configure({
        'ai-proxy': { provider: 'openai-compatible', auth: {}, override: { endpoint: 'http://127.0.0.1:1/x' } },
      })
      assert.match(
        await ask(),
        /^apisix_llm_active_connections\{route="",route_id="r1",.*request_llm_model="",llm_model="asked"\} 0$/m,
      )
      await disable({})
      assert.match(await ask(), /^apisix_llm_active_connections\{route="chat",.*request_llm_model="asked"/m)
    })

    it('takes the names and labels of APISIX, and none without which the numbers mean nothing', async () => {
      const plugins = new Map([[prometheus.name, prometheus]])
      const api = await startAdmin({ plugins: new PluginMap(plugins, false) })
      const write = async (disabled_labels: object) => {
        const { status, json } = await api.admin('PUT', '/plugin_metadata/prometheus', { disabled_labels })
        return status < 300 ? 'taken' : String(json.error_msg)
      }
      try {
        for (const [family, label] of [
          ['http_status', 'response_source'],
          ['llm_latency', 'node'],
          ['llm_prompt_tokens_dist', 'route_id'],
          ['llm_active_connections', 'matched_uri'],
          ['ai_cache_hits_total', 'route'],
          ['ai_cache_embedding_latency', 'llm_model'],
        ] as const)
          assert.equal(await write({ [family]: [label] }), 'taken', family)
        for (const [family, label] of [
          ['http_status', 'code'],
          ['http_latency', 'type'],
          ['bandwidth', 'type'],
          ['llm_latency', 'type'],
          ['ai_cache_hits_total', 'layer'],
          ['bandwidth', 'nonsense'],
        ] as const)
          assert.match(await write({ [family]: [label] }), /failed to validate item 1/, family)
        assert.notEqual(await write({ http_requests_total: [] }), 'taken')
      } finally {
        await api.close()
      }
    })
  })

  describe('where the configuration adds labels and buckets', () => {
    async function start(metrics: MetricSettings): Promise<void> {
      await gateway.close()
      gateway = await startGateway({ plugins: [pretender], metrics })
    }

    it('has them behind its own, from variables, without credentials', async () => {
      await start({
        http_status: {
          extraLabels: [
            { label: 'upstream', variable: 'upstream_addr' },
            { label: 'tenant', variable: 'http_x_tenant' },
            { label: 'key', variable: 'http_authorization' },
          ],
        },
        bandwidth: { extraLabels: [{ label: 'customer', variable: 'http_x_tenant' }] },
      })
      await configure({ prometheus: {} })
      const text = await page('/v1/x', { headers: { 'x-tenant': 'a"b', authorization: 'Bearer secret' } })
      assert.match(
        text,
        new RegExp(
          `^apisix_http_status\\{.*,response_source="upstream",upstream="127.0.0.1:${upstream.port}",tenant="a\\\\"b",key="\\[redacted\\]`,
          'm',
        ),
      )
      assert.match(text, /^apisix_bandwidth\{.*,llm_model="",customer="a\\"b"\}/m)
      assert.doesNotMatch(text, /secret/)
      assert.match(text, /^apisix_http_latency_count\{.*,llm_model=""\} 1$/m)
      assert.match(await page(), /^apisix_http_status\{.*,tenant="",key=""\} 1$/m)
    })

    it('has them in the gauge of calls to LLMs', async () => {
      await start({ llm_active_connections: { extraLabels: [{ label: 'tenant', variable: 'http_x_tenant' }] } })
      await configure({
        'ai-proxy': { provider: 'openai-compatible', auth: {}, override: { endpoint: 'http://127.0.0.1:1/x' } },
      })
      const headers = { 'content-type': 'application/json', 'x-tenant': 'blue' }
      await fetch(`${gateway.url}/v1/x`, { method: 'POST', headers, body: '{"model":"asked","messages":[]}' })
      assert.match(gateway.scrape(), /^apisix_llm_active_connections\{.*,llm_model="asked",tenant="blue"\} 0$/m)
    })

    it('has no value longer than 128 bytes', async () => {
      await start({ http_status: { extraLabels: [{ label: 'tenant', variable: 'http_x_tenant' }] } })
      await configure({ prometheus: {} })
      assert.match(await page('/v1/x', { headers: { 'x-tenant': 'é'.repeat(100) } }), /,tenant="é{64}"\} 1$/m)
    })

    it('has those buckets', async () => {
      await start({
        http_latency: { extraLabels: [], buckets: [0.5, 5_000] },
        llm_latency: { extraLabels: [], buckets: [200] },
        llm_prompt_tokens_dist: { extraLabels: [], buckets: [22, 23] },
      })
      await configure({ prometheus: {}, pretender: { first_token: 70, prompt: 23, model: 'asked' } })
      const text = await page()
      const bounds = (family: string) =>
        [...text.matchAll(new RegExp(`^${family}_bucket\\{.*le="(.*)"\\} `, 'gm'))].map(([, le]) => le)
      assert.deepEqual(bounds('apisix_http_latency').slice(0, 3), ['0.5', '5000', '+Inf'])
      assert.deepEqual(bounds('apisix_llm_latency').slice(0, 2), ['200', '+Inf'])
      assert.deepEqual(bounds('apisix_llm_prompt_tokens_dist'), ['22', '23', '+Inf'])
      assert.equal(bounds('apisix_llm_completion_tokens_dist').length, 17)
      assert.match(text, /^apisix_llm_prompt_tokens_dist_bucket\{.*le="22"\} 0$/m)
    })
  })
})
