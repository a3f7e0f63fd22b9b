// Connections to one upstream: how many are kept, for how long, for how many requests, and which is used next.
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import type { Context } from '../../../core/context.ts'
import type { KeepAlive } from '../../../core/proxy/connections.ts'
import { Transport } from '../../../core/proxy/transport.ts'
import { makeContext } from '../../helpers/context.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const LONG = 30_000

describe('connections to an upstream', () => {
  let upstream: ScriptedUpstream
  let transport: Transport
  let ctx: Context
  let held: Received[]

  beforeEach(async () => {
    held = []
    upstream = await startUpstream(received => received.json(200, {}))
    transport = new Transport()
    ctx = await makeContext()
  })
  afterEach(async () => {
    await transport.close()
    await upstream.close()
  })

  const clocks = { connect: LONG, send: LONG, headers: LONG, firstContent: LONG, idle: LONG, total: 0 }
  /** Resolves when the answer is whole. */
  async function ask(keepAlive: KeepAlive): Promise<void> {
    const { body } = await transport.exchange(ctx, {
      origin: upstream.origin,
      address: 'a',
      method: 'GET',
      target: '/',
      headers: ['Host', 'a'],
      body: null,
      clocks,
      keepAlive,
    })
    await new Promise<void>((end, fail) => body.pipe({ write() {}, end, fail }))
    // The connection is free a moment after the end of the body is told.
    await new Promise(setImmediate)
  }
  const forever: KeepAlive = { size: 100, idleMs: 0, requests: 1_000 }
  const socketOf = (at: number): Socket => upstream.received[at]!.socket
  /** That many requests at once, each on a connection of its own, answered when all have come. */
  async function atOnce(count: number, keepAlive: KeepAlive): Promise<void> {
    held = []
    upstream.script = received => {
      held.push(received)
      if (held.length === count) for (const each of held) each.json(200, {})
    }
    await Promise.all(Array.from({ length: count }, () => ask(keepAlive)))
    upstream.script = received => received.json(200, {})
  }

  it('are used one after the other by requests that wait for each other', async () => {
    for (let times = 0; times < 10; times++) await ask(forever)
    assert.equal(new Set(upstream.received.map(({ socket }) => socket)).size, 1)
  })

  it('are as many as there are requests at once, and no more are kept than is said', async () => {
    await atOnce(6, { ...forever, size: 2 })
    assert.equal(new Set(upstream.received.map(({ socket }) => socket)).size, 6)
    await until(() => upstream.openConnections() === 2, 'the others are closed')
    for (let times = 0; times < 4; times++) await ask({ ...forever, size: 2 })
    assert.equal(upstream.openConnections(), 2)
  })

  it('that the next burst needs are kept for it, however many', async () => {
    const few = { ...forever, size: 1 }
    for (let times = 0; times < 5; times++) await atOnce(8, few)
    assert.equal(new Set(upstream.received.map(({ socket }) => socket)).size, 8)
    await until(() => upstream.openConnections() === 1, 'they are closed when no burst comes')
    for (let times = 0; times < 3; times++) await ask(few)
    assert.equal(upstream.openConnections(), 1)
  })

  it('are used again the last one first', async () => {
    await atOnce(3, forever)
    await ask(forever)
    const used = socketOf(3)
    for (let times = 0; times < 5; times++) await ask(forever)
    assert.ok(upstream.received.slice(3).every(({ socket }) => socket === used))
  })

  it('are closed after as many requests as is said, and the upstream is told', async () => {
    for (let times = 0; times < 7; times++) await ask({ ...forever, requests: 3 })
    const sockets = upstream.received.map(({ socket }) => socket)
    assert.deepEqual(
      [...new Set(sockets)].map(socket => sockets.filter(each => each === socket).length),
      [3, 3, 1],
    )
    assert.deepEqual(
      upstream.received.map(({ headers }) => headers.connection),
      ['keep-alive', 'keep-alive', 'close', 'keep-alive', 'keep-alive', 'close', 'keep-alive'],
    )
  })

  it('are closed when they have not been used for as long as is said', async () => {
    upstream.script = ({ response }) => response.setHeader('Connection', 'keep-alive').end()
    await ask({ ...forever, idleMs: 100 })
    await until(() => upstream.openConnections() === 0, 'it is closed')
    await ask(forever)
    await new Promise(resolve => setTimeout(resolve, 300))
    assert.equal(upstream.openConnections(), 1)
  })

  it('are replaced when the upstream closes them', async () => {
    await ask(forever)
    socketOf(0).destroy()
    await until(() => upstream.openConnections() === 0, 'it is closed')
    await ask(forever)
    assert.equal(upstream.received.length, 2)
  })

  it('are not shared by those who keep them differently', async () => {
    await ask(forever)
    await ask({ ...forever, size: 99 })
    assert.notEqual(socketOf(0), socketOf(1))
  })

  it('end with the transport', async () => {
    await atOnce(3, forever)
    await transport.close()
    await until(() => upstream.openConnections() === 0, 'all are closed')
  })
})
