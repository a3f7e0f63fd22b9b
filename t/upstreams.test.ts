// Upstreams at the front door: how they share requests, what they hold of each node's health, where names lead, TLS.
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type DnsServer, startDnsServer } from './helpers/dns-server.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const pem = (name: string) => readFileSync(new URL(`./fixtures/tls/${name}.pem`, import.meta.url), 'utf8')

describe('upstreams', () => {
  let nodes: ScriptedUpstream[]
  let gateway: TestGateway
  let dns: DnsServer
  /** Milliseconds by which the gateway's clock is ahead. */
  let ahead: number

  beforeEach(async () => {
    ahead = 0
    nodes = await Promise.all([0, 1, 2].map(() => startUpstream()))
    for (const [at, node] of nodes.entries()) node.script = received => received.json(200, { from: at })
    dns = await startDnsServer()
    const now = () => Date.now() + ahead
    gateway = await startGateway({
      showUpstreamStatus: true,
      env: { CLIENT_KEY: pem('client-key') },
      upstreams: { now, dns: { servers: [dns.address], now } },
    })
  })
  afterEach(async () => {
    await gateway.close()
    await dns.close()
    await Promise.all(nodes.map(node => node.close()))
  })

  const listed = (priority: (at: number) => number = () => 0) =>
    nodes.map(({ port }, at) => ({ host: '127.0.0.1', port, weight: 1, priority: priority(at) }))
  /** Everything goes to this upstream. */
  async function serve(upstream: object, plugins: object = {}): Promise<void> {
    await gateway.put({ routes: { r: { uri: '/*', plugins, upstream } } })
    assert.deepEqual(gateway.rejected, [])
  }
  /** Which node answered; undefined when the gateway did. */
  async function ask(path = '/', headers: Record<string, string> = {}): Promise<number | undefined> {
    const response = await fetch(gateway.url + path, { headers })
    return ((await response.json()) as { from?: number }).from
  }
  const status = async () => (await fetch(gateway.url)).status
  const counts = () => nodes.map(({ received }) => received.length)

  describe('of type chash', () => {
    const keys = Array.from({ length: 40 }, (_, at) => `user-${at}`)

    it('send equal keys to one node, and different ones to all', async () => {
      await serve({ type: 'chash', key: 'arg_user', nodes: listed() })
      const owners: (number | undefined)[] = []
      for (const key of keys) owners.push(await ask(`/?user=${key}`))
      assert.equal(new Set(owners).size, 3)
      for (const [at, key] of keys.entries()) assert.equal(await ask(`/?user=${key}&other=${at}`), owners[at])
    })

    it('hash on headers, cookies and consumers too', async () => {
      const consumer = { plugins: { 'key-auth': { key: 'of-jack' } } }
      await gateway.put({ consumers: { jack: { username: 'jack', ...consumer } } })
      const upstream = { type: 'chash', nodes: listed() }
      for (const [more, plugins, headers] of [
        [{ hash_on: 'header', key: 'X-Tenant' }, {}, { 'X-Tenant': 'blue' }],
        [{ hash_on: 'cookie', key: 'sid' }, {}, { Cookie: 'sid=blue' }],
        [{ hash_on: 'vars_combinations', key: '$http_x_tenant-x' }, {}, { 'X-Tenant': 'blue' }],
        [{ hash_on: 'consumer' }, { 'key-auth': {} }, { apikey: 'of-jack' }],
      ] as const) {
        await serve({ ...upstream, ...more }, plugins)
        const seen = new Set<number | undefined>()
        for (let times = 0; times < 12; times++) seen.add(await ask('/', headers))
        assert.equal(seen.size, 1, JSON.stringify(more))
        assert.ok(!seen.has(undefined), JSON.stringify(more))
      }
    })

    it('send the keys of a node that fails to the next on the ring', async () => {
      await serve({ type: 'chash', key: 'arg_user', nodes: listed() })
      const owners: (number | undefined)[] = []
      for (const key of keys) owners.push(await ask(`/?user=${key}`))
      nodes[1]!.script = received => received.cut()
      for (const [at, key] of keys.entries()) {
        const now = await ask(`/?user=${key}`)
        if (owners[at] === 1) assert.ok(now !== 1 && now !== undefined)
        else assert.equal(now, owners[at])
      }
    })
  })

  describe('of type least_conn', () => {
    it('send a request where the fewest are under way', async () => {
      const held: Received[] = []
      for (const node of nodes) node.script = received => void held.push(received)
      await serve({ type: 'least_conn', nodes: listed() })
      const answers = Array.from({ length: 6 }, () => ask())
      await until(() => held.length === 6, 'all have come')
      assert.deepEqual(counts(), [2, 2, 2])
      // Node 1 gets rid of its own, and then gets the next two.
      for (const each of held.filter(({ socket }) => socket.localPort === nodes[1]!.port)) each.json(200, { from: 1 })
      await Promise.race(answers)
      await until(() => gateway.gateway.inFlight === 4, 'two are answered')
      const more = [ask(), ask()]
      await until(() => held.length === 8, 'they have come')
      assert.deepEqual(counts(), [2, 4, 2])
      for (const each of held) each.response.end('{}')
      await Promise.all([...answers, ...more])
      const { opened, settled, released, live } = gateway.book.totals().upstream_node!
      assert.deepEqual([opened, settled + released, live], [8, 8, 0])
    })

    it('count what goes on to another node there, and only there', async () => {
      nodes[0]!.script = received => received.cut()
      await serve({ type: 'least_conn', nodes: listed(at => -at) })
      const { resolve, promise } = Promise.withResolvers<void>()
      nodes[1]!.script = async received => {
        await promise
        received.json(200, { from: 1 })
      }
      const answers = [ask(), ask(), ask()]
      await until(() => counts()[1] === 3, 'all have gone on')
      assert.equal(gateway.book.totals().upstream_node!.live, 3)
      resolve()
      assert.deepEqual(await Promise.all(answers), [1, 1, 1])
      await until(() => gateway.book.totals().upstream_node!.live === 0, 'nothing is under way')
      assert.equal(gateway.book.totals().upstream_node!.opened, 6)
    })
  })

  it('of type ewma send nearly everything to the fast one', async () => {
    nodes[1]!.script = async received => {
      await new Promise(resolve => setTimeout(resolve, 400))
      received.json(200, { from: 1 })
    }
    await serve({ type: 'ewma', nodes: listed().slice(0, 2) })
    for (let times = 0; times < 12; times++) await ask()
    assert.ok(counts()[1]! <= 2, String(counts()))
  })

  describe('with health checks', () => {
    const targets = () => gateway.upstreams.keeper.list().flatMap(({ nodes }) => nodes.map(({ status }) => status))
    const passive = { healthy: { successes: 1 }, unhealthy: { http_failures: 2, tcp_failures: 1, timeouts: 1 } }

    it('are probed from their first request on, and asked no more while they fail', async () => {
      let broken = true
      nodes[0]!.script = received =>
        received.target === '/health' && broken ? received.json(500, {}) : received.json(200, { from: 0 })
      const active = { http_path: '/health', healthy: { successes: 1 }, unhealthy: { http_failures: 1 } }
      await serve({ nodes: listed(), checks: { active } })
      assert.deepEqual(gateway.upstreams.keeper.list(), [])
      await ask()
      await until(() => targets()[0] === 'unhealthy', 'it is found out')
      for (let times = 0; times < 9; times++) assert.notEqual(await ask(), 0)
      broken = false
      await until(() => targets()[0] === 'healthy', 'it is healthy again')
      const seen = new Set<number | undefined>()
      for (let times = 0; times < 3; times++) seen.add(await ask())
      assert.equal(seen.size, 3)
    })

    it('are judged by the answers that clients get', async () => {
      nodes[2]!.script = received => received.json(503, { from: 2 })
      await serve({ nodes: listed(), checks: { active: {}, passive } })
      for (let times = 0; times < 6; times++) await ask()
      assert.deepEqual(targets(), ['healthy', 'healthy', 'unhealthy'])
      for (let times = 0; times < 6; times++) assert.notEqual(await ask(), 2)
    })

    for (const [what, script] of [
      ['cut', (received: Received) => received.cut()],
      ['do not answer', () => {}],
    ] as const) {
      it(`are judged by connections that ${what}, and the client gets another's answer`, async () => {
        nodes[0]!.script = script
        const timeout = { connect: 5, send: 5, read: 0.1 }
        await serve({ nodes: listed(), timeout, checks: { active: {}, passive } })
        for (let times = 0; times < 3; times++) assert.notEqual(await ask(), undefined)
        assert.deepEqual(targets(), ['unhealthy', 'healthy', 'healthy'])
      })
    }

    it('are all asked when none is healthy', async () => {
      for (const node of nodes) node.script = received => received.cut()
      // A good answer tells nothing here.
      const blind = { ...passive, healthy: { successes: 0 } }
      await serve({ nodes: listed(), checks: { active: {}, passive: blind } })
      assert.equal(await ask(), undefined)
      assert.deepEqual(targets(), ['unhealthy', 'unhealthy', 'unhealthy'])
      for (const [at, node] of nodes.entries()) node.script = received => received.json(200, { from: at })
      const seen = new Set<number | undefined>()
      for (let times = 0; times < 3; times++) seen.add(await ask())
      assert.deepEqual(seen, new Set([0, 1, 2]))
    })

    it('keep what is known of nodes over edits of others, and of the list', async () => {
      nodes[0]!.script = received => received.cut()
      const checks = { active: {}, passive }
      await serve({ nodes: listed(), checks })
      for (let times = 0; times < 3; times++) await ask()
      assert.deepEqual(targets(), ['unhealthy', 'healthy', 'healthy'])
      await gateway.put({ routes: { other: { uri: '/other', upstream: { nodes: {} } } } })
      assert.deepEqual(targets(), ['unhealthy', 'healthy', 'healthy'])
      await serve({ nodes: listed().slice(0, 2), checks, retries: 1 })
      await until(() => targets().length === 2, 'the third is forgotten')
      assert.deepEqual(targets(), ['unhealthy', 'healthy'])
      const before = counts()[0]
      for (let times = 0; times < 4; times++) assert.equal(await ask(), 1)
      assert.equal(counts()[0], before)
      // Other checks begin anew, and none at all end them.
      await serve({ nodes: listed(), checks: { active: { port: 1 }, passive } })
      await ask()
      await until(() => targets().every(each => each !== 'unhealthy'), 'nothing is known')
      await serve({ nodes: listed() })
      await until(() => gateway.upstreams.keeper.list().length === 0, 'nothing is checked')
    })

    it('are not checked where nobody uses them', async () => {
      await serve({ nodes: listed(), checks: { active: { healthy: {} } } })
      await gateway.put({ routes: { r: null } })
      assert.deepEqual(gateway.upstreams.keeper.list(), [])
      assert.deepEqual(counts(), [0, 0, 0])
    })
  })

  describe('with names for nodes', () => {
    const port = () => nodes[0]!.port
    const a = (...addresses: string[]) => addresses.map(address => ({ type: 'A' as const, address, ttl: 30 }))

    it('go where the name leads, and tell the node its name', async () => {
      dns.zone['node.test'] = a('127.0.0.1')
      await serve({ nodes: { [`node.test:${port()}`]: 1 }, pass_host: 'node' })
      assert.equal(await ask(), 0)
      assert.equal(nodes[0]!.received[0]!.headers.host, `node.test:${port()}`)
      assert.equal(dns.asked.length, 1)
      await ask()
      assert.equal(dns.asked.length, 1)
    })

    it('try the other addresses of a name', async () => {
      // Nobody listens on that port of the others.
      dns.zone['node.test'] = a('127.0.0.1', '127.0.0.2', '127.0.0.3')
      await serve({ nodes: { [`node.test:${port()}`]: 1 } })
      for (let times = 0; times < 4; times++) assert.equal(await ask(), 0)
    })

    it('follow the name when it leads elsewhere', async () => {
      dns.zone['node.test'] = a('127.0.0.9')
      await serve({ nodes: { [`node.test:${port()}`]: 1 } })
      assert.equal(await status(), 502)
      dns.zone['node.test'] = a('127.0.0.1')
      assert.equal(await status(), 502)
      ahead += 31_000
      assert.equal(await status(), 200)
    })

    it('go on without those that have no address, and answer 503 when none has', async () => {
      await serve({ nodes: { 'none.test:80': 5, [`127.0.0.1:${port()}`]: 1 } })
      for (let times = 0; times < 4; times++) assert.equal(await ask(), 0)
      await serve({ nodes: { 'none.test:80': 5 } })
      assert.equal(await status(), 503)
    })

    it('keep away from addresses that a name should not lead to, and from no others', async () => {
      dns.zone['evil.test'] = a('169.254.169.254')
      await serve({ nodes: { 'evil.test:80': 1 } })
      const response = await fetch(gateway.url)
      assert.equal(response.status, 502)
      assert.equal(((await response.json()) as { code: string }).code, 'upstream_denied')
    })

    it('find services by their SRV records, and answer 503 when there are none', async () => {
      dns.zone['one.test'] = a('127.0.0.1')
      dns.zone['svc.test'] = [
        { type: 'SRV', name: 'one.test', port: nodes[1]!.port, priority: 1 },
        { type: 'SRV', name: 'one.test', port: nodes[2]!.port, priority: 2 },
      ]
      await serve({ service_name: 'svc.test', discovery_type: 'dns' })
      for (let times = 0; times < 4; times++) assert.equal(await ask(), 1)
      nodes[1]!.script = received => received.cut()
      assert.equal(await ask(), 2)
      await serve({ service_name: 'none.test', discovery_type: 'dns' })
      assert.equal(await status(), 503)
    })

    it('probe the addresses that names lead to', async () => {
      dns.zone['node.test'] = a('127.0.0.1')
      const active = { http_path: '/health', healthy: {} }
      await serve({ nodes: { [`node.test:${port()}`]: 1 }, checks: { active } })
      await ask()
      await until(() => nodes[0]!.received.some(({ target }) => target === '/health'), 'it is probed')
      const [checked] = gateway.upstreams.keeper.list()[0]!.nodes
      assert.deepEqual([checked?.ip, checked?.hostname], ['127.0.0.1', 'node.test'])
      assert.equal(nodes[0]!.received.find(({ target }) => target === '/health')!.headers.host, 'node.test')
    })
  })

  describe('over TLS', () => {
    const [key, cert] = [pem('self-signed-key'), pem('self-signed')]
    const shown: (string | undefined)[] = []
    const server = createServer({ key, cert, requestCert: true, rejectUnauthorized: false }, (message, response) => {
      const { raw } = (message.socket as TLSSocket).getPeerCertificate() as { raw?: Buffer }
      shown.push(raw && hash('sha256', raw, 'base64'))
      response.setHeader('content-type', 'application/json')
      response.end('{"from": 9}')
    })
    const print = (name: string) =>
      hash('sha256', Buffer.from(pem(name).replace(/-----[^-]+-----|\s/g, ''), 'base64'), 'base64')
    let port = 0
    before(async () => {
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      port = (server.address() as AddressInfo).port
    })
    after(() => {
      server.closeAllConnections()
      server.close()
    })
    beforeEach(() => {
      shown.length = 0
    })
    const https = (tls: object) => ({ scheme: 'https', nodes: { [`127.0.0.1:${port}`]: 1 }, tls })

    it('show a client certificate that stands in the upstream', async () => {
      await serve(https({ client_cert: pem('client'), client_key: pem('client-key') }))
      assert.equal(await ask(), 9)
      assert.deepEqual(shown, [print('client')])
    })

    it('show the one of an SSL object, follow it when it changes, and answer 502 without', async () => {
      const ssl = (name: string, type = 'client') => ({ type, cert: pem(name), key: pem(`${name}-key`) })
      await gateway.put({ ssls: { 7: ssl('client') } })
      await gateway.put({ upstreams: { u: https({ client_cert_id: 7 }) } })
      await gateway.put({ routes: { r: { uri: '/*', upstream_id: 'u' } } })
      assert.equal(await ask(), 9)
      await gateway.put({ ssls: { 7: ssl('self-signed') } })
      assert.equal(await ask(), 9)
      assert.deepEqual(shown, [print('client'), print('self-signed')])
      await gateway.put({ ssls: { 7: { ...ssl('client', 'server'), sni: 'a' } } })
      assert.equal(await status(), 502)
      await gateway.put({ ssls: { 7: null } })
      assert.equal(await status(), 502)
      assert.deepEqual(gateway.rejected, [])
    })

    it('show one that is a secret kept elsewhere, and answer 502 while that is not known', async () => {
      const ssl = (key: string) => ({ ssls: { 7: { type: 'client', cert: pem('client'), key } } })
      await gateway.put(ssl('$env://CLIENT_KEY'))
      await serve(https({ client_cert_id: 7 }))
      assert.equal(await ask(), 9)
      assert.deepEqual(shown, [print('client')])
      await gateway.put(ssl('$env://NOBODY'))
      assert.equal(await status(), 502)
      assert.deepEqual(gateway.rejected, [])
    })

    it('are probed with the certificate that they name', async () => {
      await gateway.put({ ssls: { 7: { type: 'client', cert: pem('client'), key: pem('client-key') } } })
      const active = { type: 'https', https_verify_certificate: false, healthy: {} }
      await serve({ ...https({ client_cert_id: 7 }), checks: { active } })
      await ask()
      await until(() => shown.length === 2, 'it is probed')
      assert.deepEqual(shown, [print('client'), print('client')])
      await gateway.put({ ssls: { 7: { type: 'client', cert, key } } })
      await ask()
      const another = () => shown.filter(each => each === print('self-signed')).length
      await until(() => another() === 2, 'it is probed with the other one')
    })

    it('show none where there is none, on connections of their own', async () => {
      await serve(https({ client_cert: pem('client'), client_key: pem('client-key') }))
      await ask()
      await serve(https({}))
      await ask()
      assert.deepEqual(shown, [print('client'), undefined])
    })

    it('refuse a certificate that does not verify where they are told to look', async () => {
      await serve(https({ verify: true }))
      assert.equal(await status(), 502)
      assert.deepEqual(shown, [])
    })
  })

  it('keep as many connections as keepalive_pool says', async () => {
    const held: Received[] = []
    nodes[0]!.script = received => {
      held.push(received)
      if (held.length === 4) for (const each of held) each.json(200, { from: 0 })
    }
    await serve({ nodes: listed().slice(0, 1), keepalive_pool: { size: 1 } })
    await Promise.all(Array.from({ length: 4 }, () => ask()))
    await until(() => nodes[0]!.openConnections() === 1, 'all but one are closed')
  })
})
