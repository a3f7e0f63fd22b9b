// Calls that plugins make of their own: what is sent, what bounds them, and what ends them.
import assert from 'node:assert/strict'
import { ClientGone, UpstreamError } from '../../../core/errors.ts'
import { openaiChat } from '../../../core/llm/protocols/openai-chat.ts'
import { providers } from '../../../core/llm/providers/table.ts'
import { errandOf, errandTo, Sidecar, type SidecarOptions } from '../../../core/llm/sidecar.ts'
import { openTarget } from '../../../core/llm/target.ts'
import { MetricsReader } from '../../../core/observe/metrics-reader.ts'
import { MetricsWriter } from '../../../core/observe/metrics-writer.ts'
import { Transport } from '../../../core/proxy/transport.ts'
import { makeContext } from '../../helpers/context.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

describe('a sidecar', () => {
  let upstream: ScriptedUpstream
  let transport: Transport
  let reader: MetricsReader
  beforeEach(async () => {
    upstream = await startUpstream()
    transport = new Transport()
    reader = new MetricsReader()
  })
  afterEach(async () => {
    await transport.close()
    await upstream.close()
  })

  function sidecar(options: Partial<SidecarOptions> = {}): Sidecar {
    const metrics = new MetricsWriter({ publish: series => reader.add('test', series) })
    return new Sidecar('ai-test', { transport, metrics }, { timeoutMs: 5_000, verify: true, ...options })
  }
  const errand = (body = '{}') => ({
    ...errandTo(`${upstream.origin}/ask?a=1`, { 'API-Key': 'ours', Connection: 'upgrade' }, { a: '2', b: '3' }),
    body: Buffer.from(body),
  })
  const failing = (fault: string) => (error: unknown) => error instanceof UpstreamError && error.fault === fault

  it('sends what its plugin gives it, and nothing of the client', async () => {
    const headers = { cookie: 'sid=1', authorization: 'Bearer client', 'user-agent': 'sdk', traceparent: '00-1-1-00' }
    const ctx = await makeContext({ method: 'POST', target: '/v1?client=1', headers, body: '{"of":"the client"}' })
    const { status, contentType, body } = await sidecar().ask(ctx, errand('{"q":1}'))
    assert.deepEqual([status, contentType, String(body)], [200, 'application/json', '{"ok":true}'])
    const [received] = upstream.received
    assert.deepEqual([received!.method, received!.target], ['POST', '/ask?a=1&b=3'])
    assert.equal(String(await received!.body), '{"q":1}')
    assert.deepEqual(Object.keys(received!.headers).sort(), [
      'accept',
      'api-key',
      'connection',
      'content-length',
      'content-type',
      'host',
    ])
    assert.equal(received!.headers['api-key'], 'ours')
    assert.notEqual(received!.headers.connection, 'upgrade')
    assert.deepEqual(ctx.attempts, [], 'it is no attempt at the upstream of the request')
  })

  it('asks a model where and how its target says', async () => {
    const target = openTarget({
      provider: providers.get('openai-compatible')!,
      instance: 'x',
      endpoint: upstream.origin,
      headers: { Authorization: 'Bearer ours' },
      query: { k: 'v' },
      options: { model: 'big', temperature: 0 },
      maxTokens: undefined,
      requestBody: {},
      force: false,
      verify: true,
      keepAlive: true,
    })
    const asked = errandOf(target, openaiChat, { messages: [], stream: false, model: 'small' })
    await sidecar().ask(undefined, asked!)
    const [received] = upstream.received
    assert.equal(received!.target, '/v1/chat/completions?k=v')
    assert.equal(received!.headers.authorization, 'Bearer ours')
    assert.equal(String(await received!.body), '{"messages":[],"model":"big","stream":false,"temperature":0}')
    const { place: _, ...nowhere } = target
    assert.equal(errandOf({ ...nowhere, place: undefined }, openaiChat, {}), undefined)
  })

  it('waits no longer than it may, wherever the service stalls', async () => {
    upstream.script = () => {}
    await assert.rejects(sidecar({ timeoutMs: 60 }).ask(undefined, errand()), failing('total_timeout'))
    upstream.script = received => {
      received.response.writeHead(200)
      return received.write('{')
    }
    await assert.rejects(sidecar({ timeoutMs: 60 }).ask(undefined, errand()), failing('total_timeout'))
  })

  it('takes no more than it may', async () => {
    upstream.script = async received => {
      received.response.writeHead(200)
      for (let n = 0; n < 8; n++) await received.write('x'.repeat(1_000))
      received.response.end()
    }
    await assert.rejects(sidecar({ maxBytes: 4_000 }).ask(undefined, errand()), failing('too_large'))
  })

  it('is ended when the client leaves', async () => {
    upstream.script = () => {}
    const ctx = await makeContext()
    const asking = sidecar().ask(ctx, errand())
    const received = await upstream.request(0)
    ctx.abort(new ClientGone())
    await assert.rejects(asking, ClientGone)
    await until(() => received.gone, 'the service is told')
    assert.doesNotMatch(reader.print(), /sluice_sidecar_failures_total\{/)
    await assert.rejects(sidecar().ask(ctx, errand()), ClientGone)
    assert.equal(upstream.received.length, 1, 'who has left is asked nothing for')
  })

  it('counts how long it takes, and what was of no use', async () => {
    const one = sidecar()
    await one.ask(undefined, errand())
    upstream.script = received => received.json(429, {})
    assert.equal((await one.ask(undefined, errand())).status, 429)
    upstream.script = received => received.reset()
    await assert.rejects(one.ask(undefined, errand()), failing('reset'))
    one.failed('malformed')
    const page = reader.print()
    assert.match(page, /^sluice_sidecar_seconds_count\{plugin="ai-test"\} 3$/m)
    for (const reason of ['status 429', 'reset', 'malformed'])
      assert.match(page, new RegExp(`^sluice_sidecar_failures_total\\{plugin="ai-test",reason="${reason}"\\} 1$`, 'm'))
  })
})
