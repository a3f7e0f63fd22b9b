// What a response says of its request, and to whom: a gateway with a debug key, asked with it, without it and with a wrong one.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Decision } from '../../../core/explain/decision.ts'
import { traceOf } from '../../../core/explain/trace-fields.ts'
import { plugin } from '../../../core/plugin.ts'
import { type GatewayOptionsForTest, type Resources, startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { connectRaw } from '../../helpers/raw-client.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const KEY = 'a-debug-key-0123456789'

const everywhere = plugin({
  name: 'everywhere',
  priority: 5,
  version: 1,
  schema: { type: 'object' },
  setup: () => ({ rewrite() {}, access() {}, header_filter() {}, body_filter() {}, log() {} }),
})

describe('a gateway with a debug key', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  async function start(resources: Resources, more: GatewayOptionsForTest = {}): Promise<void> {
    gateway = await startGateway({ debugKey: KEY, plugins: [everywhere], resources, ...more })
    assert.deepEqual(gateway.rejected, [])
  }
  const ask = (path: string, headers: Record<string, string> = { 'X-Sluice-Debug': KEY }, init: RequestInit = {}) =>
    fetch(gateway.url + path, { ...init, headers: { ...(init.headers as Record<string, string>), ...headers } })
  const toldIn = (response: Response) => JSON.parse(response.headers.get('x-sluice-trace') ?? 'null')

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  const route = () => ({ uri: '/*', plugins: { everywhere: {} }, upstream: { nodes: upstream.nodes } })

  it('tells whoever has it what the request went through, and which plugins run in which phase', async () => {
    await start({ routes: { r: route() } })
    const response = await ask('/x')
    const { id, route: matched, uri, status, steps, attempts } = toldIn(response)
    assert.match(id, /^[0-9a-f]{32}$/)
    assert.deepEqual([matched, uri, status], ['r', '/*', 200])
    assert.deepEqual(
      steps.map((step: string) => step.split(' ')[0]),
      [
        'everywhere#rewrite',
        'everywhere#access',
        'upstream',
        'answer',
        'everywhere#header_filter',
        'everywhere#body_filter',
        'head',
      ],
    )
    assert.match(attempts[0], new RegExp(`^127\\.0\\.0\\.1:${upstream.port} 200 `))
    const phases = ['rewrite', 'access', 'header_filter', 'body_filter', 'log']
    assert.equal(response.headers.get('apisix-plugins'), phases.map(phase => `everywhere#${phase}`).join(', '))
  })

  it('tells nobody else, and no upstream ever sees a key', async () => {
    await start({ routes: { r: route() } })
    const wrong = ['', 'wrong', `${KEY}x`, KEY.slice(1), KEY.toUpperCase()]
    const presented = [{}, ...wrong.map(key => ({ 'X-Sluice-Debug': key }))]
    for (const headers of [...presented, { 'x-sluice-debug': KEY }]) await (await ask('/', headers)).text()
    const answers = await Promise.all(presented.map(headers => ask('/', headers)))
    for (const response of answers) {
      assert.equal(response.status, 200)
      assert.equal(response.headers.get('x-sluice-trace') ?? response.headers.get('apisix-plugins'), null)
    }
    assert.equal(upstream.received.length, 2 * presented.length + 1)
    for (const { rawHeaders } of upstream.received) assert.doesNotMatch(rawHeaders.join(), /sluice/i)
  })

  it('believes no request that shows two keys', async () => {
    await start({ routes: { r: route() } })
    const client = await connectRaw(gateway.port)
    const field = `X-Sluice-Debug: ${KEY}\r\n`
    client.write(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${field}${field}\r\n`)
    await until(() => client.closed, 'the response')
    assert.match(client.received, /^HTTP\/1\.1 200 /)
    assert.doesNotMatch(client.received, /x-sluice/i)
    assert.doesNotMatch(upstream.received[0]!.rawHeaders.join(), /sluice/i)
  })

  it('takes every key off and believes none where none is configured', async () => {
    await start({ routes: { r: route() } }, { debugKey: '' })
    const response = await ask('/', { 'X-Sluice-Debug': '' })
    assert.equal(response.headers.get('x-sluice-trace'), null)
    await ask('/')
    for (const { rawHeaders } of upstream.received) assert.doesNotMatch(rawHeaders.join(), /sluice/i)
  })

  it('says that no plugin runs, and tells of requests that no route matches', async () => {
    await start({})
    const response = await ask('/')
    assert.deepEqual([response.status, response.headers.get('apisix-plugins')], [404, 'no plugin'])
    assert.equal(toldIn(response).status, 404)
  })

  it('names the plugins to everybody in debug mode, and tells nothing else', async () => {
    await start({ routes: { r: route() } }, { debugMode: true, explain: 0 })
    const { headers } = await ask('/', {})
    assert.match(headers.get('apisix-plugins')!, /^everywhere#rewrite, everywhere#access, /)
    assert.equal(headers.get('x-sluice-trace'), null)
  })

  it('tells of a stream what is known when its head leaves: who was asked, and why the others were not', async () => {
    upstream.script = async received => {
      if (received.target.startsWith('/a')) return received.json(500, { error: {} })
      received.startStream()
      await received.event({ choices: [{ index: 0, delta: { content: 'hi' }, finish_reason: 'stop' }] })
      await received.event('[DONE]')
      received.response.end()
    }
    const instance = (name: string, priority: number) => ({
      name,
      priority,
      weight: 1,
      provider: 'openai-compatible',
      auth: { header: { Authorization: 'Bearer of-the-operator' } },
      override: { endpoint: `${upstream.origin}/${name}/v1/chat/completions` },
    })
    const config = { instances: [instance('a', 1), instance('b', 0)], fallback_strategy: ['http_5xx'] }
    await start({ routes: { r: { uri: '/*', plugins: { 'ai-proxy-multi': config } } } }, { explain: 0 })
    const body = JSON.stringify({ model: 'm', stream: true, messages: [{ role: 'user', content: 'hello' }] })
    const headers = { 'content-type': 'application/json', 'X-Sluice-Debug': KEY }
    const response = await ask('/v1/chat/completions', headers, { method: 'POST', body })
    await response.text()
    const { llm } = toldIn(response)
    assert.match(llm.attempts[0], /^a 500 \d+$/)
    assert.match(llm.attempts[1], /^b /)
    assert.deepEqual(llm.candidates, [
      ['a (priority 1 weight 1): is asked', 'b (priority 0 weight 1): lower priority'],
      ['a (priority 1 weight 1): asked already', 'b (priority 0 weight 1): is asked'],
    ])
    assert.doesNotMatch(response.headers.get('x-sluice-trace')!, /of-the-operator|hello/)
  })
})

describe('a trace in a header field', () => {
  it('is JSON of printable ASCII that is never too long, and says when it was cut', async () => {
    const name = fc.oneof(fc.string({ maxLength: 90 }), fc.string({ unit: 'binary', maxLength: 40 }))
    const number = fc.double({ min: 0, max: 1e6, noNaN: true })
    const decision = fc.record({
      request_id: fc.option(name, { nil: undefined }),
      route: fc.option(fc.record({ id: name, uri: name, host: name }), { nil: undefined }),
      consumer: name,
      ms: number,
      status: fc.constantFrom(200, undefined),
      is_cut: fc.boolean(),
      steps: fc.array(fc.record({ step: fc.constant('access'), plugin: name, ms: number, verdict: name }), {
        maxLength: 48,
      }),
      attempts: fc.array(fc.record({ address: name, ms: number, fault: name }), { maxLength: 16 }),
      llm: fc.option(
        fc.record({
          protocol: name,
          model: name,
          attempts: fc.array(fc.record({ instance: name, ms: number }), { maxLength: 16 }),
          candidates: fc.array(
            fc.array(fc.record({ instance: name, priority: number, weight: number, skipped: name }), { maxLength: 16 }),
            { maxLength: 8 },
          ),
        }),
        { nil: undefined },
      ),
      holds: fc.array(fc.record({ kind: name, end: fc.constant('open') }), { maxLength: 16 }),
    })
    const sizes = new Set<boolean>()
    fc.assert(
      fc.property(decision, each => {
        const text = traceOf(each as unknown as Decision)
        assert.match(text, /^[ -~]{2,3000}$/)
        const told = JSON.parse(text)
        if (told.cut !== true) assert.equal(told.steps.length, each.steps.length)
        if (told.id !== undefined) assert.equal(told.id, each.request_id)
        sizes.add(told.cut === true)
      }),
      { numRuns: 60, seed: 11 },
    )
    assert.equal(sizes.size, 2)
  })
})
