// serverless-pre-function and serverless-post-function as clients see them.
import assert from 'node:assert/strict'
import { plugin, reply } from '../../core/sluice.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { openJournal } from '../helpers/journal.ts'
import { until } from '../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

// What is no loop ends within this on any machine.
const javascript = { timeout: 20_000, heapMb: 64 }

describe('functions of configs', function () {
  this.timeout(60_000)
  let upstream: ScriptedUpstream
  let gateway: TestGateway | undefined
  let journal: ReturnType<typeof openJournal>

  beforeEach(async () => {
    upstream = await startUpstream()
    journal = openJournal()
  })
  afterEach(async () => {
    await gateway?.close()
    gateway = undefined
    await upstream.close()
  })

  const start = async (plugins: object, more: Parameters<typeof startGateway>[0] = {}): Promise<string> => {
    gateway = await startGateway({
      javascript,
      log: journal.log,
      ...more,
      resources: { routes: { 1: { uri: '/*', plugins, upstream: { nodes: upstream.nodes } } } },
    })
    assert.deepEqual(gateway.rejected, [])
    return gateway.url
  }
  const pre = (phase: string, ...functions: string[]) => ({ 'serverless-pre-function': { phase, functions } })

  it('answer in the place of the upstream, the first that returns something', async () => {
    const url = await start(
      pre(
        'access',
        '(conf, ctx) => {}',
        `(conf, ctx) => ctx.var.arg_key === '1' ? undefined : { status: 403, body: { why: ctx.request.method }, headers: { 'X-Why': 'key' } }`,
        '() => ({ status: 299, body: "last" })',
      ),
    )
    const refused = await fetch(url, { method: 'POST' })
    assert.deepEqual(
      [refused.status, refused.headers.get('x-why'), await refused.json()],
      [403, 'key', { why: 'POST' }],
    )
    const passed = await fetch(`${url}/?key=1`)
    assert.deepEqual([passed.status, await passed.text()], [299, 'last'])
    assert.equal(upstream.received.length, 0)
  })

  it('change the request before it goes on, and the order of phases is kept', async () => {
    const url = await start({
      ...pre(
        'rewrite',
        `(conf, ctx) => {
          ctx.request.target = '/moved' + ctx.request.target
          ctx.request.headers['x-new'] = 'a\\r\\nb: c'
          delete ctx.request.headers['x-old']
        }`,
      ),
      'serverless-post-function': {
        phase: 'before_proxy',
        functions: [`(conf, ctx) => { ctx.request.headers['x-seen'] = ctx.request.target + ' ' + ctx.route.id }`],
      },
    })
    await fetch(`${url}/a?b=c`, { headers: { 'x-old': '1', 'x-kept': '2' } })
    const { target, headers } = upstream.received[0]!
    assert.equal(target, '/moved/a?b=c')
    assert.deepEqual(
      ['x-new', 'x-old', 'x-kept', 'x-seen'].map(name => headers[name]),
      ['a  b: c', undefined, '2', '/moved/a?b=c 1'],
    )
  })

  it('change status and headers of the answer', async () => {
    const url = await start(
      pre(
        'header_filter',
        `(conf, ctx) => { ctx.reply.status++; ctx.reply.headers['x-was'] = String(ctx.var.status) }`,
      ),
    )
    const answer = await fetch(url)
    assert.deepEqual([answer.status, answer.headers.get('x-was'), await answer.text()], [201, '200', '{"ok":true}'])
  })

  it('change the body as it comes, also where a character is cut, and leave bytes alone that they do not change', async () => {
    const text = Buffer.from('grün und rot')
    upstream.script = async (received: Received) => {
      received.startStream({ 'content-type': 'text/plain' })
      await received.write(text.subarray(0, 3))
      await received.write(text.subarray(3))
      received.response.end()
    }
    const url = await start(
      pre('body_filter', `(conf, ctx) => { ctx.body = ctx.body.replace('ü', 'ue') + (ctx.last ? '!' : '') }`),
    )
    assert.equal(await (await fetch(url)).text(), 'gruen und rot!')
    const bytes = Buffer.from([0xff, 0xe2, 0x82, 0x00, 0xc3])
    upstream.script = ({ response }: Received) => response.end(bytes)
    await gateway!.put({
      routes: {
        1: { uri: '/*', plugins: pre('body_filter', '(conf, ctx) => {}'), upstream: { nodes: upstream.nodes } },
      },
    })
    assert.deepEqual(Buffer.from(await (await fetch(url)).arrayBuffer()), bytes)
  })

  it('see how it ended, and what they write to the console is in the log', async () => {
    const url = await start(pre('log', `(conf, ctx) => console.log('ended', ctx.reply.status, ctx.var.request_uri)`))
    await fetch(`${url}/x`)
    await until(() => journal.lines.some(({ message }) => message === 'ended 200 /x'), 'it is logged')
  })

  it('cost only their own request an error, whose reason is in the log', async () => {
    const url = await start(pre('access', `(conf, ctx) => { if (ctx.var.arg_bad) throw new Error('my reason') }`))
    const failed = await fetch(`${url}/?bad=1`)
    const { code, error_msg } = (await failed.json()) as { code: string; error_msg: string }
    assert.deepEqual([failed.status, code], [500, 'javascript_failed'])
    assert.doesNotMatch(error_msg, /my reason/)
    assert.ok(journal.lines.some(({ fields }) => /my reason/.test(String((fields.err as Error | undefined)?.cause))))
    assert.equal((await fetch(url)).status, 200)
  })

  it('do not hold up requests that have none', async () => {
    const quick = plugin({
      name: 'quick',
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({ access: () => reply(200, 'quick') }),
    })
    gateway = await startGateway({
      javascript: { timeout: 1_500, heapMb: 64 },
      log: journal.log,
      plugins: [quick],
      resources: {
        routes: {
          1: { uri: '/slow', plugins: pre('access', '() => { for (;;); }') },
          2: { uri: '/quick', plugins: { quick: {} } },
        },
      },
    })
    let slow: number | undefined
    const answered = fetch(`${gateway.url}/slow`).then(({ status }) => {
      slow = status
    })
    let between = 0
    while (slow === undefined) {
      assert.equal(await (await fetch(`${gateway.url}/quick`)).text(), 'quick')
      between++
    }
    await answered
    assert.equal(slow, 500)
    assert.ok(between > 2, `${between} requests were answered meanwhile`)
  })

  it('are refused where there is nothing to be sent of what they give', async () => {
    const bad = [
      '() => 403',
      '() => ({ status: 99 })',
      '() => ({ status: 200, headers: { "a b": "c" } })',
      '(conf, ctx) => { ctx.request.target = "no path" }',
      '(conf, ctx) => { ctx.request.method = "GET /\\r\\n" }',
    ]
    for (const source of bad) {
      const url = await start(pre('access', source))
      assert.equal((await fetch(url)).status, 500, source)
      await gateway!.close()
    }
    gateway = undefined
    assert.equal(upstream.received.length, 0)
  })

  it('may stand in _meta, before each phase of their plugin, whose work goes on when they fail', async () => {
    const seen: string[] = []
    const watching = plugin({
      name: 'watching',
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({
        access: ctx => void seen.push(`access ${ctx.request.headers.get('x-by')}`),
        header_filter: (_ctx, answer) => void seen.push(`header_filter ${answer.headers.get('x-by')}`),
        log: () => void seen.push('log'),
      }),
    })
    const source = `(conf, ctx) => {
      if (ctx.phase === 'log') throw new Error('not me')
      const { headers } = ctx.phase === 'access' ? ctx.request : ctx.reply
      headers['x-by'] = ctx.phase + conf.n
    }`
    const url = await start({ watching: { n: 7, _meta: { pre_function: source } } }, { plugins: [watching] })
    assert.equal((await fetch(url)).headers.get('x-by'), 'header_filter7')
    await until(() => seen.length === 3, 'it is logged')
    assert.deepEqual(seen, ['access access7', 'header_filter header_filter7', 'log'])
    assert.equal(journal.lines.filter(({ fields }) => fields.at === '_meta.pre_function').length, 1)
  })

  it('are nowhere to be found unless they are allowed', async () => {
    gateway = await startGateway({
      resources: {
        routes: {
          1: { uri: '/a', plugins: pre('access', '() => {}') },
          2: { uri: '/b', plugins: {}, filter_func: 'function(vars) { return true }' },
          3: { uri: '/c', plugins: { prometheus: { _meta: { pre_function: '() => {}' } } } },
        },
      },
    })
    const off = 'JavaScript in configs is off here, sluice.javascript.enabled allows it (docs/plugins.md)'
    assert.deepEqual(gateway.rejected.map(({ id, reason }) => [id, reason]).toSorted(), [
      ['1', `unknown plugin [serverless-pre-function]: ${off}`],
      ['2', `filter_func: ${off}`],
      ['3', `_meta.pre_function of plugin prometheus: ${off}`],
    ])
  })
})

describe('filter_func of a route', function () {
  this.timeout(60_000)
  let gateway: TestGateway
  let journal: ReturnType<typeof openJournal>

  const answering = (name: string) =>
    plugin({
      name,
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({ access: () => reply(200, name) }),
    })

  const start = async (routes: Record<string, object>) => {
    journal = openJournal()
    gateway = await startGateway({
      javascript,
      log: journal.log,
      plugins: ['one', 'two', 'three'].map(answering),
      resources: {
        routes: Object.fromEntries(Object.entries(routes).map(([id, route]) => [id, { uri: '/a', ...route }])),
      },
    })
    assert.deepEqual(gateway.rejected, [])
    return async (search: string) => (await fetch(`${gateway.url}/a${search}`)).text()
  }
  afterEach(() => gateway.close())

  it('is asked in the order of precedence, of the variables that it names', async () => {
    const get = await start({
      1: { priority: 2, plugins: { one: {} }, filter_func: `function(vars) { return vars.arg_v === '1' }` },
      2: { priority: 1, plugins: { two: {} }, filter_func: `function(vars) { return vars['arg_v'] === '2' }` },
      3: { plugins: { three: {} } },
    })
    assert.deepEqual([await get('?v=1'), await get('?v=2'), await get('?v=3')], ['one', 'two', 'three'])
  })

  it('is asked of the fields of a body, when it names them', async () => {
    await start({
      1: { priority: 1, plugins: { one: {} }, filter_func: `function(vars) { return vars.post_arg_v === '1' }` },
      2: { plugins: { two: {} } },
    })
    const post = async (v: string) =>
      (await fetch(`${gateway.url}/a`, { method: 'POST', body: new URLSearchParams({ v }) })).text()
    assert.deepEqual([await post('1'), await post('2')], ['one', 'two'])
  })

  it('is not asked when another condition fails', async () => {
    const get = await start({
      1: { priority: 1, plugins: { one: {} }, methods: ['POST'], filter_func: 'function(vars) { for (;;); }' },
      2: { plugins: { two: {} } },
    })
    assert.equal(await get(''), 'two')
  })

  it('ends the request when it fails: nobody knows whose it is', async () => {
    const get = await start({
      1: { priority: 1, plugins: { one: {} }, filter_func: 'function(vars) { return vars.no.thing }' },
      2: { plugins: { two: {} } },
    })
    assert.match(await get(''), /javascript_failed/)
    assert.equal(journal.lines.filter(({ fields }) => fields.at === 'filter_func').length, 1)
  })
})
