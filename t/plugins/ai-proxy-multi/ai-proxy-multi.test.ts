// ai-proxy-multi at the front door: which instance is asked, which is asked instead, and what the client sees of it.
import assert from 'node:assert/strict'
import { llmFields } from '../../../core/observe/log-entry.ts'
import { plugin } from '../../../core/plugin.ts'
import { configProblem, fillPlugin } from '../../../core/resource/plugin-configs.ts'
import { variable } from '../../../core/router/vars.ts'
import aiProxyMulti from '../../../plugins/ai-proxy-multi/ai-proxy-multi.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { type Line, openJournal } from '../../helpers/journal.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 }
const answerOf = (name: string) => ({
  object: 'chat.completion',
  choices: [{ index: 0, message: { role: 'assistant', content: name }, finish_reason: 'stop' }],
  usage,
})
const chunk = (delta: object, finish: string | null = null) => ({
  object: 'chat.completion.chunk',
  choices: [{ index: 0, delta, finish_reason: finish }],
})
const role = chunk({ role: 'assistant', content: '' })
const question = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }

describe('ai-proxy-multi', () => {
  let upstreams: Map<string, ScriptedUpstream>
  let gateway: TestGateway
  let clock: number
  /** Milliseconds by which the clock goes on whenever somebody looks. */
  let ticks: number
  let lines: Line[]
  /** `$llm_attempts`, `$request_llm_model` and `$llm_model` of each request that has logged. */
  let logged: { attempts: unknown; asked: unknown; model: unknown; error: unknown; summary: unknown }[]

  beforeEach(() => {
    upstreams = new Map()
    clock = 1_800_000_000_000
    ticks = 0
    logged = []
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    for (const [kind, { opened, settled, released, live }] of Object.entries(gateway.book.totals())) {
      assert.deepEqual({ kind, live, ended: settled + released }, { kind, live: 0, ended: opened })
    }
    assert.doesNotMatch(gateway.scrape(), /^apisix_llm_active_connections\{.*\} [^0]/m)
    await gateway.close()
    for (const upstream of upstreams.values()) await upstream.close()
  })

  /** Answers with the name of its instance, whole or as a stream, as it is asked. */
  const good = (name: string) => async (received: Received) => {
    const body = JSON.parse((await received.body).toString()) as { stream?: boolean }
    if (body.stream !== true) return received.json(200, answerOf(name))
    received.startStream()
    for (const event of [role, chunk({ content: name }), chunk({}, 'stop'), '[DONE]']) await received.event(event)
    received.response.end()
  }
  const says =
    (status: number, headers: Record<string, string> = {}) =>
    (name: string) =>
    (received: Received) =>
      received.json(status, { error: { message: `${name} says ${status}` } }, headers)

  type Script = (name: string) => (received: Received) => unknown
  async function start(
    instances: Record<string, { script?: Script; [key: string]: unknown }>,
    config: object = {},
    plugins: object = {},
  ) {
    const journal = openJournal()
    lines = journal.lines
    const written = []
    for (const [name, { script = good, ...more }] of Object.entries(instances)) {
      const upstream = await startUpstream(script(name))
      upstreams.set(name, upstream)
      written.push({
        name,
        provider: 'openai-compatible',
        weight: 1,
        auth: { header: { Authorization: `Bearer ${name}` } },
        override: { endpoint: upstream.origin },
        ...more,
      })
    }
    const observer = plugin({
      name: 'observer',
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({
        async log(ctx) {
          const { llm_summary: summary } = await llmFields(ctx)
          const get = (name: string) => variable(ctx, name)
          logged.push({
            attempts: get('llm_attempts'),
            asked: get('request_llm_model'),
            model: get('llm_model'),
            error: ctx.error,
            summary,
          })
        },
      }),
    })
    const now = () => {
      clock += ticks
      return clock
    }
    gateway = await startGateway({
      now,
      log: journal.log,
      upstreams: { now },
      plugins: [observer],
      resources: {
        routes: {
          1: {
            uri: '/*',
            plugins: { 'ai-proxy-multi': { instances: written, ...config }, observer: {}, prometheus: {}, ...plugins },
          },
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  const ask = (body: object = question, headers: Record<string, string> = {}) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
  const askStream = async () => (await ask({ ...question, stream: true })).text()
  /** Who has answered. */
  const who = async (headers?: Record<string, string>): Promise<string> => {
    const response = await ask(question, headers)
    assert.equal(response.status, 200)
    return ((await response.json()) as ReturnType<typeof answerOf>).choices[0]!.message.content
  }
  const counts = () => Object.fromEntries([...upstreams].map(([name, { received }]) => [name, received.length]))
  const errorOf = async (response: Response) => [
    response.status,
    ((await response.json()) as { error: { message: string } }).error.message,
  ]
  const saysLog = (pattern: RegExp) => lines.filter(({ message }) => pattern.test(message)).length

  describe('chooses', () => {
    it('equal instances in turn', async () => {
      await start({ a: {}, b: {} })
      const seen = [await who(), await who(), await who(), await who()]
      assert.deepEqual(seen[0] === 'a' ? seen : seen.toReversed(), ['a', 'b', 'a', 'b'])
    })

    it('by weight: of ten requests at 4 to 1 exactly eight and two, and nobody of weight 0', async () => {
      await start({ a: { weight: 4 }, b: { weight: 1 }, c: { weight: 0 } })
      for (let n = 0; n < 10; n++) await who()
      assert.deepEqual(counts(), { a: 8, b: 2, c: 0 })
    })

    it('a higher priority as long as it answers', async () => {
      await start({ low: { priority: 1 }, high: { priority: 2 } }, { fallback_strategy: 'http_5xx' })
      assert.deepEqual([await who(), await who(), await who()], ['high', 'high', 'high'])
      upstreams.get('high')!.script = says(500)('high')
      assert.equal(await who(), 'low')
    })

    it('the same instance for the same key, whatever the key is taken from', async () => {
      const hashed = (hash_on: string, key: string) => ({ balancer: { algorithm: 'chash', hash_on, key } })
      const sources: [object, (value: string) => Record<string, string>][] = [
        [hashed('header', 'X-Session'), value => ({ 'x-session': value })],
        [hashed('cookie', 'session'), value => ({ cookie: `session=${value}` })],
        [hashed('vars_combinations', '$http_x_one$http_x_two'), value => ({ 'x-one': value, 'x-two': 'z' })],
      ]
      for (const [at, [config, headers]] of sources.entries()) {
        await start({ [`a${at}`]: {}, [`b${at}`]: {}, [`c${at}`]: {} }, config)
        const seen = new Set<string>()
        for (let n = 0; n < 12; n++) {
          const first = await who(headers(`s${n}`))
          assert.equal(await who(headers(`s${n}`)), first)
          seen.add(first)
        }
        assert.ok(seen.size > 1, 'keys are spread')
        if (at < sources.length - 1) await gateway.close()
      }
    })

    it('the only instance, whatever its weight, and never another', async () => {
      await start({ a: { weight: 0, script: says(429, { 'retry-after': '60' }) } }, { fallback_strategy: ['http_429'] })
      assert.deepEqual(await errorOf(await ask()), [429, 'a says 429'])
      assert.deepEqual(await errorOf(await ask()), [429, 'a says 429'])
    })

    it('nobody when all have weight 0', async () => {
      await start({ a: { weight: 0 }, b: { weight: 0 } })
      const response = await ask()
      assert.deepEqual([response.status, await response.text()], [503, 'all servers tried'])
    })
  })

  describe('falls back', () => {
    it('no more often than max_retries: then the error is the instance’s own', async () => {
      const failing = { script: says(500) }
      await start({ a: failing, b: failing, c: failing }, { fallback_strategy: ['http_5xx'], max_retries: 1 })
      const [status, message] = await errorOf(await ask())
      assert.equal(status, 500)
      assert.match(String(message), /^[abc] says 500$/)
      assert.equal(
        [...upstreams.values()].reduce((sum, { received }) => sum + received.length, 0),
        2,
      )
      assert.equal(saysLog(/^reached max_retries 1, not retrying$/), 1)
    })

    it('until all have been asked, each once: then the last error is a bad gateway', async () => {
      const failing = { script: says(503) }
      await start({ a: failing, b: failing, c: { ...failing, priority: -1 } }, { fallback_strategy: 'http_5xx' })
      const response = await ask()
      assert.equal(response.headers.get('content-type'), 'application/json')
      assert.deepEqual(await errorOf(response), [502, 'c says 503'])
      assert.deepEqual(counts(), { a: 1, b: 1, c: 1 })
      assert.equal(saysLog(/^failed to pick new AI instance: all servers tried$/), 1)
    })

    it('not to a spare of weight 0, and does not ask the failed one again for it', async () => {
      await start({ a: { script: says(500) }, spare: { weight: 0 } }, { fallback_strategy: ['http_5xx'] })
      assert.deepEqual(await errorOf(await ask()), [502, 'a says 500'])
      assert.deepEqual(counts(), { a: 1, spare: 0 })
    })

    const rules: [string, object, number, boolean][] = [
      ['http_5xx on a 500', { fallback_strategy: 'http_5xx' }, 500, true],
      ['http_5xx not on a 429', { fallback_strategy: 'http_5xx' }, 429, false],
      ['http_429 on a 429', { fallback_strategy: ['rate_limiting', 'http_429'] }, 429, true],
      ['http_429 not on a 500', { fallback_strategy: 'http_429' }, 500, false],
      [
        'instance_health_and_rate_limiting on no status',
        { fallback_strategy: 'instance_health_and_rate_limiting' },
        500,
        false,
      ],
      ['nothing by itself', {}, 500, false],
      ['http_5xx not on a 401', { fallback_strategy: ['http_429', 'http_5xx'] }, 401, false],
      ['a listed status without a strategy', { fallback_http_statuses: [401, 403] }, 401, true],
      ['a listed status and no other', { fallback_http_statuses: [403] }, 401, false],
      ['max_retries 0 on nothing', { fallback_strategy: 'http_5xx', max_retries: 0 }, 500, false],
    ]
    for (const [name, config, status, falls] of rules) {
      it(`with ${name}`, async () => {
        await start({ a: { script: says(status), priority: 1 }, b: {} }, config)
        if (falls) assert.equal(await who(), 'b')
        else assert.deepEqual(await errorOf(await ask()), [status, `a says ${status}`])
      })
    }

    it('only from an instance that failed fast, and tells the log who, how long and of which limit', async () => {
      const config = { fallback_strategy: ['http_5xx'], retry_on_failure_within_ms: 1_500 }
      await start({ a: { script: says(500), priority: 1 }, b: {} }, config)
      assert.equal(await who(), 'b')
      const [line] = lines.filter(({ message }) => /falling back/.test(message))
      assert.match(
        line!.message,
        /^ai instance a returned status 500, falling back to b\. upstream error body: .*a says 500/,
      )
      upstreams.get('a')!.script = received => void setTimeout(() => says(500)('a')(received), 1_600)
      const response = await ask()
      assert.equal(response.headers.get('content-type'), 'application/json')
      assert.deepEqual(await errorOf(response), [500, 'a says 500'])
      const slow = lines.find(({ message }) => /exceeding/.test(message))
      assert.match(
        slow!.message,
        /^ai instance failed after \d{4,}ms, exceeding retry_on_failure_within_ms 1500, not retrying$/,
      )
      assert.equal(slow!.fields.instance, 'a')
      assert.equal(upstreams.get('b')!.received.length, 1)
    })

    it('from an instance that cannot be reached, or breaks off, as from one that fails fast', async () => {
      const config = { fallback_strategy: 'http_5xx', retry_on_failure_within_ms: 60_000 }
      const dead = { override: { endpoint: 'http://127.0.0.1:1' }, priority: 2 }
      await start({ dead, cut: { script: () => received => received.reset(), priority: 1 }, b: {} }, config)
      assert.equal(await who(), 'b')
      await until(() => logged.length === 1, 'it is logged')
      assert.match(String(logged[0]!.attempts), /^dead 500 \d+ refused, cut 500 \d+ reset, b 200 \d+$/)
      assert.equal(logged[0]!.error, undefined, 'the client has seen no error')
    })

    it('with the client’s own body each time, and what each instance lays over it', async () => {
      const first = { script: says(500), priority: 1, options: { model: 'big', temperature: 0.5 } }
      await start({ a: first, b: { options: { model: 'small' } } }, { fallback_strategy: 'http_5xx' })
      assert.equal(await who(), 'b')
      const sent = await Promise.all([...upstreams.values()].map(({ received }) => received[0]!.body))
      assert.deepEqual(
        sent.map(body => JSON.parse(body.toString()) as object),
        [
          { ...question, model: 'big', temperature: 0.5 },
          { ...question, model: 'small' },
        ],
      )
      assert.deepEqual(
        [...upstreams.values()].map(({ received }) => received[0]!.headers.authorization),
        ['Bearer a', 'Bearer b'],
      )
      await until(() => logged.length === 1, 'it is logged')
      assert.deepEqual([logged[0]!.asked, logged[0]!.model], ['m', 'small'])
    })

    it('and shows it in metrics: who is talked to now, who was left, and whose answer it is', async () => {
      await start(
        { a: { script: says(500), priority: 1 }, b: { script: () => () => {} } },
        { fallback_strategy: 'http_5xx' },
      )
      const response = ask()
      const received = await upstreams.get('b')!.request(0)
      const gauge = (node: string) =>
        new RegExp(`^apisix_llm_active_connections\\{.*node="${node}".*\\} (\\d+)`, 'm').exec(gateway.scrape())?.[1]
      assert.deepEqual([gauge('a'), gauge('b')], ['0', '1'])
      received.json(200, answerOf('b'))
      assert.equal((await response).status, 200)
      await until(() => logged.length === 1, 'it is logged')
      assert.equal(gauge('b'), '0')
      assert.match(
        gateway.scrape(),
        /^sluice_llm_fallbacks_total\{route_id="1",node="a",code="500",reason="status"\} 1$/m,
      )
      assert.match(gateway.scrape(), /^apisix_http_status\{code="200",.*node="b",.*response_source="upstream"\} 1$/m)
    })
  })

  it('says with logging.summaries who was asked, who could have been, and why they were not', async () => {
    const tired = says(429, { 'retry-after': '9' })
    await start(
      { a: { script: tired, priority: 2 }, b: { script: says(500), priority: 1 }, c: {}, d: { weight: 0 } },
      { fallback_strategy: 'http_5xx', logging: { summaries: true } },
    )
    assert.equal((await ask()).status, 429)
    assert.equal(await who(), 'c')
    await until(() => logged.length === 2, 'both are logged')
    const { attempts, candidates } = logged[1]!.summary as {
      attempts: { instance: string; status: number; ms: number }[]
      candidates: { instance: string; skipped?: string }[][]
    }
    assert.deepEqual(
      attempts.map(({ instance, status }) => [instance, status]),
      [
        ['b', 500],
        ['c', 200],
      ],
    )
    assert.ok(attempts.every(({ ms }) => ms >= 0))
    assert.deepEqual(
      candidates.map(choice => choice.map(({ instance, skipped }) => [instance, skipped])),
      [
        [
          ['a', 'at rest for 9000 ms'],
          ['b', undefined],
          ['c', 'lower priority'],
          ['d', 'weight 0'],
        ],
        [
          ['a', 'at rest for 9000 ms'],
          ['b', 'asked already'],
          ['c', undefined],
          ['d', 'weight 0'],
        ],
      ],
    )
  })

  describe('before the first content', () => {
    const starts =
      (then: (received: Received) => unknown): Script =>
      () =>
      async received => {
        received.startStream()
        await received.event(role)
        await then(received)
      }
    const faults: [string, Script][] = [
      ['breaks off', starts(received => received.reset())],
      ['ends without an end', starts(received => received.response.end())],
      ['says that it has failed', starts(received => received.event({ error: { message: 'overloaded', code: 500 } }))],
      ['sends what is no JSON', starts(received => received.event('{"choices":['))],
      ['only pings', starts(received => received.write(': ping\n\n'))],
      ['sends no event', () => received => received.startStream()],
    ]
    for (const [name, script] of faults) {
      it(`an instance that ${name} leaves no trace at the client`, async () => {
        const config = { fallback_strategy: 'http_5xx', timeouts: { first_content: 1_000 } }
        await start({ a: { script, priority: 1 }, b: {} }, config)
        const events = [role, chunk({ content: 'b' }), chunk({}, 'stop'), '[DONE]']
        const text = events.map(each => `data: ${typeof each === 'string' ? each : JSON.stringify(each)}\n\n`).join('')
        assert.equal(await askStream(), text)
        assert.deepEqual(counts(), { a: 1, b: 1 })
      })
    }

    const overloaded = { error: { message: 'overloaded', code: 500 } }
    const fails = starts(async received => {
      await received.event(overloaded)
      received.response.end()
    })
    const asItWas = `data: ${JSON.stringify(role)}\n\ndata: ${JSON.stringify(overloaded)}\n\n`

    it('the last instance is not held back, and what it says of its failure passes', async () => {
      await start({ a: { script: fails }, b: { script: fails } }, { fallback_strategy: 'http_5xx' })
      assert.equal(await askStream(), asItWas)
      assert.deepEqual(counts(), { a: 1, b: 1 })
    })

    it('a failure that no rule is about passes as it is', async () => {
      await start({ a: { script: fails, priority: 1 }, b: {} }, { fallback_strategy: 'http_429' })
      assert.equal(await askStream(), asItWas)
      assert.deepEqual(counts(), { a: 1, b: 0 })
    })
  })

  it('asks nobody else once content has left, and ends the stream with an error', async () => {
    const script: Script = () => async received => {
      received.startStream()
      await received.event(role)
      await received.event(chunk({ content: 'half' }))
      received.reset()
    }
    await start({ a: { script, priority: 1 }, b: {} }, { fallback_strategy: ['http_5xx', 'http_429'] })
    const text = await askStream()
    assert.match(text, /"content":"half"\}.*\n\ndata: \{"error":\{.*"code":"upstream_reset"\}\}\n\n$/s)
    assert.deepEqual(counts(), { a: 1, b: 0 })
  })

  describe('with ai-rate-limiting', () => {
    const limits = (limits: Record<string, number>) => ({
      'ai-rate-limiting': {
        instances: Object.entries(limits).map(([name, limit]) => ({ name, limit, time_window: 600 })),
      },
    })

    for (const fallback_strategy of ['instance_health_and_rate_limiting', ['rate_limiting']]) {
      it(`passes over instances whose limit is reached with ${fallback_strategy}`, async () => {
        await start({ a: { priority: 1 }, b: {} }, { fallback_strategy }, limits({ a: 10, b: 10 }))
        const seen = [await who(), await who(), await who(), await who()]
        assert.deepEqual(seen, ['a', 'a', 'b', 'b'])
        const response = await ask()
        assert.deepEqual([response.status, await response.text()], [503, 'all servers tried'])
        assert.equal(response.headers.get('x-ai-ratelimit-remaining-a'), '0')
        assert.equal(response.headers.get('x-ai-ratelimit-remaining-b'), '0')
      })
    }

    it('refuses for the chosen instance where no strategy minds', async () => {
      await start({ a: { priority: 1 }, b: {} }, {}, limits({ a: 7 }))
      assert.equal(await who(), 'a')
      assert.equal((await ask()).status, 429)
    })

    for (const [name, own] of Object.entries({ 'which was chosen first': { a: 100, b: 10 }, 'or not': { b: 10 } })) {
      it(`charges the instance that has answered, whether there is a limit for the one ${name}`, async () => {
        const config = { fallback_strategy: ['http_5xx', 'rate_limiting'] }
        await start({ a: { script: says(500), priority: 1 }, b: {} }, config, limits(own))
        assert.deepEqual([await who(), await who()], ['b', 'b'])
        assert.deepEqual(await errorOf(await ask()), [502, 'a says 500'])
        upstreams.get('a')!.script = good('a')
        assert.equal(await who(), 'a')
      })
    }
  })

  describe('an instance that asks for rest', () => {
    const tired = (seconds: string) => says(429, { 'retry-after': seconds })

    it('is not asked before its time', async () => {
      await start({ a: { script: tired('30'), priority: 1 }, b: {} }, { fallback_strategy: ['http_429'] })
      assert.deepEqual([await who(), await who(), await who()], ['b', 'b', 'b'])
      assert.deepEqual(counts(), { a: 1, b: 3 })
      upstreams.get('a')!.script = good('a')
      clock += 29_999
      assert.equal(await who(), 'b')
      clock += 1
      assert.equal(await who(), 'a')
    })

    it('is left alone also where nothing falls back', async () => {
      await start({ a: { script: tired('30'), priority: 1 }, b: {} })
      assert.deepEqual(await errorOf(await ask()), [429, 'a says 429'])
      assert.equal(await who(), 'b')
    })

    it('like all others makes the client wait, and says how long', async () => {
      await start({ a: { script: tired('30') }, b: { script: tired('12') } }, { fallback_strategy: ['http_429'] })
      for (const waited of [0, 2_500]) {
        clock += waited
        const response = await ask()
        assert.equal(response.headers.get('retry-after'), waited === 0 ? '12' : '10')
        assert.equal(response.headers.get('retry-after-ms'), waited === 0 ? '12000' : '9500')
        assert.match(String(await errorOf(response)), /^429,every AI service has asked not to be asked/)
      }
      assert.deepEqual(counts(), { a: 1, b: 1 })
    })

    it('may end at any moment: then it is asked, or the client hears how long, and never is there nobody', async () => {
      const rest = says(429, { 'retry-after-ms': '23' })
      await start({ a: { script: rest }, b: { script: rest } }, { fallback_strategy: ['http_429'] })
      for (let n = 0; n < 60; n++) {
        ticks = 1 + (n % 5)
        const response = await ask()
        await response.text()
        // The last error's body, where all rests were over when it was looked at.
        assert.ok([429, 502].includes(response.status), `${n}: ${response.status}`)
      }
    })

    it('says so in the client’s protocol', async () => {
      await start({ a: { script: tired('30') }, b: { script: tired('12') } }, { fallback_strategy: ['http_429'] })
      const post = () =>
        fetch(`${gateway.url}/v1/messages`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ ...question, max_tokens: 9 }),
        })
      const said = (await (await post()).json()) as { type: string; error: { type: string } }
      assert.deepEqual([said.type, said.error.type], ['error', 'rate_limit_error'])
    })

    it('is waited for as long as the config allows, and no longer', async () => {
      await start(
        { a: { script: says(429, { 'retry-after-ms': '60' }) }, b: { script: tired('30') } },
        { fallback_strategy: ['http_429'], wait_for_capacity_ms: 1_000 },
      )
      assert.equal((await ask()).status, 429)
      assert.deepEqual(counts(), { a: 1, b: 1 })
      upstreams.get('a')!.script = good('a')
      const waiting = who()
      await until(() => gateway.gateway.inFlight === 1, 'it waits')
      clock += 60
      assert.equal(await waiting, 'a')
    })
  })
})

describe('the config of ai-proxy-multi', () => {
  const one = { name: 'a', provider: 'openai', auth: { header: {} }, weight: 1 }
  const semantic = (embeddings: object = {}, opts: object = {}, more: object = {}) => ({
    instances: [{ ...one, ...more }],
    balancer: { algorithm: 'semantic' },
    semantic_opts: { embeddings: { provider: 'openai', model: 'e', auth: {}, ...embeddings }, ...opts },
  })
  const problemOf = (config: object) =>
    configProblem(aiProxyMulti, 'config', config as Record<string, unknown>)?.replace(/^.* err: /, '')
  const wrong: [object, string][] = [
    [{}, 'property "instances" is required'],
    [{ instances: [] }, 'property "instances" validation failed: expect array to have at least 1 items'],
    [{ instances: [one, { ...one, name: 'b' }, one] }, "duplicate instance name 'a' at instances[1] and instances[3]"],
    [{ instances: [{ ...one, override: { endpoint: 'ftp://x' } }] }, 'invalid endpoint'],
    [
      { instances: [{ ...one, provider: 'vertex-ai' }] },
      "instance 'a': vertex-ai requires either provider_conf (project_id + region) or override.endpoint",
    ],
    [{ instances: [{ ...one, provider: 'bedrock' }] }, "instance 'a': bedrock requires provider_conf.region"],
    [
      { instances: [one], balancer: { algorithm: 'chash', hash_on: 'header' } },
      'must configure `hash_key` when balancer `hash_on` is not set to cookie',
    ],
    [
      { instances: [one], balancer: { algorithm: 'chash', hash_on: 'header', key: 'a b' } },
      'invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "a b"',
    ],
    [
      { instances: [one], balancer: { algorithm: 'semantic' } },
      'must configure `semantic_opts.embeddings` when balancer algorithm is semantic',
    ],
    [semantic({ endpoint: 'ftp://x' }), 'invalid `semantic_opts.embeddings.endpoint`'],
    [
      semantic({ provider: 'azure-openai' }),
      'must configure `semantic_opts.embeddings.endpoint` when embeddings provider is azure-openai',
    ],
    [
      semantic({ provider: 'azure-openai', endpoint: 'https://x.test/?api-version=1' }),
      '`semantic_opts.embeddings.endpoint` for azure-openai must include the full deployment path, e.g. https://{resource}.openai.azure.com/openai/deployments/{deployment}/embeddings?api-version=...',
    ],
    [semantic(), "instance 'a': must configure non-empty `examples` for the semantic algorithm"],
    [semantic({}, { fallback: 'b' }, { examples: ['x'] }), "`semantic_opts.fallback` names unknown instance 'b'"],
    [{ instances: [{ ...one, checks: { active: { req_headers: ['a'] } } }] }, `instance 'a': invalid req_headers "a"`],
    [{ instances: [{ ...one, checks: { active: {}, passive: {} } }] }, "instance 'a': checks are active, not passive"],
  ]
  for (const [config, said] of wrong) {
    it(`so is refused: ${said}`, () => assert.equal(problemOf(config), said))
  }

  it('has APISIX’s defaults, and ours', () => {
    const config = fillPlugin(aiProxyMulti, { instances: [one], balancer: {} })
    assert.deepEqual(config.balancer, { hash_on: 'vars' })
    assert.deepEqual(config.instances, [{ ...one, priority: 0 }])
    const { balancer, timeout, wait_for_capacity_ms } = fillPlugin(aiProxyMulti, { instances: [one] })
    assert.deepEqual(
      [balancer, timeout, wait_for_capacity_ms],
      [{ algorithm: 'roundrobin', hash_on: 'vars' }, 30_000, 0],
    )
  })
})
