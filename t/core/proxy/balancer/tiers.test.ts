// Priorities: the highest first, the next when all of it has been tried, whatever balances within one.
import assert from 'node:assert/strict'
import { type BalancerType, balancerMaker } from '../../../../core/proxy/balancer/balancing.ts'
import type { Node } from '../../../../core/proxy/balancer/node.ts'
import { localState } from '../../../../core/proxy/balancer/state.ts'
import { overTiers, tiersOf } from '../../../../core/proxy/balancer/tiers.ts'
import { makeContext } from '../../../helpers/context.ts'

const node = (host: string, priority: number, weight = 1): Node => ({ host, port: 80, weight, priority })

for (const type of ['roundrobin', 'chash', 'ewma', 'least_conn'] as BalancerType[]) {
  describe(`${type} over several priorities`, () => {
    const balance = (nodes: Node[]) =>
      overTiers(
        tiersOf(nodes),
        balancerMaker(
          'an upstream',
          { type, hashOn: 'vars', key: 'arg_k' },
          {
            state: localState({ now: Date.now, random: Math.random }),
            random: Math.random,
          },
        ),
      )

    it('tries every node of a weight once, the higher priorities before the lower', async () => {
      const ctx = await makeContext({ target: '/?k=1' })
      const nodes = [node('low', -5), node('a', 1), node('b', 1), node('none', 1, 0), node('c', 1), node('middle', 0)]
      for (let times = 0; times < 10; times++) {
        const balancer = balance(nodes)
        const tried = new Set<Node>()
        for (let next = balancer.pick(tried, ctx); next !== undefined; next = balancer.pick(tried, ctx)) {
          balancer.begin?.(next)?.(undefined)
          assert.ok(!tried.has(next))
          tried.add(next)
        }
        assert.deepEqual(
          [...tried].map(({ priority }) => priority),
          [1, 1, 1, 0, -5],
        )
      }
    })

    it('has nothing to pick from nothing', async () => {
      const ctx = await makeContext()
      assert.equal(balance([]).pick(new Set(), ctx), undefined)
      assert.equal(balance([node('a', 0, 0), node('b', 1, 0)]).pick(new Set(), ctx), undefined)
    })
  })
}
