// Large bodies through slow clients: each sends as fast as it may and reads slowly what an echo sends back; the gateway must hold neither.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { configFolder, startProcess } from './helpers/process.ts'

export interface BodiesReport {
  clients: number
  /** Bytes that went through, there and back. */
  bytes: number
  /** Clients that got something else than they sent, or not all of it. */
  wrong: number
  /** Resident memory of the gateway, all of the process, in MiB. */
  idleMb: number
  peakMb: number
  seconds: number
}

const PIECE = 64 * 1024

/**
 * MiB of resident memory that bodies may cost, however large and many they are. Seen: 100, with 10 clients as with 100; what
 * V8 has not collected yet is most of it, less than 1 MiB is buffered for a client.
 */
export const ADDED_MB = 150

/** `bytes` each way altogether; every client reads `rate` bytes a second at most. The gateway has one worker. */
export async function bodiesThrough(given: { bytes: number; clients: number; rate: number }): Promise<BodiesReport> {
  const { bytes, clients, rate } = given
  const echo = createServer((message, response) => message.pipe(response))
  // A process that is busy closes connections of which it has not seen yet that they are used again.
  echo.keepAliveTimeout = 600_000
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
  const { port } = echo.address() as AddressInfo
  // A busy machine is no reason to turn somebody away here.
  const patient = configFolder('sluice: {max_loop_lag_ms: 3600000}\n', { nginx_config: 'http: {send_timeout: 10m}' })
  const gateway = await startProcess(patient, undefined, { APISIX_WORKER_PROCESSES: '1' }).catch(error => {
    echo.close()
    throw error
  })
  try {
    const timeout = { connect: 600, send: 600, read: 600 }
    const route = { uri: '/*', timeout, upstream: { nodes: { [`127.0.0.1:${port}`]: 1 } } }
    await gateway.admin('PUT', '/routes/echo', route)
    const resident = () => {
      const status = readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8')
      return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024
    }
    // What V8 compiles and allocates with the first requests is nobody's body.
    await Promise.all(Array.from({ length: 4 }, () => talk(gateway.urls.requests, PIECE, { rate, chunked: true })))
    const idleMb = resident()
    let peakMb = idleMb
    const look = setInterval(() => {
      peakMb = Math.max(peakMb, resident())
    }, 100)
    const began = performance.now()
    const size = Math.ceil(bytes / clients)
    const right = await Promise.all(
      Array.from({ length: clients }, (_, at) =>
        talk(gateway.urls.requests, size, { rate, chunked: at % 2 === 0 }).catch(() => false),
      ),
    )
    clearInterval(look)
    return {
      clients,
      bytes: 2 * size * clients,
      wrong: right.filter(each => !each).length,
      idleMb: Math.round(idleMb),
      peakMb: Math.round(peakMb),
      seconds: Math.round((performance.now() - began) / 100) / 10,
    }
  } finally {
    await gateway.dispose()
    echo.closeAllConnections()
    echo.close()
  }
}

/** Sends `size` bytes and reads them back; resolves with whether they are the same. */
async function talk(
  url: string,
  size: number,
  { rate, chunked }: { rate: number; chunked: boolean },
): Promise<boolean> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  await once(socket, 'connect')
  const framing = chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${size}`
  socket.write(`POST /echo HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n${framing}\r\n\r\n`)
  const sent = createHash('sha1')
  void (async () => {
    for (let left = size; left > 0; ) {
      const piece = Buffer.alloc(Math.min(PIECE, left), left % 251)
      left -= piece.length
      sent.update(piece)
      const bytes = chunked ? Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, CRLF]) : piece
      if (!socket.write(bytes)) await once(socket, 'drain')
    }
    if (chunked) socket.write('0\r\n\r\n')
  })().catch(() => {})
  const received = createHash('sha1')
  let count = 0
  const body = new Unchunked(piece => {
    count += piece.length
    received.update(piece)
  })
  const began = performance.now()
  let raw = 0
  for await (const bytes of socket as AsyncIterable<Buffer>) {
    raw += bytes.length
    body.take(bytes)
    const ahead = (raw / rate) * 1000 - (performance.now() - began)
    if (ahead > 0) await pause(ahead)
  }
  // Whoever has all of it back has sent it; whoever was cut off may wait for a `drain` that never comes.
  return count === size && received.digest('hex') === sent.digest('hex')
}

const CRLF = Buffer.from('\r\n')

/** The body of a response whose chunks may begin and end anywhere in what comes. */
class Unchunked {
  readonly #piece: (bytes: Buffer) => void
  /** What has come of a head or of the line of a chunk. */
  #text = ''
  #inBody = false
  #chunked = false
  /** Bytes of the chunk, and of the line end behind it, that are still to come. */
  #left = 0
  #lineEnd = 0

  constructor(piece: (bytes: Buffer) => void) {
    this.#piece = piece
  }

  take(bytes: Buffer): void {
    let at = 0
    while (at < bytes.length) {
      if (this.#inBody && (!this.#chunked || this.#left > 0)) {
        const end = this.#chunked ? Math.min(bytes.length, at + this.#left) : bytes.length
        this.#piece(bytes.subarray(at, end))
        this.#left -= end - at
        at = end
        if (this.#chunked && this.#left === 0) this.#lineEnd = 2
      } else if (this.#lineEnd > 0) {
        this.#lineEnd--
        at++
      } else {
        this.#text += String.fromCharCode(bytes[at++]!)
        this.#line()
      }
    }
  }

  #line(): void {
    if (this.#inBody && this.#text.endsWith('\r\n')) {
      this.#left = Number.parseInt(this.#text, 16)
      this.#text = ''
    } else if (!this.#inBody && this.#text.endsWith('\r\n\r\n')) {
      this.#chunked = /transfer-encoding: chunked/i.test(this.#text)
      this.#inBody = true
      this.#text = ''
    }
  }
}
