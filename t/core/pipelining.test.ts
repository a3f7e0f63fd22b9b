// Requests that a client sends without waiting: what is served at once, what in its turn, and where a connection ends.
import assert from 'node:assert/strict'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { connectRaw } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('requests on one connection', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  /** By target: those that the upstream has not answered. */
  let held: Map<string, Received>

  beforeEach(async () => {
    held = new Map()
    upstream = await startUpstream(received => {
      if (received.target === '/aside') received.response.end()
      else held.set(received.target, received)
    })
    gateway = await startGateway({
      resources: { routes: { r: { uri: '/*', upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } } } } },
    })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  const get = (target: string, fields = '') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`
  const post = (target: string) => `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi`
  const answer = (target: string) => held.get(target)!.response.end(`<${target}>`)
  const seen = () => [...held.keys()]

  it('that change nothing are served together, and answered in their order', async () => {
    const client = await connectRaw(gateway.port)
    client.write(get('/1') + get('/2').replace('GET', 'OPTIONS') + get('/3'))
    await until(() => held.size === 3, 'all have come')
    for (const target of ['/3', '/2', '/1']) answer(target)
    await client.reads('</3>')
    assert.deepEqual(client.received.match(/<\/\d>/g), ['</1>', '</2>', '</3>'])
    client.close()
  })

  it('that change something wait for those before them, and those behind for them', async () => {
    const client = await connectRaw(gateway.port)
    client.write(get('/1') + get('/2') + post('/3') + get('/4') + post('/5') + post('/6'))
    await until(() => held.size === 2, 'the first two have come')
    answer('/2')
    for (const [done, next] of [
      ['/1', '/3'],
      ['/3', '/4'],
      ['/4', '/5'],
      ['/5', '/6'],
    ] as const) {
      // What was going to be sent at once is there when this has come back.
      await fetch(`${gateway.url}/aside`)
      assert.ok(!held.has(next))
      answer(done)
      await until(() => held.has(next), `${next} has come`)
    }
    answer('/6')
    await client.reads('</6>')
    assert.deepEqual(client.received.match(/<\/\d>/g), ['</1>', '</2>', '</3>', '</4>', '</5>', '</6>'])
    assert.equal(String(await held.get('/6')!.body), 'hi')
    client.close()
  })

  it('that change nothing wait for one that does', async () => {
    const client = await connectRaw(gateway.port)
    client.write(post('/1') + get('/2'))
    await until(() => held.has('/1'), 'the first has come')
    await fetch(`${gateway.url}/aside`)
    assert.deepEqual(seen(), ['/1'])
    answer('/1')
    await until(() => held.has('/2'), 'the second has come')
    answer('/2')
    await client.reads('</2>')
    client.close()
  })

  it('that wait are never sent on when the client leaves', async () => {
    const client = await connectRaw(gateway.port)
    client.write(post('/1') + post('/2') + post('/3'))
    await until(() => held.size === 1, 'the first has come')
    client.close()
    await held.get('/1')!.closed
    await until(() => gateway.gateway.inFlight === 0, 'nothing is in flight')
    assert.deepEqual(seen(), ['/1'])
  })

  for (const [what, request] of [
    ['change something', post('/1')],
    ['change nothing', get('/1')],
  ] as const) {
    it(`are refused when too many of them come that ${what}, and the connection is closed`, async () => {
      const client = await connectRaw(gateway.port)
      client.write(request.repeat(101))
      await until(() => held.has('/1'), 'the first has come')
      await fetch(`${gateway.url}/aside`)
      assert.ok(!client.closed)
      client.write(request.repeat(20))
      await until(() => client.closed, 'the connection is closed')
      const [head] = client.received.split('\r\n\r\n')
      assert.match(head!, /^HTTP\/1\.1 503 /)
      assert.match(head!, /\r\nRetry-After: 1\r\n/)
      assert.equal(client.responses(), 1)
      await until(() => gateway.gateway.inFlight === 0, 'nothing is in flight')
      assert.match(gateway.scrape(), /sluice_shed_total\{reason="pipelined_requests"\} 1\n/)
    })
  }

  it('end with one that closes it, whatever follows', async () => {
    const client = await connectRaw(gateway.port)
    client.write(get('/1', 'Connection: close\r\n') + post('/2'))
    await until(() => held.has('/1'), 'the first has come')
    answer('/1')
    await until(() => client.closed, 'the connection is closed')
    assert.equal(client.responses(), 1)
    assert.deepEqual(seen(), ['/1'])
  })

  it('end with one that wants to upgrade: what node:http makes of the bytes behind it is not believed', async () => {
    const client = await connectRaw(gateway.port)
    // The head of the second goes lost with the packet, and its body would be a request.
    const body = post('/smuggled')
    const second = `POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`
    client.write(get('/1', 'Upgrade: websocket\r\nConnection: Upgrade\r\n') + second)
    await until(() => held.has('/1'), 'the first has come')
    client.write(body)
    await until(() => client.closed, 'the connection is closed')
    assert.deepEqual(seen(), ['/1'])
  })

  it('end politely with one that wants to upgrade and is followed by nothing', async () => {
    const client = await connectRaw(gateway.port)
    client.write(get('/1', 'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n'))
    await until(() => held.has('/1'), 'it has come')
    answer('/1')
    await client.reads('</1>')
    await until(() => client.closed, 'the connection is closed')
    assert.match(client.received, /\r\nConnection: close\r\n/)
  })
})
