// The life of a request on real sockets: how it begins, how it is answered, and every way in which it can end early.
import assert from 'node:assert/strict'
import { plugin } from '../../core/plugin.ts'
import { reply } from '../../core/reply.ts'
import { type Resources, startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type Journal, openJournal } from '../helpers/journal.ts'
import { connectRaw, type RawClient } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const GET = 'GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n'
const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: gateway.test\r\n${fields}\r\n`

describe('a request', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let journal: Journal
  let clients: RawClient[]

  beforeEach(async () => {
    upstream = await startUpstream()
    journal = openJournal()
    clients = []
    await start()
  })
  afterEach(async () => {
    for (const client of clients) client.close()
    await gateway.close()
    await upstream.close()
  })

  async function start(more: Parameters<typeof startGateway>[0] = {}, resources: Resources = {}): Promise<void> {
    gateway = await startGateway({
      log: journal.log,
      ...more,
      plugins: [journal.plugin, ...(more.plugins ?? [])],
      resources: {
        global_rules: { j: { plugins: { journal: {} } } },
        routes: { r: { uri: '/*', upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 }, retries: 0 } } },
        ...resources,
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }
  async function restart(more: Parameters<typeof startGateway>[0], resources: Resources = {}): Promise<void> {
    await gateway.close()
    await start(more, resources)
  }
  async function connect(): Promise<RawClient> {
    const client = await connectRaw(gateway.port)
    clients.push(client)
    return client
  }
  /** Sends one request and reads its whole response, whose connection the gateway is asked to close. */
  async function send(head: string): Promise<{ status: number; fields: Map<string, string[]>; body: string }> {
    const client = await connect()
    client.write(head)
    await until(() => client.closed, `the response to ${head}`)
    return parse(client.received)
  }
  const logged = (count = 1) => until(() => journal.entries.length >= count && gateway.gateway.inFlight === 0, 'logged')
  /** Nothing is left behind: one entry per request, every hold ended, no exchange at the upstream. */
  async function nothingIsLeft(requests: number): Promise<void> {
    await logged(requests)
    assert.equal(journal.entries.length, requests)
    for (const { opened, settled, released, live } of Object.values(gateway.book.totals())) {
      assert.deepEqual([live, settled + released], [0, opened])
    }
    await until(() => upstream.received.every(({ response }) => response.closed), 'no exchange is left')
  }

  describe('whose client leaves', () => {
    const ways: [string, (client: RawClient) => void][] = [
      ['by closing', client => client.close()],
      ['by a reset', client => client.reset()],
      // As in nginx: who says nothing more is not waited for.
      ['by ending its side', client => client.socket.end()],
    ]
    for (const [how, leave] of ways) {
      it(`before headers, ${how}, ends at the upstream and logs 499 once`, async () => {
        upstream.script = () => {}
        const client = await connect()
        client.write(GET)
        const received = await upstream.request(0)
        leave(client)
        await received.closed
        assert.ok(received.gone)
        await nothingIsLeft(1)
        const [{ status, ending, error, attempts }] = journal.entries as [Journal['entries'][0]]
        assert.deepEqual(
          { status, ending, error, attempts },
          {
            status: 499,
            ending: 'client_gone',
            error: 'client_gone',
            attempts: ['undefined:client_gone'],
          },
        )
      })

      it(`in the stream, ${how}, ends at the upstream and logs the status that was sent`, async () => {
        upstream.script = async received => {
          received.startStream()
          await received.event('one')
        }
        const client = await connect()
        client.write(GET)
        await client.reads('data: one')
        leave(client)
        await upstream.received[0]!.closed
        await nothingIsLeft(1)
        const [{ status, ending, error, bytes, attempts }] = journal.entries as [Journal['entries'][0]]
        assert.deepEqual(
          { status, ending, error, bytes, attempts },
          {
            status: 200,
            ending: 'client_gone',
            error: 'client_gone',
            bytes: 11,
            attempts: ['200:client_gone'],
          },
        )
      })

      it(`while uploading, ${how}, ends at the upstream and logs 499 once`, async () => {
        upstream.script = () => {}
        const client = await connect()
        client.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\npart')
        const received = await upstream.request(0)
        leave(client)
        await received.closed
        await assert.rejects(received.body)
        await nothingIsLeft(1)
        assert.deepEqual([journal.entries[0]!.status, journal.entries[0]!.ending], [499, 'client_gone'])
      })
    }

    it('while a hook works ends what the hook waits for', async () => {
      await restart(
        { plugins: [waiter] },
        { routes: { r: { uri: '/*', plugins: { waiter: {} }, upstream: { nodes: { '127.0.0.1:1': 1 } } } } },
      )
      const client = await connect()
      client.write(GET)
      await until(() => gateway.book.totals().waiting?.live === 1, 'the hook waits')
      client.close()
      await nothingIsLeft(1)
      assert.equal(journal.entries[0]!.status, 499)
      assert.deepEqual(
        journal.lines.filter(({ level }) => level === 'error'),
        [],
      )
    })

    it('while a hook works that never returns is logged after the grace, and the hook named', async () => {
      await restart(
        { plugins: [never], limits: { turnGrace: 50 } },
        { routes: { r: { uri: '/*', plugins: { never: {} }, upstream: { nodes: { '127.0.0.1:1': 1 } } } } },
      )
      const client = await connect()
      client.write(GET)
      await until(() => gateway.book.totals().taken?.live === 1, 'the hook runs')
      client.close()
      await nothingIsLeft(1)
      assert.equal(journal.entries[0]!.status, 499)
      assert.deepEqual(
        journal.lines.filter(({ level }) => level === 'error').map(({ fields }) => [fields.plugin, fields.route]),
        [['never', 'r']],
      )
    })

    it('while a hook works that returns after the grace is logged once', async () => {
      await restart(
        { plugins: [waiter], limits: { turnGrace: 20 } },
        {
          routes: { r: { uri: '/*', plugins: { waiter: { returns: 60 } }, upstream: { nodes: { '127.0.0.1:1': 1 } } } },
        },
      )
      const client = await connect()
      client.write(GET)
      await until(() => gateway.book.totals().waiting?.live === 1, 'the hook waits')
      client.close()
      await until(() => gateway.book.totals().waiting?.opened === 2, 'the hook has returned')
      await nothingIsLeft(1)
    })

    it('with requests of its own still waiting behind the first ends them all', async () => {
      upstream.script = () => {}
      const client = await connect()
      client.write(get('/1') + get('/2') + get('/3'))
      await upstream.request(2)
      client.close()
      await nothingIsLeft(3)
      assert.deepEqual(journal.entries.map(({ path, status }) => `${path} ${status}`).sort(), [
        '/1 499',
        '/2 499',
        '/3 499',
      ])
    })
  })

  describe('on a connection that is kept', () => {
    it('is followed by others, each logged once', async () => {
      const client = await connect()
      for (const at of [1, 2, 3]) {
        client.write(get(`/${at}`))
        await until(() => client.responses() === at, `response ${at}`)
        await logged(at)
      }
      assert.deepEqual(
        journal.entries.map(({ path }) => path),
        ['/1', '/2', '/3'],
      )
      assert.equal(client.closed, false)
    })

    it('is answered in its turn when the client does not wait', async () => {
      const held: Received[] = []
      upstream.script = received => {
        held.push(received)
        if (held.length === 3) for (const each of held.toReversed()) each.response.end(`<${each.target}>`)
      }
      const client = await connect()
      client.write(get('/1') + get('/2') + get('/3'))
      await client.reads('</3>')
      const order = client.received.match(/<\/\d>/g)
      assert.deepEqual(order, ['</1>', '</2>', '</3>'])
      await nothingIsLeft(3)
    })

    it('closes it when its body breaks in the turn of another, whose answer stays whole', async () => {
      const first = Promise.withResolvers<void>()
      upstream.script = async received => {
        if (received.target === '/1') {
          await first.promise
          received.response.end('<one>')
          return
        }
        await received.write('<two')
        received.reset()
      }
      const client = await connect()
      client.write(get('/1') + get('/2') + get('/3'))
      await until(
        () => journal.begun.some(({ request, ending }) => request.path === '/2' && ending === 'broken'),
        'it broke',
      )
      first.resolve()
      await until(() => client.closed, 'the connection is closed')
      assert.match(client.received, /<one>/)
      assert.doesNotMatch(client.received, /<two[\s\S]*\r\n0\r\n\r\n/)
      await nothingIsLeft(3)
    })

    it('closes it for a client that asks so, in HTTP/1.1 and by default in 1.0', async () => {
      await send(get('/', 'Connection: close\r\n'))
      const { status, fields, body } = await send('GET / HTTP/1.0\r\n\r\n')
      assert.deepEqual([status, body, fields.get('transfer-encoding')], [200, '{"ok":true}', undefined])
    })
  })

  describe('of a special kind', () => {
    it('HEAD brings the fields of the body that GET would have, and no body', async () => {
      upstream.script = ({ method, response }) => {
        response.writeHead(200, { 'Content-Length': '11' }).end(method === 'HEAD' ? undefined : 'hello world')
      }
      const client = await connect()
      client.write(`HEAD / HTTP/1.1\r\nHost: a\r\n\r\n${get('/next')}`)
      await until(() => client.responses() === 2, 'both responses')
      const [first] = client.received.split('\r\n\r\n')
      assert.match(first!, /content-length: 11/i)
      assert.match(client.received, /\r\n\r\nHTTP\/1\.1 200 OK/)
      assert.equal(upstream.received[0]!.method, 'HEAD')
      await logged(2)
      assert.equal(journal.entries[0]!.bytes, 0)
    })

    it('HEAD that the gateway answers itself has no body either', async () => {
      await gateway.put({ routes: { r: null } })
      const client = await connect()
      client.write(`HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n${get('/nowhere')}`)
      await until(() => client.responses() === 2 && client.received.endsWith('}\n'), 'both responses')
      const [first, second] = client.received.split(/(?=HTTP\/1\.1 )/)
      assert.ok(first!.endsWith('\r\n\r\n'))
      const length = /content-length: \d+/i
      assert.equal(length.exec(first!)?.[0], length.exec(second!)?.[0])
    })

    for (const status of [204, 304]) {
      it(`answered with ${status} has no body and no framing`, async () => {
        upstream.script = ({ response }) => response.writeHead(status, { ETag: '"x"' }).end()
        const client = await connect()
        client.write(GET + GET)
        await until(() => client.responses() === 2, 'both responses')
        const [head] = client.received.split('\r\n\r\n')
        assert.match(head!, /ETag: "x"/)
        assert.doesNotMatch(client.received, /transfer-encoding|content-length/i)
        await nothingIsLeft(2)
      })
    }

    it('answered with 304 may speak of a length', async () => {
      upstream.script = ({ response }) => response.writeHead(304, { 'Content-Length': '11' }).end()
      const { fields, body } = await send(get('/', 'Connection: close\r\n'))
      assert.deepEqual([fields.get('content-length'), body], [['11'], ''])
    })

    it('gets none of the informational responses before its answer', async () => {
      upstream.script = received => {
        received.response.writeEarlyHints({ link: '</a.css>' })
        received.json(200, {})
      }
      const { status } = await send(get('/', 'Connection: close\r\n'))
      assert.equal(status, 200)
    })

    it('that wants to upgrade is one like any other, and the last of its connection', async () => {
      upstream.script = async received => received.response.end(`<${await received.body}>`)
      const client = await connect()
      const h2c = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n'
      client.write(`POST / HTTP/1.1\r\nHost: a\r\n${h2c}Content-Length: 4\r\n\r\nbody`)
      await client.reads('<body>')
      await until(() => client.closed, 'the connection is closed')
      const { headers } = await upstream.request(0)
      assert.deepEqual(
        [headers.upgrade, headers.connection, headers['http2-settings']],
        [undefined, 'keep-alive', undefined],
      )
    })
  })

  describe('that cannot be understood', () => {
    const bad: [string, string][] = [
      ['has two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n'],
      ['has a Host that is none', 'GET / HTTP/1.1\r\nHost: a/b\r\n'],
      ['has no Host', 'GET / HTTP/1.1\r\n'],
      ['has a broken escape', 'GET /%zz HTTP/1.1\r\nHost: a\r\n'],
      ['has a NUL', 'GET /a%00b HTTP/1.1\r\nHost: a\r\n'],
      ['leaves the root', 'GET /a/../../b HTTP/1.1\r\nHost: a\r\n'],
      ['leaves the root in escapes', 'GET /%2e%2e/b HTTP/1.1\r\nHost: a\r\n'],
      ['has another form of target', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n'],
    ]
    for (const [why, head] of bad) {
      it(`because it ${why} is answered 400 by nobody but the gateway, and logged once`, async () => {
        const { status, fields, body } = await send(`${head}Connection: close\r\n\r\n`)
        assert.equal(status, 400)
        assert.deepEqual(fields.get('server'), ['APISIX/3.18.0'])
        assert.match((JSON.parse(body) as { error_msg: string }).error_msg, /^400 Bad Request/)
        await nothingIsLeft(1)
        assert.equal(journal.entries[0]!.status, 400)
        assert.equal(upstream.received.length, 0)
      })
    }

    it('leaves the connection to the next one', async () => {
      const client = await connect()
      client.write(get('/%zz') + get('/fine'))
      await client.reads('{"ok":true}')
      await nothingIsLeft(2)
    })
  })

  describe('that fails', () => {
    it('tells why in JSON, with a code that can be relied on', async () => {
      upstream.script = received => received.reset()
      const { status, fields, body } = await send(get('/', 'Connection: close\r\n'))
      assert.deepEqual([status, fields.get('content-type')], [502, ['application/json']])
      assert.deepEqual(JSON.parse(body), { error_msg: 'the upstream closed the connection', code: 'upstream_reset' })
    })

    it('tells it in HTML to a client that prefers that', async () => {
      upstream.script = received => received.reset()
      const html = await send(get('/', 'Connection: close\r\nAccept: text/html,*/*;q=0.8\r\n'))
      assert.deepEqual([html.status, html.fields.get('content-type')], [502, ['text/html; charset=utf-8']])
      assert.match(html.body, /<h1>502 Bad Gateway<\/h1>/)
      const json = await send(get('/', 'Connection: close\r\nAccept: application/json, text/html\r\n'))
      assert.deepEqual(json.fields.get('content-type'), ['application/json'])
    })

    it('tells nothing of what is inside, and everything to the log', async () => {
      await restart(
        { plugins: [secretive] },
        {
          routes: {
            bug: { uri: '/bug', plugins: { secretive: {} }, upstream: { nodes: { 'inner.test:7': 1 } } },
            down: { uri: '/down', upstream: { nodes: { '127.0.0.1:7': 1 } } },
          },
        },
      )
      for (const path of ['/bug', '/down']) {
        for (const accept of ['*/*', 'text/html']) {
          const client = await connect()
          client.write(get(path, `Connection: close\r\nAccept: ${accept}\r\n`))
          await until(() => client.closed, 'the response')
          assert.doesNotMatch(client.received, /127\.0\.0\.1|:7\b|inner|s3cret|\.ts|node_modules|ECONN/)
        }
      }
      await logged(4)
      assert.ok(
        journal.lines.some(({ fields }) => String((fields.err as Error | undefined)?.message).includes('s3cret')),
      )
      assert.ok(journal.lines.some(({ fields }) => fields.upstream === '127.0.0.1:7'))
    })

    it('because a reply is none is a 500, not a broken connection', async () => {
      await restart(
        { plugins: [talker] },
        { routes: { r: { uri: '/*', plugins: { talker: {} }, upstream: { nodes: { '127.0.0.1:1': 1 } } } } },
      )
      for (const path of ['/status', '/field', '/thing']) {
        assert.equal((await send(get(path, 'Connection: close\r\n'))).status, 500, path)
      }
      await nothingIsLeft(3)
      assert.deepEqual(
        journal.entries.map(({ status, ending }) => `${status} ${ending}`),
        Array(3).fill('500 complete'),
      )
    })
  })

  describe('is answered', () => {
    it('with our name in Server and the Date of the upstream', async () => {
      const date = 'Thu, 01 Jan 2026 00:00:00 GMT'
      upstream.script = ({ response }) => response.writeHead(200, { Server: 'inner/1', Date: date }).end()
      const { fields } = await send(get('/', 'Connection: close\r\n'))
      assert.deepEqual(
        [fields.get('server'), fields.get('date'), fields.get('via')],
        [['APISIX/3.18.0'], [date], undefined],
      )
      await gateway.put({ routes: { r: null } })
      const own = await send(get('/', 'Connection: close\r\n'))
      assert.deepEqual(
        [own.status, own.fields.get('server'), own.fields.get('date')?.length],
        [404, ['APISIX/3.18.0'], 1],
      )
    })

    it("with the upstream's status in a field of its own when it is 5xx", async () => {
      const field = async () => (await send(get('/', 'Connection: close\r\n'))).fields.get('x-apisix-upstream-status')
      assert.equal(await field(), undefined)
      upstream.script = received => received.json(404, {})
      assert.equal(await field(), undefined)
      for (const status of [500, 503]) {
        upstream.script = received => received.json(status, {})
        assert.deepEqual(await field(), [`${status}`])
      }
      upstream.script = received => received.reset()
      assert.deepEqual(await field(), ['502'])
    })

    it('with it always when the configuration says so', async () => {
      await restart({ showUpstreamStatus: true })
      const { fields } = await send(get('/', 'Connection: close\r\n'))
      assert.deepEqual(fields.get('x-apisix-upstream-status'), ['200'])
    })
  })

  describe('when the gateway shuts down', () => {
    it('is answered, and its connection closed', async () => {
      let answer = () => {}
      upstream.script = received => {
        answer = () => received.json(200, {})
      }
      const client = await connect()
      client.write(GET)
      await upstream.request(0)
      const drained = gateway.gateway.drain(5_000)
      answer()
      await drained
      await until(() => client.closed, 'the connection is closed')
      assert.match(client.received, /^HTTP\/1\.1 200 [\s\S]*Connection: close/)
      await nothingIsLeft(1)
    })

    it('is given up after the grace, before headers and in the body', async () => {
      upstream.script = received => (received.target === '/stream' ? received.write('part') : undefined)
      const [waiting, reading] = [await connect(), await connect()]
      waiting.write(get('/wait'))
      reading.write(get('/stream'))
      await reading.reads('part')
      await upstream.request(1)
      await gateway.gateway.drain(20)
      await until(() => waiting.closed && reading.closed, 'the connections are closed')
      assert.doesNotMatch(reading.received, /\r\n0\r\n\r\n/)
      await nothingIsLeft(2)
      assert.deepEqual(
        journal.entries.map(({ error }) => error),
        ['shutting_down', 'shutting_down'],
      )
    })
  })
})

function parse(received: string): { status: number; fields: Map<string, string[]>; body: string } {
  const end = received.indexOf('\r\n\r\n')
  const [line, ...rest] = received.slice(0, end).split('\r\n')
  const fields = new Map<string, string[]>()
  for (const field of rest) {
    const colon = field.indexOf(':')
    const name = field.slice(0, colon).toLowerCase()
    fields.set(name, [...(fields.get(name) ?? []), field.slice(colon + 1).trim()])
  }
  let body = received.slice(end + 4)
  if (fields.get('transfer-encoding')?.includes('chunked')) {
    let whole = ''
    for (;;) {
      const line = body.indexOf('\r\n')
      const size = Number.parseInt(body.slice(0, line), 16)
      if (!(size > 0)) break
      whole += body.slice(line + 2, line + 2 + size)
      body = body.slice(line + 4 + size)
    }
    body = whole
  }
  return { status: Number(line!.split(' ')[1]), fields, body }
}

/** Waits in access for as long as the client does, and `returns` milliseconds longer; takes something before and after. */
const waiter = plugin({
  name: 'waiter',
  priority: 1,
  version: 0.1,
  schema: { type: 'object', properties: { returns: { type: 'integer' } } },
  setup: ({ returns }) => ({
    async access(ctx) {
      ctx.hold('waiting', () => {})
      await new Promise<void>(resolve => void ctx.onAbort(() => resolve()))
      if (returns === undefined) return
      await new Promise(resolve => setTimeout(resolve, returns))
      ctx.hold('waiting', () => {})
    },
  }),
})

/** Takes something in rewrite and never comes back. */
const never = plugin({
  name: 'never',
  priority: 1,
  version: 0.1,
  schema: { type: 'object' },
  setup: () => ({
    rewrite(ctx) {
      ctx.hold('taken', () => {})
      return new Promise<void>(() => {})
    },
  }),
})

/** Has a bug that tells a secret. */
const secretive = plugin({
  name: 'secretive',
  priority: 1,
  version: 0.1,
  schema: { type: 'object' },
  setup: () => ({
    access() {
      throw new Error('cannot reach inner.test with s3cret')
    },
  }),
})

/** Answers what node:http will not send, or what is no answer at all. */
const talker = plugin({
  name: 'talker',
  priority: 1,
  version: 0.1,
  schema: { type: 'object' },
  setup: () => ({
    access(ctx) {
      if (ctx.request.path === '/status') return reply(1_000)
      if (ctx.request.path === '/field') return reply(200, 'x', { 'X-Bad': 'a\nb' })
      return { answer: 42 } as unknown as ReturnType<typeof reply>
    },
  }),
})
