// Requests that ask for a revision of the configuration, on real sockets: who waits, how long, how many, and who leaves.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { MinRevision, type MinRevisionLimits } from '../../core/min-revision.ts'
import { HeaderList } from '../../core/reply.ts'
import { type GatewayOptionsForTest, startGateway, type TestGateway } from '../helpers/gateway.ts'
import { openJournal } from '../helpers/journal.ts'
import { connectRaw } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('a request that asks for a revision', () => {
  let server: Server
  let gate: MinRevision
  let begun: { message: IncomingMessage; response: ServerResponse; closed: boolean }[]
  let sockets: Socket[]
  let arrived: number

  async function start(limits: Partial<MinRevisionLimits> = {}): Promise<void> {
    gate = new MinRevision({ trusted: ['127.0.0.1'], wait: 60_000, maxWaiting: 10, ...limits })
    gate.applied(5)
    server = createServer(
      gate.before((message, response) => {
        const request = { message, response, closed: false }
        begun.push(request)
        response.on('close', () => {
          request.closed = true
        })
        response.end()
      }),
    )
    server.on('request', () => arrived++)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }
  beforeEach(() => {
    begun = []
    sockets = []
    arrived = 0
  })
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise(resolve => server.close(resolve).closeAllConnections())
  })

  function ask(revision: string | number): Socket {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(`GET / HTTP/1.1\r\nHost: a\r\nX-Sluice-Min-Revision: ${revision}\r\n\r\n`)
    sockets.push(socket)
    return socket
  }
  const reaches = (count: number) => until(() => begun.length === count, `${count} requests have begun`)

  it('begins at once when the revision is there', async () => {
    await start()
    for (const revision of [0, 4, 5]) ask(revision)
    await reaches(3)
  })

  it('begins when the revision, or a later one, is applied, and not before', async () => {
    await start()
    for (const revision of [6, 7, 9]) ask(revision)
    await until(() => arrived === 3, 'they are here')
    assert.equal(begun.length, 0)
    gate.applied(6)
    await reaches(1)
    gate.applied(8)
    await reaches(2)
    assert.equal(begun.at(-1)!.message.headers['x-sluice-min-revision'], '7')
  })

  it('begins when it has waited long enough', async () => {
    await start({ wait: 50 })
    ask(6)
    await reaches(1)
  })

  it('begins at once when as many wait already as may', async () => {
    await start({ maxWaiting: 2 })
    for (const revision of [6, 6, 6]) ask(revision)
    await reaches(1)
    gate.applied(6)
    await reaches(3)
  })

  it('begins when its client leaves, in time to see it leave, and frees its place', async () => {
    await start({ maxWaiting: 1 })
    for (let n = 1; n <= 3; n++) {
      const socket = ask(6)
      await until(() => arrived === n, 'it is here')
      assert.equal(begun.length, n - 1)
      socket.destroy()
      await reaches(n)
      await until(() => begun[n - 1]!.closed, 'its response is closed')
    }
  })

  it('is refused where the configuration is older, and where it asks for nothing that is a revision', async () => {
    await start({ wait: 1 })
    ask(6)
    await reaches(1)
    const { message } = begun[0]!
    const late = gate.refusal(message, new HeaderList(), 5)
    assert.deepEqual([late?.status, late?.code, late?.headers], [503, 'revision_not_applied', { 'Retry-After': '1' }])
    assert.equal(gate.refusal(message, new HeaderList(), 6), undefined)
    for (const [at, text] of ['-1', '1e3', '9'.repeat(20), 'x', '6, 7'].entries()) {
      ask(text)
      await reaches(at + 2)
      assert.equal(gate.refusal(begun.at(-1)!.message, new HeaderList(), 5)?.status, 400, text)
    }
  })

  it('is like any other when it comes from an address that may not ask', async () => {
    await start({ trusted: ['10.0.0.0/8'] })
    ask(6)
    ask('x')
    await reaches(2)
    for (const { message } of begun) assert.equal(gate.refusal(message, new HeaderList(), 5), undefined)
  })
})

describe('the front door, asked for a revision', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  const limits = { trusted: ['127.0.0.1'], wait: 60_000, maxWaiting: 100 }
  const route = (name: string) => ({
    uri: '/*',
    name,
    plugins: { 'response-rewrite': { headers: { set: { 'X-Route': name } } } },
    upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } },
  })

  /** The first configuration has revision 1, and every `put` the next one. */
  async function start(minRevision?: Partial<MinRevisionLimits>, more: GatewayOptionsForTest = {}): Promise<void> {
    gateway = await startGateway({
      resources: { routes: { 1: route('one') } },
      ...(minRevision && { minRevision: { ...limits, ...minRevision } }),
      ...more,
    })
  }
  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  const ask = (revision: number | string, init: RequestInit = {}) =>
    fetch(`${gateway.url}/x`, { ...init, headers: { 'X-Sluice-Min-Revision': String(revision) } })
  const arrived = (count: number) =>
    until(() => Number(/http_requests_total (\d+)/.exec(gateway.scrape())?.[1]) === count, `${count} requests are here`)

  it('answers by the configuration that was asked for, with the body that came meanwhile', async () => {
    await start({})
    upstream.script = async received => received.json(200, { body: String(await received.body) })
    const early = ask(2, { method: 'POST', body: 'while it waits' })
    await arrived(1)
    assert.equal(gateway.gateway.inFlight, 0)
    await gateway.put({ routes: { 1: route('two') } })
    const answer = await early
    assert.deepEqual([answer.status, answer.headers.get('x-route')], [200, 'two'])
    assert.deepEqual(await answer.json(), { body: 'while it waits' })
  })

  it('answers 503 with a code when the revision does not come, or too many wait for one', async () => {
    for (const bounds of [{ wait: 20 }, { maxWaiting: 0 }]) {
      await gateway?.close()
      await start(bounds)
      const answer = await ask(2)
      assert.deepEqual([answer.status, answer.headers.get('retry-after')], [503, '1'])
      assert.equal(((await answer.json()) as { code: string }).code, 'revision_not_applied')
    }
    assert.equal(upstream.received.length, 0)
  })

  it('answers 400 for what is no revision', async () => {
    await start({})
    const answer = await ask('latest')
    assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [400, 'bad_min_revision'])
  })

  it('does not wait for strangers, and tells the upstream nothing of the field, whoever sends it', async () => {
    for (const trusted of [['10.0.0.0/8'], ['127.0.0.1']]) {
      await gateway?.close()
      await start({ trusted })
      assert.equal((await ask(trusted[0] === '127.0.0.1' ? 1 : 'any')).status, 200)
    }
    assert.equal(upstream.received.length, 2)
    for (const { headers } of upstream.received) assert.equal(headers['x-sluice-min-revision'], undefined)
  })

  it('knows nothing of the field where that is not configured', async () => {
    await start()
    assert.equal((await ask(7)).status, 200)
    assert.equal(upstream.received[0]?.headers['x-sluice-min-revision'], '7')
  })

  it('answers pipelined requests in their order, and says nothing of how many wait', async () => {
    const warnings: Error[] = []
    const warned = (warning: Error) => void warnings.push(warning)
    process.on('warning', warned)
    await start({})
    const client = await connectRaw(gateway.port)
    const count = 20
    for (let at = 0; at < count; at++) {
      client.write(`GET /${at} HTTP/1.1\r\nHost: a\r\nX-Sluice-Min-Revision: ${at % 2 === 0 ? 2 : 1}\r\n\r\n`)
    }
    await arrived(count)
    assert.equal(client.responses(), 0)
    await gateway.put({ routes: { 1: route('two') } })
    await until(() => client.responses() === count, 'all are answered')
    const routes = [...client.received.matchAll(/X-Route: (\w+)/gi)].map(([, name]) => name)
    assert.deepEqual(routes.slice(0, 4), ['two', 'one', 'two', 'one'])
    client.close()
    process.off('warning', warned)
    assert.deepEqual(warnings, [])
  })

  it('ends, with requests that wait, as it ends with any other', async () => {
    const journal = openJournal()
    await start({}, { log: journal.log })
    const cut = assert.rejects(ask(2))
    await arrived(1)
    await gateway.close()
    await cut
    assert.equal(gateway.gateway.inFlight, 0)
    assert.deepEqual(journal.lines, [])
  })
})
