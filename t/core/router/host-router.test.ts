// Which route a host and a path are served by: facts core 2.3 and 2.4, and a slow model that is obviously right.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { HostRouter } from '../../../core/router/host-router.ts'
import type { Target } from '../../../core/router/path-index.ts'

const everyone = () => true
const asked = (host: string, path: string) => ({ host, path, headers: new Map() })

/** What a host is served by, of routes for `/*` named by their host pattern. */
function serving(hosts: readonly string[], host: string): string | undefined {
  const router = new HostRouter<Target>()
  for (const each of hosts) router.add({ uris: ['/*'], hosts: each === '' ? [] : [each], priority: 0 }, { id: each })
  return router.find(asked(host, '/'), everyone)?.value.id
}

describe('the host router', () => {
  const table: { pattern: string; yes: string[]; no: string[] }[] = [
    { pattern: 'foo.com', yes: ['foo.com'], no: ['a.foo.com', 'xfoo.com', 'com', ''] },
    { pattern: 'Foo.COM', yes: ['foo.com'], no: [] },
    { pattern: '*.foo.com', yes: ['a.foo.com', 'a.b.foo.com'], no: ['foo.com', 'xfoo.com', '.foo.com'] },
    { pattern: '*.FOO.com', yes: ['a.foo.com'], no: [] },
    { pattern: '*foo.com', yes: ['foo.com', 'xfoo.com', 'a.foo.com'], no: ['foo.com.x'] },
    { pattern: '*', yes: ['foo.com', 'x', ''], no: [] },
    { pattern: '', yes: ['foo.com', 'x', ''], no: [] },
    { pattern: 'foo.com:8080', yes: [], no: ['foo.com'] },
    { pattern: '[::1]', yes: ['[::1]'], no: ['::1'] },
  ]
  for (const { pattern, yes, no } of table) {
    it(`serves ${yes.join(' ') || 'nothing'}${no.length === 0 ? '' : `, not ${no.join(' ')},`} by host "${pattern}"`, () => {
      for (const host of yes) assert.equal(serving([pattern], host), pattern, host)
      for (const host of no) assert.equal(serving([pattern], host), undefined, host)
    })
  }

  it('prefers the exact host, then the longest wildcard, then a lone star, then routes without host', () => {
    const all = ['', '*', '*.com', '*.b.com', '*.a.b.com', 'x.a.b.com']
    for (let known = all.length; known > 0; known--) {
      assert.equal(serving(all.slice(0, known), 'x.a.b.com'), all[known - 1])
    }
  })

  it('prefers a route with a host and a wild path to one with an exact path and no host', () => {
    const router = new HostRouter<Target>()
    router.add({ uris: ['/exact'], hosts: [], priority: 100 }, { id: 'exact' })
    router.add({ uris: ['/*'], hosts: ['a.com'], priority: 0 }, { id: 'host' })
    assert.equal(router.find(asked('a.com', '/exact'), everyone)?.value.id, 'host')
    assert.equal(router.find(asked('b.com', '/exact'), everyone)?.value.id, 'exact')
  })

  it('falls through from host to host when no route of a level takes the request', () => {
    const router = new HostRouter<Target>()
    router.add({ uris: ['/one'], hosts: ['x.b.com'], priority: 0 }, { id: 'exact' })
    router.add({ uris: ['/*'], hosts: ['*.b.com'], priority: 0 }, { id: 'wild' })
    router.add({ uris: ['/*'], hosts: ['*.com'], priority: 0 }, { id: 'wilder' })
    router.add({ uris: ['/*'], hosts: [], priority: 0 }, { id: 'any' })
    assert.equal(router.find(asked('x.b.com', '/one'), everyone)?.value.id, 'exact')
    assert.equal(router.find(asked('x.b.com', '/two'), everyone)?.value.id, 'wild')
    const order: string[] = []
    router.find(asked('x.b.com', '/one'), ({ id }) => {
      order.push(id)
      return false
    })
    assert.deepEqual(order, ['exact', 'wild', 'wilder', 'any'])
  })

  it('serves every combination of the hosts and paths of a route, and says which patterns matched', () => {
    const router = new HostRouter<Target>()
    router.add({ uris: ['/a', '/b/*'], hosts: ['One.com', '*.two.com'], priority: 0 }, { id: 'route' })
    router.add({ uris: ['/c'], hosts: [], priority: 0 }, { id: 'any' })
    assert.deepEqual(router.find(asked('one.com', '/a'), everyone), {
      value: { id: 'route' },
      uri: '/a',
      host: 'one.com',
    })
    assert.deepEqual(router.find(asked('x.two.com', '/b/c'), everyone), {
      value: { id: 'route' },
      uri: '/b/*',
      host: '*.two.com',
    })
    assert.deepEqual(router.find(asked('x.two.com', '/c'), everyone), { value: { id: 'any' }, uri: '/c', host: '' })
  })

  it('agrees with the model on every set of hosts', () => {
    const label = fc.constantFrom('a', 'b', 'ab')
    const name = fc.array(label, { minLength: 1, maxLength: 4 }).map(labels => labels.join('.'))
    const pattern = fc.oneof(
      name,
      name.map(each => `*.${each}`),
      name.map(each => `*${each}`),
      fc.constant('*'),
      fc.constant(''),
    )
    fc.assert(
      fc.property(fc.uniqueArray(pattern, { maxLength: 8 }), fc.array(name, { minLength: 1 }), (patterns, hosts) => {
        for (const host of hosts) assert.equal(serving(patterns, host), model(patterns, host), host)
      }),
      { numRuns: 300, seed: 20_261_120 },
    )
  })

  it('takes no longer for a host that fills the request head', () => {
    const router = new HostRouter<Target>()
    router.add({ uris: ['/*'], hosts: ['*.foo.com'], priority: 0 }, { id: 'wild' })
    const host = 'a.'.repeat(30_000)
    const started = process.cpuUsage()
    for (let times = 0; times < 100; times++) assert.equal(router.find(asked(host, '/'), everyone), undefined)
    assert.equal(router.find(asked(`${host}foo.com`, '/'), everyone)?.value.id, 'wild')
    assert.ok(process.cpuUsage(started).user < 500_000)
  })
})

/** The most specific pattern that fits. */
function model(patterns: readonly string[], host: string): string | undefined {
  const fitting = patterns.filter(pattern => {
    if (pattern === '') return true
    if (!pattern.startsWith('*')) return pattern === host
    return host.endsWith(pattern.slice(1)) && (!pattern.startsWith('*.') || host.length >= pattern.length)
  })
  const rank = (pattern: string) => (pattern === '' ? -1 : pattern.startsWith('*') ? pattern.length : 1_000)
  return fitting.sort((a, b) => rank(b) - rank(a))[0]
}
