// What a gateway knows of a request when it is over: asked through the gateway, of requests that came through its front door.
import assert from 'node:assert/strict'
import type { Decision } from '../../../core/explain/decision.ts'
import { plugin } from '../../../core/plugin.ts'
import { reply } from '../../../core/reply.ts'
import { type Resources, startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const SECRET = 'sesame-0123456789'

/** Does in each phase what its config says. */
const actor = plugin({
  name: 'actor',
  priority: 1,
  version: 1,
  schema: { type: 'object', properties: { in: { type: 'string' }, do: { type: 'string' } } },
  setup: config => {
    const act = (phase: string) => async () => {
      if (config.in !== phase) return undefined
      if (config.do === 'throw') throw new Error('as told')
      return config.do === 'answer' ? reply(418, 'tea') : undefined
    }
    return {
      rewrite: act('rewrite'),
      access: act('access'),
      header_filter: act('header_filter') as () => Promise<void>,
    }
  },
})

const body = { model: 'asked-for', messages: [{ role: 'user', content: SECRET }] }

describe('the decision record', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  async function start(resources: Resources, explain = 1 << 20): Promise<void> {
    gateway = await startGateway({
      explain,
      plugins: [actor],
      resources: { global_rules: { ids: { plugins: { 'request-id': {} } } }, ...resources },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  /** Sends a request under an id and resolves with what is known of it when it has logged. */
  async function decided(path: string, init: RequestInit = {}): Promise<Decision> {
    const id = `id-${crypto.randomUUID()}`
    const headers = { ...(init.headers as Record<string, string>), 'X-Request-Id': id }
    const response = await fetch(gateway.url + path, { ...init, headers }).catch(() => undefined)
    await response?.arrayBuffer().catch(() => {})
    await until(() => gateway.gateway.inFlight === 0, 'the request has logged')
    const decision = gateway.gateway.explain(id)
    assert.ok(decision !== undefined, 'it is known')
    assert.equal(decision.request_id, id)
    return decision
  }

  const stepsOf = ({ steps }: Decision) =>
    steps.map(({ step, plugin: name, verdict }) => `${name === undefined ? '' : `${name}#`}${step} ${verdict}`)

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  it('has route, steps, attempts and end of a plain request, and nothing that is secret', async () => {
    await start({
      routes: {
        r: {
          uri: '/a/*',
          host: '127.0.0.1',
          upstream: { nodes: upstream.nodes },
          plugins: { 'key-auth': {}, actor: {} },
        },
      },
      consumers: { jack: { username: 'jack', plugins: { 'key-auth': { key: SECRET } } } },
    })
    const decision = await decided(`/a/b?token=${SECRET}`, {
      method: 'POST',
      headers: { apikey: SECRET, cookie: SECRET },
      body: SECRET,
    })
    assert.deepEqual(stepsOf(decision), [
      'request-id#rewrite passed',
      'key-auth#rewrite passed',
      'actor#rewrite passed',
      'actor#access passed',
      'upstream passed',
      'answer passed',
      'request-id#header_filter passed',
      'actor#header_filter passed',
      'head passed',
    ])
    const { method, path, status, source, ending, route, consumer, attempts, error } = decision
    assert.deepEqual([method, path, status, source, ending], ['POST', '/a/b', 200, 'upstream', 'complete'])
    assert.deepEqual(route, { id: 'r', uri: '/a/*', host: '127.0.0.1', service_id: undefined })
    assert.deepEqual([consumer, error], ['jack', undefined])
    assert.deepEqual(
      attempts.map(({ address, status: said }) => [address, said]),
      [[`127.0.0.1:${upstream.port}`, 200]],
    )
    assert.ok(decision.ms >= attempts[0]!.ms! && attempts[0]!.ms! >= attempts[0]!.header_ms!)
    for (const [at, { at: began, ms }] of decision.steps.entries()) {
      const next = decision.steps[at + 1]?.at
      if (next !== undefined) assert.ok(Math.abs(began + ms! - next) < 0.01)
    }
    assert.doesNotMatch(JSON.stringify(decision), new RegExp(SECRET))
  })

  it('says which plugin has answered, in which phase', async () => {
    await start({ routes: { r: { uri: '/*', plugins: { actor: { in: 'access', do: 'answer' } } } } })
    const decision = await decided('/')
    assert.deepEqual(stepsOf(decision).slice(1, 3), ['actor#rewrite passed', 'actor#access answered'])
    assert.deepEqual([decision.status, decision.source], [418, 'gateway'])
  })

  it('says which plugin has failed, whether that ends the request or not', async () => {
    await start({
      routes: {
        turn: { uri: '/turn', plugins: { actor: { in: 'rewrite', do: 'throw' } } },
        response: { uri: '/response', plugins: { actor: { in: 'header_filter', do: 'throw' } } },
      },
    })
    const turn = await decided('/turn')
    assert.deepEqual([turn.error, stepsOf(turn)[1]], ['internal_error', 'actor#rewrite failed'])
    const response = await decided('/response')
    assert.ok(stepsOf(response).includes('actor#header_filter failed'))
    assert.equal(response.error, 'upstream_no_node')
    assert.ok(stepsOf(response).includes('upstream failed'))
  })

  it('says what _meta.filter has skipped', async () => {
    const filter = [['arg_x', '==', 'y']]
    await start({
      routes: { r: { uri: '/*', upstream: { nodes: upstream.nodes }, plugins: { actor: { _meta: { filter } } } } },
    })
    assert.ok(stepsOf(await decided('/')).includes('actor#access skipped'))
    assert.ok(stepsOf(await decided('/?x=y')).includes('actor#access passed'))
  })

  it('knows requests that no route matches, and such as are refused', async () => {
    await start({})
    const decision = await decided('/nowhere')
    assert.deepEqual([decision.route, decision.status], [undefined, 404])
    assert.deepEqual(stepsOf(decision)[0], 'request-id#rewrite passed')
  })

  it('has every attempt with what went wrong', async () => {
    const dead = await startUpstream()
    await dead.close()
    const nodes = [
      { host: '127.0.0.1', port: dead.port, weight: 1, priority: 1 },
      { host: '127.0.0.1', port: upstream.port, weight: 1, priority: 0 },
    ]
    await start({ routes: { r: { uri: '/*', upstream: { nodes } } } })
    const { attempts, status } = await decided('/')
    assert.equal(status, 200)
    assert.deepEqual(
      attempts.map(({ address, status: said, fault }) => [address, said, fault]),
      [
        [`127.0.0.1:${dead.port}`, 502, 'refused'],
        [`127.0.0.1:${upstream.port}`, 200, undefined],
      ],
    )
  })

  it('has the instances of a call to an LLM, why each was passed over, its conversion and its holds', async () => {
    upstream.script = received =>
      received.target === '/a/v1/chat/completions'
        ? received.json(429, { error: { message: SECRET } })
        : received.json(200, {
            choices: [{ index: 0, message: { role: 'assistant', content: SECRET }, finish_reason: 'stop' }],
            usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 },
          })
    const instance = (name: string, priority: number, weight = 1) => ({
      name,
      priority,
      weight,
      provider: 'openai-compatible',
      auth: { header: { Authorization: `Bearer ${SECRET}` } },
      override: { endpoint: `${upstream.origin}/${name}/v1/chat/completions` },
    })
    const instances = [instance('a', 2), instance('b', 1), instance('spare', 0, 0)]
    const config = { instances, fallback_strategy: ['http_429'] }
    await start({ routes: { r: { uri: '/*', plugins: { 'ai-proxy-multi': config } } } })
    const decision = await decided('/v1/messages', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, max_tokens: 9 }),
    })
    assert.equal(decision.status, 200)
    const { protocol, converted_to, model, attempts, candidates, prompt_tokens } = decision.llm!
    assert.deepEqual([protocol, converted_to, model], ['anthropic-messages', 'openai-chat', 'asked-for'])
    assert.equal(prompt_tokens, 5)
    assert.deepEqual(
      attempts.map(each => [each.instance, each.status]),
      [
        ['a', 429],
        ['b', 200],
      ],
    )
    assert.deepEqual(
      candidates.map(choice => choice.map(each => `${each.instance} ${each.skipped ?? 'is asked'}`)),
      [
        ['a is asked', 'b lower priority', 'spare weight 0'],
        ['a asked already', 'b is asked', 'spare weight 0'],
      ],
    )
    assert.deepEqual(decision.holds, [
      { kind: 'llm_active_connections', end: 'settled' },
      { kind: 'llm_active_connections', end: 'settled' },
    ])
    assert.doesNotMatch(JSON.stringify(decision), new RegExp(SECRET))
  })

  it('knows of a request that is under way how far it has come', async () => {
    upstream.script = () => {}
    await start({ routes: { r: { uri: '/*', upstream: { nodes: upstream.nodes } } } })
    const leaves = new AbortController()
    const left = fetch(gateway.url, { headers: { 'X-Request-Id': 'slow' }, signal: leaves.signal }).catch(() => {})
    await upstream.request(0)
    const underWay = gateway.gateway.explain('slow')
    assert.deepEqual([underWay?.ending, underWay?.status], ['under_way', undefined])
    assert.equal(underWay?.steps.at(-1)?.step, 'upstream')
    leaves.abort()
    await left
    await until(() => gateway.gateway.explain('slow')?.ending !== 'under_way', 'it has logged')
    const over = gateway.gateway.explain('slow')
    assert.deepEqual([over?.ending, over?.error, over?.status], ['client_gone', 'client_gone', 499])
  })

  it('keeps requests apart that run side by side, and one after another', async () => {
    upstream.script = async received => {
      await new Promise(resolve => setImmediate(resolve))
      received.json(200, {})
    }
    const nodes = upstream.nodes
    await start({
      routes: {
        asks: { uri: '/asks/*', plugins: { actor: {} }, upstream: { nodes } },
        answers: { uri: '/answers/*', plugins: { actor: { in: 'rewrite', do: 'answer' } } },
        bare: { uri: '/bare/*', upstream: { nodes } },
      },
    })
    const expected: Record<string, string[]> = {
      asks: ['actor#rewrite', 'actor#access', 'upstream', 'answer', 'actor#header_filter'],
      answers: ['actor#rewrite', 'actor#header_filter'],
      bare: ['upstream', 'answer'],
    }
    const ids = Array.from({ length: 90 }, (_, at) => [`side-${at}`, Object.keys(expected)[at % 3]!] as const)
    for (const half of [ids.slice(0, 45), ids.slice(45)])
      await Promise.all(
        half.map(async ([id, where]) => {
          const response = await fetch(`${gateway.url}/${where}/${id}`, { headers: { 'X-Request-Id': id } })
          await response.text()
        }),
      )
    await until(() => gateway.gateway.inFlight === 0, 'all have logged')
    for (const [id, where] of ids) {
      const decision = gateway.gateway.explain(id)!
      assert.deepEqual([decision.path, decision.route?.id], [`/${where}/${id}`, where])
      const steps = stepsOf(decision).map(step => step.split(' ')[0])
      assert.deepEqual(
        steps.filter(step => !step!.startsWith('request-id#') && step !== 'head'),
        expected[where],
      )
    }
  })

  it('says that there were more steps than it has room for', async () => {
    const many = Array.from({ length: 33 }, (_, at) =>
      plugin({
        name: `many-${at}`,
        priority: at,
        version: 1,
        schema: { type: 'object' },
        setup: () => ({ rewrite() {}, access() {} }),
      }),
    )
    gateway = await startGateway({
      explain: 1 << 20,
      plugins: many,
      resources: {
        global_rules: { ids: { plugins: { 'request-id': {} } } },
        routes: {
          r: {
            uri: '/*',
            plugins: Object.fromEntries(many.map(({ name }) => [name, {}])),
            upstream: { nodes: upstream.nodes },
          },
        },
      },
    })
    const decision = await decided('/')
    assert.deepEqual([decision.is_cut, decision.steps.length, decision.status], [true, 64, 200])
    assert.equal(decision.attempts.length, 1)
    assert.ok(decision.steps.every(({ verdict }) => verdict === 'passed'))
  })

  it('keeps failures when other requests have long been forgotten', async () => {
    await start(
      {
        routes: {
          good: { uri: '/good', plugins: { actor: { in: 'rewrite', do: 'answer' } } },
          bad: { uri: '/bad', plugins: { actor: { in: 'rewrite', do: 'throw' } } },
        },
      },
      64 * 1024,
    )
    const [bad, good] = [await decided('/bad'), await decided('/good')]
    for (let round = 0; round < 40; round++)
      await Promise.all(Array.from({ length: 10 }, () => fetch(`${gateway.url}/good`).then(each => each.text())))
    await until(() => gateway.gateway.inFlight === 0, 'all have logged')
    assert.equal(gateway.gateway.explain(good.request_id!), undefined)
    assert.deepEqual(gateway.gateway.explain(bad.request_id!), bad)
  })

  it('is not kept where the configuration says 0', async () => {
    await start({ routes: { r: { uri: '/*', upstream: { nodes: upstream.nodes } } } }, 0)
    await fetch(gateway.url, { headers: { 'X-Request-Id': 'unknown' } }).then(response => response.text())
    await until(() => gateway.gateway.inFlight === 0, 'it has logged')
    assert.equal(gateway.gateway.explain('unknown'), undefined)
  })
})
