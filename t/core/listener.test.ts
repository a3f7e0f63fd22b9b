// The data plane's sockets: what never becomes a request is answered, logged once and counted; and how listening ends.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type Listener, type ListenerLimits, listen } from '../../core/listener.ts'
import type { Counter } from '../../core/observe/metrics.ts'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'
import { Traffic } from '../../core/observe/traffic.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type Journal, openJournal } from '../helpers/journal.ts'
import { connectRaw, type RawClient } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const NO_REQUEST = 'client sent something that is no request'

describe('a listener', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let listener: Listener
  let journal: Journal
  let clients: RawClient[]
  const traffic = new Traffic(new MetricsWriter({ publish() {} }))
  /** Statuses that were counted. */
  let counted: string[]

  beforeEach(async () => {
    upstream = await startUpstream()
    journal = openJournal()
    counted = []
    clients = []
    gateway = await startGateway({
      log: journal.log,
      plugins: [journal.plugin],
      resources: {
        global_rules: { j: { plugins: { journal: {} } } },
        routes: { r: { uri: '/*', upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 }, retries: 0 } } },
      },
    })
    await begin()
  })
  afterEach(async () => {
    for (const client of clients) client.close()
    await end(listener)
    await gateway.close()
    await upstream.close()
  })

  async function begin(limits: Partial<ListenerLimits> = {}): Promise<void> {
    const refused = { add: ([status]: string[]) => void counted.push(status!) } as unknown as Counter
    listener = await listen({
      address: { host: '127.0.0.1', port: 0 },
      gateway: gateway.gateway,
      limits: {
        headerTimeout: 9_000,
        requestTimeout: 0,
        keepAliveTimeout: 9_000,
        maxHeaderSize: 16_384,
        maxHeaderFields: 1_000,
        maxConnections: 1_000,
        maxPipelined: 100,
        ...limits,
      },
      log: journal.log,
      refused,
      traffic,
    })
  }
  async function again(limits: Partial<ListenerLimits>): Promise<void> {
    await end(listener)
    await begin(limits)
  }
  const end = (of: Listener) => of.stop({ graceMs: 0, gently: false })
  async function client(): Promise<RawClient> {
    const made = await connectRaw(listener.address.port)
    clients.push(made)
    return made
  }
  const lines = () => journal.lines.filter(({ message }) => message === NO_REQUEST)

  const refusals: [what: string, sent: string, status: number, title: string][] = [
    ['is no HTTP', 'EHLO there\r\n\r\n', 400, 'Bad Request'],
    ['is TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'Bad Request'],
    [
      'has a length and chunks',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      400,
      'Bad Request',
    ],
    [
      'has two lengths',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      400,
      'Bad Request',
    ],
    ['has a field name with a space', 'GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n', 400, 'Bad Request'],
    [
      'has a head beyond the limit',
      `GET / HTTP/1.1\r\nHost: a\r\nX-Fill: ${'f'.repeat(20_000)}`,
      431,
      'Request Header Fields Too Large',
    ],
    [
      'has too many fields',
      `GET / HTTP/1.1\r\nHost: a\r\n${'X-Fill: f\r\n'.repeat(1_000)}\r\n`,
      431,
      'Request Header Fields Too Large',
    ],
    ['wants a tunnel', 'CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n', 405, 'Method Not Allowed'],
  ]
  for (const [what, sent, status, title] of refusals) {
    it(`answers ${status} to what ${what}, says so once, counts it, and closes the connection`, async () => {
      const sender = await client()
      sender.write(sent)
      await until(() => sender.closed, 'the connection is closed')
      const [head = '', body = ''] = sender.received.split('\r\n\r\n')
      assert.ok(head.startsWith(`HTTP/1.1 ${status} ${title}\r\n`), head)
      assert.match(head, /\r\nServer: APISIX\/3\.18\.0/)
      assert.match(head, /\r\nConnection: close/)
      const code = { 400: 'bad_request', 405: 'method_not_allowed', 431: 'head_too_large' }[status]
      assert.deepEqual(JSON.parse(body), { error_msg: `${status} ${title}`, code })
      assert.deepEqual(counted, [String(status)])
      assert.equal(lines().length, 1)
      assert.doesNotMatch(JSON.stringify(lines()), /EHLO|X-Fill|Host/)
      assert.deepEqual(journal.entries, [])
    })
  }

  it('answers 408 to a head that does not end in time', async () => {
    await again({ headerTimeout: 50 })
    const sender = await client()
    sender.write('GET / HTTP/1.1\r\nHost: a\r\n')
    await until(() => sender.closed, 'the connection is closed')
    assert.match(sender.received, /^HTTP\/1\.1 408 Request Timeout\r\n/)
    assert.deepEqual(counted, ['408'])
  })

  it('answers 408 to a client that never says anything', async () => {
    await again({ headerTimeout: 50 })
    const silent = await client()
    await until(() => silent.closed, 'the connection is closed')
    assert.match(silent.received, /^HTTP\/1\.1 408 Request Timeout\r\n/)
    assert.deepEqual(counted, ['408'])
  })

  it('takes as many fields as it says', async () => {
    await again({ maxHeaderFields: 20 })
    const [sender, another] = [await client(), await client()]
    sender.write(`GET / HTTP/1.1\r\nHost: a\r\n${'X-Fill: f\r\n'.repeat(19)}\r\n`)
    await sender.reads('{"ok":true}')
    const { rawHeaders } = await upstream.request(0)
    assert.equal(rawHeaders.filter(text => text === 'X-Fill').length, 19)
    another.write(`GET / HTTP/1.1\r\nHost: a\r\n${'X-Fill: f\r\n'.repeat(20)}\r\n`)
    await another.reads('HTTP/1.1 431 ')
  })

  it('lets go of a refused client that does not close its side', async () => {
    const socket = connect({ port: listener.address.port, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => {})
    socket.write('EHLO\r\n\r\n')
    socket.resume()
    await once(socket, 'end')
    // Writing into a connection that the other side has let go of ends it.
    await until(() => {
      socket.write('still there\r\n')
      return socket.closed
    }, 'the connection is closed')
    assert.deepEqual([counted, lines().length], [['400'], 1])
  })

  for (const [how, leave] of [
    ['by a reset', leaving => leaving.reset()],
    ['by closing', leaving => leaving.socket.end()],
  ] as [string, (leaving: RawClient) => void][])
    it(`counts no client that just leaves ${how}, idle, in a head or in a response`, async () => {
      upstream.script = received => received.write('part')
      const [idle, inHead, inResponse] = [await client(), await client(), await client()]
      inHead.write('GET / HTTP/1.1\r\nHo')
      inResponse.write(GET)
      await inResponse.reads('part')
      for (const leaving of clients) leave(leaving)
      await until(() => journal.entries.length === 1, 'the request has logged')
      await until(() => idle.closed && inHead.closed, 'they are gone')
      assert.deepEqual([counted, lines()], [[], []])
    })

  it('never puts a refusal into a response that is under way', async () => {
    upstream.script = async received => {
      received.response.writeHead(200, { 'Content-Length': '1000' })
      await received.write('part')
    }
    const sender = await client()
    sender.write(GET)
    await sender.reads('part')
    sender.write('EHLO\r\n\r\n')
    await until(() => sender.closed, 'the connection is closed')
    assert.ok(sender.received.endsWith('part'), sender.received)
    await until(() => journal.entries.length === 1, 'the request has logged')
    assert.equal(journal.entries[0]!.ending, 'client_gone')
    assert.deepEqual(counted, ['400'])
  })

  it('serves a request with an expectation that nobody knows, and does not pass it on', async () => {
    const sender = await client()
    sender.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nContent-Length: 2\r\n\r\nok')
    await sender.reads('HTTP/1.1 200 OK')
    const received = await upstream.request(0)
    assert.deepEqual([received.headers.expect, String(await received.body)], [undefined, 'ok'])
    await until(() => journal.entries.length === 1, 'the request has logged')
  })

  it('closes a connection that has been idle for too long', async () => {
    await again({ keepAliveTimeout: 50 })
    const sender = await client()
    sender.write(GET)
    await until(() => sender.closed, 'the connection is closed')
    assert.match(sender.received, /^HTTP\/1\.1 200 OK\r\n/)
    assert.deepEqual([counted, lines()], [[], []])
  })

  it('cannot listen where somebody else does', async () => {
    const { address } = listener
    await assert.rejects(
      listen({
        address,
        gateway: gateway.gateway,
        limits: {
          headerTimeout: 9_000,
          requestTimeout: 0,
          keepAliveTimeout: 9_000,
          maxHeaderSize: 16_384,
          maxHeaderFields: 1_000,
          maxConnections: 1_000,
          maxPipelined: 100,
        },
        log: journal.log,
        refused: { add() {} } as unknown as Counter,
        traffic,
      }),
      { code: 'EADDRINUSE' },
    )
  })

  describe('that stops', () => {
    it('accepts nobody, ends idle connections and waits for a response', async () => {
      let answer = () => {}
      upstream.script = received => {
        if (received.target === '/idle') received.json(200, {})
        else answer = () => received.json(200, { late: true })
      }
      const [idle, busy] = [await client(), await client()]
      idle.write('GET /idle HTTP/1.1\r\nHost: a\r\n\r\n')
      await idle.reads('{}')
      busy.write(GET)
      await upstream.request(1)
      let stopped = false
      const stopping = listener.stop({ graceMs: 5_000, gently: false }).then(() => {
        stopped = true
      })
      await until(() => idle.closed, 'the idle connection is closed')
      await assert.rejects(once(connect(listener.address.port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
      assert.equal(stopped, false)
      answer()
      await busy.reads('{"late":true}')
      await stopping
    })

    it('serves connections that it had not accepted yet when others have taken over', async () => {
      upstream.script = received => received.json(200, {})
      const sockets = Array.from({ length: 20 }, () => connect(listener.address.port, '127.0.0.1'))
      let received = ''
      for (const socket of sockets) {
        socket.on('error', () => {})
        socket.on('data', (data: Buffer) => {
          received += data.toString('latin1')
        })
        socket.write(GET)
      }
      // They knock in this very turn of the loop, so that none is accepted before the order to stop.
      await new Promise(resolve => process.nextTick(resolve))
      const stopping = listener.stop({ graceMs: 5_000, gently: true })
      await until(() => received.match(/HTTP\/1\.1 200 OK/g)?.length === 20, 'all are served')
      for (const socket of sockets) socket.destroy()
      await stopping
    })

    it('cuts what lasts longer than the grace, were it a client that says nothing', async () => {
      const silent: Socket = connect(listener.address.port, '127.0.0.1')
      silent.on('error', () => {})
      await once(silent, 'connect')
      const slow = await client()
      slow.write('GET / HTTP/1.1\r\nHo')
      const gone = once(silent, 'close')
      await listener.stop({ graceMs: 30, gently: false })
      await gone
      await until(() => slow.closed, 'the slow one is cut')
    })
  })
})
