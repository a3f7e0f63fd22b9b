// The upstream of a bench run: static answers and timed streams on raw sockets, as cheap as they can be; checks nothing.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { ready } from './peer.ts'
import { answer, EVENTS, eventAt, GOT, INTERVAL_MS, micros, STREAM_END } from './workload.ts'

// Not node:http: at 16 us a request it would share its core with the load generator and hold the faster contenders back.
const UNARY = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${answer().length}\r\n\r\n${answer()}`
const PAGE = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${GOT}\r\n\r\n${'x'.repeat(GOT)}`
const STREAM =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n'

const server = createServer({ noDelay: true }, socket => {
  let pending = ''
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk: Buffer) => {
    pending += chunk.toString('latin1')
    for (let end = endOfRequest(pending); end > 0; end = endOfRequest(pending)) {
      respond(socket, pending)
      pending = end === pending.length ? '' : pending.slice(end)
    }
  })
})

/** Where the first request in `text` ends; 0 while it is not whole. */
function endOfRequest(text: string): number {
  const head = text.indexOf('\r\n\r\n')
  if (head < 0) return 0
  const length = /\r\ncontent-length: *(\d+)/i.exec(text)
  if (length !== null && length.index < head) {
    const end = head + 4 + Number(length[1])
    return text.length < end ? 0 : end
  }
  if (text.startsWith('GET ')) return head + 4
  const end = text.indexOf('\r\n0\r\n\r\n', head)
  return end < 0 ? 0 : end + 7
}

function respond(socket: Socket, request: string): void {
  if (request.startsWith('GET ')) {
    socket.write(PAGE, 'latin1')
    return
  }
  if (request.includes('"model":"unary"')) {
    socket.write(UNARY, 'latin1')
    return
  }
  socket.write(STREAM + chunked(eventAt(micros())), 'latin1')
  if (request.includes('"model":"stream"')) beat.add(socket)
}

function chunked(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`
}

const LAST = `${chunked(STREAM_END)}0\r\n\r\n`

/** One timer for all streams: each has its next event in the slot of the millisecond in which it had its last. */
class Beat {
  readonly #slots = Array.from({ length: INTERVAL_MS }, () => new Map<Socket, number>())
  #timer: NodeJS.Timeout | undefined
  #now = 0
  #live = 0

  add(socket: Socket): void {
    if (this.#timer === undefined) {
      this.#now = Math.floor(performance.now())
      this.#timer = setInterval(() => this.#catchUp(), 1)
    }
    this.#slots[this.#now % INTERVAL_MS]!.set(socket, 1)
    this.#live++
  }

  #catchUp(): void {
    const until = Math.floor(performance.now())
    while (this.#now < until) this.#send(this.#slots[++this.#now % INTERVAL_MS]!)
    if (this.#live > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #send(slot: Map<Socket, number>): void {
    for (const [socket, sent] of slot) {
      const last = sent === EVENTS - 1
      if (!socket.destroyed) socket.write(chunked(eventAt(micros())) + (last ? LAST : ''), 'latin1')
      if (last || socket.destroyed) {
        slot.delete(socket)
        this.#live--
      } else slot.set(socket, sent + 1)
    }
  }
}

const beat = new Beat()
server.listen({ port: Number(process.argv[2] ?? 0), host: '127.0.0.1', backlog: 4_096 })
await once(server, 'listening')
ready((server.address() as AddressInfo).port)
