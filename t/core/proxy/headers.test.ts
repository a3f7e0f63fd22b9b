// Which fields travel through the gateway, there and back, and which it sets itself (RFC 9110 7.6.1; facts core 6.7).
import assert from 'node:assert/strict'
import type { ForwardingOptions } from '../../../core/forwarding.ts'
import { plugin } from '../../../core/plugin.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { connectRaw } from '../../helpers/raw-client.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

describe('fields', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
    gateway = await startGateway({
      plugins: [teller],
      resources: {
        routes: {
          r: { uri: '/*', plugins: { teller: {} }, upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } } },
        },
      },
    })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  /** Sends a request with these fields; what the upstream got, and the head of the answer. */
  async function exchange(fields: string[], target = '/'): Promise<{ there: [string, string][]; back: string }> {
    const client = await connectRaw(gateway.port)
    client.write([`GET ${target} HTTP/1.1`, ...fields, 'Connection: close', '', ''].join('\r\n'))
    await until(() => client.closed, 'the answer')
    const { rawHeaders } = await upstream.request(0)
    const there = rawHeaders.flatMap((name, at) =>
      at % 2 === 0 ? [[name, rawHeaders[at + 1]!] as [string, string]] : [],
    )
    return { there, back: client.received.split('\r\n\r\n')[0]! }
  }
  const all = (fields: [string, string][], name: string) =>
    fields.filter(([known]) => known.toLowerCase() === name.toLowerCase()).map(([, value]) => value)

  it('of the client go upstream in their order and case, repeated ones too', async () => {
    const { there } = await exchange([
      'Host: a',
      'X-Two: 2',
      'x-one: 1',
      'X-Two: 3',
      'X_Under: 4',
      'Cookie: a=b',
      'Cookie: c=d',
    ])
    const own = there.filter(([name]) => /^x-one|x-two|x_under|cookie/i.test(name))
    assert.deepEqual(own, [
      ['X-Two', '2'],
      ['x-one', '1'],
      ['X-Two', '3'],
      ['X_Under', '4'],
      ['Cookie', 'a=b'],
      ['Cookie', 'c=d'],
    ])
  })

  it('that are meant for one hop go no further', async () => {
    const { there } = await exchange([
      ...['Host: a', 'Keep-Alive: timeout=9', 'Proxy-Connection: keep-alive', 'Proxy-Authorization: Basic x'],
      ...['TE: trailers', 'Upgrade: x', 'X-Mine: 1', 'Connection: x-mine'],
    ])
    const names = there.map(([name]) => name.toLowerCase())
    for (const name of ['keep-alive', 'proxy-connection', 'proxy-authorization', 'te', 'upgrade', 'x-mine']) {
      assert.ok(!names.includes(name), name)
    }
    assert.deepEqual(all(there, 'connection'), ['keep-alive'])
  })

  it('that a plugin sets for the upstream cannot be taken away by a client that names them in Connection', async () => {
    const { there } = await exchange([
      'Host: a',
      'X-Told: by the client',
      'Connection: X-Told, X-Real-IP, X-Forwarded-For',
    ])
    assert.deepEqual(all(there, 'x-told'), ['by the plugin'])
    assert.deepEqual(all(there, 'x-real-ip'), ['127.0.0.1'])
    assert.deepEqual(all(there, 'x-forwarded-for'), ['127.0.0.1'])
  })

  it('tell the upstream who asked, how and where', async () => {
    const { there } = await exchange(['Host: Gateway.Test:8080'])
    assert.deepEqual(
      ['X-Real-IP', 'X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'X-Forwarded-Port'].map(name =>
        all(there, name),
      ),
      [['127.0.0.1'], ['127.0.0.1'], ['http'], ['Gateway.Test:8080'], [String(gateway.port)]],
    )
  })

  it('that the client made up about itself are replaced, and X-Forwarded-For is continued', async () => {
    const { there } = await exchange([
      ...[
        'Host: a',
        'X-Real-IP: 6.6.6.6',
        'X-Forwarded-For: 6.6.6.6',
        'X-FORWARDED-FOR: 7.7.7.7',
        'X-Forwarded-Proto: https',
      ],
      ...['X-Forwarded-Host: evil', 'X-Forwarded-Port: 1', 'Forwarded: for=6.6.6.6'],
    ])
    assert.deepEqual(all(there, 'x-real-ip'), ['127.0.0.1'])
    assert.deepEqual(all(there, 'x-forwarded-for'), ['6.6.6.6, 7.7.7.7, 127.0.0.1'])
    assert.deepEqual(all(there, 'x-forwarded-proto'), ['http'])
    assert.deepEqual(all(there, 'x-forwarded-host'), ['a'])
    assert.deepEqual(all(there, 'x-forwarded-port'), [String(gateway.port)])
    assert.deepEqual(all(there, 'forwarded'), [])
  })

  describe('of a client that is a proxy', () => {
    const said = [
      ...['Host: a', 'X-Real-IP: 6.6.6.6', 'X-Forwarded-For: 6.6.6.6', 'X-Forwarded-Proto: https'],
      ...['X-Forwarded-Host: outer.test', 'X-Forwarded-Port: 443', 'Forwarded: for=6.6.6.6'],
    ]
    const names = [
      'X-Forwarded-For',
      'X-Forwarded-Proto',
      'X-Forwarded-Host',
      'X-Forwarded-Port',
      'Forwarded',
      'X-Real-IP',
    ]

    async function told(forwarding: Partial<ForwardingOptions>): Promise<string[]> {
      const other = await startGateway({
        forwarding,
        resources: {
          routes: { r: { uri: '/*', upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } } } },
        },
      })
      const client = await connectRaw(other.port)
      client.write(['GET / HTTP/1.1', ...said, 'Connection: close', '', ''].join('\r\n'))
      await until(() => client.closed, 'the answer')
      await other.close()
      const { headers } = await upstream.request(0)
      const port = String(other.port)
      return names.map(name => String(headers[name.toLowerCase()] ?? '-').replace(port, 'own port'))
    }

    it('go on when it is trusted', async () => {
      assert.deepEqual(await told({ trusted: ['127.0.0.0/8'] }), [
        ...['6.6.6.6, 127.0.0.1', 'https', 'outer.test', '443', 'for=6.6.6.6', '127.0.0.1'],
      ])
    })

    it('do not when others are', async () => {
      assert.deepEqual(await told({ trusted: ['10.0.0.0/8'] }), [
        '127.0.0.1',
        'http',
        'a',
        'own port',
        '-',
        '127.0.0.1',
      ])
    })

    it('say where its client is, when it is believed to', async () => {
      const realIp = { header: 'X-Real-IP', from: ['127.0.0.1'], recursive: false }
      assert.deepEqual(await told({ realIp }), [...['6.6.6.6, 6.6.6.6', 'http', 'a', 'own port', '-', '6.6.6.6']])
    })
  })

  it('and target of an absolute form agree on the host', async () => {
    const { there } = await exchange(['Host: one.test'], 'http://two.test/x')
    assert.deepEqual([all(there, 'host'), all(there, 'x-forwarded-host')], [['two.test'], ['two.test']])
    assert.equal(upstream.received[0]!.target, '/x')
  })

  it('of the target go upstream as they came, byte for byte', async () => {
    await exchange(['Host: a'], '/a%2Fb/./c%20d?q=%zz&r=[1]')
    assert.equal(upstream.received[0]!.target, '/a%2Fb/./c%20d?q=%zz&r=[1]')
  })

  it('of the upstream come back in their order and case, without those meant for one hop', async () => {
    upstream.script = ({ response }) => {
      response.writeHead(200, [
        ...['X-Two', '2', 'x-one', '1', 'X-Two', '3', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Content-Length', '2'],
        ...[
          'Keep-Alive',
          'timeout=9',
          'Proxy-Connection',
          'x',
          'Connection',
          'close, x-hop',
          'X-Hop',
          '1',
          'Upgrade',
          'h2c',
        ],
      ])
      response.end('ok')
    }
    const { back } = await exchange(['Host: a'])
    const fields = back.split('\r\n').slice(1)
    assert.deepEqual(
      fields.filter(field => /^(x-|set-cookie|content-length)/i.test(field)),
      ['X-Two: 2', 'x-one: 1', 'X-Two: 3', 'Set-Cookie: a=1', 'Set-Cookie: b=2', 'Content-Length: 2'],
    )
    assert.ok(!fields.some(field => /^(keep-alive|proxy-connection|upgrade):/i.test(field)), back)
    assert.deepEqual(
      fields.filter(field => /^connection:/i.test(field)),
      ['Connection: close'],
    )
  })

  it('of the upstream may hold any byte that is allowed', async () => {
    upstream.script = ({ socket }) => {
      socket.end('HTTP/1.1 200 OK\r\nX-Latin: caf\xe9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n', 'latin1')
    }
    assert.match((await exchange(['Host: a'])).back, /\r\nX-Latin: caf\xe9\r\n/)
  })
})

/** Tells the upstream something, as an authentication plugin does. */
const teller = plugin({
  name: 'teller',
  priority: 1,
  version: 0.1,
  schema: { type: 'object' },
  setup: () => ({
    rewrite(ctx) {
      if (ctx.request.headers.has('connection')) ctx.request.headers.set('X-Told', 'by the plugin')
    },
  }),
})
