// Which pattern a path is served by: the tables of facts core 2.3 and 2.4, and a slow model that is obviously right.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { PathIndex, type Target } from '../../../core/router/path-index.ts'
import { segmentsFit } from './model.ts'

const everyone = () => true
const way = <T>(pattern: string, priority: number, value: T) => ({ group: 0, pattern, priority, value })

/** The pattern that serves the path, of patterns of equal priority. */
function serving(patterns: readonly string[], path: string): string | undefined {
  const index = new PathIndex<Target>()
  for (const pattern of patterns) index.add(way(pattern, 0, { id: pattern }))
  return index.find(0, path, everyone)?.pattern
}

describe('the index of paths', () => {
  const table: { pattern: string; yes: string[]; no: string[] }[] = [
    { pattern: '/a/b', yes: ['/a/b'], no: ['/a', '/a/', '/a/b/', '/a/bc', '/A/B', '/'] },
    { pattern: '/', yes: ['/'], no: ['/a'] },
    { pattern: '/a/*', yes: ['/a/', '/a/b', '/a/b/c'], no: ['/a', '/ab', '/'] },
    { pattern: '/a*', yes: ['/a', '/ab', '/a/b'], no: ['/', '/b'] },
    { pattern: '/*', yes: ['/', '/a', '/a/b/'], no: [] },
    { pattern: '/a/*/b', yes: ['/a/x/b', '/a/x/y/b', '/a/b/b'], no: ['/a/b', '/a/x/b/c', '/a/x/bb', '/a/xb'] },
    { pattern: '/a/*rest', yes: ['/a/', '/a/x/y'], no: ['/a'] },
    { pattern: '/foo*bar', yes: ['/foo', '/foobar', '/foo/x'], no: ['/fo'] },
    { pattern: '/a/:x/*/b', yes: ['/a/:x/y/b'], no: ['/a/1/y/b', '/a/:x/b'] },
    { pattern: '/a/:x/b*', yes: ['/a/:x/b*'], no: ['/a/:x/b', '/a/:x/bc', '/a/1/b'] },
    { pattern: '/a/*/:id', yes: ['/a/x/1', '/a/x/y/1'], no: ['/a/x/', '/a/1', '/a/'] },
    { pattern: '/a/*/:id/c', yes: ['/a/x/1/c', '/a/x/y/z/c'], no: ['/a/1/c', '/a/x/1/d'] },
    { pattern: '/a/*/b/*', yes: ['/a/x/b/', '/a/x/b/y/z', '/a/b/b/b'], no: ['/a/x/b', '/a/b/x'] },
    { pattern: '/v1/ns:verb', yes: ['/v1/ns:verb'], no: ['/v1/ns', '/v1/nsx'] },
    { pattern: '/v1/:x', yes: ['/v1/:x'], no: ['/v1/1'] },
    { pattern: '/a.b/*/c+', yes: ['/a.b/x/c+'], no: ['/aXb/x/c+', '/a.b/x/cc'] },
    { pattern: '/a*/*', yes: ['/a*/', '/a*/x'], no: ['/a', '/ax', '/ax/y'] },
  ]
  for (const { pattern, yes, no } of table) {
    it(`serves ${yes.join(' ')}${no.length === 0 ? '' : `, not ${no.join(' ')},`} by ${pattern}`, () => {
      for (const path of yes) assert.equal(serving([pattern], path), pattern, path)
      for (const path of no) assert.equal(serving([pattern], path), undefined, path)
    })
  }

  it('takes the exact path first, whatever the priority of a prefix', () => {
    const index = new PathIndex<Target>()
    index.add(way('/*', 100, { id: 'all' }))
    index.add(way('/hello', 0, { id: 'hello' }))
    assert.equal(index.find(0, '/hello', everyone)?.value.id, 'hello')
  })

  it('takes the longest literal prefix first, whatever the priority, and falls back to shorter ones', () => {
    const index = new PathIndex<Target>()
    index.add(way('/a/*', 100, { id: 'short' }))
    index.add(way('/a/b/*', 0, { id: 'long' }))
    index.add(way('/*', 1000, { id: 'all' }))
    assert.equal(index.find(0, '/a/b/c', everyone)?.value.id, 'long')
    assert.equal(index.find(0, '/a/b/c', ({ id }) => id !== 'long')?.value.id, 'short')
    assert.equal(index.find(0, '/a/b/c', ({ id }) => id === 'all')?.value.id, 'all')
    assert.equal(
      index.find(0, '/a/b/c', () => false),
      undefined,
    )
  })

  it('orders one bucket by priority, then by length of the pattern, then by id', () => {
    const index = new PathIndex<Target>()
    index.add(way('/a/*', 0, { id: 'b' }))
    index.add(way('/a/*/x', 0, { id: 'longer' }))
    index.add(way('/a/*', 1, { id: 'important' }))
    index.add(way('/a/*', 0, { id: 'a' }))
    const order: string[] = []
    index.find(0, '/a/b/x', ({ id }) => {
      order.push(id)
      return false
    })
    assert.deepEqual(order, ['important', 'longer', 'a', 'b'])
  })

  it('orders routes of the same exact path by priority, then by id, and goes on to prefixes', () => {
    const index = new PathIndex<Target>()
    index.add(way('/x', 0, { id: 'b' }))
    index.add(way('/x', 0, { id: 'a' }))
    index.add(way('/x', 5, { id: 'important' }))
    index.add(way('/*', 9, { id: 'all' }))
    const order: string[] = []
    index.find(0, '/x', ({ id }) => {
      order.push(id)
      return false
    })
    assert.deepEqual(order, ['important', 'a', 'b', 'all'])
  })

  it('agrees with the model on every set of routes', () => {
    const segment = fc.constantFrom('', 'a', 'b', 'ab', 'aa', '*', '*r', ':p', 'a*', 'a*b')
    const pattern = fc.array(segment, { minLength: 1, maxLength: 5 }).map(segments => `/${segments.join('/')}`)
    const literal = fc.constantFrom('', 'a', 'b', 'ab', 'aa', 'aab', ':p', 'a*')
    const path = fc.array(literal, { minLength: 1, maxLength: 6 }).map(segments => `/${segments.join('/')}`)
    const route = fc.record({ pattern, priority: fc.integer({ min: -1, max: 1 }), accepted: fc.boolean() })
    const routes = fc.array(route, { maxLength: 12 }).map(all => all.map((each, at) => ({ ...each, id: `${at}` })))
    const paths = fc.array(path, { minLength: 1, maxLength: 8 })
    fc.assert(
      fc.property(routes, paths, fc.infiniteStream(fc.nat()), (all, asked, random) => {
        const index = new PathIndex<Route>()
        const added = shuffled(all, random)
        for (const each of added) index.add(way(each.pattern, each.priority, each))
        // What is added and removed again leaves no trace.
        const kept = all.filter(({ id }) => Number(id) % 3 !== 0)
        for (const known of [all, kept]) {
          for (const each of asked) {
            assert.equal(index.find(0, each, ({ accepted }) => accepted)?.value, model(known, each), each)
          }
          if (known === all) {
            const gone = all.filter(each => !kept.includes(each))
            for (const each of shuffled(gone, random)) index.remove(way(each.pattern, each.priority, each))
          }
        }
        for (const each of shuffled(kept, random)) index.remove(way(each.pattern, each.priority, each))
        for (const each of asked) assert.equal(index.find(0, each, everyone), undefined)
      }),
      { numRuns: 300, seed: 20_261_120 },
    )
  })

  it('takes no longer for a path that was made to try every wildcard everywhere', () => {
    const index = new PathIndex<Target>()
    index.add(way('/a/*/b/*/c/*/d/*/e', 0, { id: '1' }))
    const started = process.cpuUsage()
    // 60 KB are what a request head can hold; trying all four wildcards everywhere would take years.
    assert.equal(index.find(0, `/a${'/b/c/d'.repeat(10_000)}`, everyone), undefined)
    assert.ok(process.cpuUsage(started).user < 500_000)
  })
})

function shuffled<T>(all: readonly T[], random: Iterator<number>): T[] {
  const keyed = all.map(each => ({ each, key: Number(random.next().value) }))
  return keyed.sort((a, b) => a.key - b.key).map(({ each }) => each)
}

interface Route {
  id: string
  pattern: string
  priority: number
  accepted: boolean
}

/** All candidates, sorted as the facts say; the first accepted one serves. */
function model(routes: readonly Route[], path: string): Route | undefined {
  const prefixOf = ({ pattern }: Route) => pattern.split('*')[0]!
  const wild = ({ pattern }: Route) => pattern.includes('*')
  return routes
    .filter(route =>
      wild(route) ? path.startsWith(prefixOf(route)) && segmentsFit(route.pattern, path) : route.pattern === path,
    )
    .sort(
      (a, b) =>
        Number(wild(a)) - Number(wild(b)) ||
        prefixOf(b).length - prefixOf(a).length ||
        b.priority - a.priority ||
        b.pattern.length - a.pattern.length ||
        (a.id < b.id ? -1 : 1),
    )
    .find(({ accepted }) => accepted)
}
