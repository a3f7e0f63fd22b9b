// A plain upstream behind a real gateway: which node is asked, when another one is, and what each of them is told (facts core 6).
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { ClientGone, UpstreamError } from '../../../core/errors.ts'
import { HttpUpstream, type HttpUpstreamConfig } from '../../../core/proxy/http-upstream.ts'
import type { Call, Transport } from '../../../core/proxy/transport.ts'
import { HeaderList } from '../../../core/reply.ts'
import { makeContext } from '../../helpers/context.ts'
import { type DnsServer, startDnsServer } from '../../helpers/dns-server.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { connectRaw } from '../../helpers/raw-client.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'
import { upstreamEnv } from '../../helpers/upstream-env.ts'

/** Nobody listens there. */
const REFUSING = 1
const fixture = (name: string) => readFileSync(new URL(`../../fixtures/tls/${name}`, import.meta.url))

describe('a plain upstream', () => {
  let first: ScriptedUpstream
  let second: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    first = await startUpstream(received => received.json(200, { from: 'first' }))
    second = await startUpstream(received => received.json(200, { from: 'second' }))
    gateway = await startGateway({ showUpstreamStatus: true })
  })
  afterEach(async () => {
    await gateway.close()
    await Promise.all([first.close(), second.close()])
  })

  /** Routes everything to these ports, in this order of precedence. */
  async function to(ports: readonly number[], upstream: object = {}, route: object = {}): Promise<void> {
    const nodes = ports.map((port, at) => ({ host: '127.0.0.1', port, weight: 1, priority: -at }))
    await gateway.put({ routes: { r: { uri: '/*', upstream: { nodes, ...upstream }, ...route } } })
    assert.deepEqual(gateway.rejected, [])
  }
  interface Seen {
    status: number
    /** Which upstream answered, if one did. */
    from: string | undefined
    /** X-APISIX-Upstream-Status: one status per attempt. */
    attempts: string | null
    code: string | undefined
  }
  async function ask(method = 'GET', body?: string): Promise<Seen> {
    const response = await fetch(`${gateway.url}/x`, { method, ...(body === undefined ? {} : { body }) })
    const text = await response.text()
    const json = (text === '' ? {} : JSON.parse(text)) as { from?: string; code?: string }
    return {
      status: response.status,
      from: json.from,
      attempts: response.headers.get('x-apisix-upstream-status'),
      code: json.code,
    }
  }

  describe('tries the next node', () => {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH']) {
      it(`for a ${method} when the connection is refused`, async () => {
        await to([REFUSING, second.port])
        const seen = await ask(method, method === 'GET' ? undefined : 'the whole body')
        assert.deepEqual(seen, { status: 200, from: 'second', attempts: '502, 200', code: undefined })
        assert.equal(String(await second.received[0]!.body), method === 'GET' ? '' : 'the whole body')
      })
    }

    for (const [what, script] of [
      ['cuts the connection', received => received.cut()],
      ['resets the connection', received => received.reset()],
      ['answers what is no HTTP', received => received.lie('EHLO\r\n\r\n')],
    ] as [string, (received: Received) => void][]) {
      it(`when the first ${what}`, async () => {
        first.script = script
        await to([first.port, second.port])
        for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
          const seen = await ask(method)
          assert.deepEqual([seen.status, seen.attempts], [200, '502, 200'], method)
        }
      })
    }

    it('when the first does not answer in time', async () => {
      first.script = () => {}
      await to([first.port, second.port], { timeout: { connect: 5, send: 5, read: 0.4 } })
      assert.deepEqual(await ask(), { status: 200, from: 'second', attempts: '504, 200', code: undefined })
    })

    it('as often as there are other nodes, when retries is absent', async () => {
      await to([REFUSING, 2, 3, first.port])
      assert.deepEqual(await ask(), { status: 200, from: 'first', attempts: '502, 502, 502, 200', code: undefined })
    })

    it('as often as retries says', async () => {
      await to([REFUSING, 2, first.port], { retries: 1 })
      assert.deepEqual(await ask(), { status: 502, from: undefined, attempts: '502, 502', code: 'upstream_refused' })
    })

    it('and the only one again', async () => {
      first.script = received => (first.received.length < 3 ? received.cut() : received.json(200, { from: 'first' }))
      await to([first.port], { retries: 2 })
      assert.deepEqual(await ask(), { status: 200, from: 'first', attempts: '502, 502, 200', code: undefined })
    })

    it('within retry_timeout', async () => {
      first.script = received => received.cut()
      await to([first.port, second.port], { retry_timeout: 5 })
      assert.equal((await ask()).status, 200)
    })
  })

  describe('tries no other node', () => {
    for (const method of ['POST', 'LOCK', 'PATCH']) {
      it(`for a ${method} that was sent`, async () => {
        first.script = received => received.cut()
        await to([first.port, second.port])
        assert.deepEqual(await ask(method), { status: 502, from: undefined, attempts: '502', code: 'upstream_reset' })
        assert.equal(second.received.length, 0)
      })
    }

    it('for a body of which a part was sent', async () => {
      first.script = async received => {
        await received.body.catch(() => {})
      }
      await to([first.port, second.port])
      const client = await connectRaw(gateway.port)
      client.write('PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\npart')
      const received = await first.request(0)
      received.cut()
      await client.reads('HTTP/1.1 502 ')
      await client.reads('X-APISIX-Upstream-Status: 502\r\n')
      assert.equal(second.received.length, 0)
      client.close()
    })

    for (const status of [429, 500, 502, 503, 504]) {
      it(`after a ${status}`, async () => {
        first.script = received => received.json(status, { from: 'first' })
        await to([first.port, second.port])
        assert.deepEqual(await ask(), { status, from: 'first', attempts: String(status), code: undefined })
        assert.equal(second.received.length, 0)
      })
    }

    it('when the answer breaks after its head', async () => {
      first.script = async received => {
        await received.write('part')
        received.cut()
      }
      await to([first.port, second.port])
      await assert.rejects(ask())
      assert.equal(second.received.length, 0)
    })

    it('with retries 0', async () => {
      await to([REFUSING, second.port], { retries: 0 })
      assert.deepEqual(await ask(), { status: 502, from: undefined, attempts: '502', code: 'upstream_refused' })
    })

    it('with one node', async () => {
      first.script = received => received.cut()
      await to([first.port])
      assert.deepEqual(await ask(), { status: 502, from: undefined, attempts: '502', code: 'upstream_reset' })
    })

    it('when all have been tried, which is a 502', async () => {
      for (const upstream of [first, second]) upstream.script = () => {}
      await to([first.port, second.port], { retries: 5, timeout: { connect: 5, send: 5, read: 0.05 } })
      assert.deepEqual(await ask(), { status: 502, from: undefined, attempts: '504, 504', code: 'upstream_no_node' })
    })

    it('after retry_timeout, which is a 502', async () => {
      first.script = () => {}
      await to([first.port, second.port], { retry_timeout: 0.02, timeout: { connect: 5, send: 5, read: 0.1 } })
      const { status, attempts } = await ask()
      assert.deepEqual([status, attempts], [502, '504'])
      assert.equal(second.received.length, 0)
    })

    it('when the client has left', async () => {
      first.script = () => {}
      await to([first.port, second.port])
      const client = await connectRaw(gateway.port)
      client.write('GET /x HTTP/1.1\r\nHost: a\r\n\r\n')
      const received = await first.request(0)
      client.close()
      await received.closed
      await until(() => gateway.gateway.inFlight === 0, 'the request has logged')
      assert.equal(second.received.length, 0)
    })
  })

  it('answers 504 when its last attempt took too long, whatever retry_timeout says', async () => {
    first.script = () => {}
    await to([first.port], { retry_timeout: 0.02, timeout: { connect: 5, send: 5, read: 0.1 } })
    assert.deepEqual(await ask(), { status: 504, from: undefined, attempts: '504', code: 'upstream_headers_timeout' })
  })

  it('answers 503 without nodes and 502 when all of them have weight 0', async () => {
    await to([], { nodes: [] })
    assert.deepEqual(await ask(), { status: 503, from: undefined, attempts: null, code: 'upstream_no_node' })
    await to([], { nodes: { '127.0.0.1:1': 0, '127.0.0.1:2': 0 } })
    assert.deepEqual(await ask(), { status: 502, from: undefined, attempts: null, code: 'upstream_no_node' })
  })

  it('uses a lower priority only when the higher one has been tried', async () => {
    await to([first.port, second.port])
    for (let times = 0; times < 6; times++) assert.equal((await ask()).from, 'first')
    await to([REFUSING, second.port])
    for (let times = 0; times < 6; times++) assert.equal((await ask()).from, 'second')
  })

  it('shares requests by weight', async () => {
    await to([], { nodes: { [`127.0.0.1:${first.port}`]: 3, [`127.0.0.1:${second.port}`]: 1 } })
    for (let times = 0; times < 8; times++) await ask()
    assert.deepEqual([first.received.length, second.received.length], [6, 2])
  })

  it('goes on with its round when an edit does not concern it', async () => {
    const nodes = { [`127.0.0.1:${first.port}`]: 1, [`127.0.0.1:${second.port}`]: 1 }
    await to([], { nodes })
    for (let times = 0; times < 10; times++) {
      await ask()
      await gateway.put({ routes: { other: { uri: `/other${times}`, upstream: { nodes } } } })
    }
    assert.deepEqual([first.received.length, second.received.length], [5, 5])
  })

  describe('waits as long as', () => {
    const slow = { connect: 9, send: 9, read: 9 }
    const quick = { connect: 9, send: 9, read: 0.05 }

    it('its own timeout says', async () => {
      first.script = () => {}
      await to([first.port], { timeout: quick })
      assert.equal((await ask()).status, 504)
    })

    it("the route's timeout says, which goes before its own", async () => {
      first.script = () => {}
      await to([first.port], { timeout: slow }, { timeout: quick })
      assert.equal((await ask()).status, 504)
      first.script = async received => {
        await new Promise(resolve => setTimeout(resolve, 150))
        received.json(200, {})
      }
      await to([first.port], { timeout: quick }, { timeout: slow })
      assert.equal((await ask()).status, 200)
    })

    it('read says between two pieces of an answer, which must not look whole afterwards', async () => {
      first.script = received => received.write('part')
      await to([first.port], { timeout: { ...quick, read: 0.4 } })
      await assert.rejects(ask())
    })
  })

  describe('over TLS', () => {
    const names: (string | false | null)[] = []
    const server = createTlsServer(
      { key: fixture('self-signed-key.pem'), cert: fixture('self-signed.pem') },
      (message, response) => {
        names.push((message.socket as TLSSocket).servername ?? null)
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify({ from: message.headers.host }))
      },
    )
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
      names.length = 0
    })

    it('accepts a certificate that nobody signed, and asks for it by the name it sends as Host', async () => {
      await to([port], { scheme: 'https', pass_host: 'rewrite', upstream_host: 'inner.test:99' })
      assert.deepEqual(await ask(), { status: 200, from: 'inner.test:99', attempts: '200', code: undefined })
      assert.deepEqual(names, ['inner.test'])
    })

    it('asks for no name when Host is an address', async () => {
      await to([port], { scheme: 'https', pass_host: 'node' })
      assert.equal((await ask()).from, `127.0.0.1:${port}`)
      assert.deepEqual(names, [false])
    })

    it('answers 502 when there is no TLS at the other end', async () => {
      await to([first.port], { scheme: 'https' })
      assert.deepEqual(await ask(), { status: 502, from: undefined, attempts: '502', code: 'upstream_refused' })
    })
  })

  describe('is told as Host', () => {
    async function host(upstream: object, plugins: object = {}): Promise<string | undefined> {
      await to([first.port], upstream, { plugins })
      const client = await connectRaw(gateway.port)
      client.write('GET /x HTTP/1.1\r\nHost: Client.Test:8080\r\n\r\n')
      await client.reads('HTTP/1.1 200 ')
      client.close()
      return first.received.at(-1)!.headers.host
    }
    const rewritten = { 'proxy-rewrite': { host: 'rewritten.test' } }

    it("the client's own by default", async () => {
      assert.equal(await host({}), 'Client.Test:8080')
      assert.equal(await host({ pass_host: 'pass' }), 'Client.Test:8080')
    })
    it('what proxy-rewrite says, with pass_host: pass', async () => {
      assert.equal(await host({}, rewritten), 'rewritten.test')
    })
    it('the node, with pass_host: node, whatever proxy-rewrite says', async () => {
      assert.equal(await host({ pass_host: 'node' }), `127.0.0.1:${first.port}`)
      assert.equal(await host({ pass_host: 'node' }, rewritten), `127.0.0.1:${first.port}`)
    })
    it('upstream_host, with pass_host: rewrite, whatever proxy-rewrite says', async () => {
      const rewrite = { pass_host: 'rewrite', upstream_host: 'upstream.test:1' }
      assert.equal(await host(rewrite), 'upstream.test:1')
      assert.equal(await host(rewrite, rewritten), 'upstream.test:1')
    })
    it('the node, when the client sent none', async () => {
      await to([first.port])
      const client = await connectRaw(gateway.port)
      client.write('GET /x HTTP/1.0\r\n\r\n')
      await client.reads('HTTP/1.1 200 ')
      client.close()
      assert.equal(first.received[0]!.headers.host, `127.0.0.1:${first.port}`)
    })
  })

  describe('calls a node', () => {
    /** The calls that a request makes when every one of them is refused. */
    async function calls(config: Partial<HttpUpstreamConfig>, refusal: Error = new UpstreamError('refused', 'no')) {
      const made: Call[] = []
      const transport = {
        exchange(_ctx, call) {
          made.push(call)
          return Promise.reject(refusal)
        },
      } satisfies Pick<Transport, 'exchange'> as unknown as Transport
      const upstream = new HttpUpstream(
        'upstreams/1',
        {
          scheme: 'http',
          nodes: [],
          balancing: { type: 'roundrobin', hashOn: 'vars', key: '' },
          retries: undefined,
          retryTimeout: 0,
          timeout: { connect: 1, send: 2, read: 3 },
          passHost: 'node',
          upstreamHost: undefined,
          keepAlive: undefined,
          verify: false,
          clientCert: undefined,
          checks: undefined,
          ...config,
        },
        // The round begins with the first node.
        upstreamEnv({ transport, dns: { servers: [dns.address] }, random: () => 0 }),
      )
      await assert.rejects(upstream.send(await makeContext()))
      return made.map(({ origin, address, headers }) => ({
        origin,
        address,
        host: new HeaderList(headers).get('host'),
      }))
    }
    const node = (host: string, port: number) => ({ host, port, weight: 1, priority: 0 })
    let dns: DnsServer
    before(async () => {
      dns = await startDnsServer({
        'a.test': [{ type: 'A', address: '10.0.0.1' }],
        'b.test': [{ type: 'A', address: '10.0.0.2' }],
        'c.test': [{ type: 'AAAA', address: 'fd00::3' }],
      })
    })
    after(() => dns.close())

    it('by a name that is its own, at every attempt, without the port that its scheme implies', async () => {
      const nodes = [node('a.test', 80), node('b.test', 443), node('c.test', 8080)]
      assert.deepEqual(await calls({ nodes }), [
        { origin: 'http://10.0.0.1:80', address: '10.0.0.1:80', host: 'a.test' },
        { origin: 'http://10.0.0.2:443', address: '10.0.0.2:443', host: 'b.test:443' },
        { origin: 'http://[fd00::3]:8080', address: '[fd00::3]:8080', host: 'c.test:8080' },
      ])
      const hosts = (await calls({ nodes, scheme: 'https' })).map(({ host }) => host)
      assert.deepEqual(hosts, ['a.test:80', 'b.test', 'c.test:8080'])
    })

    it('with an IPv6 address in brackets', async () => {
      assert.deepEqual(await calls({ nodes: [node('::1', 8080), node('fe80::1', 80)] }), [
        { origin: 'http://[::1]:8080', address: '[::1]:8080', host: '[::1]:8080' },
        { origin: 'http://[fe80::1]:80', address: '[fe80::1]:80', host: '[fe80::1]' },
      ])
    })

    it('no more when the client has left or the fault is our own', async () => {
      const nodes = [node('a.test', 80), node('b.test', 80)]
      for (const refusal of [new ClientGone(), new TypeError('a bug')]) {
        assert.equal((await calls({ nodes }, refusal)).length, 1)
      }
    })
  })
})
