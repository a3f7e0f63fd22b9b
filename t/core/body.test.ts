// What a client uploads, on real sockets: how it goes upstream, what stops it, and what becomes of the connection.
import assert from 'node:assert/strict'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { plugin } from '../../core/plugin.ts'
import { reply } from '../../core/reply.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type Journal, openJournal } from '../helpers/journal.ts'
import { connectRaw, type RawClient } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const put = (fields: string, body = '') => `PUT /up HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`
const GET = 'GET /next HTTP/1.1\r\nHost: a\r\n\r\n'

describe('an upload', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway | undefined
  let journal: Journal
  let clients: { close(): void }[]

  beforeEach(async () => {
    upstream = await startUpstream(async received => {
      await received.body
      received.json(200, { ok: true })
    })
    journal = openJournal()
    clients = []
  })
  afterEach(async () => {
    for (const client of clients) client.close()
    await gateway?.close()
    gateway = undefined
    await upstream.close()
  })

  async function start(limits: object = {}, plugins: object = {}): Promise<void> {
    gateway = await startGateway({
      log: journal.log,
      plugins: [journal.plugin, reader, refuser],
      limits,
      resources: {
        global_rules: { j: { plugins: { journal: {} } } },
        routes: { r: { uri: '/*', plugins, upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 }, retries: 0 } } },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }
  async function send(bytes: string): Promise<RawClient> {
    const client = await connectRaw(gateway!.port)
    clients.push(client)
    client.write(bytes)
    return client
  }
  const logged = (count = 1) =>
    until(() => journal.entries.length >= count && gateway!.gateway.inFlight === 0, `${count} logged`)

  it('with a length goes upstream with that length, piece by piece as it comes', async () => {
    await start()
    const client = await send(put('Content-Length: 100000', 'one'))
    const received = await upstream.request(0)
    assert.equal(received.headers['content-length'], '100000')
    const rest = '-two'.padEnd(100_000 - 3, '.')
    client.write(rest)
    await client.reads('{"ok":true}')
    assert.equal(String(await received.body), `one${rest}`)
  })

  it('in chunks goes upstream in chunks, without what stands beside them', async () => {
    await start()
    const client = await send(put('Transfer-Encoding: chunked\r\nTrailer: X-Sum', '3;ext=1\r\none\r\n'))
    const received = await upstream.request(0)
    client.write('4\r\n-two\r\n0\r\nX-Sum: 7\r\n\r\n')
    await client.reads('{"ok":true}')
    assert.equal(String(await received.body), 'one-two')
    const { headers } = received
    assert.deepEqual(
      [headers['transfer-encoding'], headers['content-length'], headers.trailer],
      ['chunked', undefined, undefined],
    )
  })

  for (const method of ['GET', 'DELETE', 'OPTIONS', 'POST']) {
    it(`goes upstream with ${method} too, and the connection can be used again`, async () => {
      await start()
      const client = await send(`${method} /up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody${GET}`)
      await until(() => client.responses() === 2, 'both responses')
      assert.equal(String(await upstream.received[0]!.body), 'body')
      assert.equal(String(await upstream.received[1]!.body), '')
    })
  }

  it('without bytes goes upstream as such', async () => {
    await start()
    for (const fields of ['Content-Length: 0', 'X-No: body']) await (await send(put(fields))).reads('{"ok":true}')
    for (const received of upstream.received) {
      assert.deepEqual([String(await received.body), received.headers['content-length']], ['', '0'])
    }
  })

  it('that is announced is asked for, and the announcement goes no further', async () => {
    await start()
    const client = await send(put('Expect: 100-continue\r\nContent-Length: 4'))
    await client.reads('HTTP/1.1 100 Continue\r\n\r\n')
    client.write('body')
    await client.reads('{"ok":true}')
    assert.deepEqual(
      [upstream.received[0]!.headers.expect, String(await upstream.received[0]!.body)],
      [undefined, 'body'],
    )
  })

  it('that cannot be parsed ends at the upstream, which never takes it for whole', async () => {
    await start()
    upstream.script = () => {}
    const client = await send(put('Transfer-Encoding: chunked', '3\r\none\r\n'))
    const received = await upstream.request(0)
    client.write('zz\r\n')
    await until(() => client.closed, 'the connection is closed')
    await assert.rejects(received.body)
    await logged()
    assert.equal(journal.entries.length, 1)
  })

  it('in an unknown transfer coding is refused', async () => {
    await start()
    const client = await send(put('Transfer-Encoding: gzip, chunked', '0\r\n\r\n'))
    await client.reads('"code":"unsupported_transfer_encoding"')
    assert.equal(upstream.received.length, 0)
  })

  describe('to an upstream that reads slowly', () => {
    it('is taken from the client no faster', async () => {
      const deaf: Socket[] = []
      const server = createServer({ pauseOnConnect: true }, accepted => void deaf.push(accepted))
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as AddressInfo
      await start()
      await gateway!.put({ routes: { r: { uri: '/*', upstream: { nodes: { [`127.0.0.1:${port}`]: 1 } } } } })
      const socket = connect(gateway!.port, '127.0.0.1')
      clients.push({ close: () => socket.destroy() })
      socket.on('error', () => {})
      let taken = 0
      const piece = Buffer.alloc(262_144)
      const feed = () => {
        while (taken < 400_000_000 && socket.write(piece)) taken += piece.length
      }
      socket.on('drain', feed)
      socket.write(put('Content-Length: 400000000'))
      feed()
      let settled = 0
      let since = performance.now()
      await until(() => {
        if (taken !== settled) {
          settled = taken
          since = performance.now()
        }
        return taken > 0 && performance.now() - since > 100
      }, 'the flow has come to a stop')
      // What the kernel holds for two connections is some ten megabytes.
      assert.ok(taken < 60_000_000, String(taken))
      socket.destroy()
      for (const accepted of deaf) accepted.destroy()
      server.close()
    })
  })

  describe('that is answered before its end', () => {
    it('by the upstream brings the answer, and the rest is dropped', async () => {
      await start()
      upstream.script = received => {
        if (received.method === 'PUT') received.json(403, { early: true })
        else received.json(200, { next: true })
      }
      const client = await send(put('Content-Length: 100000', 'begin'))
      await client.reads('{"early":true}')
      // What was promised comes nevertheless, and then the next request.
      client.write('x'.repeat(100_000 - 5) + GET)
      await client.reads('{"next":true}')
      await logged(2)
      assert.deepEqual(
        journal.entries.map(({ status, ending }) => `${status} ${ending}`),
        ['403 complete', '200 complete'],
      )
    })

    it('by an upstream that closes behind its answer brings the answer', async () => {
      await start()
      upstream.script = received => {
        received.response
          .writeHead(413, { Connection: 'close', 'Content-Length': '5' })
          .end('large', () => received.socket.destroySoon())
      }
      const client = await send(put('Content-Length: 100000', 'begin'))
      await client.reads('large')
      assert.match(client.received, /^HTTP\/1\.1 413 /)
    })

    it('by a plugin brings the answer, and the rest is dropped', async () => {
      await start({}, { refuser: {} })
      const client = await send(put('Content-Length: 100000', 'begin'))
      await client.reads('no thanks')
      client.write('x'.repeat(100_000 - 5) + GET)
      await until(() => client.responses() === 2, 'the next one is answered')
      assert.equal(upstream.received.length, 0)
    })

    it('does not keep a connection on which the rest never stops', async () => {
      await start({ maxBodySize: 10 })
      const client = await send(put('Transfer-Encoding: chunked', 'b\r\nhello world\r\n'))
      await client.reads('"code":"body_too_large"')
      const more = `10000\r\n${'x'.repeat(65_536)}\r\n`
      await until(() => {
        if (!client.closed && client.socket.writableLength < 1_000_000) client.write(more)
        return client.closed
      }, 'the connection is closed')
    })
  })

  describe('beyond the limit', () => {
    it('is refused before anything is read when its length says so', async () => {
      await start({ maxBodySize: 1_000 })
      const client = await send(put('Content-Length: 1001'))
      await client.reads('"code":"body_too_large"')
      assert.match(client.received, /^HTTP\/1\.1 413 /)
      assert.equal(upstream.received.length, 0)
      await logged()
      assert.deepEqual([journal.entries[0]!.status, journal.entries[0]!.error], [413, 'body_too_large'])
    })

    it('is broken off at the upstream and refused to the client when it comes in chunks', async () => {
      await start({ maxBodySize: 1_000 })
      upstream.script = () => {}
      const client = await send(put('Transfer-Encoding: chunked', '3\r\none\r\n'))
      const received = await upstream.request(0)
      client.write(`3e8\r\n${'x'.repeat(1_000)}\r\n`)
      await client.reads('"code":"body_too_large"')
      await assert.rejects(received.body)
      await logged()
      assert.deepEqual([journal.entries[0]!.status, journal.entries[0]!.attempts], [413, ['undefined:cancelled']])
    })

    it('is what the limit says and not one byte less', async () => {
      await start({ maxBodySize: 1_000 })
      const body = 'x'.repeat(1_000)
      await (await send(put('Content-Length: 1000', body))).reads('{"ok":true}')
      await (await send(put('Transfer-Encoding: chunked', `3e8\r\n${body}\r\n0\r\n\r\n`))).reads('{"ok":true}')
      for (const received of upstream.received) assert.equal(String(await received.body), body)
    })
  })

  it('from a client that falls silent is a 408 and not the upstream’s fault', async () => {
    await start({ bodyTimeout: 400 })
    upstream.script = () => {}
    const client = await send(put('Content-Length: 100000', 'begin'))
    const received = await upstream.request(0)
    await client.reads('HTTP/1.1 408 ')
    await assert.rejects(received.body)
    await logged()
    assert.deepEqual([journal.entries[0]!.status, journal.entries[0]!.attempts], [408, ['undefined:cancelled']])
  })

  describe('that a plugin reads', () => {
    it('goes upstream whole, with its length, and again when a node fails', async () => {
      await start({}, { reader: { max: 100 } })
      await gateway!.put({
        routes: {
          r: {
            uri: '/*',
            plugins: { reader: { max: 100 } },
            upstream: { nodes: [{ host: '127.0.0.1', port: upstream.port, weight: 1 }], retries: 1 },
          },
        },
      })
      upstream.script = async received => {
        await received.body
        if (upstream.received.length === 1) received.cut()
        else received.json(200, { ok: true })
      }
      const client = await send(put('Transfer-Encoding: chunked', '3\r\none\r\n4\r\n-two\r\n0\r\n\r\n'))
      await client.reads('{"ok":true}')
      for (const received of upstream.received) {
        assert.deepEqual([String(await received.body), received.headers['content-length']], ['one-two', '7'])
      }
    })

    it('goes upstream as the plugin changed it', async () => {
      await start({}, { reader: { max: 100, replace: 'other' } })
      await (await send(put('Content-Length: 4', 'body'))).reads('{"ok":true}')
      const { headers, body } = upstream.received[0]!
      assert.deepEqual([String(await body), headers['content-length']], ['other', '5'])
    })

    for (const [framing, bytes] of [
      ['declared', put('Content-Length: 11', 'x'.repeat(11))],
      ['chunked', put('Transfer-Encoding: chunked', `b\r\n${'x'.repeat(11)}\r\n0\r\n\r\n`)],
    ] as const) {
      it(`is refused when it is larger than the plugin allows, ${framing}, and leaves the connection usable`, async () => {
        await start({}, { reader: { max: 10 } })
        const client = await send(bytes + GET)
        await client.reads('"code":"body_too_large"')
        await client.reads('{"ok":true}')
        await logged(2)
        assert.deepEqual(
          journal.entries.map(({ status }) => status),
          [413, 200],
        )
      })
    }

    it('ends the reading when the client leaves', async () => {
      await start({}, { reader: { max: 100 } })
      const client = await send(put('Content-Length: 100', 'begin'))
      await until(() => gateway!.gateway.inFlight === 1, 'it is being read')
      client.close()
      await logged()
      assert.deepEqual([journal.entries[0]!.status, journal.entries[0]!.error], [499, 'client_gone'])
    })
  })
})

/** Reads the body in access, and puts another in its place if it is told to. */
const reader = plugin({
  name: 'reader',
  priority: 2,
  version: 0.1,
  schema: { type: 'object', properties: { max: { type: 'integer' }, replace: { type: 'string' } }, required: ['max'] },
  setup: ({ max, replace }) => ({
    async access({ body }) {
      await body.bytes(max)
      if (replace !== undefined) body.replace(Buffer.from(replace))
    },
  }),
})

/** Wants no upload at all. */
const refuser = plugin({
  name: 'refuser',
  priority: 1,
  version: 0.1,
  schema: { type: 'object' },
  setup: () => ({ access: () => reply(403, 'no thanks') }),
})
