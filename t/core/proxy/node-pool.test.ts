// The nodes that requests go to: the healthy ones, all when none is, and those that came back little by little.
import assert from 'node:assert/strict'
import { silent } from '../../../core/observe/log.ts'
import { type BalancerType, balancerMaker } from '../../../core/proxy/balancer/balancing.ts'
import type { Node } from '../../../core/proxy/balancer/node.ts'
import { localState } from '../../../core/proxy/balancer/state.ts'
import { healthChecks } from '../../../core/proxy/health/checks.ts'
import { UpstreamHealth } from '../../../core/proxy/health/upstream-health.ts'
import { Watches } from '../../../core/proxy/health/watches.ts'
import { NodePool } from '../../../core/proxy/node-pool.ts'
import { healthMemory, SharedHealth } from '../../../core/workers/shared-health.ts'
import { makeContext } from '../../helpers/context.ts'
import { node } from '../../helpers/node.ts'

const none: ReadonlySet<Node> = new Set()

for (const type of ['roundrobin', 'chash', 'ewma', 'least_conn'] as BalancerType[]) {
  describe(`the nodes of a ${type} upstream`, () => {
    let clock: number
    let health: UpstreamHealth
    beforeEach(() => {
      clock = 1_000_000_000
      const cells = new SharedHealth(healthMemory(), 0, () => clock)
      health = new UpstreamHealth({
        name: '/apisix/upstreams/1',
        checks: healthChecks({
          active: {},
          passive: { healthy: { successes: 1 }, unhealthy: { tcp_failures: 1 } },
          slow_start: 100,
        }),
        host: undefined,
        board: new Watches(cells, { watch() {}, unwatch() {} }),
        log: silent,
      })
    })
    function pool(nodes: readonly Node[], random: () => number = Math.random): NodePool {
      health.watch(nodes)
      const state = localState({ now: () => clock, random: Math.random })
      const maker = balancerMaker('upstreams/1', { type, hashOn: 'vars', key: 'arg_k' }, { state, random: Math.random })
      return new NodePool(nodes, { maker, health, random })
    }
    /** The nodes that requests with different keys go to, and how many of them. */
    async function spread(from: NodePool, times = 200): Promise<Map<Node | undefined, number>> {
      const counts = new Map<Node | undefined, number>()
      for (let key = 0; key < times; key++) {
        const picked = from.pick(none, await makeContext({ target: `/?k=${key}` }))
        counts.set(picked, (counts.get(picked) ?? 0) + 1)
      }
      return counts
    }
    const down = (...nodes: Node[]) => {
      for (const each of nodes) health.failed(each, 'refused', 502)
    }

    it('get requests only while they are healthy', async () => {
      const [a, b, c] = [node('a'), node('b'), node('c')]
      const nodes = pool([a, b, c])
      assert.equal((await spread(nodes)).size, 3)
      down(b)
      assert.deepEqual(new Set((await spread(nodes)).keys()), new Set([a, c]))
      health.answered(b, 200)
      clock += 100_000
      assert.equal((await spread(nodes)).size, 3)
    })

    it('get them all when none is healthy', async () => {
      const nodes = [node('a'), node('b'), node('never', { weight: 0 })]
      const all = pool(nodes)
      down(nodes[0]!, nodes[1]!)
      assert.deepEqual(new Set((await spread(all)).keys()), new Set(nodes.slice(0, 2)))
    })

    it('of a lower priority take over when no higher one is healthy', async () => {
      const [a, b, low] = [node('a'), node('b'), node('low', { priority: -1 })]
      const nodes = pool([a, b, low])
      assert.ok(!(await spread(nodes)).has(low))
      down(a, b)
      assert.deepEqual([...(await spread(nodes)).keys()], [low])
    })

    it('are each tried once by a request, the healthy ones only', async () => {
      const [a, b, c] = [node('a'), node('b'), node('c')]
      const nodes = pool([a, b, c])
      down(c)
      const ctx = await makeContext()
      const first = nodes.pick(none, ctx)!
      const second = nodes.pick(new Set([first]), ctx)!
      assert.deepEqual(new Set([first, second]), new Set([a, b]))
      assert.equal(nodes.pick(new Set([a, b]), ctx), undefined)
    })

    it('get little when they have just come back, and what they do not get goes to others', async () => {
      const [a, b] = [node('a'), node('b')]
      let seed = 0
      const nodes = pool([a, b], () => (seed++ % 100) / 100)
      down(b)
      health.answered(b, 200)
      assert.ok(((await spread(nodes)).get(b) ?? 0) <= 30)
      clock += 100_000
      // ewma knows nothing of either, and least connections nothing open: they share.
      assert.ok(((await spread(nodes)).get(b) ?? 0) > 50)
    })

    it('get requests when nobody else can, however lately they came back', async () => {
      const only = node('only')
      const nodes = pool([only], () => 0.99)
      down(only)
      health.answered(only, 200)
      assert.equal(nodes.pick(none, await makeContext()), only)
    })
  })
}

describe('the nodes of a chash upstream', () => {
  it('keep their keys when another is unhealthy, whose keys come back with it', async () => {
    const cells = new SharedHealth(healthMemory(), 0, Date.now)
    const health = new UpstreamHealth({
      name: '/apisix/upstreams/1',
      checks: healthChecks({ active: {}, passive: { healthy: { successes: 1 }, unhealthy: { tcp_failures: 1 } } }),
      host: undefined,
      board: new Watches(cells, { watch() {}, unwatch() {} }),
      log: silent,
    })
    // Without the last one all weights have more in common: a ring made anew would be another.
    const nodes = [node('a', { weight: 4 }), node('b', { weight: 2 }), node('c', { weight: 3 })]
    health.watch(nodes)
    const state = localState({ now: Date.now, random: Math.random })
    const maker = balancerMaker('u', { type: 'chash', hashOn: 'vars', key: 'arg_k' }, { state, random: Math.random })
    const pool = new NodePool(nodes, { maker, health, random: Math.random })
    const owners = async () => {
      const found: (Node | undefined)[] = []
      for (let key = 0; key < 300; key++) found.push(pool.pick(none, await makeContext({ target: `/?k=${key}` })))
      return found
    }
    const before = await owners()
    health.failed(nodes[2]!, 'refused', 502)
    const meanwhile = await owners()
    for (const [key, owner] of before.entries()) {
      if (owner === nodes[2]) assert.notEqual(meanwhile[key], owner)
      else assert.equal(meanwhile[key], owner)
    }
    health.answered(nodes[2]!, 200)
    assert.deepEqual(await owners(), before)
  })
})
