// Least connections: the fewest under way for its weight, whoever counts them.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { localCursor } from '../../../../core/proxy/balancer/cursor.ts'
import { LeastConn } from '../../../../core/proxy/balancer/least-conn.ts'
import { type Load, localLoad } from '../../../../core/proxy/balancer/load.ts'
import type { Node } from '../../../../core/proxy/balancer/node.ts'
import { nodesOf } from '../../../helpers/node.ts'

const none: ReadonlySet<Node> = new Set()

function balance(weights: readonly number[], begin = 0) {
  const nodes = nodesOf(weights)
  const loads = new Map(nodes.map(node => [node, localLoad()]))
  const balancer = new LeastConn(
    nodes,
    node => loads.get(node)!,
    localCursor(() => begin / 2 ** 31),
  )
  return { nodes, loads, balancer, counts: () => nodes.map(node => (loads.get(node) as Load).count) }
}

describe('least connections', () => {
  it('picks the node with the fewest requests under way', () => {
    const { nodes, balancer, counts } = balance([1, 1, 1])
    const ends = nodes.map(() => {
      const node = balancer.pick(none)!
      return balancer.begin(node)
    })
    assert.deepEqual(counts(), [1, 1, 1])
    ends[1]!(undefined)
    const free = counts().indexOf(0)
    for (let times = 0; times < 5; times++) assert.equal(balancer.pick(none), nodes[free])
  })

  it('takes turns between nodes that are equal', () => {
    const { nodes, balancer } = balance([1, 1, 1])
    const picked = Array.from({ length: 9 }, () => balancer.pick(none)!)
    assert.deepEqual(
      nodes.map(node => picked.filter(each => each === node).length),
      [3, 3, 3],
    )
  })

  it('fills nodes in proportion to their weights, never one while another has less for its own', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(9), { minLength: 1, maxLength: 6 }),
        fc.array(fc.nat(99), { maxLength: 80 }),
        (weights, script) => {
          const { nodes, balancer, loads, counts } = balance(weights)
          const open: { node: Node; end: () => void }[] = []
          for (const step of script) {
            if (step % 3 === 0 && open.length > 0) {
              const { end } = open.splice(step % open.length, 1)[0]!
              end()
              end()
              continue
            }
            const node = balancer.pick(none)
            if (node === undefined) {
              assert.ok(weights.every(weight => weight === 0))
              continue
            }
            const share = (each: Node) => (loads.get(each)!.count + 1) / each.weight
            const least = Math.min(...nodes.filter(({ weight }) => weight > 0).map(share))
            assert.equal(share(node), least)
            const end = balancer.begin(node)
            open.push({ node, end: () => end(undefined) })
          }
          assert.deepEqual(
            counts(),
            nodes.map(node => open.filter(each => each.node === node).length),
          )
        },
      ),
      { numRuns: 300, seed: 20_261_120 },
    )
  })

  it('passes over what has been tried, and what has weight 0', () => {
    const { nodes, balancer } = balance([2, 0, 1])
    assert.equal(balancer.pick(new Set([nodes[0]!])), nodes[2])
    assert.equal(balancer.pick(new Set([nodes[0]!, nodes[2]!])), undefined)
    assert.equal(balance([0, 0]).balancer.pick(none), undefined)
  })
})
