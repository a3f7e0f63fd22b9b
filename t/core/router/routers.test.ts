// The three routers: what sets them apart (facts core 2.1 to 2.4), and all of them against the model.
import assert from 'node:assert/strict'
import type { Pattern } from '../../../core/router/router.ts'
import { makeRouter, type RouterName } from '../../../core/router/routers.ts'
import { compareRouters } from './agreement.ts'

describe('the routers', () => {
  const routes: Record<string, Partial<Pattern>> = {
    exact: { uris: ['/users/me'] },
    tree: { uris: ['/users/*'], hosts: ['a.com'] },
    id: { uris: ['/users/:id'] },
    posts: { uris: ['/users/:id/posts/*rest'] },
    port: { uris: ['/port'], hosts: ['a.com:8080'] },
    verb: { uris: ['/v1/ns:verb'] },
    all: { uris: ['/*'], priority: 100 },
    below: { uris: ['/below'], hosts: ['*.a.com'] },
  }
  const table: [authority: string, path: string, served: Record<RouterName, string>][] = [
    ['a.com', '/users/me', same('tree', 'exact', 'exact')],
    ['b.com', '/users/me', same('exact', 'exact', 'exact')],
    ['a.com', '/users/7', same('tree', 'tree', 'id')],
    ['b.com', '/users/7', same('all', 'all', 'id')],
    ['b.com', '/users/7/', same('all', 'all', 'all')],
    ['b.com', '/users/7/posts/1/2', same('all', 'all', 'posts')],
    ['b.com', '/users/:id', same('id', 'id', 'id')],
    ['a.com:8080', '/port', same('all', 'port', 'port')],
    ['A.COM:8080', '/port', same('all', 'port', 'port')],
    ['a.com', '/port', same('all', 'all', 'all')],
    ['b.com', '/v1/ns:verb', same('verb', 'verb', 'verb')],
    ['b.com', '/v1/nsx', same('all', 'all', 'verb')],
    ['x.y.a.com', '/below', same('below', 'below', 'below')],
    ['a.com', '/below', same('all', 'all', 'all')],
  ]
  for (const [authority, path, served] of table) {
    it(`serve ${path} of ${authority} by ${[...new Set(Object.values(served))].join(', ')}`, () => {
      for (const [name, id] of Object.entries(served)) {
        const router = makeRouter<{ id: string }>(name as RouterName)
        for (const [id, pattern] of Object.entries(routes))
          router.add({ uris: [], hosts: [], priority: 0, ...pattern }, { id })
        const host = authority.toLowerCase().replace(/:\d+$/, '')
        const found = router.find({ host, path, headers: new Map([['host', authority]]) }, () => true)
        assert.equal(found?.value.id, id, name)
        assert.equal(found?.host, routes[id]!.hosts?.[0] ?? '', name)
      }
    })
  }

  it('agree with the model on every history of routes and every request', async function () {
    this.timeout(120_000)
    await compareRouters(3_000, 20_261_120)
  })
})

function same(host: string, uri: string, parameter: string): Record<RouterName, string> {
  return { radixtree_host_uri: host, radixtree_uri: uri, radixtree_uri_with_parameter: parameter }
}
