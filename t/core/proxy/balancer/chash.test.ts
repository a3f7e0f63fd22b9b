// Consistent hashing: what a request is hashed by, and who comes next (facts core 6.1).
import assert from 'node:assert/strict'
import type { Context } from '../../../../core/context.ts'
import { ConsistentHash, type HashOn, hashKey } from '../../../../core/proxy/balancer/chash.ts'
import { HashRing } from '../../../../core/proxy/balancer/hash-ring.ts'
import type { Node } from '../../../../core/proxy/balancer/node.ts'
import { makeContext } from '../../../helpers/context.ts'
import { nodesOf } from '../../../helpers/node.ts'

const CLIENT = '203.0.113.9'

async function request(given: Parameters<typeof makeContext>[0], consumer?: string): Promise<Context> {
  const ctx = await makeContext(given)
  Object.assign(ctx.request, { remoteAddress: CLIENT })
  if (consumer !== undefined) ctx.consumer = { username: consumer, labels: {}, auth: undefined }
  return ctx
}

describe('a request that is hashed', () => {
  const given = {
    target: '/a/b?user=jack&user=jill&x-y=z',
    headers: { 'X-Tenant': 'blue', 'X-Empty': '', Cookie: 'sid=s1; other=2' },
  }
  const cases: [string, HashOn, string, string][] = [
    ['on a variable', 'vars', 'uri', '/a/b'],
    ['on an argument', 'vars', 'arg_user', 'jack'],
    ['on an argument with a dash', 'vars', 'arg_x-y', 'z'],
    ["on the client's address", 'vars', 'remote_addr', CLIENT],
    ['on a variable without a value', 'vars', 'arg_none', CLIENT],
    ['on a header', 'header', 'X-Tenant', 'blue'],
    ['on a header in another case', 'header', 'x-tenant', 'blue'],
    ['on a header that is empty', 'header', 'X-Empty', CLIENT],
    ['on a header that is absent', 'header', 'X-None', CLIENT],
    ['on a cookie', 'cookie', 'sid', 's1'],
    ['on a cookie that is absent', 'cookie', 'none', CLIENT],
    ['on a combination', 'vars_combinations', '$arg_user-$http_x_tenant', 'jack-blue'],
    ['on a combination of which a part has no value', 'vars_combinations', '$arg_user-$arg_none', 'jack-'],
    ['on a combination without any value', 'vars_combinations', '$arg_none-$arg_nil', CLIENT],
    ['on a combination of nothing', 'vars_combinations', 'constant', CLIENT],
    ['on its consumer', 'consumer', '', 'jill'],
  ]
  for (const [what, hashOn, key, expected] of cases) {
    it(`${what} goes by ${expected}`, async () => {
      assert.equal(hashKey(hashOn, key)(await request(given, 'jill')), expected)
    })
  }

  it("on its consumer goes by the client's address when there is none", async () => {
    assert.equal(hashKey('consumer', '')(await request(given)), CLIENT)
  })

  it('goes to one node, and to the next on the ring when that has been tried, until all have', async () => {
    const nodes = nodesOf([0, 1, 2, 3])
    const ring = new HashRing(nodes)
    const balancer = new ConsistentHash(ring, hashKey('vars', 'arg_user'))
    for (let user = 0; user < 50; user++) {
      const ctx = await request({ target: `/?user=${user}` })
      const tried = new Set<Node>()
      const order: Node[] = []
      for (let node = balancer.pick(tried, ctx); node !== undefined; node = balancer.pick(tried, ctx)) {
        assert.equal(balancer.pick(tried, ctx), node, 'it is the same, however often it is asked for')
        tried.add(node)
        order.push(node)
      }
      assert.deepEqual(order, [...ring.after(String(user))])
      assert.equal(order.length, 3)
    }
  })
})
