// Clients that mean no good, against a gateway in a process of its own: what each of their connections can cost it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const KiB = 1024
const MiB = 1024 * KiB
const PIECE = Buffer.alloc(256 * KiB)

interface Abuse {
  what: string
  connections: number
  /** Bytes of resident memory: ten times what was seen. Of what flows, most is garbage that V8 has not collected yet. */
  atMost: number
  behave(socket: Socket): void
}

const abuses: Abuse[] = [
  { what: 'says nothing', connections: 1_000, atMost: 70 * KiB, behave: () => {} },
  {
    what: 'does not end its head',
    connections: 500,
    atMost: 300 * KiB,
    behave: socket => socket.write(`GET / HTTP/1.1\r\nHost: a\r\nX-Fill: ${'f'.repeat(30_000)}`),
  },
  {
    what: 'does not end its body',
    connections: 300,
    atMost: 460 * KiB,
    behave: socket => socket.write(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n${'f'.repeat(16_000)}`),
  },
  {
    what: 'sends a body that the upstream does not read',
    connections: 5,
    atMost: 25 * MiB,
    behave(socket) {
      socket.write('PUT /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n')
      let sent = 0
      const send = () => {
        while (sent < 100_000_000 && socket.write(PIECE)) sent += PIECE.length
      }
      socket.on('drain', send)
      send()
    },
  },
  {
    what: 'does not read its answer',
    connections: 5,
    atMost: 25 * MiB,
    behave(socket) {
      socket.pause()
      socket.write('GET /much HTTP/1.1\r\nHost: a\r\n\r\n')
    },
  },
  {
    what: 'asks a hundred times more before it is answered',
    connections: 10,
    atMost: 5 * MiB,
    behave: socket => socket.write('GET /silent HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(101)),
  },
  {
    what: 'sends a hundred more bodies before it is answered',
    connections: 50,
    atMost: 500 * KiB,
    behave: socket =>
      socket.write(`POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n${'x'.repeat(500)}`.repeat(101)),
  },
]

describe('a connection', function () {
  this.timeout(300_000)
  // Starting one takes most of the time; what one test leaves behind the next does not count.
  let gateway: GatewayProcess
  let upstream: ScriptedUpstream
  /** Accepts and never reads. */
  let deaf: Server
  let sockets: Socket[]

  before(async () => {
    // Nobody is cut before they have been measured.
    const place = configFolder('', {
      nginx_config: 'http: {send_timeout: 0, client_body_timeout: 10m, client_header_timeout: 10m}',
    })
    gateway = await startProcess(place, undefined, { APISIX_WORKER_PROCESSES: '1' })
  })
  after(() => gateway.dispose())
  beforeEach(async () => {
    sockets = []
    upstream = await startUpstream(serve)
    deaf = createServer({ pauseOnConnect: true }, socket => {
      socket.on('error', () => {})
      sockets.push(socket)
    }).listen(0, '127.0.0.1')
    await once(deaf, 'listening')
    const to = (port: number) => ({ upstream: { nodes: { [`127.0.0.1:${port}`]: 1 } } })
    await gateway.admin('PUT', '/routes/deaf', { uri: '/deaf', ...to((deaf.address() as AddressInfo).port) })
    await gateway.admin('PUT', '/routes/rest', { uri: '/*', ...to(upstream.port) })
  })
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    deaf.close()
    await upstream.close()
  })

  async function serve({ target, response }: Received): Promise<void> {
    if (target !== '/much') return
    for (let sent = 0; sent < 100_000_000 && !response.closed; sent += PIECE.length) {
      await new Promise(resolve => response.write(PIECE, resolve))
      await new Promise(setImmediate)
    }
  }
  const connections = async () => {
    const page = await (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()
    return Number(/nginx_http_current_connections\{state="active"\} (\d+)/.exec(page)?.[1])
  }
  async function come({ behave }: Abuse, count: number): Promise<void> {
    const { port } = new URL(gateway.urls.requests)
    for (let at = 0; at < count; at++) {
      const socket = connect(Number(port), '127.0.0.1')
      socket.on('error', () => {})
      sockets.push(socket)
      await once(socket, 'connect')
      behave(socket)
    }
    await until(async () => (await connections()) === count, 'all are there')
  }
  async function leave(): Promise<void> {
    for (const socket of sockets.splice(0)) socket.destroy()
    await until(async () => (await connections()) === 0, 'all have left')
  }
  /** Bytes of memory that the gateway has, when it takes no more. */
  async function resident(): Promise<number> {
    const now = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8'))![1]) * KiB
    let most = now()
    let since = performance.now()
    await until(() => {
      if (now() > most + MiB) {
        most = now()
        since = performance.now()
      }
      return performance.now() - since > 300
    }, 'it takes no more')
    return most
  }

  for (const abuse of abuses) {
    it(`that ${abuse.what} costs less than ${Math.ceil(abuse.atMost / KiB)} KiB`, async () => {
      // What the first ones cost is paid once.
      await come(abuse, Math.ceil(abuse.connections / 4))
      await leave()
      const before = await resident()
      await come(abuse, abuse.connections)
      const each = ((await resident()) - before) / abuse.connections
      assert.ok(each < abuse.atMost, `${Math.round(each / KiB)} KiB`)
      await leave()
    })
  }
})
