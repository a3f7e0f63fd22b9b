// The faster of two: what is observed, how it fades, and who is picked.
import assert from 'node:assert/strict'
import { Ewma } from '../../../../core/proxy/balancer/ewma.ts'
import { localLatency } from '../../../../core/proxy/balancer/latency.ts'
import type { Node } from '../../../../core/proxy/balancer/node.ts'
import { attempt } from '../../../helpers/context.ts'
import { node } from '../../../helpers/node.ts'

const none: ReadonlySet<Node> = new Set()

describe('the moving average', () => {
  let clock: number
  let random: number[]
  beforeEach(() => {
    clock = 1_000_000
    random = []
  })
  const balance = (...nodes: Node[]) => {
    const latencies = new Map(nodes.map(each => [each, localLatency(() => clock)]))
    return {
      latencies,
      balancer: new Ewma(
        nodes,
        each => latencies.get(each)!,
        () => random.shift() ?? Math.random(),
      ),
    }
  }
  /** How often each of them is picked. */
  function count(balancer: Ewma, nodes: readonly Node[], times: number): number[] {
    const picked = Array.from({ length: times }, () => balancer.pick(none))
    return nodes.map(each => picked.filter(one => one === each).length)
  }

  it('picks the faster of two, whichever came first', () => {
    const [slow, fast] = [node('slow'), node('fast')]
    for (const nodes of [
      [slow, fast],
      [fast, slow],
    ]) {
      const { balancer } = balance(...nodes)
      balancer.begin(slow)(attempt({ connectMs: 5, responseMs: 95 }))
      balancer.begin(fast)(attempt({ connectMs: 1, responseMs: 9 }))
      assert.deepEqual(count(balancer, [slow, fast], 50), [0, 50])
    }
  })

  it('never picks the slowest of three, and spares none of the others', () => {
    const nodes = [node('a'), node('b'), node('c')]
    const { balancer } = balance(...nodes)
    for (const [at, each] of nodes.entries()) balancer.begin(each)(attempt({ connectMs: 0, responseMs: 10 * (at + 1) }))
    const [a, b, c] = count(balancer, nodes, 600)
    assert.equal(c, 0)
    assert.ok(a! > 300 && b! > 100, `${a} ${b}`)
  })

  it('is connect time and response time, weighed by what has passed since', () => {
    const one = node('one')
    const { balancer, latencies } = balance(one, node('other'))
    const score = () => latencies.get(one)!.score()
    balancer.begin(one)(attempt({ connectMs: 20, responseMs: 80 }))
    assert.equal(score(), 100)
    clock += 10_000
    assert.ok(Math.abs(score() - 100 * Math.exp(-1)) < 1e-9)
    balancer.begin(one)(attempt({ connectMs: 0, responseMs: 200 }))
    assert.ok(Math.abs(score() - (100 * Math.exp(-1) + 200 * (1 - Math.exp(-1)))) < 1e-9)
    clock += 60_001
    assert.equal(score(), 0, 'after a minute nothing is known')
    balancer.begin(one)(attempt({ connectMs: 0, responseMs: 7 }))
    assert.equal(score(), 7)
  })

  it('tries a node that nobody knows before one that is known', () => {
    const [known, fresh] = [node('known'), node('fresh')]
    const { balancer } = balance(known, fresh)
    balancer.begin(known)(attempt({ connectMs: 0, responseMs: 1 }))
    assert.deepEqual(count(balancer, [known, fresh], 20), [0, 20])
  })

  it('does not take a node for fast because it refuses fast, and blames none for a client that left', () => {
    const [broken, slow] = [node('broken'), node('slow')]
    const { balancer } = balance(broken, slow)
    balancer.begin(slow)(attempt({ connectMs: 0, responseMs: 300 }))
    balancer.begin(broken)(
      attempt({ connectMs: undefined, headerMs: undefined, responseMs: 1, fault: 'refused', status: 502 }),
    )
    balancer.begin(slow)(attempt({ headerMs: undefined, responseMs: 90_000, fault: 'client_gone' }))
    balancer.begin(slow)(undefined)
    assert.deepEqual(count(balancer, [broken, slow], 20), [0, 20])
  })

  it('passes over what has been tried, and what has weight 0', () => {
    const nodes = [node('a'), node('b'), node('never', { weight: 0 })]
    const { balancer } = balance(...nodes)
    assert.equal(count(balancer, nodes, 50)[2], 0)
    assert.equal(balancer.pick(new Set([nodes[0]!])), nodes[1])
    assert.equal(balancer.pick(new Set([nodes[0]!, nodes[1]!])), undefined)
  })
})
