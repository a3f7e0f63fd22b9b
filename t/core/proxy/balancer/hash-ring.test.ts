// A ring of hashes: keys stay where they are when nodes come and go, and nodes get what their weights say.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { HashRing } from '../../../../core/proxy/balancer/hash-ring.ts'
import type { Node } from '../../../../core/proxy/balancer/node.ts'
import { node, nodesOf } from '../../../helpers/node.ts'

const keys = Array.from({ length: 20_000 }, (_, at) => `user-${at}`)
const ownerOf = (ring: HashRing, key: string): Node | undefined => ring.after(key).next().value

describe('a hash ring', () => {
  it('gives nodes about what their weights say', () => {
    for (const weights of [
      [1, 1],
      [3, 1],
      [5, 0, 5, 10],
      [100, 1, 50],
      [1_000_003, 500_009],
    ]) {
      const nodes = nodesOf(weights)
      const ring = new HashRing(nodes)
      const total = weights.reduce((sum, weight) => sum + weight, 0)
      const counts = new Map<Node | undefined, number>()
      for (const key of keys) {
        const owner = ownerOf(ring, key)
        counts.set(owner, (counts.get(owner) ?? 0) + 1)
      }
      for (const [at, node] of nodes.entries()) {
        const share = weights[at]! / total
        const got = (counts.get(node) ?? 0) / keys.length
        assert.ok(Math.abs(got - share) <= 0.25 * share, `${weights}: node ${at} got ${got} of ${share}`)
      }
    }
  })

  it('is the same for whoever makes it of the same nodes', () => {
    const ring = new HashRing(nodesOf([1, 2, 3]))
    const again = new HashRing(nodesOf([1, 2, 3]))
    for (const key of keys.slice(0, 1_000)) assert.equal(ownerOf(ring, key)?.host, ownerOf(again, key)?.host)
  })

  it('moves only the keys of a node that goes, and only to one that comes', () => {
    const nodes = nodesOf([1, 1, 1, 1, 1])
    const ring = new HashRing(nodes)
    for (const gone of nodes) {
      const less = new HashRing(nodes.filter(node => node !== gone))
      for (const key of keys.slice(0, 2_000)) {
        const before = ownerOf(ring, key)
        const now = ownerOf(less, key)
        // Where the key goes is where it would have been tried next.
        assert.equal(now, before === gone ? [...ring.after(key)][1] : before)
      }
    }
  })

  it('leads from every key to every node of a weight, once each', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { maxLength: 12 }), fc.string(), (weights, key) => {
        const nodes = nodesOf(weights)
        const order = [...new HashRing(nodes).after(key)]
        assert.deepEqual(new Set(order), new Set(nodes.filter(node => node.weight > 0)))
        assert.equal(order.length, new Set(order).size)
      }),
      { numRuns: 100, seed: 20_261_120 },
    )
  })

  it('has room for thousands of nodes', () => {
    const nodes = Array.from({ length: 5_000 }, (_, at) => node(`n${at}`))
    const ring = new HashRing(nodes)
    const owners = new Set(keys.map(key => ownerOf(ring, key)))
    assert.ok(owners.size > 4_000, `${owners.size}`)
  })
})
