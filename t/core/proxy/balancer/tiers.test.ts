// Priorities: the highest first, the next when all of it has been tried, whatever balances within one.
import assert from 'node:assert/strict'
import { type BalancerType, balancerMaker } from '../../../../core/proxy/balancer/balancing.ts'
import type { Node } from '../../../../core/proxy/balancer/node.ts'
import { localState } from '../../../../core/proxy/balancer/state.ts'
import { makeContext } from '../../../helpers/context.ts'
import { node } from '../../../helpers/node.ts'

const at = (host: string, priority: number, weight = 1): Node => node(host, { weight, priority })

for (const type of ['roundrobin', 'chash', 'ewma', 'least_conn'] as BalancerType[]) {
  describe(`${type} over several priorities`, () => {
    const balance = (nodes: Node[]) =>
      balancerMaker(
        'an upstream',
        { type, hashOn: 'vars', key: 'arg_k' },
        { state: localState({ now: Date.now, random: Math.random }), random: Math.random },
      ).over(nodes)

    it('tries every node of a weight once, the higher priorities before the lower', async () => {
      const ctx = await makeContext({ target: '/?k=1' })
      const nodes = [at('low', -5), at('a', 1), at('b', 1), at('none', 1, 0), at('c', 1), at('middle', 0)]
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
      assert.equal(balance([at('a', 0, 0), at('b', 1, 0)]).pick(new Set(), ctx), undefined)
    })
  })
}
