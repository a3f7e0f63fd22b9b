// What the client asked: the request line and the header fields, normalised once; knows nothing of routes or plugins.
import type { IncomingMessage } from 'node:http'
import { GatewayError } from './errors.ts'
import type { Forwarding } from './forwarding.ts'
import { HeaderList } from './reply.ts'

export class Request {
  readonly method: string
  /** The target as it stands on the request line, origin form (an absolute-form target has lost its origin). */
  readonly target: string
  /** Path as matched: decoded, dot segments resolved, slashes merged, as nginx does (facts core 2.2). */
  readonly path: string
  /** The raw query, without the question mark. */
  readonly search: string
  /** Plugins may change fields; the change is seen by later plugins and by the upstream. */
  readonly headers: HeaderList
  readonly scheme = 'http'
  /** Lower-case, without port. */
  readonly host: string
  /** Who asks: the peer, or whom a peer that is believed names. */
  readonly remoteAddress: string
  readonly remotePort: number
  readonly serverPort: number
  readonly httpVersion: string
  /** Why it cannot be served: a target or a Host that no two readers would understand alike. It then asks for `/`. */
  readonly refused: GatewayError | undefined
  /** What it said about itself that is not believed and was dropped: a flat name, value list. */
  readonly disbelieved: readonly string[] | undefined
  #query: Map<string, string[]> | undefined

  /** Without `forwarding` the peer is the client, and everything it says is kept. */
  constructor(message: IncomingMessage, forwarding?: Forwarding) {
    this.method = message.method ?? 'GET'
    this.headers = new HeaderList(message.rawHeaders)
    this.httpVersion = message.httpVersion
    const socket = message.socket
    const remote = socket.remoteAddress ?? ''
    const peer = remote.startsWith('::ffff:') ? remote.slice(7) : remote
    this.remoteAddress = forwarding?.clientOf(peer, this.headers) ?? peer
    this.disbelieved = forwarding?.sanitise(peer, this.headers)
    this.remotePort = socket.remotePort ?? 0
    this.serverPort = socket.localPort ?? 0
    let asked = NOWHERE
    try {
      asked = destination(message, this.headers)
      dropNamed(this.headers)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      this.refused = error
      this.headers.delete('host')
    }
    this.target = asked.target
    this.host = asked.host
    this.path = asked.path
    this.search = asked.search
  }

  /** First value of a query argument, decoded; undefined when absent. */
  query(name: string): string | undefined {
    return this.queryAll().get(name)?.[0]
  }

  /** All query arguments, decoded, in order. */
  queryAll(): ReadonlyMap<string, readonly string[]> {
    if (this.#query !== undefined) return this.#query
    const args = new Map<string, string[]>()
    for (const [name, value] of new URLSearchParams(this.search)) {
      const values = args.get(name)
      if (values === undefined) args.set(name, [value])
      else values.push(value)
    }
    this.#query = args
    return args
  }
}

interface Destination {
  readonly target: string
  readonly host: string
  readonly path: string
  readonly search: string
}

const NOWHERE: Destination = { target: '/', host: '', path: '/', search: '' }

/** Where a request goes. Throws GatewayError 400 for what no two readers would understand alike. */
function destination(message: IncomingMessage, headers: HeaderList): Destination {
  let target = message.url ?? '/'
  if (message.httpVersion !== '1.1' && message.httpVersion !== '1.0')
    throw new GatewayError(505, 'unsupported_version', 'only HTTP/1.1 and HTTP/1.0 are spoken here')
  const hosts = headers.all('host')
  if (hosts.length > 1) throw new GatewayError(400, 'bad_host', '400 Bad Request: more than one Host')
  // RFC 9112 3.2
  if (hosts.length === 0 && message.httpVersion === '1.1')
    throw new GatewayError(400, 'bad_host', '400 Bad Request: no Host')
  let authority = hosts[0]
  if (!target.startsWith('/')) {
    const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(target)
    if (absolute === null) throw new GatewayError(400, 'bad_target', '400 Bad Request: unsupported request target')
    // RFC 9112 3.2.2: the target's host takes the place of the Host field, for whoever comes after us too.
    authority = absolute[1]!
    headers.set('Host', authority)
    target = absolute[2]!.startsWith('/') ? absolute[2]! : `/${absolute[2]}`
  }
  const host = authority === undefined ? '' : hostOf(authority)
  const fragment = target.indexOf('#')
  const seen = fragment < 0 ? target : target.slice(0, fragment)
  const question = seen.indexOf('?')
  const search = question < 0 ? '' : seen.slice(question + 1)
  return { target, host, path: normalisePath(question < 0 ? seen : seen.slice(0, question)), search }
}

// Stricter than nginx in what may follow the host, which is a port or nothing.
const AUTHORITY = /^(\[[\da-f:.]+\]|[^\s/:@[\]]+)(?::\d*)?$/

/** nginx's `$host`: lower-case, without port and without the dot at the end that stands for the root of all names. */
function hostOf(authority: string): string {
  const named = AUTHORITY.exec(authority.toLowerCase())?.[1] ?? ''
  const host = named.endsWith('.') ? named.slice(0, -1) : named
  if (host === '' || named.includes('..')) throw new GatewayError(400, 'bad_host', '400 Bad Request: Host is no host')
  return host
}

const KEPT_OPTIONS = new Set(['close', 'keep-alive', 'upgrade', 'host', 'content-length', 'transfer-encoding'])

/**
 * Fields that Connection names are meant for us alone (RFC 9110 7.6.1) and go on arrival: if they went on departure, a
 * client could name, and so take away, what a plugin tells the upstream. What frames and routes the message stays.
 */
function dropNamed(headers: HeaderList): void {
  const values = headers.all('connection')
  if (values.length === 0 || (values.length === 1 && /^(?:keep-alive|close)$/i.test(values[0]!))) return
  const options = new Set(values.flatMap(value => value.toLowerCase().split(',')).map(option => option.trim()))
  const kept = [...options].filter(option => KEPT_OPTIONS.has(option))
  for (const option of kept) options.delete(option)
  // One pass, however many are named: both lists are the client's.
  const { raw } = headers
  headers.raw = raw.filter((_, at) => !options.has(raw[at - (at % 2)]!.toLowerCase()))
  headers.set('Connection', kept.join(', '))
}

/**
 * The path that routes are matched against: percent-decoded, `.` and `..` resolved, slashes merged (nginx; facts core 2.2).
 * Throws GatewayError 400 for a broken escape, a NUL, or a path that leaves the root.
 */
export function normalisePath(raw: string): string {
  if (!/%|\/\/|\/\.|\0/.test(raw)) return raw
  let path: string
  try {
    path = decodeURIComponent(raw)
  } catch {
    path = decodeBytes(raw)
  }
  if (path.includes('\0')) throw new GatewayError(400, 'bad_path', '400 Bad Request: NUL in path')
  const kept: string[] = []
  const segments = path.split('/')
  for (const [at, segment] of segments.entries()) {
    const last = at === segments.length - 1
    if (segment === '' || segment === '.') {
      if (last && kept.at(-1) !== '') kept.push('')
      continue
    }
    if (segment === '..') {
      if (kept.length === 0) throw new GatewayError(400, 'bad_path', '400 Bad Request: path leaves the root')
      kept.pop()
      if (last) kept.push('')
      continue
    }
    kept.push(segment)
  }
  return `/${kept.join('/')}`
}

/** Decodes escapes that are no UTF-8 byte by byte, so that a path in another encoding still has one form. */
function decodeBytes(raw: string): string {
  return raw.replace(/%(.{0,2})/gs, (_, digits: string) => {
    if (!/^[0-9a-f]{2}$/i.test(digits))
      throw new GatewayError(400, 'bad_path', '400 Bad Request: broken escape in path')
    return String.fromCharCode(Number.parseInt(digits, 16))
  })
}
