// response-rewrite as clients see it.
import assert from 'node:assert/strict'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import responseRewrite from '../../plugins/response-rewrite.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('response-rewrite', () => {
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

  async function through(config: object, script?: (received: Received) => unknown): Promise<Response> {
    if (script !== undefined) upstream.script = script
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    await gateway.put({
      routes: { 1: { uri: '/x', plugins: { 'response-rewrite': config }, upstream: { type: 'roundrobin', nodes } } },
    })
    assert.deepEqual(gateway.rejected, [])
    return fetch(`${gateway.url}/x?who=jack`, { headers: { 'Accept-Encoding': 'identity' } })
  }

  const sends =
    (body: string | Buffer, headers: Record<string, string> = {}, status = 200) =>
    ({ response }: Received) => {
      response.writeHead(status, { ETag: '"1"', 'Last-Modified': 'yesterday', ...headers })
      response.end(body)
    }

  /** Two writes that arrive as two chunks, without a length. */
  const streams =
    (first: Buffer, second: Buffer, headers: Record<string, string> = {}) =>
    async (received: Received) => {
      received.startStream({ 'content-type': 'text/plain', ...headers })
      await received.write(first)
      await received.write(second)
      received.response.end()
    }

  it('replaces the status', async () => {
    const response = await through({ status_code: 299 }, sends('as it was'))
    assert.equal(response.status, 299)
    assert.equal(await response.text(), 'as it was')
    assert.equal(response.headers.get('etag'), '"1"')
  })

  it('replaces the body, and what the head said of the old one', async () => {
    const response = await through({ body: 'new body' }, sends(gzipSync('old'), { 'Content-Encoding': 'gzip' }))
    assert.equal(await response.text(), 'new body')
    for (const name of ['etag', 'last-modified', 'content-encoding'])
      assert.equal(response.headers.get(name), null, name)
  })

  it('replaces the body with decoded base64', async () => {
    const response = await through({ body: Buffer.from([0, 255, 1]).toString('base64'), body_base64: true })
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), Buffer.from([0, 255, 1]))
  })

  it('empties the body', async () => {
    const response = await through({ body: '' })
    assert.equal(await response.text(), '')
  })

  it('leaves a response without body without one', async () => {
    const response = await through({ body: 'x', headers: { 'X-Seen': '1' } }, sends('', {}, 304))
    assert.equal(response.status, 304)
    assert.equal(response.headers.get('etag'), '"1"')
    assert.equal(response.headers.get('x-seen'), '1')
  })

  it('rewrites responses of the gateway itself', async () => {
    const global = { 'response-rewrite': { vars: [['status', '==', 404]], status_code: 410, body: 'gone' } }
    await gateway.put({ global_rules: { 1: { plugins: global } } })
    const response = await fetch(`${gateway.url}/nowhere`)
    assert.equal(response.status, 410)
    assert.equal(await response.text(), 'gone')
  })

  it('does nothing where its condition does not hold', async () => {
    const config = { vars: [['status', '==', 500]], status_code: 200, body: 'x', headers: { 'X-Seen': '1' } }
    const kept = await through(config, sends('fine', {}, 201))
    assert.equal(kept.status, 201)
    assert.equal(await kept.text(), 'fine')
    assert.equal(kept.headers.get('x-seen'), null)
    const changed = await through(config, sends('broken', {}, 500))
    assert.equal(changed.status, 200)
    assert.equal(await changed.text(), 'x')
  })

  it('adds, sets and removes header fields, in that order', async () => {
    const config = {
      headers: {
        add: ['X-Many: b', 'X-Many: c', 'X-Gone: 1'],
        set: { 'X-Who': '$arg_who got $status', 'X-Empty': '', 'X-Number': 3 },
        remove: ['X-Gone', 'ETag'],
      },
    }
    const { headers } = await through(config, sends('', { 'X-Many': 'a', 'X-Who': 'nobody' }))
    assert.equal(headers.get('x-many'), 'a, b, c')
    assert.equal(headers.get('x-who'), 'jack got 200')
    assert.equal(headers.get('x-empty'), '')
    assert.equal(headers.get('x-number'), '3')
    assert.equal(headers.get('x-gone'), null)
    assert.equal(headers.get('etag'), null)
  })

  it('takes a flat map as fields to set', async () => {
    const { headers } = await through({ headers: { 'X-A': 'a', 'X-B': 2 } })
    assert.equal(headers.get('x-a'), 'a')
    assert.equal(headers.get('x-b'), '2')
  })

  it('runs its filters one after the other over the whole body, however it comes', async () => {
    const config = {
      filters: [
        { regex: 'h(el+)o', replace: '<$1-$0-$2>', scope: 'once' },
        { regex: 'O', replace: '0', scope: 'global', options: 'ijo' },
        { regex: '$none', replace: '' },
      ],
    }
    const response = await through(config, streams(Buffer.from('hello hel'), Buffer.from('lo WO$')))
    assert.equal(await response.text(), '<ell-hell0-> hell0 W0$')
    assert.equal(response.headers.get('etag'), null)
  })

  for (const [name, compress, encoding] of [
    ['gzip', gzipSync, 'gzip'],
    ['Brotli', brotliCompressSync, 'br'],
    ['deflate', deflateSync, 'deflate'],
    ['bare deflate', deflateRawSync, 'deflate'],
  ] as const) {
    it(`decodes ${name} for its filters, and sends the result as it is`, async () => {
      const bytes = compress(Buffer.from('one two one'))
      const script = streams(bytes.subarray(0, 5), bytes.subarray(5), { 'content-encoding': encoding })
      const response = await through({ filters: [{ regex: 'one', replace: '1', scope: 'global' }] }, script)
      assert.equal(response.headers.get('content-encoding'), null)
      assert.equal(await response.text(), '1 two 1')
    })
  }

  it('leaves a body on which a filter takes too long', async () => {
    const body = `${'a'.repeat(30_000)}b`
    const began = performance.now()
    const response = await through({ filters: [{ regex: '(a+)+$', replace: 'x' }] }, sends(body))
    assert.equal(await response.text(), body)
    assert.ok(performance.now() - began < 5_000)
  })

  it('leaves a body in an encoding it does not know', async () => {
    const filters = [{ regex: 'a', replace: 'b' }]
    const response = await through({ filters }, sends('aaa', { 'Content-Encoding': 'x-rot13' }))
    assert.equal(response.headers.get('content-encoding'), 'x-rot13')
    assert.equal(await response.text(), 'aaa')
  })

  it('keeps bytes that are no text', async () => {
    const body = Buffer.from([0xff, 0x61, 0xfe, 0x00])
    const response = await through({ filters: [{ regex: 'a', replace: 'b' }] }, sends(body))
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), Buffer.from([0xff, 0x62, 0xfe, 0x00]))
  })

  it('cuts a body that is larger than it may hold, compressed or not', async () => {
    const config = { filters: [{ regex: '^a', replace: 'b' }], max_resp_body_size: 1000 }
    const large = 'a'.repeat(5000)
    assert.equal(await (await through(config, sends(large))).text(), `b${'a'.repeat(999)}`)
    const bomb = sends(gzipSync(Buffer.alloc(10_000_000, 'a')), { 'Content-Encoding': 'gzip' })
    assert.equal(
      await (await through({ ...config, max_resp_body_size: 20_000 }, bomb)).text(),
      `b${'a'.repeat(19_999)}`,
    )
  })

  it('refuses what it cannot do', async () => {
    const check = (config: object) => responseRewrite.check!({ body_base64: false, ...config })
    assert.equal(check({ body: '', body_base64: true }), 'invalid base64 content')
    assert.equal(check({ body: 'no!', body_base64: true }), 'invalid base64 content')
    assert.match(check({ filters: [{ regex: '(', replace: '', options: 'jo' }] })!, /^regex "\(" validation failed: /)
    assert.match(check({ filters: [{ regex: 'a', replace: '', options: 'x' }] })!, /^regex "a" validation failed: /)
    assert.match(check({ vars: [['a', 'like', 'b']] })!, /^failed to validate the 'vars' expression: invalid operator/)
    assert.match(check({ headers: { set: { 'content-length': 3 } } })!, /follows from the body/)
    assert.match(check({ headers: { 'bad name': 'x' } })!, /invalid field character/)
    assert.equal(check({ headers: { remove: ['Content-Length'] } }), undefined)
    await gateway.put({
      routes: {
        1: { uri: '/', plugins: { 'response-rewrite': { body: '', filters: [{ regex: 'a', replace: 'b' }] } } },
      },
    })
    assert.equal(gateway.rejected.length, 1)
  })
})
