// The pipeline as facts core 1 has it: order, merge, consumers, early exits, unmatched routes, `_meta`.
import assert from 'node:assert/strict'
import { plugin } from '../../core/plugin.ts'
import { reply } from '../../core/reply.ts'
import { type Resources, startGateway, type TestGateway } from '../helpers/gateway.ts'
import { tracer } from '../helpers/tracer.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const REQUEST = ['rewrite', 'access', 'before_proxy'] as const
const RESPONSE = ['header_filter', 'body_filter', 'log'] as const

describe('the pipeline', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway | undefined
  const trace: string[] = []

  beforeEach(async () => {
    upstream = await startUpstream()
    trace.length = 0
  })
  afterEach(async () => {
    await gateway?.close()
    gateway = undefined
    await upstream.close()
  })

  async function start(resources: Resources, more: Parameters<typeof startGateway>[0] = {}): Promise<TestGateway> {
    gateway = await startGateway({
      resources,
      plugins: [
        tracer('high', 30, trace),
        tracer('mid', 20, trace),
        tracer('low', 10, trace),
        tracer('ruler', 1, trace),
        tracer('shy', 5, trace, { runPolicy: 'prefer_route' }),
        whoIs,
      ],
      ...more,
    })
    assert.deepEqual(gateway.rejected, [])
    return gateway
  }
  /** Sends a request and waits until it has logged. */
  async function get(path: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
    const response = await fetch(gateway!.url + path, { headers })
    const body = await response.text()
    await until(() => gateway!.gateway.inFlight === 0, 'the request has logged')
    return { status: response.status, body }
  }
  const to = () => ({ nodes: { [`127.0.0.1:${upstream.port}`]: 1 } })

  it('runs global rules before the route in every phase, each list by priority', async () => {
    await start({
      global_rules: { g: { id: 'g', plugins: { ruler: {} } } },
      routes: { r: { uri: '/', plugins: { low: {}, high: {}, mid: {} }, upstream: to() } },
    })
    assert.equal((await get('/')).status, 200)
    const order = ['ruler', 'high', 'mid', 'low']
    // Global rewrite, route rewrite, global access, route access, ...: never interleaved within a phase.
    assert.deepEqual(
      trace,
      [...REQUEST, ...RESPONSE].flatMap(phase => order.map(name => `${name}.${phase}`)),
    )
  })

  for (const phase of REQUEST) {
    it(`ends the turn in ${phase} and still runs the response hooks of every attached plugin`, async () => {
      await start({
        global_rules: { g: { plugins: { ruler: {} } } },
        routes: { r: { uri: '/', plugins: { high: {}, mid: { exit: { [phase]: 418 } }, low: {} }, upstream: to() } },
      })
      assert.deepEqual(await get('/'), { status: 418, body: `mid.${phase}` })
      assert.equal(upstream.received.length, 0)
      assert.ok(!trace.includes(`low.${phase}`))
      assert.deepEqual(
        trace.slice(trace.indexOf(`mid.${phase}`) + 1),
        RESPONSE.flatMap(response => ['ruler', 'high', 'mid', 'low'].map(name => `${name}.${response}`)),
      )
    })

    it(`answers 500 without a word of it when a hook throws or rejects in ${phase}, and logs`, async () => {
      for (const how of ['throw', 'reject']) {
        trace.length = 0
        await gateway?.close()
        await start({ routes: { r: { uri: '/', plugins: { mid: { [how]: phase }, low: {} }, upstream: to() } } })
        const { status, body } = await get('/')
        assert.equal(status, 500)
        assert.ok(!body.includes(phase), body)
        assert.deepEqual(trace.slice(-2), ['mid.log', 'low.log'])
      }
    })
  }

  it('runs only the global response hooks when a global rule ends the turn in rewrite', async () => {
    await start({
      global_rules: { g: { plugins: { ruler: { exit: { rewrite: 403 } } } } },
      routes: { r: { uri: '/', plugins: { high: {} }, upstream: to() } },
    })
    assert.equal((await get('/')).status, 403)
    assert.deepEqual(trace, ['ruler.rewrite', 'ruler.header_filter', 'ruler.body_filter', 'ruler.log'])
  })

  it('runs the route response hooks when a global rule ends the turn in access', async () => {
    await start({
      global_rules: { g: { plugins: { ruler: { exit: { access: 403 } } } } },
      routes: { r: { uri: '/', plugins: { high: {} }, upstream: to() } },
    })
    await get('/')
    assert.ok(trace.includes('high.log'))
    assert.ok(!trace.includes('high.access'))
  })

  it('runs rewrite and access of global rules on a request that no route matches, then answers 404', async () => {
    await start({ global_rules: { g: { plugins: { ruler: {} } } } })
    const { status, body } = await get('/nowhere')
    assert.equal(status, 404)
    assert.deepEqual(JSON.parse(body), { error_msg: '404 Route Not Found', code: 'route_not_found' })
    assert.deepEqual(trace, ['ruler.rewrite', 'ruler.access', 'ruler.header_filter', 'ruler.body_filter', 'ruler.log'])
  })

  it('continues the response when a response hook fails', async () => {
    for (const failure of [
      { throw: 'header_filter' },
      { throw: 'body_filter' },
      { reject: 'body_filter' },
      { throw: 'log' },
      { reject: 'log' },
    ]) {
      await gateway?.close()
      trace.length = 0
      await start({ routes: { r: { uri: '/', plugins: { high: failure, low: {} }, upstream: to() } } })
      assert.deepEqual(await get('/'), { status: 200, body: '{"ok":true}' })
      assert.equal(trace.at(-1), 'low.log')
    }
  })

  it('merges by whole plugin and by name: route over service', async () => {
    await start({
      services: { s: { plugins: { high: { tag: 'service' }, mid: { tag: 'service' } }, upstream: to() } },
      routes: { r: { uri: '/', service_id: 's', plugins: { high: { tag: 'route' } } } },
    })
    await get('/')
    assert.deepEqual(
      trace.filter(line => line.endsWith('.access')),
      ['high:route.access', 'mid:service.access'],
    )
  })

  it("lets a route turn a service's plugin off with _meta.disable", async () => {
    await start({
      services: { s: { plugins: { high: {}, mid: {} }, upstream: to() } },
      routes: { r: { uri: '/', service_id: 's', plugins: { high: { _meta: { disable: true } } } } },
    })
    await get('/')
    assert.ok(trace.every(line => line.startsWith('mid.')))
  })

  it('answers 404 and runs no plugin of a route whose service is missing', async () => {
    await start({
      global_rules: { g: { plugins: { ruler: {} } } },
      routes: { r: { uri: '/', service_id: 'gone', plugins: { high: {} }, upstream: to() } },
    })
    assert.equal((await get('/')).status, 404)
    assert.ok(trace.every(line => line.startsWith('ruler.')))
    assert.equal(upstream.received.length, 0)
  })

  describe('with a consumer', () => {
    const consumers = {
      jack: { username: 'jack', plugins: { 'who-is': { name: 'jack' }, high: { tag: 'jack' }, low: {} } },
    }

    it("lets the consumer's plugins join after rewrite, over the route's, and runs rewrite only of the newcomers", async () => {
      await start({
        consumers,
        routes: { r: { uri: '/', plugins: { 'who-is': {}, high: { tag: 'route' } }, upstream: to() } },
      })
      await get('/', { 'x-who': 'jack' })
      assert.deepEqual(
        trace.filter(line => /rewrite|access/.test(line)),
        ['high:route.rewrite', 'low.rewrite', 'high:jack.access', 'low.access'],
      )
      assert.deepEqual(
        trace.filter(line => line.endsWith('.log')),
        ['high:jack.log', 'low.log'],
      )
    })

    it('does not let them join when the turn ends in rewrite', async () => {
      await start({ consumers, routes: { r: { uri: '/', plugins: { 'who-is': {} }, upstream: to() } } })
      assert.equal((await get('/', { 'x-who': 'stranger' })).status, 401)
      assert.deepEqual(trace, [])
    })

    it('tells the upstream who asks and drops what the client claims to be', async () => {
      await start({ consumers, routes: { r: { uri: '/', plugins: { 'who-is': {} }, upstream: to() } } })
      await get('/', { 'x-who': 'jack', 'x-consumer-username': 'root', 'x-credential-identifier': 'c9' })
      const { headers } = await upstream.request(0)
      assert.equal(headers['x-consumer-username'], 'jack')
      assert.equal(headers['x-credential-identifier'], undefined)
    })
  })

  it('skips a prefer_route plugin of a global rule where the route has it too', async () => {
    await start({
      global_rules: { g: { plugins: { shy: { tag: 'global' } } } },
      routes: {
        own: { uri: '/own', plugins: { shy: { tag: 'route' } }, upstream: to() },
        none: { uri: '/none', upstream: to() },
      },
    })
    await get('/own')
    assert.deepEqual(
      trace.filter(line => line.endsWith('.log')),
      ['shy:route.log'],
    )
    await get('/none')
    assert.equal(trace.at(-1), 'shy:global.log')
  })

  it('runs in no rule a plugin that two global rules name', async () => {
    await start({
      global_rules: { a: { plugins: { high: { tag: 'a' }, mid: {} } }, b: { plugins: { high: { tag: 'b' } } } },
      routes: { r: { uri: '/', upstream: to() } },
    })
    await get('/')
    assert.ok(trace.length > 0 && trace.every(line => line.startsWith('mid.')))
  })

  describe('_meta', () => {
    it('priority re-sorts the list', async () => {
      await start({
        routes: { r: { uri: '/', plugins: { high: {}, low: { _meta: { priority: 99 } } }, upstream: to() } },
      })
      await get('/')
      assert.deepEqual(trace.slice(0, 2), ['low.rewrite', 'high.rewrite'])
    })

    it('filter decides once, in the first phase of the plugin', async () => {
      const filter = [['arg_run', '==', 'yes']]
      await start({ routes: { r: { uri: '/', plugins: { high: { _meta: { filter } } }, upstream: to() } } })
      await get('/?run=no')
      assert.deepEqual(trace, [])
      await get('/?run=yes')
      assert.equal(trace.length, 6)
    })

    it('error_response replaces the body of an exit with status 400 or more, and of no other', async () => {
      const _meta = { error_response: { message: 'ask somebody else' } }
      await start({
        routes: {
          bad: { uri: '/bad', plugins: { high: { exit: { access: 403 }, _meta } }, upstream: to() },
          fine: { uri: '/fine', plugins: { high: { exit: { access: 202 }, _meta } }, upstream: to() },
        },
      })
      assert.deepEqual(await get('/bad'), { status: 403, body: '{"message":"ask somebody else"}\n' })
      assert.deepEqual(await get('/fine'), { status: 202, body: 'high.access' })
    })
  })

  it('closes a plugin instance when its config is gone and its last request has logged', async () => {
    await start({ routes: { r: { uri: '/', plugins: { high: {} }, upstream: to() } } })
    let release = () => {}
    upstream.script = received => {
      release = () => received.json(200, {})
    }
    const slow = get('/')
    await upstream.request(0)
    await gateway!.put({ routes: { r: { uri: '/', plugins: { mid: {} }, upstream: to() } } })
    upstream.script = received => received.json(200, { new: true })
    await fetch(gateway!.url).then(response => response.text())
    assert.ok(trace.includes('mid.access') && !trace.includes('high.close'))
    release()
    await slow
    await until(() => trace.includes('high.close'), 'the old instance is closed')
    assert.ok(trace.indexOf('high.log') < trace.indexOf('high.close'))
  })

  it('keeps the instance of a plugin whose config an edit did not touch', async () => {
    await start({ routes: { r: { uri: '/', plugins: { high: {} }, upstream: to() } } })
    await get('/')
    await gateway!.put({ routes: { other: { uri: '/other', plugins: { mid: {} }, upstream: to() } } })
    await get('/')
    assert.ok(!trace.includes('high.close'))
  })
})

/** Authenticates by a header that names the consumer. */
const whoIs = plugin({
  name: 'who-is',
  priority: 2500,
  version: 0.1,
  type: 'auth',
  schema: { type: 'object' },
  consumer: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
  credential: config => config.name,
  setup: () => ({
    rewrite(ctx) {
      const consumer = ctx.consumers.find('who-is', ctx.request.headers.get('x-who') ?? '')
      if (consumer === undefined) return reply(401)
      ctx.identify(consumer)
      return undefined
    },
  }),
})

/** Made of the plugins that its config names: calls their rewrite hooks. */
const maker = (name: string) =>
  plugin({
    name,
    priority: 50,
    version: 1,
    schema: { type: 'object', properties: { of: { type: 'object', default: {} } } },
    setup({ of }, { use }) {
      const parts = Object.entries(of as Record<string, Record<string, unknown>>).map(([name, config]) =>
        use(name, config),
      )
      return {
        async rewrite(ctx) {
          for (const { rewrite } of parts) {
            const exit = await rewrite?.(ctx)
            if (exit !== undefined) return exit
          }
        },
      }
    },
  })

describe('a plugin made of others', () => {
  let gateway: TestGateway
  const closed: number[] = []
  const part = plugin({
    name: 'part',
    priority: 1,
    version: 1,
    schema: {
      type: 'object',
      properties: { status: { type: 'integer', default: 299 }, breaks: { type: 'boolean' } },
      additionalProperties: false,
    },
    setup({ status, breaks }) {
      if (breaks) throw new Error('cannot be set up')
      return { rewrite: () => reply(status, 'part'), close: () => void closed.push(status) }
    },
  })

  beforeEach(() => {
    closed.length = 0
  })
  afterEach(() => gateway.close())

  /** What a route answers with a plugin that is made of these. */
  async function answer(of: object): Promise<[number, string]> {
    gateway = await startGateway({
      plugins: [part, maker('maker'), maker('other')],
      resources: { routes: { 1: { uri: '/', plugins: { maker: { of } } } } },
    })
    assert.deepEqual(gateway.rejected, [])
    const response = await fetch(gateway.url)
    return [response.status, await response.text()]
  }
  const unavailable = [503, '{"error_msg":"plugin maker is not available","code":"plugin_unavailable"}\n']

  it('calls hooks that have the defaults and the _meta of their config', async () => {
    assert.deepEqual(await answer({ part: {} }), [299, 'part'])
    await gateway.close()
    assert.deepEqual(await answer({ part: { status: 400, _meta: { error_response: 'mine' } } }), [400, 'mine'])
    await gateway.close()
    const passed = await answer({ part: { _meta: { disable: true } }, other: { of: { part: { status: 298 } } } })
    assert.deepEqual(passed, [298, 'part'])
  })

  it('closes what it is made of with its own config', async () => {
    await answer({ part: { status: 201 }, other: { of: { part: { status: 202 } } } })
    await gateway.put({ routes: { 1: null } })
    await until(() => closed.length === 2, 'both are closed')
    assert.deepEqual(closed.toSorted(), [201, 202])
  })

  it('is not available when one of them cannot be had', async () => {
    for (const of of [
      { nobody: {} },
      { part: { status: 'x' } },
      { part: { breaks: true } },
      { maker: {} },
      { other: { of: { maker: {} } } },
    ]) {
      assert.deepEqual(await answer(of), unavailable, JSON.stringify(of))
      await gateway.close()
    }
    gateway = await startGateway()
  })
})
