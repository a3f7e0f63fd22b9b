// An upstream on a bare socket that knows one way to read HTTP and no other: what it cannot read strictly it reports.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

/** A request that came whole. */
export interface Recorded {
  readonly method: string
  readonly target: string
  /** Names lower-case. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly body: string
}

export interface RecordingUpstream {
  readonly port: number
  readonly whole: readonly Recorded[]
  /** What came and is no request in the strict sense: nothing of a gateway may ever be here. */
  readonly senseless: readonly string[]
  close(): Promise<void>
}

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** Answers 200 to every request on every connection. */
export async function startRecordingUpstream(): Promise<RecordingUpstream> {
  const whole: Recorded[] = []
  const senseless: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    let unread = ''
    sockets.add(socket)
    socket.setEncoding('latin1').on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (text: string) => {
      unread += text
      for (let next = read(unread); next !== undefined; next = read(unread)) {
        if (typeof next === 'string') {
          senseless.push(next)
          socket.destroy()
          return
        }
        whole.push(next.request)
        unread = unread.slice(next.length)
        socket.write(ANSWER)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    whole,
    senseless,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

const REQUEST_LINE = /^([A-Z][A-Z-]*) (\/[!-~]*) HTTP\/1\.1$/
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?$/

/** The first request of the text and how long it is, undefined when it is not whole yet, or what is wrong with it. */
function read(text: string): { request: Recorded; length: number } | string | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0)
    return /[^\r]\n|\r[^\n]/.test(text) ? `a line does not end as it must: ${JSON.stringify(text)}` : undefined
  const [line = '', ...lines] = text.slice(0, end).split('\r\n')
  const [, method, target] = REQUEST_LINE.exec(line) ?? []
  if (method === undefined || target === undefined) return `no request line: ${JSON.stringify(line)}`
  const fields: [string, string][] = []
  for (const each of lines) {
    const [found, name, value = ''] = FIELD.exec(each) ?? []
    if (found === undefined) return `no field: ${JSON.stringify(each)}`
    fields.push([name!.toLowerCase(), value])
  }
  const all = (name: string) => fields.filter(([known]) => known === name).map(([, value]) => value)
  const [lengths, codings] = [all('content-length'), all('transfer-encoding')]
  if (all('host').length !== 1) return `${all('host').length} Hosts`
  if (lengths.length + codings.length > 1) return `framed more than once: ${lengths} ${codings}`
  const from = end + 4
  const body = codings.length > 0 ? readChunks(text, from, codings[0]!) : readLength(text, from, lengths[0] ?? '0')
  if (body === undefined || typeof body === 'string') return body
  return { request: { method, target, fields, body: body.text }, length: body.end }
}

function readLength(text: string, from: number, length: string): { text: string; end: number } | string | undefined {
  if (!/^(0|[1-9]\d{0,14})$/.test(length)) return `no length: ${length}`
  const end = from + Number(length)
  return text.length < end ? undefined : { text: text.slice(from, end), end }
}

function readChunks(text: string, from: number, coding: string): { text: string; end: number } | string | undefined {
  if (coding !== 'chunked') return `no coding: ${coding}`
  let body = ''
  for (let at = from; ; ) {
    const line = text.indexOf('\r\n', at)
    if (line < 0) return undefined
    const size = text.slice(at, line)
    if (!/^[\da-f]{1,8}$/.test(size)) return `no chunk: ${JSON.stringify(size)}`
    const start = line + 2
    const end = start + Number.parseInt(size, 16)
    if (text.length < end + 2) return undefined
    if (text.slice(end, end + 2) !== '\r\n') return `a chunk does not end where it says: ${JSON.stringify(size)}`
    if (end === start) return { text: body, end: end + 2 }
    body += text.slice(start, end)
    at = end + 2
  }
}
