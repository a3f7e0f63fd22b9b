// opentelemetry as its upstream, its collector and its access log see it.
import assert from 'node:assert/strict'
import { plugin } from '../../../core/plugin.ts'
import { resourceProblem } from '../../../core/resource.ts'
import { variable } from '../../../core/router/vars.ts'
import opentelemetry from '../../../plugins/opentelemetry/opentelemetry.ts'
import { type Collector, type ReadSpan, startCollector } from '../../helpers/collector.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { openJournal } from '../../helpers/journal.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'
const always = { sampler: { name: 'always_on' } }

describe('opentelemetry', () => {
  let upstream: ScriptedUpstream
  let collector: Collector
  let gateway: TestGateway
  const seen: Record<string, unknown>[] = []

  /** Writes down what logs would know of the trace. */
  const witness = plugin({
    name: 'witness',
    priority: 1,
    version: 1,
    schema: { type: 'object' },
    setup: () => ({
      log(ctx) {
        const names = ['context_traceparent', 'trace_id', 'span_id']
        seen.push(Object.fromEntries(names.map(name => [name, variable(ctx, `opentelemetry_${name}`)])))
      },
    }),
  })

  beforeEach(async () => {
    seen.length = 0
    upstream = await startUpstream()
    collector = await startCollector()
  })
  afterEach(async () => {
    await gateway.close()
    await collector.close()
    await upstream.close()
  })

  interface Extra {
    metadata?: Record<string, unknown> | undefined
    route?: Record<string, unknown>
    plugins?: Record<string, unknown>
    global?: Record<string, unknown>
    nodes?: Record<string, number>
  }

  async function start(config: object | undefined, extra: Extra = {}): Promise<ReturnType<typeof openJournal>> {
    const journal = openJournal()
    const metadata = {
      collector: { address: `127.0.0.1:${collector.port}` },
      batch_span_processor: { inactive_timeout: 0.02, batch_timeout: 0.05 },
      ...extra.metadata,
    }
    const own = config === undefined ? {} : { opentelemetry: config }
    gateway = await startGateway({
      plugins: [witness],
      log: journal.log,
      explain: 1 << 20,
      resources: {
        routes: {
          7: {
            name: 'cats',
            uri: '/cats/*',
            service_id: 's',
            plugins: { witness: {}, ...own, ...extra.plugins },
            upstream: { type: 'roundrobin', nodes: extra.nodes ?? upstream.nodes },
            ...extra.route,
          },
        },
        services: { s: { name: 'zoo', plugins: {} } },
        ...('metadata' in extra && extra.metadata === undefined
          ? {}
          : { plugin_metadata: { opentelemetry: metadata } }),
        ...(extra.global && { global_rules: { 1: { plugins: { opentelemetry: extra.global } } } }),
      },
    })
    assert.deepEqual(gateway.rejected, [])
    return journal
  }

  async function spans(count: number): Promise<ReadSpan[]> {
    await until(() => collector.spans.length >= count, `${count} spans have come`)
    return collector.spans.slice(0, count)
  }

  it('sends a span of the request and one of its attempt, as APISIX and the HTTP conventions name what is in them', async () => {
    await start({
      ...always,
      additional_attributes: ['consumer_name', 'arg_q'],
      additional_header_prefix_attributes: ['X-App-*', 'accept'],
    })
    const before = Date.now()
    const response = await fetch(`${gateway.url}/cats/1?q=2&apikey=s3cret`, {
      headers: { 'user-agent': 'tester', 'x-app-id': 'a', authorization: 'Bearer s3cret', accept: 'text/cat' },
    })
    await response.text()
    const [server, client] = await spans(2)
    const port = gateway.port
    const { 'sluice.request_id': id, ...attributes } = server!.attributes
    assert.match(String(id), /^[\da-f]{32}$/)
    assert.deepEqual(attributes, {
      'net.host.name': '127.0.0.1',
      'http.method': 'GET',
      'http.scheme': 'http',
      'http.target': '/cats/1?q=2&apikey=[redacted]',
      'http.user_agent': 'tester',
      'http.request.method': 'GET',
      'url.scheme': 'http',
      'url.path': '/cats/1',
      'user_agent.original': 'tester',
      'apisix.route_id': '7',
      'apisix.route_name': 'cats',
      'http.route': '/cats/*',
      'apisix.service_id': 's',
      'apisix.service_name': 'zoo',
      'apisix.response_source': 'upstream',
      'http.status_code': 200,
      'http.response.status_code': 200,
      'server.address': '127.0.0.1',
      'server.port': port,
      'client.address': '127.0.0.1',
      'network.protocol.version': '1.1',
      arg_q: '2',
      'x-app-id': 'a',
      accept: 'text/cat',
    })
    assert.deepEqual(
      [server!.name, server!.kind, server!.status, server!.parentSpanId],
      ['GET /cats/*', 2, undefined, undefined],
    )
    assert.deepEqual(
      [client!.name, client!.kind, client!.status, client!.parentSpanId],
      ['GET', 3, undefined, server!.spanId],
    )
    assert.deepEqual(client!.attributes, {
      'http.request.method': 'GET',
      'url.full': `http://127.0.0.1:${upstream.port}/cats/1`,
      'http.response.status_code': 200,
      'server.address': '127.0.0.1',
      'server.port': upstream.port,
    })
    const [from, to] = [BigInt(before) * 1_000_000n, BigInt(Date.now() + 1) * 1_000_000n]
    for (const { startTimeUnixNano, endTimeUnixNano } of [server!, client!]) {
      assert.ok(from <= BigInt(startTimeUnixNano) && BigInt(startTimeUnixNano) <= BigInt(endTimeUnixNano))
      assert.ok(BigInt(endTimeUnixNano) <= to)
    }
    assert.ok(BigInt(client!.startTimeUnixNano) >= BigInt(server!.startTimeUnixNano))
    assert.equal(collector.resource['service.name'], 'APISIX')
    assert.equal(collector.received[0]!.target, '/v1/traces')
    assert.equal(collector.received[0]!.headers['content-type'], 'application/json')
  })

  it('goes on with the trace of whoever asks, and tells the upstream of the attempt', async () => {
    await start(always)
    await fetch(`${gateway.url}/cats/1`, {
      headers: { traceparent: `00-${TRACE}-${SPAN}-00`, tracestate: 'vendor=1' },
    })
    const [server, client] = await spans(2)
    assert.deepEqual([server!.traceId, server!.parentSpanId, server!.traceState], [TRACE, SPAN, 'vendor=1'])
    const { headers } = upstream.received[0]!
    assert.equal(headers.traceparent, `00-${TRACE}-${client!.spanId}-01`)
    assert.equal(headers.tracestate, 'vendor=1')
    assert.equal(headers.b3, undefined)
  })

  it('answers B3 in kind, beside traceparent, and B3 alone where that is configured', async () => {
    await start(always)
    await fetch(`${gateway.url}/cats/1`, { headers: { b3: `${TRACE}-${SPAN}-1` } })
    const [server, client] = await spans(2)
    assert.deepEqual([server!.traceId, server!.parentSpanId], [TRACE, SPAN])
    const { headers } = upstream.received[0]!
    assert.equal(headers.b3, `${TRACE}-${client!.spanId}-1-${server!.spanId}`)
    assert.equal(headers.traceparent, `00-${TRACE}-${client!.spanId}-01`)
    await gateway.close()
    await start({ ...always, propagators: ['b3multi'] })
    await fetch(`${gateway.url}/cats/1`, {
      headers: { traceparent: `00-${TRACE}-${SPAN}-01`, 'X-B3-TraceId': TRACE, 'X-B3-SpanId': SPAN },
    })
    const [again, third] = (await spans(4)).slice(2)
    assert.deepEqual([again!.traceId, again!.parentSpanId], [TRACE, SPAN])
    const multi = upstream.received[1]!.headers
    assert.equal(multi['x-b3-spanid'], third!.spanId)
    assert.equal(multi['x-b3-parentspanid'], again!.spanId)
    assert.equal(multi.traceparent, `00-${TRACE}-${SPAN}-01`, 'what is not configured is left alone')
  })

  it('drops the tracestate of a trace that makes no sense', async () => {
    await start(always)
    await fetch(`${gateway.url}/cats/1`, { headers: { traceparent: 'nonsense', tracestate: 'vendor=1' } })
    const { headers } = await upstream.request(0)
    assert.match(String(headers.traceparent), /^00-[\da-f]{32}-[\da-f]{16}-01$/)
    assert.equal(headers.tracestate, undefined)
  })

  it('records every attempt, with why it failed, and tells each upstream another span', async () => {
    const second = await startUpstream()
    upstream.script = received => received.reset()
    const nodes = [`127.0.0.1:${upstream.port}`, `127.0.0.1:${second.port}`].map(node => {
      const [host, port] = node.split(':')
      return {
        host,
        port: Number(port),
        weight: 1,
        priority: host === '127.0.0.1' && node.endsWith(String(upstream.port)) ? 1 : 0,
      }
    })
    await start(always, { route: { upstream: { type: 'roundrobin', nodes, retries: 1 } } })
    const response = await fetch(`${gateway.url}/cats/1`)
    assert.equal(response.status, 200)
    await response.text()
    const [server, first, last] = await spans(3)
    assert.deepEqual(
      [first!.attributes['error.type'], first!.attributes['http.response.status_code'], first!.status?.code],
      ['reset', undefined, 2],
    )
    assert.deepEqual(
      [last!.attributes['http.request.resend_count'], last!.attributes['http.response.status_code'], last!.status],
      [1, 200, undefined],
    )
    assert.equal(upstream.received[0]!.headers.traceparent, `00-${server!.traceId}-${first!.spanId}-01`)
    assert.equal(second.received[0]!.headers.traceparent, `00-${server!.traceId}-${last!.spanId}-01`)
    await second.close()
  })

  it('has a span of each phase where that is asked for', async () => {
    await start({ ...always, phases: true }, { plugins: { 'response-rewrite': { headers: { set: { a: 'b' } } } } })
    await (await fetch(`${gateway.url}/cats/1`)).text()
    await until(() => collector.spans.some(({ name }) => name === 'GET'), 'the attempt has come')
    const server = collector.spans.find(({ kind }) => kind === 2)
    const phases = collector.spans.filter(({ kind }) => kind === 1)
    assert.deepEqual(
      phases.map(({ name, attributes }) => [name, attributes['sluice.hooks']]),
      [
        ['apisix.phase.rewrite', 1],
        ['apisix.phase.header_filter', 1],
        ['apisix.phase.body_filter', 1],
      ],
    )
    for (const { parentSpanId, startTimeUnixNano, endTimeUnixNano } of phases) {
      assert.equal(parentSpanId, server!.spanId)
      assert.ok(BigInt(startTimeUnixNano) <= BigInt(endTimeUnixNano))
      assert.ok(BigInt(endTimeUnixNano) <= BigInt(server!.endTimeUnixNano))
    }
  })

  it('calls a request failed from 500 on, and says what it was', async () => {
    await start(always, { nodes: { '127.0.0.1:1': 1 } })
    assert.equal((await fetch(`${gateway.url}/cats/1`)).status, 502)
    const [server, client] = await spans(2)
    assert.deepEqual([server!.status?.code, server!.attributes['error.type']], [2, 'upstream_refused'])
    assert.equal(server!.attributes['apisix.response_source'], 'nginx')
    assert.deepEqual([client!.status?.code, client!.attributes['error.type']], [2, 'refused'])
  })

  it('asks samplers as APISIX names them, and tells the upstream what they said', async () => {
    const sampled = async (sampler: object | undefined, headers: Record<string, string> = {}) => {
      await start(sampler === undefined ? {} : { sampler })
      await fetch(`${gateway.url}/cats/1`, { headers })
      const flag = String(upstream.received.at(-1)!.headers.traceparent).slice(-2)
      // What is left is sent when the gateway closes.
      await gateway.close()
      const recorded = collector.spans.splice(0).length > 0
      assert.equal(recorded, flag === '01')
      return recorded
    }
    const yes = { traceparent: `00-${TRACE}-${SPAN}-01` }
    const no = { traceparent: `00-${TRACE}-${SPAN}-00` }
    assert.equal(await sampled(undefined, yes), false, 'always_off is the default')
    assert.equal(await sampled({ name: 'always_on' }, no), true)
    assert.equal(await sampled({ name: 'parent_base' }, yes), true)
    assert.equal(await sampled({ name: 'parent_base', options: { root: { name: 'always_on' } } }, no), false)
    assert.equal(await sampled({ name: 'parent_base', options: { root: { name: 'always_on' } } }), true)
    assert.equal(await sampled({ name: 'parent_base' }), false)
    assert.equal(await sampled({ name: 'trace_id_ratio', options: { fraction: 1 } }), true)
    // The trace's id ends in 8eb211c80319c, a little more than half of what thirteen digits can be.
    assert.equal(await sampled({ name: 'trace_id_ratio', options: { fraction: 0.6 } }, no), true)
    assert.equal(await sampled({ name: 'trace_id_ratio', options: { fraction: 0.5 } }, yes), false)
    await start(always)
  })

  it('takes the id of the request as the trace, where it is told to and it can be one', async () => {
    await start(always, { metadata: { trace_id_source: 'x-request-id' } })
    await fetch(`${gateway.url}/cats/1`, { headers: { 'x-request-id': TRACE.toUpperCase() } })
    await fetch(`${gateway.url}/cats/1`, { headers: { 'x-request-id': '0'.repeat(32) } })
    await fetch(`${gateway.url}/cats/1`, { headers: { 'x-request-id': 'a-b' } })
    const ids = upstream.received.map(({ headers }) => String(headers.traceparent).slice(3, 35))
    assert.equal(ids[0], TRACE)
    assert.equal(new Set(ids).size, 3)
    for (const id of ids) assert.notEqual(id, '0'.repeat(32))
  })

  it('shows logs the trace where set_ngx_var says so', async () => {
    await start(always, { metadata: { set_ngx_var: true } })
    await fetch(`${gateway.url}/cats/1`)
    const [server] = await spans(2)
    assert.deepEqual(seen, [
      {
        context_traceparent: `00-${server!.traceId}-${server!.spanId}-01`,
        trace_id: server!.traceId,
        span_id: server!.spanId,
      },
    ])
    await gateway.close()
    await start(always)
    await fetch(`${gateway.url}/cats/1`)
    await until(() => seen.length === 2, 'the second request has logged')
    assert.deepEqual(seen[1], { context_traceparent: undefined, trace_id: undefined, span_id: undefined })
  })

  it('without metadata does nothing and says so', async () => {
    const journal = await start(always, { metadata: undefined })
    await fetch(`${gateway.url}/cats/1`)
    assert.equal(upstream.received[0]!.headers.traceparent, undefined)
    assert.ok(journal.lines.some(({ message }) => message === 'nothing is traced: the plugin has no metadata'))
  })

  it('takes no collector that has no host', async () => {
    await start(always, { metadata: undefined })
    const kind = 'plugin_metadata'
    const problem = (address: string) =>
      resourceProblem(
        kind,
        { id: 'opentelemetry', collector: { address } },
        new Map([['opentelemetry', opentelemetry]]),
      )
    for (const good of ['collector:4318', 'https://c.internal/otlp/', '[::1]:4318'])
      assert.equal(problem(good), undefined)
    for (const bad of ['', 'http://', 'https:///'])
      assert.match(problem(bad) ?? '', /collector\.address: .* is not a URL/)
  })

  it('makes one span of a request that a global rule and a route trace, and one of what no route matches', async () => {
    await start(always, { global: always })
    await fetch(`${gateway.url}/cats/1`)
    const [server, client] = await spans(2)
    assert.equal(client!.parentSpanId, server!.spanId)
    assert.equal((await fetch(`${gateway.url}/dogs`)).status, 404)
    const all = await spans(3)
    assert.deepEqual([all[2]!.name, all[2]!.attributes['apisix.response_source']], ['GET', 'apisix'])
  })

  it('sends the resource and the header fields that are configured', async () => {
    await start(always, {
      metadata: {
        resource: { 'service.name': 'gate', 'deployment.shard': 3, canary: true },
        collector: {
          address: `http://127.0.0.1:${collector.port}/otlp`,
          request_headers: { Authorization: 'token', 'X-N': 1 },
        },
      },
    })
    await fetch(`${gateway.url}/cats/1`)
    await spans(2)
    const { hostname, ...resource } = collector.resource
    assert.equal(typeof hostname, 'string')
    assert.deepEqual(resource, { 'service.name': 'gate', 'deployment.shard': 3, canary: true })
    const { target, headers } = collector.received[0]!
    assert.deepEqual([target, headers.authorization, headers['x-n']], ['/otlp/v1/traces', 'token', '1'])
  })
})
