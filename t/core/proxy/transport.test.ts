// One exchange with an upstream on real sockets: its clocks, its faults, how it is given up and what it leaves behind.
import assert from 'node:assert/strict'
import { createServer, type Server, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import type { Context } from '../../../core/context.ts'
import { ClientGone, GatewayError, UpstreamError, type UpstreamFault } from '../../../core/errors.ts'
import { silent } from '../../../core/observe/log.ts'
import { AddressGuard } from '../../../core/proxy/address-guard.ts'
import { guardedLookup } from '../../../core/proxy/dns/lookup.ts'
import { Resolver } from '../../../core/proxy/dns/resolver.ts'
import { type Answer, type Call, type Clocks, Transport } from '../../../core/proxy/transport.ts'
import type { Source } from '../../../core/reply.ts'
import { makeContext } from '../../helpers/context.ts'
import { startDeafPort } from '../../helpers/deaf-port.ts'
import { startDnsServer } from '../../helpers/dns-server.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

/** Long enough for a healthy exchange on a busy machine. */
const LONG = 5_000
/** Short enough to be waited for. */
const SHORT = 60
/** The same for a clock that must not ring: longer than a busy machine keeps us from what has come. */
const ROOMY = 400
const patient: Clocks = { connect: LONG, send: LONG, headers: LONG, firstContent: LONG, idle: LONG, total: 0 }

describe('an exchange', () => {
  let upstream: ScriptedUpstream
  let transport: Transport
  let ctx: Context

  beforeEach(async () => {
    upstream = await startUpstream()
    transport = new Transport()
    ctx = await makeContext()
  })
  afterEach(async () => {
    await transport.close()
    await upstream.close()
  })

  function exchange(given: Partial<Omit<Call, 'clocks'>> & { clocks?: Partial<Clocks> } = {}): Promise<Answer> {
    return transport.exchange(ctx, {
      origin: upstream.origin,
      address: `127.0.0.1:${upstream.port}`,
      method: 'GET',
      target: '/',
      headers: ['Host', 'upstream.test'],
      body: null,
      ...given,
      clocks: { ...patient, ...given.clocks },
    })
  }

  describe('that goes well', () => {
    it('brings status, fields and body, and its record tells how it went', async () => {
      upstream.script = received => {
        received.response.writeHead(207, { 'X-Case': 'Kept', 'Set-Cookie': ['a=1', 'b=2'] })
        received.response.end('hello')
      }
      const answer = await exchange({ method: 'POST', target: '/x?y', body: Buffer.from('up') })
      assert.equal(answer.status, 207)
      assert.deepEqual(answer.headers.all('set-cookie'), ['a=1', 'b=2'])
      assert.ok(answer.headers.raw.includes('X-Case'))
      const body = read(answer.body)
      await body.over
      assert.deepEqual([body.text, body.ends, body.failed], ['hello', 1, undefined])
      const { method, target, rawHeaders, body: sent } = await upstream.request(0)
      assert.deepEqual([method, target, String(await sent)], ['POST', '/x?y', 'up'])
      assert.deepEqual(rawHeaders.slice(0, 2), ['host', 'upstream.test'])
      const [{ connectMs, headerMs, responseMs, ...attempt }] = ctx.attempts as [(typeof ctx.attempts)[0]]
      assert.deepEqual(attempt, {
        address: `127.0.0.1:${upstream.port}`,
        status: 207,
        bytesReceived: 5,
        fault: undefined,
      })
      assert.ok(connectMs! <= headerMs! && headerMs! <= responseMs!)
    })

    it('keeps its connection for those that follow', async () => {
      const ports = new Set<number | undefined>()
      upstream.script = received => {
        ports.add(received.socket.remotePort)
        received.json(200, {})
      }
      for (let times = 0; times < 20; times++) await read((await exchange()).body).over
      assert.equal(upstream.received.length, 20)
      // The end of a body is told before the connection is free, so the very next exchange may open a second one.
      assert.ok(ports.size <= 2, String(ports.size))
    })

    it('uses a connection for one request at a time', async () => {
      const answers = [exchange(), exchange(), exchange()]
      upstream.script = () => {}
      for (const at of [0, 1, 2]) await upstream.request(at)
      assert.equal(upstream.openConnections(), 3)
      for (const received of upstream.received) received.json(200, {})
      for (const answer of answers) await read((await answer).body).over
    })

    it('passes over informational responses', async () => {
      upstream.script = received => {
        received.response.writeEarlyHints({ link: '</a.css>; rel=preload' })
        received.response.writeProcessing()
        received.json(200, {})
      }
      const { status, body } = await exchange()
      assert.equal(status, 200)
      await read(body).over
    })

    it('without a body ends where its head does', async () => {
      upstream.script = received => received.response.writeHead(204).end()
      const { body } = await exchange()
      await new Promise(setImmediate)
      const seen = read(body)
      await seen.over
      assert.deepEqual([seen.bytes, seen.ends], [0, 1])
    })

    it('brings what came before anybody read, in order and whole', async () => {
      upstream.script = received => received.response.end('early')
      const { body } = await exchange()
      await until(() => ctx.attempts[0]!.bytesReceived === 5, 'the body is there')
      const late = read(body)
      await late.over
      assert.deepEqual([late.text, late.ends], ['early', 1])
    })
  })

  describe('fails', () => {
    /** The exchange must end before its headers, with this fault. */
    async function fails(promise: Promise<Answer>, fault: UpstreamFault, status: number): Promise<void> {
      await assert.rejects(
        promise,
        error => error instanceof UpstreamError && error.fault === fault && error.status === status,
      )
      const last = ctx.attempts.at(-1)!
      assert.deepEqual([last.fault, last.status], [fault, status])
    }
    /** The exchange must end in its body, with this fault, and without an end. */
    async function breaks(promise: Promise<Answer>, fault: UpstreamFault): Promise<void> {
      const { body, attempt } = await promise
      const seen = read(body)
      await seen.over
      assert.ok(seen.failed instanceof UpstreamError, String(seen.failed))
      assert.deepEqual([seen.failed.fault, attempt.fault, seen.ends], [fault, fault, 0])
      await until(() => upstream.received[0]!.response.closed, 'the upstream is let go')
    }

    it('with 504 when the connection does not come about in time', async () => {
      const deaf = await startDeafPort()
      try {
        const before = sockets()
        await fails(
          exchange({ origin: `http://127.0.0.1:${deaf.port}`, clocks: { connect: SHORT } }),
          'connect_timeout',
          504,
        )
        await until(() => sockets() === before, 'no socket is left')
      } finally {
        await deaf.close()
      }
    })

    it('with 502 when the connection is refused', async () => {
      await fails(exchange({ origin: 'http://127.0.0.1:1' }), 'refused', 502)
    })

    it('with 502 when a name leads nowhere, or only where nothing may be sent', async () => {
      const dns = await startDnsServer({
        'evil.test': [{ type: 'A', address: '127.0.0.1' }],
        'good.test': [
          { type: 'A', address: '127.0.0.1' },
          { type: 'A', address: '127.0.0.2' },
        ],
      })
      const resolver = new Resolver({
        servers: [dns.address],
        validMs: 0,
        timeoutMs: LONG,
        search: false,
        ipv6: true,
        now: Date.now,
        log: silent,
        hostsFile: '/nowhere',
      })
      const lookup = guardedLookup(resolver, new AddressGuard(['127.0.0.1']), () => {})
      await transport.close()
      transport = new Transport({ lookup })
      try {
        const to = (name: string) => exchange({ origin: `http://${name}:${upstream.port}` })
        await fails(to('none.test'), 'refused', 502)
        await fails(to('evil.test'), 'denied', 502)
        await fails(to('good.test'), 'refused', 502)
        assert.equal(upstream.received.length, 0)
      } finally {
        await dns.close()
      }
    })

    it('with an error that is not the upstream’s when the request cannot be sent as it is', async () => {
      const isOurs = (error: unknown) => error instanceof Error && !(error instanceof GatewayError)
      for (const given of [{ headers: ['X-Price', '1 €'] }, { target: '/a b' }, { method: 'NO METHOD' }]) {
        await assert.rejects(exchange(given), isOurs, JSON.stringify(given))
      }
      assert.equal(upstream.received.length, 0)
    })

    it('with 504 when no response comes in time', async () => {
      upstream.script = () => {}
      await fails(exchange({ clocks: { headers: SHORT } }), 'headers_timeout', 504)
      await until(() => upstream.received[0]!.gone, 'the upstream is let go')
    })

    /** Accepts connections and reads nothing of them. */
    async function unreading(run: (origin: string) => Promise<void>): Promise<void> {
      const accepted: Socket[] = []
      const server = createServer({ pauseOnConnect: true }, socket => void accepted.push(socket))
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      try {
        await run(`http://127.0.0.1:${(server.address() as { port: number }).port}`)
      } finally {
        for (const socket of accepted) socket.destroy()
        server.close()
      }
    }

    it('with 504 when the upstream does not take the request, streamed or from memory', async () => {
      await unreading(async origin => {
        const clocks = { send: SHORT }
        const body = Buffer.alloc(64 * 1024 * 1024)
        await fails(exchange({ origin, method: 'PUT', body, clocks }), 'send_timeout', 504)
        const upload = new PassThrough()
        upload.write(body)
        await fails(exchange({ origin, method: 'PUT', body: upload, clocks }), 'send_timeout', 504)
        await until(() => upload.destroyed, 'the upload is let go')
      })
    })

    it('when no content comes in time', async () => {
      upstream.script = received => received.response.flushHeaders()
      await breaks(exchange({ clocks: { firstContent: SHORT } }), 'first_content_timeout')
    })

    it('when what comes in time is no content to the caller', async () => {
      upstream.script = received => drip(received.response, ': ping\n\n')
      await breaks(exchange({ marksContent: true, clocks: { firstContent: SHORT } }), 'first_content_timeout')
    })

    it('when nothing comes any more', async () => {
      upstream.script = received => received.write('first')
      await breaks(exchange({ clocks: { idle: SHORT } }), 'idle_timeout')
    })

    it('when the whole takes too long, whatever comes', async () => {
      upstream.script = received => drip(received.response, 'drop')
      await breaks(exchange({ clocks: { total: ROOMY } }), 'total_timeout')
    })

    it('with 504 when the whole takes too long already before headers', async () => {
      upstream.script = () => {}
      await fails(exchange({ clocks: { total: SHORT } }), 'total_timeout', 504)
    })

    for (const how of ['cut', 'reset'] as const) {
      it(`with 502 on a ${how} before headers`, async () => {
        upstream.script = received => received[how]()
        await fails(exchange(), 'reset', 502)
      })

      for (const [framing, head] of [
        ['chunked', {}],
        ['by length', { 'Content-Length': '100' }],
        ['chunked, with Connection: close', { Connection: 'close' }],
        ['by length, with Connection: close', { 'Content-Length': '100', Connection: 'close' }],
      ] as const) {
        it(`on a ${how} in a body that is framed ${framing}`, async () => {
          upstream.script = async received => {
            received.response.writeHead(200, head)
            await received.write('part')
            await until(() => ctx.attempts[0]!.bytesReceived > 0, 'the part has come')
            received[how]()
          }
          await breaks(exchange(), 'reset')
        })
      }
    }

    for (const [what, bytes] of [
      ['is no HTTP', 'HELLO THERE\r\n\r\n'],
      ['has no numeric status', 'HTTP/1.1 two hundred\r\n\r\n'],
      ['has a broken field', 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n'],
      ['has two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
      [
        'has a length and chunks',
        'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      ],
      ['has a head of 70 KB', `HTTP/1.1 200 OK\r\n${`X-Fill: ${'f'.repeat(1_000)}\r\n`.repeat(70)}\r\n`],
    ] as const) {
      it(`with 502 on a response that ${what}`, async () => {
        upstream.script = received => received.lie(bytes)
        await fails(exchange(), 'malformed', 502)
      })
    }

    it('with 502 on a response that switches protocols unasked', async () => {
      upstream.script = received => received.lie('HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n')
      await fails(exchange(), 'reset', 502)
    })

    it('when a chunk is malformed', async () => {
      upstream.script = received =>
        received.lie('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n')
      await breaks(exchange(), 'malformed')
    })

    it('and the connection is not used again', async () => {
      upstream.script = received => (upstream.received.length === 1 ? received.write('part') : received.json(200, {}))
      await breaks(exchange({ clocks: { idle: SHORT } }), 'idle_timeout')
      await read((await exchange()).body).over
      const [first, second] = upstream.received
      assert.notEqual(first!.socket.remotePort, second!.socket.remotePort)
    })

    it('when the transport is closed', async () => {
      upstream.script = () => {}
      const pending = exchange()
      await upstream.request(0)
      await Promise.all([assert.rejects(pending, UpstreamError), transport.close()])
    })
  })

  describe('has clocks that', () => {
    it('count a ping as a sign of life, once content has come', async () => {
      const since = performance.now()
      upstream.script = async received => {
        while (performance.now() - since < 2 * ROOMY) {
          await received.write(': ping\n\n')
          await pause(5)
        }
        received.response.end()
      }
      const answer = await exchange({ marksContent: true, clocks: { firstContent: ROOMY, idle: ROOMY } })
      answer.body.contentSeen()
      const seen = read(answer.body)
      await seen.over
      assert.deepEqual([seen.ends, seen.failed], [1, undefined])
    })

    it('wait for headers from the last piece of the upload on', async () => {
      upstream.script = async received => {
        await received.body
        received.json(200, {})
      }
      const upload = new PassThrough()
      const pending = exchange({ method: 'PUT', body: upload, clocks: { headers: ROOMY } })
      for (let piece = 0; piece < 10; piece++) {
        upload.write('piece')
        await pause(ROOMY / 6)
      }
      upload.end()
      const { status, body } = await pending
      assert.equal(status, 200)
      await read(body).over
    })

    it('do not blame an upstream that is sent nothing', async () => {
      upstream.script = async received => {
        await received.body
        received.json(200, {})
      }
      const upload = new PassThrough()
      const pending = exchange({ method: 'PUT', body: upload, clocks: { send: SHORT } })
      upload.write('first')
      await upstream.request(0)
      await pause(4 * SHORT)
      upload.end('last')
      const { status, body } = await pending
      assert.equal(status, 200)
      await read(body).over
    })

    it('give an upstream that takes a large request slowly the time it needs', async () => {
      const patience = 1_200
      const body = Buffer.alloc(24 * 1024 * 1024)
      let taken = 0
      const server = createServer(socket => {
        socket.on('error', () => {})
        socket.on('data', bytes => {
          taken += bytes.length
          socket.pause()
          setTimeout(() => socket.resume(), 8)
          if (taken >= body.length) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        })
      })
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      const origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`
      const began = performance.now()
      try {
        const { status, body: answer } = await exchange({ origin, method: 'PUT', body, clocks: { send: patience } })
        assert.equal(status, 200)
        assert.ok(performance.now() - began > patience, 'it took longer than the clock')
        await read(answer).over
      } finally {
        server.close()
      }
    })

    it('tell the length of a large request that is sent in pieces', async () => {
      const body = Buffer.alloc(1024 * 1024, 'a')
      await read((await exchange({ method: 'PUT', body })).body).over
      const { headers, body: sent } = upstream.received[0]!
      assert.deepEqual([headers['content-length'], headers['transfer-encoding']], [String(body.length), undefined])
      assert.ok((await sent).equals(body))
    })

    it('stand still while the reader does', async () => {
      upstream.script = async received => {
        for (let times = 0; times < 64; times++) await received.write(Buffer.alloc(65_536))
        received.response.end()
      }
      const { body } = await exchange({ clocks: { idle: ROOMY } })
      const seen = read(body)
      await until(() => seen.bytes > 0, 'the first bytes are there')
      body.pause()
      await pause(2 * ROOMY)
      assert.equal(seen.failed, undefined)
      body.resume()
      await seen.over
      assert.deepEqual([seen.bytes, seen.ends, seen.failed], [64 * 65_536, 1, undefined])
    })

    it('stand still while there is no reader yet for what has come', async () => {
      upstream.script = async received => {
        await received.write('first')
        await until(() => ctx.attempts[0]!.bytesReceived > 0, 'it has come')
        received.response.end(Buffer.alloc(200_000))
      }
      const { body } = await exchange({ clocks: { idle: ROOMY } })
      await pause(2 * ROOMY)
      const seen = read(body)
      await seen.over
      assert.deepEqual([seen.bytes, seen.ends, seen.failed], [200_005, 1, undefined])
    })

    it('begin anew when the reader goes on', async () => {
      upstream.script = received => received.write('first')
      const { body } = await exchange({ clocks: { idle: SHORT } })
      const seen = read(body)
      await until(() => seen.bytes > 0, 'the first bytes are there')
      body.pause()
      await pause(2 * SHORT)
      body.resume()
      await seen.over
      assert.ok(seen.failed instanceof UpstreamError && seen.failed.fault === 'idle_timeout')
    })
  })

  describe('that is given up', () => {
    const gone = (error: unknown) => error instanceof ClientGone

    it('before it begins opens no connection', async () => {
      ctx.abort(new ClientGone())
      await assert.rejects(exchange(), gone)
      assert.equal(upstream.openConnections(), 0)
      assert.equal(ctx.attempts[0]!.fault, 'client_gone')
    })

    it('while connecting fails at once and leaves no socket', async () => {
      const deaf = await startDeafPort()
      try {
        const before = sockets()
        const pending = exchange({ origin: `http://127.0.0.1:${deaf.port}`, clocks: { connect: 100 } })
        ctx.abort(new ClientGone())
        await assert.rejects(pending, gone)
        await until(() => sockets() === before, 'no socket is left')
      } finally {
        await deaf.close()
      }
    })

    it('as soon as it was asked for never reaches the upstream', async () => {
      const pending = exchange()
      ctx.abort(new ClientGone())
      await assert.rejects(pending, gone)
      await until(() => upstream.openConnections() === 0, 'no connection is left')
      assert.equal(upstream.received.length, 0)
    })

    it('before headers ends at once, at the upstream too', async () => {
      upstream.script = () => {}
      const pending = exchange()
      const received = await upstream.request(0)
      ctx.abort(new ClientGone())
      await assert.rejects(pending, gone)
      await received.closed
      assert.ok(received.gone)
      assert.equal(ctx.attempts[0]!.fault, 'client_gone')
    })

    it('in the body ends at once, at the upstream too', async () => {
      upstream.script = received => received.write('part')
      const { body } = await exchange()
      const seen = read(body)
      await until(() => seen.bytes > 0, 'a part is there')
      ctx.abort(new ClientGone())
      await seen.over
      assert.ok(gone(seen.failed))
      await upstream.received[0]!.closed
    })

    it('by its reader tells the upstream and says nothing more', async () => {
      upstream.script = received => drip(received.response, 'drop')
      const { body, attempt } = await exchange()
      const seen = read(body)
      await until(() => seen.bytes > 0, 'a part is there')
      body.cancel(new Error('enough'))
      const { bytes } = seen
      await upstream.received[0]!.closed
      assert.deepEqual([seen.bytes, seen.ends, seen.failed], [bytes, 0, undefined])
      assert.equal(attempt.fault, 'cancelled')
    })

    it('by its reader before it was read tells the upstream too', async () => {
      upstream.script = received => received.write('part')
      const { body } = await exchange()
      body.cancel(new Error('enough'))
      await upstream.received[0]!.closed
    })

    it('after its end changes nothing and keeps the connection', async () => {
      const { body, attempt } = await exchange()
      await read(body).over
      body.cancel(new Error('late'))
      ctx.abort(new ClientGone())
      assert.equal(attempt.fault, undefined)
      assert.equal(upstream.openConnections(), 1)
    })

    it('because the upload broke fails with what broke it', async () => {
      upstream.script = () => {}
      const upload = new PassThrough()
      const pending = exchange({ method: 'PUT', body: upload })
      upload.write('part')
      const received = await upstream.request(0)
      upload.destroy(new GatewayError(413, 'body_too_large', 'too much'))
      await assert.rejects(pending, error => error instanceof GatewayError && error.code === 'body_too_large')
      await received.closed
    })
  })

  it('reads no more of the upstream than there is a reader for', async () => {
    let sent = 0
    upstream.script = async received => {
      while (!received.response.closed) {
        await received.write(Buffer.alloc(65_536))
        sent += 65_536
        await pause(0)
      }
    }
    const { body, attempt } = await exchange()
    await settles(() => sent)
    assert.ok(attempt.bytesReceived <= 65_536, `${attempt.bytesReceived} bytes wait for a reader`)
    const seen = read(body)
    await until(() => seen.bytes > 65_536, 'the first bytes are there')
    body.pause()
    await settles(() => sent)
    assert.equal(attempt.bytesReceived, seen.bytes, 'nothing is kept in memory')
    body.cancel(new Error('enough'))
  })

  it('says nothing when there is nothing, however often its reader pauses and goes on', async () => {
    upstream.script = async ({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\none')
      await until(() => chunks.length > 0, 'it was read')
      socket.write('two\r\n0\r\n\r\n')
    }
    const chunks: string[] = []
    const { body } = await exchange()
    const over = Promise.withResolvers<void>()
    body.pipe({
      write(chunk) {
        chunks.push(chunk.toString())
        body.pause()
        // At once, before anything else can come: a bound keeps a loop from lasting for ever.
        if (chunks.length < 100) queueMicrotask(() => body.resume())
      },
      end: over.resolve,
      fail: over.reject,
    })
    await over.promise
    assert.deepEqual(chunks, ['one', 'two'])
  })

  it('sends no more of an upload than the upstream takes', async () => {
    const received: Socket[] = []
    const server: Server = createServer({ pauseOnConnect: true }, socket => void received.push(socket))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const upload = new PassThrough({ highWaterMark: 65_536 })
    const pending = exchange({ origin: `http://127.0.0.1:${port}`, method: 'PUT', body: upload })
    let taken = 0
    const feed = () => {
      while (upload.writable && upload.write(Buffer.alloc(65_536))) taken += 65_536
    }
    upload.on('drain', feed)
    feed()
    await settles(() => taken)
    // The rest is in the kernel's buffers, a few megabytes on the loopback interface.
    assert.ok(upload.writableNeedDrain && taken < 32_000_000, String(taken))
    ctx.abort(new ClientGone())
    await assert.rejects(pending)
    for (const socket of received) socket.destroy()
    await new Promise(resolve => server.close(resolve))
  })
})

interface Reading {
  text: string
  bytes: number
  ends: number
  failed: Error | undefined
  /** Resolves at the end or the break. */
  over: Promise<void>
}

function read(source: Source): Reading {
  let over = () => {}
  const reading: Reading = {
    text: '',
    bytes: 0,
    ends: 0,
    failed: undefined,
    over: new Promise(resolve => {
      over = resolve
    }),
  }
  source.pipe({
    write(chunk) {
      reading.bytes += chunk.length
      if (reading.bytes < 1_000) reading.text += chunk.toString()
    },
    end() {
      reading.ends++
      over()
    },
    fail(error) {
      reading.failed = error
      over()
    },
  })
  return reading
}

/** Sockets of this process that are open or being opened. */
function sockets(): number {
  return process.getActiveResourcesInfo().filter(name => name.startsWith('TCP')).length
}

const pause = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms))

/** Resolves when the number has not changed for a while. */
async function settles(value: () => number): Promise<void> {
  let last = -1
  let since = performance.now()
  await until(() => {
    if (value() !== last) {
      last = value()
      since = performance.now()
    }
    return performance.now() - since > 50
  }, 'the flow has come to a stop')
}

/** Sends for as long as somebody listens. */
async function drip(response: import('node:http').ServerResponse, drop: string): Promise<void> {
  while (!response.closed) {
    response.write(drop)
    await pause(5)
  }
}
