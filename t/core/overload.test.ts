// What a worker takes on, and how it refuses the rest.
import assert from 'node:assert/strict'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'
import { Overload } from '../../core/overload.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { connectRaw } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('an overloaded worker', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })
  async function start(options: Parameters<typeof startGateway>[0]): Promise<void> {
    upstream = await startUpstream()
    gateway = await startGateway({
      ...options,
      resources: {
        routes: {
          plain: { uri: '/plain', upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } } },
          guarded: {
            uri: '/guarded',
            plugins: { 'ai-prompt-guard': { deny_patterns: ['x'] } },
            upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } },
          },
        },
      },
    })
  }
  const shed = (reason: string) => gateway.scrape().includes(`sluice_shed_total{reason="${reason}"}`)

  it('refuses requests past its number with 503 and Retry-After, and serves again when there is room', async () => {
    await start({ overload: { maxRequestsInFlight: 1 } })
    let release = () => {}
    upstream.script = received => {
      release = () => received.json(200, {})
    }
    const first = fetch(`${gateway.url}/plain`)
    await upstream.request(0)
    const refused = await fetch(`${gateway.url}/plain`)
    assert.equal(refused.status, 503)
    assert.equal(refused.headers.get('retry-after'), '1')
    assert.equal(((await refused.json()) as { code: string }).code, 'overloaded')
    release()
    assert.equal((await first).status, 200)
    await until(() => gateway.gateway.inFlight === 0, 'there is room')
    upstream.script = received => received.json(200, {})
    assert.equal((await fetch(`${gateway.url}/plain`)).status, 200)
    assert.ok(shed('requests_in_flight'))
  })

  it('refuses bodies it would have to hold past its bytes, and gives the room back with the request', async () => {
    await start({ overload: { maxBufferedBytes: 100_000 } })
    const post = (size: number, path = '/guarded') =>
      fetch(gateway.url + path, { method: 'POST', body: JSON.stringify({ filler: 'y'.repeat(size) }) })
    assert.equal((await post(200_000)).status, 503)
    assert.ok(shed('buffered_bytes'))
    // What streams through holds nothing.
    assert.equal((await post(200_000, '/plain')).status, 200)
    for (let times = 0; times < 5; times++) assert.equal((await post(80_000)).status, 200)
  })

  it('counts bodies that are too large, and clients that stop sending or reading', async () => {
    await start({ limits: { maxBodySize: 1_000, bodyTimeout: 100, sendTimeout: 100 } })
    assert.equal((await fetch(`${gateway.url}/plain`, { method: 'POST', body: 'x'.repeat(1_001) })).status, 413)
    await until(() => shed('body_too_large'), 'it is counted')
    const sender = await connectRaw(gateway.port)
    sender.write('POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nbegun')
    await sender.reads('HTTP/1.1 408 ')
    await until(() => shed('body_timeout'), 'it is counted')
    upstream.script = ({ response }) => response.end(Buffer.alloc(50_000_000))
    const reader = await connectRaw(gateway.port)
    reader.socket.pause()
    reader.write('GET /plain HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => shed('send_timeout'), 'it is counted')
    for (const client of [sender, reader]) client.close()
  })

  it('answers connections past its number with 503 and closes them', async () => {
    await start({ maxConnections: 2 })
    const kept = await Promise.all([connectRaw(gateway.port), connectRaw(gateway.port)])
    const third = await connectRaw(gateway.port)
    await third.reads('HTTP/1.1 503 Service Unavailable')
    await until(() => third.closed, 'it is closed')
    assert.match(third.received, /Retry-After: 1/)
    kept[0]!.write('GET /plain HTTP/1.1\r\nHost: x\r\n\r\n')
    await kept[0]!.reads('HTTP/1.1 200')
    for (const client of kept) client.close()
    assert.ok(shed('connections'))
    // There is room again.
    await until(async () => (await fetch(`${gateway.url}/plain`).catch(() => undefined))?.status === 200, 'room again')
  })

  it('refuses while its loop runs late, not for one pause, and recovers', async () => {
    await start({})
    const overload = new Overload(
      { maxRequestsInFlight: 10, maxBufferedBytes: 10, maxLoopLag: 100 },
      new MetricsWriter({ publish: () => {} }),
    )
    overload.late(400)
    assert.equal(overload.refusal(1), undefined)
    for (let beats = 0; beats < 5; beats++) overload.late(200)
    assert.equal(overload.refusal(1)?.status, 503)
    for (let beats = 0; beats < 10; beats++) overload.late(0)
    assert.equal(overload.refusal(1), undefined)
  })
})
