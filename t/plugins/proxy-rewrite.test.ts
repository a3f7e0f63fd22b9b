// proxy-rewrite as upstreams see it.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how templates of APISIX look
import assert from 'node:assert/strict'
import proxyRewrite from '../../plugins/proxy-rewrite.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('proxy-rewrite', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
    gateway = await startGateway()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  /** What arrives at the upstream. */
  async function through(config: object, target: string, init: RequestInit = {}): Promise<Received> {
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    await gateway.put({
      routes: { 1: { uri: '/*', plugins: { 'proxy-rewrite': config }, upstream: { type: 'roundrobin', nodes } } },
    })
    assert.deepEqual(gateway.rejected, [])
    const before = upstream.received.length
    const response = await fetch(gateway.url + target, init)
    assert.equal(response.status, 200)
    await response.arrayBuffer()
    return upstream.received[before]!
  }

  const targets: [config: object, from: string, to: string][] = [
    [{ uri: '/new' }, '/old', '/new'],
    [{ uri: '/new' }, '/old?a=1&b=%20', '/new?a=1&b=%20'],
    [{ uri: '/new?x=1' }, '/old?a=1', '/new?x=1&a=1'],
    [{ uri: '/n/$arg_who/${arg_none ?? nobody}' }, '/old?who=a%20b%3Fc', '/n/a%20b%3Fc/nobody?who=a%20b%3Fc'],
    [{ uri: '/n?who=$arg_who' }, '/old?who=a%20b%3F%0Ac', '/n?who=a%20b%3F%0Ac&who=a%20b%3F%0Ac'],
    [{ uri: '/p$uri' }, '/a/%E4%B8%AD;x=1', '/p/a/%E4%B8%AD;x=1'],
    [{ uri: '/plain%20' }, '/', '/plain%2520'],
    [{ uri: '/a', regex_uri: ['.*', '/b'] }, '/', '/a'],
    [{ regex_uri: ['^/v1/(.*)/(.*)$', '/$2/$1'] }, '/v1/a/b?q=1', '/b/a?q=1'],
    [{ regex_uri: ['^/v1', '/v2'] }, '/v1/a', '/v2/a'],
    [{ regex_uri: ['^/none', '/x', '^/V1/(?<rest>.*)', '/no', '(?i)^/V1/(.*)', '/three?r=$1'] }, '/v1/a', '/three?r=a'],
    [{ regex_uri: ['^/none', '/x'] }, '/a%20b//c?x', '/a%20b//c?x'],
    [{ regex_uri: ['^/x/(.*)', '/$1'] }, '/x/a%3Fb%23c', '/a%3Fb%23c'],
    [{ regex_uri: ['^/x/(.*)', '$1'] }, '/x/a', '/a'],
    [{ regex_uri: ['^/x(.*)', '/y$1'], use_real_request_uri_unsafe: true }, '/x/a%2Fb?c=%2F', '/y/a%2Fb?c=%2F'],
    [{ uri: '/y%2Fz', use_real_request_uri_unsafe: true }, '/x?c=1', '/y%2Fz?c=1'],
  ]
  for (const [config, from, to] of targets) {
    it(`${JSON.stringify(config)} makes ${to} of ${from}`, async () => {
      assert.equal((await through(config, from)).target, to)
    })
  }

  it('is not kept by a path that is made to take long', async () => {
    const began = performance.now()
    const path = `/${'a'.repeat(20_000)}`
    assert.equal((await through({ regex_uri: ['^(/(\\w+/?)*)+!$', '/x', '(a+)$', 'b'] }, path)).target, '/b')
    assert.ok(performance.now() - began < 5_000)
  })

  it('sets method and host', async () => {
    const { method, headers } = await through({ method: 'POST', host: 'other.test:99' }, '/')
    assert.equal(method, 'POST')
    assert.equal(headers.host, 'other.test:99')
  })

  it('adds, sets and removes header fields, in that order', async () => {
    const config = {
      headers: {
        add: { 'X-Many': ['a', 'b'], 'X-Gone': 'x' },
        set: { 'X-Set': 7, 'X-Who': '$arg_who from $remote_addr', 'X-None': '[$arg_none]', 'X-Two': ['1', '2'] },
        remove: ['X-Gone', 'x-client'],
      },
    }
    const { headers, rawHeaders } = await through(config, '/?who=jack', {
      headers: { 'X-Many': 'c', 'X-Set': 'old', 'X-Client': 'old' },
    })
    assert.equal(headers['x-many'], 'c, a, b')
    assert.equal(headers['x-set'], '7')
    assert.equal(headers['x-who'], 'jack from 127.0.0.1')
    assert.equal(headers['x-none'], '[]')
    assert.equal(headers['x-two'], '1, 2')
    assert.equal(headers['x-gone'], undefined)
    assert.equal(headers['x-client'], undefined)
    assert.ok(rawHeaders.includes('X-Who'))
  })

  it('takes a flat map as fields to set', async () => {
    const { headers } = await through({ headers: { 'X-A': '1', set: 'plain' } }, '/')
    assert.equal(headers['x-a'], '1')
    assert.equal(headers.set, 'plain')
  })

  it('puts groups of regex_uri into header fields', async () => {
    const config = { regex_uri: ['^/t/([^/]+)(/.*)', '$2'], headers: { set: { 'X-Tenant': '$1-${2}-$3' } } }
    const { target, headers } = await through(config, '/t/acme/x')
    assert.equal(target, '/x')
    assert.equal(headers['x-tenant'], 'acme-/x-')
  })

  it('lets no client break out of a header field', async () => {
    const { headers } = await through({ headers: { 'X-Arg': '$arg_a' } }, '/?a=x%0d%0aX-Injected:%201%00')
    assert.equal(headers['x-arg'], 'x  X-Injected: 1')
    assert.equal(headers['x-injected'], undefined)
  })

  it('sends what is no Latin-1 in a header field as UTF-8', async () => {
    const { headers } = await through({ headers: { 'X-Arg': '$arg_a' } }, '/?a=%E4%B8%AD')
    assert.equal(Buffer.from(String(headers['x-arg']), 'latin1').toString(), '中')
  })

  it('refuses what it cannot do', () => {
    const odd = { use_real_request_uri_unsafe: false }
    assert.equal(
      proxyRewrite.check!({ ...odd, regex_uri: ['a', 'b', 'c'] }),
      'The length of regex_uri should be an even number',
    )
    assert.match(proxyRewrite.check!({ ...odd, regex_uri: ['(', 'b'] })!, /^invalid regex_uri\(\(, b\): /)
    assert.match(proxyRewrite.check!({ ...odd, regex_uri: ['a', '$x'] })!, /^invalid regex_uri\(a, \$x\): /)
    assert.equal(
      proxyRewrite.check!({ ...odd, headers: { set: { 'bad name': 'x' } } }),
      'invalid field character in header',
    )
    assert.equal(proxyRewrite.check!({ ...odd, headers: { 'X-Good': 'x' } }), undefined)
  })
})
