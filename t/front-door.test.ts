// The whole gateway at its front door, with one worker and with three: what is seen there must not depend on their number.
import assert from 'node:assert/strict'
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

// As many connections at once as make it likely that every worker has one.
const CROWD = 9
const question = { model: 'gpt-x', messages: [{ role: 'user', content: 'What is 1 + 1?' }] }
const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 }

interface Knock extends RequestOptions {
  body?: string
}

for (const workers of [1, 3]) {
  describe(`the front door with ${workers === 1 ? 'one worker' : `${workers} workers`}`, function () {
    this.timeout(180_000)
    // Starting one takes most of the time, so there is one; each test has an upstream, and paths below one, of its own.
    let gateway: GatewayProcess
    let upstream: ScriptedUpstream
    let second: ScriptedUpstream
    let base: string
    let tests = 0

    before(async () => {
      gateway = await startProcess(configFolder(), undefined, { APISIX_WORKER_PROCESSES: String(workers) })
    })
    after(() => gateway.dispose())
    beforeEach(async () => {
      upstream = await startUpstream(received => received.json(200, { target: received.target }))
      second = await startUpstream()
      base = `/${++tests}`
    })
    afterEach(() => Promise.all([upstream.close(), second.close()]))

    async function put(path: string, value: object): Promise<void> {
      const { status, body } = await gateway.admin('PUT', path, value)
      assert.ok(status === 200 || status === 201, JSON.stringify(body))
    }
    const to = (more: object = {}) => ({
      upstream: { type: 'roundrobin', nodes: { [`127.0.0.1:${upstream.port}`]: 1 } },
      ...more,
    })
    const page = async () => (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()

    /** A request over a connection of its own, which the kernel gives to any worker; resolves with its head. */
    const knock = (path: string, { body, ...options }: Knock = {}) =>
      new Promise<IncomingMessage>((resolve, reject) => {
        request(gateway.urls.requests + base + path, { ...options, agent: new Agent() }, resolve)
          .on('error', reject)
          .end(body)
      })
    const read = async (answer: IncomingMessage) => {
      let text = ''
      for await (const piece of answer.setEncoding('utf8')) text += piece
      return { status: answer.statusCode, headers: answer.headers, text }
    }
    const ask = async (path: string, options?: Knock) => read(await knock(path, options))
    const crowd = <T>(act: (at: number) => Promise<T>) => Promise.all(Array.from({ length: CROWD }, (_, at) => act(at)))

    it('finds the route by path, host, method and field', async () => {
      const answers = (name: string) => to({ plugins: { 'response-rewrite': { body: name } } })
      await put(`/routes/${tests}exact`, { uri: `${base}/a`, ...answers('exact') })
      await put(`/routes/${tests}below`, { uri: `${base}/*`, ...answers('below') })
      await put(`/routes/${tests}host`, { uri: `${base}/a`, host: '*.door.test', ...answers('host') })
      await put(`/routes/${tests}post`, { uri: `${base}/b`, methods: ['POST'], ...answers('post') })
      await put(`/routes/${tests}field`, {
        uri: `${base}/b`,
        vars: [['http_x_version', '==', '2']],
        ...answers('field'),
      })
      await crowd(async () => {
        assert.equal((await ask('/a')).text, 'exact')
        assert.equal((await ask('/a/b')).text, 'below')
        assert.equal((await ask('/a', { headers: { host: 'www.door.test' } })).text, 'host')
        assert.equal((await ask('/b', { method: 'POST' })).text, 'post')
        assert.equal((await ask('/b', { headers: { 'x-version': '2' } })).text, 'field')
        assert.equal((await ask('/b')).text, 'below')
      })
    })

    it('asks who is there before it changes the request, and marks every answer, refusals too', async () => {
      await put(`/consumers`, { username: `jack${tests}`, plugins: { 'key-auth': { key: `key-${tests}` } } })
      await put(`/routes/${tests}`, {
        uri: `${base}/*`,
        ...to({
          plugins: {
            'key-auth': {},
            'proxy-rewrite': { uri: '/changed' },
            'response-rewrite': { headers: { set: { 'X-Mark': 'seen' } } },
          },
        }),
      })
      await crowd(async () => {
        const refused = await ask('/x')
        assert.deepEqual([refused.status, refused.headers['x-mark']], [401, 'seen'])
        const served = await ask('/x', { headers: { apikey: `key-${tests}` } })
        assert.deepEqual([served.status, served.headers['x-mark']], [200, 'seen'])
        assert.deepEqual(JSON.parse(served.text), { target: '/changed' })
      })
      assert.equal(upstream.received.length, CROWD)
      assert.ok(upstream.received.every(({ headers }) => headers['x-consumer-username'] === `jack${tests}`))
    })

    it('brings a large body up and down whole', async () => {
      upstream.script = async received => received.response.end(await received.body)
      await put(`/routes/${tests}`, { uri: `${base}/*`, ...to() })
      const body = 'all of it '.repeat(100_000)
      const echoes = await crowd(() => ask('/x', { method: 'POST', body }))
      for (const { text } of echoes) assert.ok(text === body)
    })

    it('passes each event of a stream on as it comes', async () => {
      upstream.script = received => received.startStream()
      await put(`/routes/${tests}`, { uri: `${base}/*`, ...to() })
      const streams = await crowd(at => knock(`/${at}`))
      const seen = streams.map(() => '')
      for (const [at, stream] of streams.entries())
        stream.setEncoding('utf8').on('data', (text: string) => {
          seen[at] += text
        })
      for (const event of ['one', 'two', 'three']) {
        for (const received of upstream.received) await received.event(event)
        await until(() => seen.every(text => text.includes(event)), `all have ${event}`)
      }
      for (const { response } of upstream.received) response.end()
      await until(() => streams.every(({ complete }) => complete), 'all have ended')
    })

    it('lets the upstream know when a client leaves, before the head of the answer and in its body', async () => {
      upstream.script = received => (received.target.endsWith('/body') ? received.write('part') : undefined)
      await put(`/routes/${tests}`, { uri: `${base}/*`, ...to() })
      await crowd(async at => {
        const leave = new AbortController()
        const answer = knock(at % 2 === 0 ? '/head' : '/body', { signal: leave.signal })
        if (at % 2 === 0) await until(() => upstream.received.length === CROWD, 'all have arrived')
        else (await answer).on('error', () => {})
        leave.abort()
        await assert.rejects(at % 2 === 0 ? answer : read(await answer))
      })
      await Promise.all(upstream.received.map(({ closed }) => closed))
      assert.ok(upstream.received.every(({ gone }) => gone))
    })

    it('speaks with an LLM, whole and streamed, and counts its tokens', async () => {
      const script = async (received: Received) => {
        const { stream } = JSON.parse(String(await received.body)) as { stream?: boolean }
        const choice = (part: object) => ({ id: 'c', model: 'gpt-x', choices: [{ index: 0, ...part }] })
        if (!stream) return received.json(200, { ...choice({ message: { role: 'assistant', content: '2' } }), usage })
        received.startStream()
        await received.event(choice({ delta: { content: '2' } }))
        await received.event({ ...choice({}), choices: [], usage })
        await received.event('[DONE]')
        received.response.end()
      }
      upstream.script = script
      const aiProxy = {
        provider: 'openai-compatible',
        auth: { header: { Authorization: 'Bearer operator' } },
        override: { endpoint: `${upstream.origin}/v1/chat/completions` },
      }
      await put(`/routes/${tests}`, { uri: `${base}/*`, plugins: { 'ai-proxy': aiProxy, prometheus: {} } })
      const post = { method: 'POST', headers: { 'content-type': 'application/json' } }
      await crowd(async () => {
        const whole = await ask('/chat', { ...post, body: JSON.stringify(question) })
        assert.match(whole.text, /"content":"2"/)
        const streamed = await ask('/chat', { ...post, body: JSON.stringify({ ...question, stream: true }) })
        assert.match(streamed.text, /"content":"2"[\s\S]+data: \[DONE\]\n\n$/)
      })
      assert.ok(upstream.received.every(({ headers }) => headers.authorization === 'Bearer operator'))
      const sum = async (family: string) => sumOf(await page(), `apisix_${family}{`, `route_id="${tests}"`)
      await until(async () => (await sum('llm_prompt_tokens')) === 2 * CROWD * 3, 'prompt tokens are counted')
      assert.equal(await sum('llm_completion_tokens'), 2 * CROWD * 4)
      assert.equal(await sum('llm_active_connections'), 0)
    })

    it('serves a change everywhere as soon as the admin API has answered, until the route is deleted', async () => {
      for (let version = 1; version <= 5; version++) {
        await put(`/routes/${tests}`, { uri: `${base}/v${version}`, ...to() })
        await crowd(async () => {
          assert.equal((await ask(`/v${version}`)).status, 200)
          assert.equal((await ask(`/v${version - 1}`)).status, 404)
        })
      }
      assert.equal((await gateway.admin('DELETE', `/routes/${tests}`)).status, 200)
      await crowd(async () => assert.equal((await ask('/v5')).status, 404))
    })

    it('balances and counts as one', async () => {
      const nodes = { [`127.0.0.1:${upstream.port}`]: 1, [`127.0.0.1:${second.port}`]: 2 }
      await put(`/routes/${tests}`, { uri: `${base}/*`, plugins: { prometheus: {} }, upstream: { nodes } })
      for (let round = 1; round <= 6; round++) {
        await crowd(() => ask('/x'))
        const shares = [upstream, second].map(({ received }) => received.length)
        assert.deepEqual(shares, [(round * CROWD) / 3, (round * CROWD * 2) / 3])
      }
      const counted = async (family: string) => sumOf(await page(), `apisix_${family}{`, `route="${tests}"`)
      await until(async () => (await counted('http_status')) === 6 * CROWD, 'every request is counted')
      assert.equal(sumOf(await page(), 'apisix_http_latency_count{', `type="request",route="${tests}"`), 6 * CROWD)
    })

    it('holds nothing when all of that is over', async () => {
      await until(async () => sumOf(await page(), 'sluice_holds_live{', '') === 0, 'no hold is open')
      const text = await page()
      const opened = sumOf(text, 'sluice_holds_opened_total{', '')
      const ended = sumOf(text, 'sluice_holds_settled_total{', '') + sumOf(text, 'sluice_holds_released_total{', '')
      assert.ok(opened > 0)
      assert.equal(opened, ended)
      assert.doesNotMatch(text, /sluice_worker_replacements_total\{/)
    })
  })
}

/** The sum of the samples whose line begins with one text and contains the other. */
function sumOf(page: string, begins: string, contains: string): number {
  return page
    .split('\n')
    .filter(line => line.startsWith(begins) && line.includes(contains))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}
