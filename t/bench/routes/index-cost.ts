// What the index of routes costs by itself: memory, and the time of a look-up, an insertion and a deletion.
import type { Pattern, Router } from '../../../core/router/router.ts'
import { makeRouter } from '../../../core/router/routers.ts'
import { heapInUse, quietNanos } from './meter.ts'
import { pathOf, uriOf } from './population.ts'

/** Of so many routes. */
export interface IndexCost {
  readonly routes: number
  readonly matchNanos: number
  readonly insertMicros: number
  readonly deleteMicros: number
  readonly bytesPerRoute: number
  readonly buildMillis: number
}

/** The same for requests that have many candidates, or routes that share all but the host. */
export interface SpecialCost {
  readonly what: string
  readonly matchNanos: number
}

interface Route extends Pattern {
  readonly id: string
}

type Asked = Parameters<Router<Route>['find']>[0]

const EDITS = 300
/** So many requests are asked in a slice, and the next ones in the next: what was looked at last is not at hand. */
const LOOKS = 1_000
const REQUESTS = 50_000
const everyone = () => true

/** Routes over distinct paths, without hosts. */
export function indexCost(count: number): IndexCost {
  const routes = Array.from({ length: count + EDITS }, (_, at) => route(at, { uris: [uriOf(at)] }))
  const present = routes.slice(0, count)
  const others = routes.slice(count)
  const before = heapInUse()
  const { router, millis } = build(present)
  const bytesPerRoute = (heapInUse() - before) / count
  const add = () => {
    for (const each of others) router.add(each, each)
  }
  const remove = () => {
    for (const each of others) router.remove(each, each)
  }
  const insertMicros = quietNanos(EDITS, add, remove) / 1e3
  add()
  const deleteMicros = quietNanos(EDITS, remove, add) / 1e3
  remove()
  return {
    routes: count,
    matchNanos: matchNanos(router, count, at => asked('gateway.test', pathOf(at))),
    insertMicros,
    deleteMicros,
    bytesPerRoute,
    buildMillis: millis,
  }
}

export function specialCosts(): SpecialCost[] {
  const many = 100_000
  const hosts = (host: (at: number) => string) =>
    build(Array.from({ length: many }, (_, at) => route(at, { uris: ['/v1/chat'], hosts: [host(at)] }))).router
  const same = build(Array.from({ length: 100 }, (_, at) => route(at, { uris: ['/v1/chat'] }))).router
  const last = { find: (of: Asked) => same.find(of, ({ id }) => id === 'route-99') }
  return [
    {
      what: '100 routes of one path, the last takes it',
      matchNanos: nanos(last, 1, () => asked('a.test', '/v1/chat')),
    },
    {
      what: `${many} routes of one path, each with its host`,
      matchNanos: matchNanos(
        hosts(at => `tenant-${at}.example.com`),
        many,
        at => asked(`tenant-${at}.example.com`, '/v1/chat'),
      ),
    },
    {
      what: `${many} routes of one path, each with a wildcard host`,
      matchNanos: matchNanos(
        hosts(at => `*.tenant-${at}.example.com`),
        many,
        at => asked(`eu.tenant-${at}.example.com`, '/v1/chat'),
      ),
    },
  ]
}

function route(at: number, pattern: Partial<Pattern>): Route {
  return { id: `route-${at}`, uris: [], hosts: [], priority: 0, ...pattern }
}

const noHeaders = new Map<string, string>()
function asked(host: string, path: string): Asked {
  return { host, path, headers: noHeaders }
}

function build(routes: readonly Route[]): { router: Router<Route>; millis: number } {
  const router = makeRouter<Route>('radixtree_host_uri')
  const began = performance.now()
  for (const each of routes) router.add(each, each)
  return { router, millis: performance.now() - began }
}

function matchNanos(router: Router<Route>, count: number, of: (at: number) => Asked): number {
  return nanos({ find: each => router.find(each, everyone) }, count, of)
}

/** Requests come in no order, with texts that have just been made, as a parser makes them; that is subtracted. */
function nanos(router: { find(of: Asked): unknown }, count: number, of: (at: number) => Asked): number {
  const requests = Math.min(count, REQUESTS)
  const texts = Array.from({ length: requests }, (_, at) => of((at * 7_919) % count)).flatMap(({ host, path }) => [
    host,
    path,
  ])
  // All in one, so that they are read as a socket is: one behind the other.
  const bytes = Buffer.from(texts.join(''), 'latin1')
  const ends = Int32Array.from(
    texts,
    (
      end => text =>
        (end += text.length)
    )(0),
  )
  const text = (at: number) => bytes.toString('latin1', at === 0 ? 0 : ends[at - 1], ends[at])
  let misses = 0
  const run = (find: (of: Asked) => unknown) =>
    quietNanos(LOOKS, slice => {
      for (let look = 0; look < LOOKS; look++) {
        const at = ((slice * LOOKS + look) % requests) * 2
        if (find(asked(text(at), text(at + 1))) === undefined) misses++
      }
    })
  const alone = run(each => each)
  const cost = run(each => router.find(each)) - alone
  if (misses > 0) throw new Error(`${misses} requests found no route`)
  return cost
}
