// An answer on its way to the client: filters, framing, back-pressure, and that what broke never looks whole.
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import type { Context } from '../../core/context.ts'
import { plugin } from '../../core/plugin.ts'
import { type Filter, type Reply, reply, type Source } from '../../core/reply.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type Journal, openJournal } from '../helpers/journal.ts'
import { connectRaw, type RawClient } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
const turn = () => new Promise<void>(resolve => setImmediate(resolve))

describe('an answer', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway | undefined
  let journal: Journal
  let clients: { close(): void }[]
  let latest: RawClient | undefined

  beforeEach(async () => {
    upstream = await startUpstream()
    journal = openJournal()
    clients = []
  })
  afterEach(async () => {
    for (const client of clients) client.close()
    await gateway?.close()
    gateway = undefined
    await upstream.close()
  })

  /** A gateway whose answers go through these filters, in this order; `answers` makes the answer instead of the upstream. */
  async function start(
    given: {
      filters?: ((ctx: Context, answer: Reply) => Filter | void)[]
      answers?: () => Reply
      sendTimeout?: number
      read?: number
    } = {},
  ): Promise<void> {
    const plugins = (given.filters ?? []).map((body_filter, at) =>
      plugin({
        name: `filter-${at}`,
        priority: 100 - at,
        version: 0.1,
        schema: { type: 'object' },
        setup: () => ({ body_filter }),
      }),
    )
    if (given.answers !== undefined) {
      const access = given.answers
      plugins.push(
        plugin({ name: 'answers', priority: 1, version: 0.1, schema: { type: 'object' }, setup: () => ({ access }) }),
      )
    }
    const read = given.read ?? 60
    gateway = await startGateway({
      log: journal.log,
      plugins: [journal.plugin, ...plugins],
      limits: { sendTimeout: given.sendTimeout ?? 60_000 },
      resources: {
        global_rules: { j: { plugins: { journal: {} } } },
        routes: {
          r: {
            uri: '/*',
            plugins: Object.fromEntries(plugins.map(({ name }) => [name, {}])),
            upstream: {
              nodes: { [`127.0.0.1:${upstream.port}`]: 1 },
              retries: 0,
              timeout: { connect: 60, send: 60, read },
            },
          },
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }
  async function ask(head = GET): Promise<RawClient> {
    const client = await connectRaw(gateway!.port)
    clients.push(client)
    latest = client
    client.write(head)
    return client
  }
  /** Asks and waits for the end of the connection. */
  async function answered(head = GET): Promise<{ head: string; body: string }> {
    const client = await ask(head)
    await until(() => client.closed, 'the answer')
    const end = client.received.indexOf('\r\n\r\n')
    return { head: client.received.slice(0, end), body: client.received.slice(end + 4) }
  }
  /** Asks on a socket that reads only when told to. */
  function askSlowly(): Socket {
    const socket = connect(gateway!.port, '127.0.0.1')
    clients.push({ close: () => socket.destroy() })
    socket.on('error', () => {})
    socket.pause()
    socket.write(GET)
    return socket
  }
  const logged = () => until(() => journal.entries.length > 0 && gateway!.gateway.inFlight === 0, 'logged')
  const chunks = (...texts: string[]) => texts.map(text => `${text.length.toString(16)}\r\n${text}\r\n`).join('')

  describe('that comes in pieces', () => {
    it('leaves piece by piece, and its head before any', async () => {
      await start()
      const step = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const
      upstream.script = async received => {
        received.response.flushHeaders()
        await step[0].promise
        await received.write('one')
        await step[1].promise
        received.response.end('two')
      }
      const client = await ask()
      await client.reads('\r\n\r\n')
      assert.doesNotMatch(client.received, /one/)
      step[0].resolve()
      await client.reads(chunks('one'))
      step[1].resolve()
      await client.reads(`${chunks('two')}0\r\n\r\n`)
      await logged()
      assert.deepEqual([journal.entries[0]!.ending, journal.entries[0]!.bytes], ['complete', 6])
    })

    it('keeps the length it was declared with', async () => {
      await start()
      upstream.script = ({ response }) => response.writeHead(200, { 'Content-Length': '5' }).end('whole')
      const { head, body } = await answered()
      assert.match(head, /content-length: 5/i)
      assert.doesNotMatch(head, /transfer-encoding/i)
      assert.equal(body, 'whole')
    })

    for (const how of ['cut', 'reset'] as const) {
      for (const [framing, head] of [
        ['chunked', {}],
        ['by length', { 'Content-Length': '100' }],
      ] as const) {
        it(`does not look whole, framed ${framing}, after a ${how} of the upstream`, async () => {
          await start()
          upstream.script = async received => {
            received.response.writeHead(200, head)
            await received.write('part')
            received[how]()
          }
          const { head: sent, body } = await answered(GET.replace('close', 'keep-alive'))
          assert.match(sent, /^HTTP\/1\.1 200 OK/)
          assert.equal(body, framing === 'chunked' ? chunks('part') : 'part')
          await logged()
          const { status, ending, error } = journal.entries[0]!
          assert.deepEqual([status, ending, error], [200, 'broken', 'upstream_reset'])
        })
      }
    }

    it('loses what follows it as trailers, and their announcement', async () => {
      upstream.script = ({ response }) => {
        response.writeHead(200, { Trailer: 'X-Sum' })
        response.write('body')
        response.addTrailers({ 'X-Sum': '1' })
        response.end()
      }
      await start()
      const client = await ask('GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n')
      await until(() => client.closed, 'the response')
      assert.match(client.received, /body/)
      assert.doesNotMatch(client.received, /x-sum/i)
    })

    it('does not look whole when the upstream falls silent', async () => {
      await start({ read: 0.05 })
      upstream.script = received => received.write('part')
      const { body } = await answered()
      assert.equal(body, chunks('part'))
      await logged()
      assert.deepEqual([journal.entries[0]!.ending, journal.entries[0]!.error], ['broken', 'upstream_idle_timeout'])
    })
  })

  describe('to a client that reads slowly', () => {
    it('is read from the upstream no faster', async () => {
      await start()
      let sent = 0
      upstream.script = async received => {
        while (!received.response.closed && sent < 400_000_000) {
          await received.write(Buffer.alloc(262_144))
          sent += 262_144
          await turn()
        }
      }
      const socket = askSlowly()
      let settled = 0
      let since = performance.now()
      await until(() => {
        if (sent !== settled) {
          settled = sent
          since = performance.now()
        }
        return sent > 0 && performance.now() - since > 100
      }, 'the flow has come to a stop')
      // What the kernel holds for two connections is some ten megabytes.
      assert.ok(sent < 60_000_000, String(sent))
      // And it goes on where it stood.
      socket.resume()
      await until(() => sent > settled + 20_000_000, 'the flow goes on')
    })

    it('is whole in the end, whatever pauses it made', async () => {
      const warnings: string[] = []
      const warned = (warning: Error) => void warnings.push(warning.name)
      process.on('warning', warned)
      await start()
      const total = 30_000_000
      upstream.script = ({ response }) =>
        response.writeHead(200, { 'Content-Length': total }).end(Buffer.alloc(total, 'x'))
      const socket = askSlowly()
      let read = 0
      socket.on('data', chunk => {
        read += chunk.length
        socket.pause()
        setTimeout(() => socket.resume(), read < total / 2 ? 2 : 0)
      })
      socket.resume()
      await until(() => socket.closed, 'the end')
      assert.ok(read > total && read < total + 1_000, String(read))
      await logged()
      process.off('warning', warned)
      assert.equal(journal.entries[0]!.ending, 'complete')
      assert.deepEqual(warnings, [], 'no listener is added per pause')
    })

    for (const filtered of [false, true]) {
      it(`is cut when it does not read at all${filtered ? ', with filters on the way' : ''}`, async () => {
        await start({ sendTimeout: 80, filters: filtered ? [() => async chunk => chunk] : [] })
        upstream.script = async received => {
          while (!received.response.closed) {
            await received.write(Buffer.alloc(262_144))
            await turn()
          }
        }
        const socket = askSlowly()
        await logged()
        const { status, ending, error } = journal.entries[0]!
        assert.deepEqual([status, ending, error], [200, 'broken', 'send_timeout'])
        await upstream.received[0]!.closed
        socket.resume()
        await until(() => socket.closed, 'the client is cut')
      })
    }
  })

  it('that is whole already is cut too when the client does not read it', async () => {
    await start({ sendTimeout: 80, answers: () => reply(200, Buffer.alloc(50_000_000)) })
    const socket = askSlowly()
    await logged()
    const { status, ending, error } = journal.entries[0]!
    assert.deepEqual([status, ending, error], [200, 'broken', 'send_timeout'])
    socket.resume()
    await until(() => socket.closed, 'the client is cut')
  })

  it('that is whole already is not cut while the client reads it, however slowly', async () => {
    await start({ sendTimeout: 400, answers: () => reply(200, Buffer.alloc(25_000_000)) })
    const socket = askSlowly()
    const began = performance.now()
    let read = 0
    socket.on('data', chunk => {
      read += chunk.length
      socket.pause()
      setTimeout(() => socket.resume(), 3)
    })
    socket.resume()
    await until(() => socket.closed, 'the end')
    assert.ok(read > 25_000_000, String(read))
    assert.ok(performance.now() - began > 800)
    await logged()
    assert.equal(journal.entries[0]!.ending, 'complete')
  })

  it('is not cut while it waits for its turn behind another of the same client', async () => {
    await start({ sendTimeout: 400 })
    const first = Promise.withResolvers<void>()
    upstream.script = async ({ target, response }) => {
      if (target === '/1') await first.promise
      response.end(target === '/1' ? 'one' : Buffer.alloc(1_000_000))
    }
    const client = await ask(
      'GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    )
    await upstream.request(1)
    await new Promise(resolve => setTimeout(resolve, 600))
    first.resolve()
    await until(() => client.closed, 'both answers')
    await until(() => journal.entries.length === 2, 'both have logged')
    assert.deepEqual(
      journal.entries.map(({ ending, bytes }) => `${ending} ${bytes}`),
      ['complete 3', 'complete 1000000'],
    )
  })

  describe('with filters', () => {
    const upper: Filter = chunk => Buffer.from(chunk.toString().toUpperCase())
    /** Waits longer for the first chunk than for the second. */
    const late = (): Filter => {
      let wait = 20
      return async chunk => {
        wait -= 5
        await new Promise(resolve => setTimeout(resolve, wait))
        return Buffer.concat([chunk, Buffer.from('.')])
      }
    }
    /** The upstream's answer: the head, and when the client has that, text by text. */
    const pieces = (...texts: string[]) => {
      upstream.script = async received => {
        received.response.writeHead(200, { 'Content-Length': texts.join('').length }).flushHeaders()
        await until(() => latest!.received.includes('\r\n\r\n'), 'the head')
        for (const text of texts) {
          await received.write(text)
          await turn()
        }
        received.response.end()
      }
    }
    const unchunk = (body: string) => body.replace(/[0-9a-f]+\r\n([\s\S]*?)\r\n/g, '$1').trimEnd()

    it('loses the length it was declared with, and is what they make of it', async () => {
      await start({ filters: [() => upper] })
      pieces('one ', 'two')
      const { head, body } = await answered()
      assert.doesNotMatch(head, /content-length/i)
      assert.equal(unchunk(body), 'ONE TWO')
    })

    it('goes through all of them in order, chunk by chunk, however long one takes', async () => {
      await start({ filters: [() => upper, late, () => upper] })
      pieces('one', 'two', 'three')
      const { body } = await answered()
      // The last dot is for the end, which every filter sees as an empty chunk.
      assert.equal(unchunk(body).replaceAll('.', ''), 'ONETWOTHREE')
      assert.ok(unchunk(body).endsWith('.'))
    })

    it('goes through them in order also when all of it comes at once', async () => {
      const body: Source = {
        pipe(sink) {
          for (const text of ['one', 'two', 'three']) sink.write(Buffer.from(text))
          sink.end()
        },
        pause() {},
        resume() {},
        cancel() {},
      }
      await start({ answers: () => ({ ...reply(200), body }), filters: [late, () => upper] })
      assert.equal(unchunk((await answered()).body), 'ONE.TWO.THREE..')
    })

    it('tells each of them once that it ends, and takes what they add then', async () => {
      const seen: string[] = []
      await start({
        filters: [
          () => (chunk, last) => {
            seen.push(`${chunk}${last}`)
            return last ? Buffer.from('!') : undefined
          },
        ],
      })
      pieces('one', 'two')
      const { body } = await answered()
      assert.equal(unchunk(body), 'onetwo!')
      assert.equal(seen.filter(each => each.endsWith('true')).length, 1)
      assert.equal(seen.at(-1), 'true')
    })

    it('can be swallowed', async () => {
      await start({ filters: [() => () => Buffer.alloc(0)] })
      pieces('one', 'two')
      const { head, body } = await answered()
      assert.match(head, /^HTTP\/1\.1 200 OK/)
      assert.equal(body, '0\r\n\r\n')
    })

    it('goes on when one of them fails, which is logged', async () => {
      await start({
        filters: [
          () => () => {
            throw new Error('sync')
          },
          () => () => Promise.reject(new Error('async')),
          () => upper,
        ],
      })
      pieces('one')
      const { body } = await answered()
      assert.equal(unchunk(body), 'ONE')
      const failed = journal.lines.filter(({ message }) => message.startsWith('body filter failed'))
      assert.deepEqual(new Set(failed.map(({ fields }) => fields.plugin)), new Set(['filter-0', 'filter-1']))
    })

    it('does not look whole when the upstream breaks while one of them works', async () => {
      const working = Promise.withResolvers<void>()
      await start({
        filters: [
          () => async chunk => {
            await working.promise
            return chunk
          },
        ],
      })
      upstream.script = async received => {
        await received.write('part')
        await until(() => journal.entries.length > 0 || upstream.received.length > 0, 'it is under way')
        received.reset()
      }
      const { body } = await answered()
      assert.doesNotMatch(body, /0\r\n\r\n$/)
      await logged()
      working.resolve()
      await turn()
      assert.deepEqual([journal.entries.length, journal.entries[0]!.ending], [1, 'broken'])
    })

    it('asks none of them any more when the client has left', async () => {
      let asked = 0
      await start({
        filters: [
          () => () => {
            asked++
          },
        ],
      })
      upstream.script = async received => {
        while (!received.response.closed) {
          await received.write('more')
          await turn()
        }
      }
      const client = await ask()
      await client.reads('more')
      client.close()
      await logged()
      const before = asked
      await upstream.received[0]!.closed
      assert.equal(asked, before)
    })

    it('that is whole already passes as one chunk and the end, and has the length they gave it', async () => {
      const seen: string[] = []
      await start({
        answers: () => reply(200, 'whole', { 'Content-Length': '5' }),
        filters: [
          () => (chunk, last) => {
            seen.push(`${chunk}${last}`)
            return Buffer.concat([chunk, Buffer.from(last ? '!' : 'r')])
          },
          () => async (chunk, last) => upper(chunk, last),
        ],
      })
      const { head, body } = await answered()
      assert.equal(body, 'WHOLER!')
      assert.match(head, /Content-Length: 7/)
      assert.deepEqual(seen, ['wholefalse', 'true'])
      await logged()
      assert.equal(journal.entries[0]!.bytes, 7)
    })

    it('that is empty can be given a body', async () => {
      await start({ answers: () => reply(403), filters: [() => () => Buffer.from('why')] })
      const { head, body } = await answered()
      assert.match(head, /Content-Length: 3/)
      assert.equal(body, 'why')
    })
  })

  describe('without a body', () => {
    it('says so', async () => {
      await start({ answers: () => reply(403) })
      const { head, body } = await answered()
      assert.match(head, /Content-Length: 0/)
      assert.equal(body, '')
    })

    for (const status of [204, 304]) {
      it(`because its status is ${status} has none, whatever a plugin gave it`, async () => {
        for (const filters of [[], [() => () => Buffer.from('filtered')]]) {
          await gateway?.close()
          journal.entries.length = 0
          await start({ answers: () => reply(status, 'text'), filters })
          const { head, body } = await answered()
          assert.equal(body, '')
          if (status === 204) assert.doesNotMatch(head, /content-length|transfer-encoding/i)
          await logged()
          assert.equal(journal.entries[0]!.bytes, 0)
        }
      })
    }

    it('because it answers HEAD has none, filtered or not', async () => {
      for (const filters of [[], [() => () => Buffer.from('filtered')]]) {
        await gateway?.close()
        journal.entries.length = 0
        await start({ filters })
        upstream.script = ({ response }) => response.writeHead(200, { 'Content-Length': '5' }).end()
        const { body } = await answered(GET.replace('GET', 'HEAD'))
        assert.equal(body, '')
        await logged()
        assert.equal(journal.entries[0]!.bytes, 0)
      }
    })
  })
})
