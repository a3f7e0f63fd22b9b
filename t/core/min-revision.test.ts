// Requests that ask for a revision of the configuration, on real sockets: who waits, how long, how many, and who leaves.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { MinRevision, type MinRevisionLimits } from '../../core/min-revision.ts'
import { until } from '../helpers/until.ts'

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
    const late = gate.refusal(message, 5)
    assert.deepEqual([late?.status, late?.code, late?.headers], [503, 'revision_not_applied', { 'Retry-After': '1' }])
    assert.equal(gate.refusal(message, 6), undefined)
    for (const [at, text] of ['-1', '1e3', '9'.repeat(20), 'x', '6, 7'].entries()) {
      ask(text)
      await reaches(at + 2)
      assert.equal(gate.refusal(begun.at(-1)!.message, 5)?.status, 400, text)
    }
  })

  it('is like any other when it comes from an address that may not ask', async () => {
    await start({ trusted: ['10.0.0.0/8'] })
    ask(6)
    ask('x')
    await reaches(2)
    for (const { message } of begun) assert.equal(gate.refusal(message, 5), undefined)
  })
})
