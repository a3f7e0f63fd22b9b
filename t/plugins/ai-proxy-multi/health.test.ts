// Instances of ai-proxy-multi whose health is checked: what is probed, who is asked then, and at which address.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type DnsServer, startDnsServer } from '../../helpers/dns-server.ts'
import { type Resources, startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { type Line, openJournal } from '../../helpers/journal.ts'
import { configFolder, startProcess } from '../../helpers/process.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const question = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }
const answerOf = (name: string) => ({
  object: 'chat.completion',
  choices: [{ index: 0, message: { role: 'assistant', content: name }, finish_reason: 'stop' }],
})
/** Found out at once, and back within a second or two. */
const active = { http_path: '/health', healthy: { successes: 1 }, unhealthy: { http_failures: 1, tcp_failures: 1 } }
const pem = (name: string) => readFileSync(new URL(`../../fixtures/tls/${name}.pem`, import.meta.url), 'utf8')

describe('instances that are checked', function () {
  this.timeout(30_000)
  let upstreams: Map<string, ScriptedUpstream>
  let down: Set<string>
  let dns: DnsServer
  let gateway: TestGateway
  let lines: Line[]

  beforeEach(async () => {
    upstreams = new Map()
    down = new Set()
    dns = await startDnsServer()
    const journal = openJournal()
    lines = journal.lines
    gateway = await startGateway({ log: journal.log, explain: 1 << 20, upstreams: { dns: { servers: [dns.address] } } })
  })
  afterEach(async () => {
    await gateway.close()
    assert.deepEqual(gateway.upstreams.keeper.list(), [], 'nobody is probed any more')
    await dns.close()
    for (const upstream of upstreams.values()) await upstream.close()
  })

  /** Answers probes as long as it is not down, and everything else with its name. */
  const script = (name: string) => (received: Received) =>
    received.target.startsWith('/health')
      ? received.json(down.has(name) ? 500 : 200, {})
      : received.json(200, answerOf(name))
  async function instances(given: Record<string, object>): Promise<Record<string, unknown>[]> {
    const written = []
    for (const [name, more] of Object.entries(given)) {
      const upstream = upstreams.get(name) ?? (await startUpstream(script(name)))
      upstreams.set(name, upstream)
      written.push({
        name,
        provider: 'openai-compatible',
        weight: 1,
        auth: { header: { Authorization: `Bearer ${name}` } },
        override: { endpoint: upstream.origin },
        checks: { active },
        ...more,
      })
    }
    return written
  }
  async function serve(given: Record<string, object>, config: object = {}): Promise<void> {
    const plugins = { 'ai-proxy-multi': { instances: await instances(given), ...config }, 'request-id': {} }
    await put({ routes: { r: { uri: '/*', plugins } } })
  }
  async function put(resources: Resources): Promise<void> {
    await gateway.put(resources)
    assert.deepEqual(gateway.rejected, [])
  }
  const ask = (headers: Record<string, string> = {}) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(question),
    })
  /** Who has answered. */
  async function who(headers?: Record<string, string>): Promise<string> {
    const response = await ask(headers)
    assert.equal(response.status, 200)
    return ((await response.json()) as ReturnType<typeof answerOf>).choices[0]!.message.content
  }
  async function several(times: number): Promise<string[]> {
    const seen = []
    for (let n = 0; n < times; n++) seen.push(await who())
    return seen.sort()
  }
  const checked = () => gateway.upstreams.keeper.list()
  const statuses = () => checked().flatMap(({ nodes }) => nodes.map(({ status }) => status))
  const probes = (name: string) => upstreams.get(name)!.received.filter(({ target }) => target.startsWith('/health'))

  it('are asked no more while probes fail, and again when they do not', async () => {
    down.add('a')
    await serve({ a: {}, b: {}, c: { checks: undefined } })
    assert.deepEqual(checked(), [], 'nobody is probed before the first request')
    await ask()
    await until(() => statuses().includes('unhealthy'), 'it is found out')
    assert.deepEqual(
      checked().map(({ name, nodes }) => [name, nodes.map(({ port, status }) => [port, status])]),
      [
        ["/apisix/routes/r#plugins['ai-proxy-multi'].instances[0]", [[upstreams.get('a')!.port, 'unhealthy']]],
        ["/apisix/routes/r#plugins['ai-proxy-multi'].instances[1]", [[upstreams.get('b')!.port, 'healthy']]],
      ],
    )
    assert.deepEqual(await several(6), ['b', 'b', 'b', 'c', 'c', 'c'])
    down.delete('a')
    await until(() => statuses()[0] === 'healthy', 'it is healthy again')
    assert.deepEqual(await several(6), ['a', 'a', 'b', 'b', 'c', 'c'])
  })

  it('are all asked when all are unhealthy, and the log says so', async () => {
    for (const name of ['a', 'b']) down.add(name)
    await serve({ a: {}, b: {} })
    await ask()
    await until(() => statuses().every(status => status === 'unhealthy'), 'both are found out')
    assert.deepEqual(await several(4), ['a', 'a', 'b', 'b'])
    assert.equal(lines.filter(({ message }) => message === 'all upstream nodes is unhealthy, use default').length, 1)
  })

  it('give way to those of a lower priority', async () => {
    down.add('a')
    await serve({ a: { priority: 2 }, b: { priority: 1 } }, { fallback_strategy: 'instance_health_and_rate_limiting' })
    assert.equal(await who(), 'a')
    await until(() => statuses()[0] === 'unhealthy', 'it is found out')
    assert.deepEqual(await several(3), ['b', 'b', 'b'])
    await (await ask({ 'x-request-id': 'why' })).text()
    await until(() => gateway.gateway.inFlight === 0, 'it has logged')
    assert.deepEqual(
      gateway.gateway.explain('why')?.llm?.candidates[0]?.map(({ instance, skipped }) => [instance, skipped]),
      [
        ['a', 'unhealthy'],
        ['b', undefined],
      ],
    )
  })

  it('take only their own keys along where requests are spread by keys', async () => {
    const balancer = { algorithm: 'chash', hash_on: 'header', key: 'x-key' }
    const unchecked = { checks: undefined }
    await serve({ a: unchecked, b: unchecked, c: unchecked }, { balancer })
    const keys = Array.from({ length: 30 }, (_, at) => ({ 'x-key': `key-${at}` }))
    const owners: string[] = []
    for (const key of keys) owners.push(await who(key))
    down.add('b')
    await serve({ a: {}, b: {}, c: {} }, { balancer })
    await ask()
    await until(() => statuses()[1] === 'unhealthy', 'it is found out')
    for (const [at, key] of keys.entries()) {
      const now = await who(key)
      if (owners[at] === 'b') assert.notEqual(now, 'b')
      else assert.equal(now, owners[at])
    }
  })

  it('are not waited for: when those that are healthy rest, the client hears how long', async () => {
    down.add('a')
    await serve({ a: {}, b: {} }, { fallback_strategy: ['http_429'] })
    await ask()
    await until(() => statuses()[0] === 'unhealthy', 'it is found out')
    upstreams.get('b')!.script = received =>
      received.target === '/health' ? received.json(200, {}) : received.json(429, {}, { 'retry-after': '30' })
    for (const _ of [1, 2]) {
      const response = await ask()
      assert.deepEqual([response.status, response.headers.get('retry-after')], [429, '30'])
    }
  })

  it('are probed as they are asked: with their proof, unless the checks say otherwise', async () => {
    const auth = { header: { Authorization: 'Bearer of-a', 'X-Other': 'one' }, query: { key: 'k&y' } }
    const more = {
      http_path: '/health?deep=1',
      http_method: 'POST',
      http_req_body: '{"ping":true}',
      req_headers: ['x-other: two'],
    }
    await serve({ a: { auth, checks: { active: { ...active, ...more } } }, b: {} })
    await ask()
    await until(() => probes('a').length > 0 && probes('b').length > 0, 'both are probed')
    const [probe] = probes('a')
    assert.deepEqual([probe!.method, probe!.target], ['POST', '/health?deep=1&key=k%26y'])
    assert.deepEqual([probe!.headers.authorization, probe!.headers['x-other']], ['Bearer of-a', 'two'])
    assert.equal(String(await probe!.body), '{"ping":true}')
    assert.deepEqual([probes('b')[0]!.target, probes('b')[0]!.headers.authorization], ['/health', 'Bearer b'])
    for (const { message, fields } of lines) assert.doesNotMatch(JSON.stringify([message, fields]), /of-a|k&y|k%26y/)
  })

  it('are not probed where there is nobody else to ask', async () => {
    await serve({ a: {} })
    assert.equal(await who(), 'a')
    assert.deepEqual(checked(), [])
    assert.ok(lines.some(({ message }) => /^checks have no effect: the only instance is always asked$/.test(message)))
  })

  it('keep their health over edits of others, and are forgotten with their instance', async () => {
    down.add('a')
    await serve({ a: {}, b: {} })
    await ask()
    await until(() => statuses()[0] === 'unhealthy', 'it is found out')
    await serve({ a: {}, b: { weight: 2 } }, { max_retries: 1 })
    assert.equal(statuses()[0], 'unhealthy')
    assert.deepEqual(await several(3), ['b', 'b', 'b'])
    await serve({ b: {}, c: {} })
    await ask()
    await until(() => statuses().every(status => status === 'healthy'), 'nothing is known of it any more')
    await put({
      routes: { r: { uri: '/*', plugins: { 'ai-proxy-multi': { instances: await instances({ b: {} }) } } } },
    })
    await until(() => checked().length === 0, 'nobody is probed')
  })

  it('are found wherever the plugin stands', async () => {
    const plugins = { 'ai-proxy-multi': { instances: await instances({ a: {}, b: {} }) } }
    const upstream = { nodes: {} }
    const named = { uri: '/*', plugins: { 'key-auth': {} }, upstream }
    const jack = { username: 'jack', plugins: { 'key-auth': { key: 'k' } } }
    const places: [string, Resources][] = [
      ['services/x', { services: { x: { plugins } }, routes: { r: { uri: '/*', service_id: 'x' } } }],
      [
        'plugin_configs/x',
        { plugin_configs: { x: { plugins } }, routes: { r: { uri: '/*', plugin_config_id: 'x', upstream } } },
      ],
      [
        'consumers/jack',
        { consumers: { jack: { ...jack, plugins: { ...jack.plugins, ...plugins } } }, routes: { r: named } },
      ],
      [
        'consumer_groups/x',
        { consumer_groups: { x: { plugins } }, consumers: { jack: { ...jack, group_id: 'x' } }, routes: { r: named } },
      ],
      ['global_rules/x', { global_rules: { x: { plugins } }, routes: { r: { uri: '/*', upstream } } }],
    ]
    for (const [place, resources] of places) {
      await put(resources)
      await who({ apikey: 'k' })
      await until(
        () => checked().some(({ name }) => name.startsWith(`/apisix/${place}#plugins['ai-proxy-multi']`)),
        place,
      )
    }
  })

  describe('under a name', () => {
    const a = (...addresses: string[]) => addresses.map(address => ({ type: 'A' as const, address, ttl: 600 }))
    /** Instance `llm` is at two addresses, on one port; `one` and `two` answer there. */
    async function start(path = ''): Promise<number> {
      const one = await startUpstream(script('one'), { address: '127.0.0.2', port: 0 })
      upstreams.set('one', one)
      upstreams.set('two', await startUpstream(script('two'), { address: '127.0.0.3', port: one.port }))
      dns.zone['llm.test'] = a('127.0.0.3', '127.0.0.2')
      const endpoint = `http://llm.test:${one.port}${path}`
      await serve({ llm: { override: { endpoint }, priority: 1 }, spare: {} })
      return one.port
    }

    it('are probed at each of its addresses, and asked at those that answer, by that name', async () => {
      const port = await start('/v9/chat?x=1')
      down.add('one')
      assert.match(await who(), /one|two/)
      await until(() => statuses().includes('unhealthy'), 'it is found out')
      const [llm] = checked()
      assert.deepEqual(
        llm!.nodes.map(({ ip, hostname, status }) => [ip, hostname, status]),
        [
          ['127.0.0.2', 'llm.test', 'unhealthy'],
          ['127.0.0.3', 'llm.test', 'healthy'],
        ],
      )
      assert.equal(probes('two')[0]!.headers.host, 'llm.test')
      assert.deepEqual(await several(4), ['two', 'two', 'two', 'two'])
      const { headers, target } = upstreams.get('two')!.received.findLast(each => !each.target.startsWith('/health'))!
      assert.deepEqual([headers.host, target], [`llm.test:${port}`, '/v9/chat?x=1'])
      await serve({ llm: { override: { endpoint: `http://llm.test:${port}` }, priority: 1 }, spare: { weight: 2 } })
      assert.deepEqual(statuses(), ['unhealthy', 'healthy', 'healthy'], 'an edit changes nothing of it')
      down.add('two')
      await until(() => statuses()[1] === 'unhealthy', 'the other one too')
      assert.equal(await who(), 'spare')
    })

    it('are asked at all of its addresses', async () => {
      await start()
      const seen = new Set<string>()
      await until(async () => seen.add(await who()).size === 2, 'both are asked')
      assert.deepEqual(seen, new Set(['one', 'two']))
    })

    it('are not asked at one to which nothing may be sent, nor where there is none', async () => {
      dns.zone['evil.test'] = a('169.254.169.254')
      const at = (host: string) => ({ override: { endpoint: `http://${host}:80` }, priority: 1 })
      await serve({ evil: at('evil.test'), none: at('none.test'), b: {} }, { fallback_strategy: 'http_5xx' })
      assert.equal(await who(), 'b')
      await until(() => checked().filter(({ nodes }) => nodes.length === 0).length === 2, 'nothing is probed')
      await until(async () => (await several(4)).every(name => name === 'b'), 'neither is asked')
    })

    it('are told it by TLS', async () => {
      const said: Record<string, [unknown, unknown]> = {}
      const server = createServer({ key: pem('self-signed-key'), cert: pem('self-signed') }, (message, response) => {
        const { servername } = message.socket as TLSSocket & { servername: string }
        said[message.url!] = [servername, message.headers.host]
        response.setHeader('content-type', 'application/json').end(JSON.stringify(answerOf('tls')))
      })
      await new Promise<void>(resolve => server.listen(0, '127.0.0.2', resolve))
      const { port } = server.address() as AddressInfo
      dns.zone['llm.test'] = a('127.0.0.2')
      const checks = { active: { ...active, type: 'https', https_verify_certificate: false } }
      const llm = { override: { endpoint: `https://llm.test:${port}` }, priority: 1, checks }
      await serve({ llm, b: {} }, { ssl_verify: false })
      assert.equal(await who(), 'tls')
      assert.deepEqual(said['/v1/chat/completions'], ['llm.test', `llm.test:${port}`])
      await until(() => said['/health'] !== undefined, 'it is probed')
      assert.deepEqual(said['/health'], ['llm.test', 'llm.test'])
      server.closeAllConnections()
      server.close()
    })
  })
})

describe('instances that are checked by several workers', function () {
  this.timeout(60_000)

  it('are probed once for all of them, and left alone by all of them', async () => {
    let probed = 0
    const sick = await startUpstream(received => {
      if (received.target === '/health') probed++
      received.json(received.target === '/health' ? 500 : 200, answerOf('sick'))
    })
    const well = await startUpstream(received => received.json(200, answerOf('well')))
    const gateway = await startProcess(configFolder(), undefined, { APISIX_WORKER_PROCESSES: '3' })
    try {
      const checks = {
        active: { http_path: '/health', unhealthy: { http_failures: 1, interval: 600 }, healthy: { interval: 1 } },
      }
      const common = { provider: 'openai-compatible', auth: {}, weight: 1, checks }
      const written = [
        { ...common, name: 'sick', override: { endpoint: sick.origin } },
        { ...common, name: 'well', override: { endpoint: well.origin } },
      ]
      const plugins = { 'ai-proxy-multi': { instances: written } }
      assert.equal((await gateway.admin('PUT', '/routes/1', { uri: '/*', plugins })).status, 201)
      // A connection each, so that all workers have some.
      const ask = async () => {
        const headers = { 'content-type': 'application/json', connection: 'close' }
        const asked = { method: 'POST', headers, body: JSON.stringify(question) }
        return (await fetch(`${gateway.urls.requests}/v1/chat/completions`, asked)).text()
      }
      const list = async () =>
        (await fetch(`${gateway.urls.control}/v1/healthcheck`)).json() as Promise<{ nodes: { status: string }[] }[]>
      for (let n = 0; n < 12; n++) await ask()
      await until(async () => (await list())[0]?.nodes[0]?.status === 'unhealthy', 'it is found out')
      assert.equal(probed, 1, 'by one probe, whoever asked for it')
      for (let n = 0; n < 12; n++) assert.match(await ask(), /"well"/)
      const page = async () => (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()
      const line = new RegExp(
        `^apisix_upstream_status\\{name="/apisix/routes/1#plugins\\['ai-proxy-multi'\\].instances\\[0\\]",ip="127.0.0.1",port="${sick.port}"\\} 0$`,
        'm',
      )
      await until(async () => line.test(await page()), 'the metric says so')
      assert.equal(probed, 1)
    } finally {
      await gateway.dispose()
      await Promise.all([sick.close(), well.close()])
    }
  })
})
