// The gateway in somebody's koa app: beside the app's own middleware, with the app's own server.
import assert from 'node:assert/strict'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Koa from 'koa'
import { type KoaGateway, koaGateway } from '../../core/koa.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('the gateway as koa middleware', () => {
  let upstream: ScriptedUpstream
  let gateway: KoaGateway
  let server: Server
  let url: string
  /** What the app's own middleware saw when the gateway had answered. */
  let seen: number[]

  beforeEach(async () => {
    upstream = await startUpstream()
    gateway = await koaGateway({
      resources: {
        routes: {
          1: { uri: '/api/*', plugins: { 'key-auth': {} }, upstream: { nodes: upstream.nodes } },
        },
        consumers: { ann: { username: 'ann', plugins: { 'key-auth': { key: 'of-ann' } } } },
      },
    })
    assert.deepEqual(gateway.rejected, [])
    seen = []
    const app = new Koa()
    app.silent = true
    app.use(async (ctx, next) => {
      ctx.set('X-App', 'ours')
      await next()
      seen.push(ctx.status)
    })
    app.use(async (ctx, next) => {
      if (ctx.query.parsed !== undefined) for await (const _ of ctx.req);
      await next()
    })
    app.use((ctx, next) => (ctx.path.startsWith('/api/') ? gateway.middleware(ctx, next) : next()))
    app.use(ctx => {
      ctx.body = 'the app'
    })
    server = createServer(app.callback() as RequestListener)
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterEach(async () => {
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
    await gateway.close()
    await upstream.close()
  })

  const headers = { apikey: 'of-ann' }

  it('answers what the app gives it, and leaves the rest to the app', async () => {
    const answer = await fetch(`${url}/api/x?a=b`, { method: 'POST', headers, body: 'a body' })
    assert.deepEqual([answer.status, await answer.json()], [200, { ok: true }])
    assert.equal(answer.headers.get('x-app'), 'ours')
    const [received] = upstream.received
    assert.deepEqual(
      [received!.method, received!.target, (await received!.body).toString(), received!.headers['x-consumer-username']],
      ['POST', '/api/x?a=b', 'a body', 'ann'],
    )
    assert.equal((await fetch(`${url}/api/x`)).status, 401)
    assert.equal(await (await fetch(url)).text(), 'the app')
    await until(() => seen.length === 3, 'the app has seen all')
    assert.deepEqual(seen, [200, 401, 200])
  })

  it('streams, hears when the client leaves, and serves new resources at once', async () => {
    upstream.script = async received => {
      received.startStream()
      await received.event('one')
    }
    const gone = new AbortController()
    const answer = await fetch(`${url}/api/stream`, { headers, signal: gone.signal })
    const { value } = await answer.body!.getReader().read()
    assert.equal(Buffer.from(value!).toString(), 'data: one\n\n')
    gone.abort()
    await (await upstream.request(0)).closed
    await gateway.put({ routes: { 1: null } })
    assert.equal((await fetch(`${url}/api/x`, { headers })).status, 404)
  })

  it('refuses a request whose body has been read', async () => {
    const answer = await fetch(`${url}/api/x?parsed`, { method: 'POST', headers, body: 'a body' })
    assert.equal(answer.status, 500)
    assert.equal(upstream.received.length, 0)
  })
})
