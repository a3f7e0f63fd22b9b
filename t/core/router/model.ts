// Which route serves a request, decided the slowest and plainest way: all candidates, sorted as facts core 2.3 to 2.5 say.
import fc from 'fast-check'
import type { RouterName } from '../../../core/router/routers.ts'

/** What a generated request says. */
export interface Asking {
  method: string
  /** As in the Host field. */
  authority: string
  /** As on the request line. */
  target: string
  /** What the target's path is, decoded and tidied. */
  path: string
  remoteAddress: string
  args: { x?: string | undefined; n?: string | undefined }
  h: string | undefined
}

export interface RouteValue {
  uris: string[]
  hosts?: string[] | undefined
  methods?: string[] | undefined
  remote_addrs?: string[] | undefined
  vars?: unknown[] | undefined
  priority?: number | undefined
  status?: number | undefined
}

/** Changes of routes by id, one batch after the other; undefined deletes. */
export type History = readonly (readonly { id: string; value: RouteValue | undefined }[])[]

/** Expressions, and what each means. */
const EXPRESSIONS: readonly (readonly [vars: unknown[], holds: (asking: Asking) => boolean])[] = [
  [[], () => true],
  [[['arg_x', '==', '1']], ({ args }) => args.x === '1'],
  [[['arg_x', '==', null]], ({ args }) => args.x === undefined],
  [[['arg_x', '~=', '1']], ({ args }) => args.x !== '1'],
  [[['arg_x', 'in', ['1', '2']]], ({ args }) => args.x === '1' || args.x === '2'],
  [[['arg_n', '>', 3]], ({ args }) => args.n === '5'],
  [[['arg_n', '<=', 3]], ({ args }) => args.n === '2'],
  [[['arg_n', '!', '<', 3]], ({ args }) => args.n !== '2'],
  [[['http_h', '~~', '^ab']], ({ h }) => h === 'abc'],
  [[['http_h', '~*', 'abc']], ({ h }) => h !== undefined],
  [[['http_h', '!', '~~', 'abc']], ({ h }) => h !== 'abc'],
  [[['remote_addr', 'ipmatch', ['10.0.0.0/8']]], ({ remoteAddress }) => remoteAddress.startsWith('10.')],
  [[['uri', '~~', '/b$']], ({ path }) => path.endsWith('/b')],
  [[['request_method', 'has', 'GET']], () => false],
  [['OR', ['arg_x', '==', '2'], ['http_h', '==', 'abc']], ({ args, h }) => args.x === '2' || h === 'abc'],
  [['!AND', ['arg_x', '==', '1'], ['arg_n', '==', '2']], ({ args }) => !(args.x === '1' && args.n === '2')],
  [
    [
      ['arg_x', '==', '1'],
      ['request_method', '==', 'GET'],
    ],
    ({ args, method }) => args.x === '1' && method === 'GET',
  ],
]
const meaning = new Map(EXPRESSIONS.map(([vars, holds]) => [JSON.stringify(vars), holds]))

/** Networks, and who is in them. */
const NETWORKS: readonly (readonly [network: string, has: (address: string) => boolean])[] = [
  ['10.0.0.0/8', address => address.startsWith('10.')],
  ['10.1.2.3', address => address === '10.1.2.3'],
  ['10.1.2.0/31', () => false],
  ['0.0.0.0/0', address => address.includes('.')],
  ['2001:db8::/32', address => address.startsWith('2001:db8:')],
]
const members = new Map(NETWORKS)

/** The route that serves, and the patterns it is served by. */
export function decide(
  router: RouterName,
  routes: ReadonlyMap<string, RouteValue>,
  asking: Asking,
): { id: string; uri: string; host: string } | undefined {
  const candidates = [...routes].flatMap(([id, route]) => {
    if (route.status === 0 || !accepts(route, asking)) return []
    const hosts = route.hosts ?? ['']
    const fitting = hosts.map(host => host.toLowerCase()).filter(host => hostFits(router, host, asking))
    // Without a tree of hosts the first that fits is named, and none is better than another.
    const named = router === 'radixtree_host_uri' ? fitting : fitting.slice(0, 1)
    return named.flatMap(host =>
      route.uris
        .map(uri => ({ uri, ...prefixOf(router, uri) }))
        .filter(({ uri, prefix, exact }) =>
          exact ? asking.path === uri : asking.path.startsWith(prefix) && segmentsFit(uri, asking.path),
        )
        .map(found => ({ ...found, id, host, priority: route.priority ?? 0 })),
    )
  })
  const hostRank = (host: string) => (host === '' ? -1 : host.startsWith('*') ? host.length : 1_000)
  const [first] = candidates.sort(
    (a, b) =>
      (router === 'radixtree_host_uri' ? hostRank(b.host) - hostRank(a.host) : 0) ||
      Number(b.exact) - Number(a.exact) ||
      b.prefix.length - a.prefix.length ||
      b.priority - a.priority ||
      b.uri.length - a.uri.length ||
      (a.id < b.id ? -1 : 1),
  )
  return first && { id: first.id, uri: first.uri, host: first.host }
}

function accepts({ methods = [], remote_addrs, vars }: RouteValue, asking: Asking): boolean {
  if (methods.length > 0 && !methods.includes(asking.method)) return false
  if (remote_addrs !== undefined && !remote_addrs.some(each => members.get(each)!(asking.remoteAddress))) return false
  return vars === undefined || meaning.get(JSON.stringify(vars))!(asking)
}

function hostFits(router: RouterName, pattern: string, { authority }: Asking): boolean {
  const whole = authority.toLowerCase()
  const host = whole.replace(/:\d+$/, '')
  if (pattern === '' || pattern === '*') return true
  if (pattern.startsWith('*')) {
    return host.endsWith(pattern.slice(1)) && !(pattern.startsWith('*.') && host === pattern.slice(1))
  }
  return pattern === host || (router !== 'radixtree_host_uri' && pattern === whole)
}

function prefixOf(router: RouterName, uri: string): { prefix: string; exact: boolean } {
  const [beforeColon = '', ...colons] = router === 'radixtree_uri_with_parameter' ? uri.split(':') : [uri]
  if (colons.length > 0) return { prefix: beforeColon, exact: false }
  const [beforeStar = '', ...stars] = uri.split('*')
  return { prefix: beforeStar, exact: stars.length === 0 }
}

/** The segment check: only patterns with a segment that begins with a wildcard have one. */
export function segmentsFit(pattern: string, path: string): boolean {
  const segments = pattern.split('/')
  if (!segments.some(segment => /^[*:]/.test(segment))) return true
  return fitsFrom(segments, 0, path)
}

function fitsFrom(segments: readonly string[], at: number, rest: string): boolean {
  const segment = segments[at]!
  const last = at === segments.length - 1
  // Every way to let this segment take some of the rest.
  for (let end = 0; end <= rest.length; end++) {
    const taken = rest.slice(0, end)
    const takes = segment.startsWith('*') || (segment.startsWith(':') ? /^[^/]+$/.test(taken) : taken === segment)
    if (!takes) continue
    if (last ? end === rest.length : rest[end] === '/' && fitsFrom(segments, at + 1, rest.slice(end + 1))) return true
  }
  return false
}

const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 })
const segment = fc.constantFrom('', 'a', 'b', 'ab', 'aa', '*', '*r', ':p', 'a*', 'a*b', 'v:w')
const uri = fc.array(segment, { minLength: 1, maxLength: 5 }).map(segments => `/${segments.join('/')}`)
const host = fc.constantFrom('a.com', 'A.com', 'b.a.com', '*.a.com', '*a.com', '*.COM', '*', 'a.com:80', '[::1]')

const route: fc.Arbitrary<RouteValue> = fc.record({
  uris: fc.uniqueArray(uri, { minLength: 1, maxLength: 3 }),
  hosts: maybe(fc.uniqueArray(host, { minLength: 1, maxLength: 3 })),
  methods: maybe(fc.subarray(['GET', 'POST', 'HEAD'])),
  remote_addrs: maybe(fc.uniqueArray(fc.constantFrom(...NETWORKS.map(([network]) => network)), { minLength: 1 })),
  vars: maybe(fc.constantFrom(...EXPRESSIONS.map(([vars]) => vars))),
  priority: maybe(fc.integer({ min: -1, max: 1 })),
  status: fc.constantFrom(undefined, 1, 1, 1, 0),
})

const change = fc.record({
  id: fc.constantFrom('1', '2', '3', '10', 'a', 'b', 'c', 'd'),
  value: fc.oneof({ weight: 1, arbitrary: fc.constant(undefined) }, { weight: 5, arbitrary: route }),
})
export const history: fc.Arbitrary<History> = fc.array(fc.array(change, { maxLength: 8 }), {
  minLength: 1,
  maxLength: 3,
})

/** A path and one way of many to write it: characters escaped, slashes doubled, detours that lead back. */
const written = fc
  .record({
    segments: fc.array(fc.constantFrom('a', 'b', 'ab', 'aa', 'aab', ':p', 'a*', 'v:w', 'é'), { maxLength: 5 }),
    folder: fc.boolean(),
    ways: fc.array(fc.constantFrom('', '/', '/.', '/x/..', '%2f', '/%2E', '/x/%2e.'), { minLength: 5, maxLength: 5 }),
    escaped: fc.nat(),
  })
  .map(({ segments, folder, ways, escaped }) => {
    const raw = segments.map((each, at) => `${ways[at]}/${escapeSome(each, escaped >> at)}`).join('')
    const tail = folder || segments.length === 0 ? '/' : ''
    return {
      path: `/${segments.join('/')}${segments.length === 0 ? '' : tail}`,
      raw: (raw.startsWith('/') ? '' : '/') + raw + tail,
    }
  })

function escapeSome(text: string, which: number): string {
  return [...text]
    .map((letter, at) => {
      if (letter === 'é') return '%c3%A9'
      return (which >> at) % 2 === 0 ? letter : `%${letter.charCodeAt(0).toString(16)}`
    })
    .join('')
}

export const asking: fc.Arbitrary<Asking> = fc
  .record({
    written,
    method: fc.constantFrom('GET', 'POST', 'HEAD', 'PURGE'),
    authority: fc.constantFrom(
      'a.com',
      'A.COM',
      'a.com:80',
      'a.com:81',
      'b.a.com',
      'c.b.a.com:80',
      'xa.com',
      '[::1]',
      '.a.com',
    ),
    remoteAddress: fc.constantFrom('10.0.0.1', '10.1.2.3', '192.168.1.1', '2001:db8::1'),
    args: fc.record({
      x: fc.constantFrom(undefined, '1', '2'),
      n: fc.constantFrom(undefined, '2', '5', 'abc'),
    }),
    h: fc.constantFrom(undefined, 'abc', 'xABc'),
  })
  .map(({ written: { path, raw }, ...rest }) => {
    const args = Object.entries(rest.args).filter(([, value]) => value !== undefined)
    const search = args.map(([name, value]) => `${name}=${value}`).join('&')
    return { ...rest, path, target: raw + (search === '' ? '' : `?${search}`) }
  })
