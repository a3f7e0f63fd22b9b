// Weighted round robin: shares, evenness, what is skipped.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { localCursor } from '../../../../core/proxy/balancer/cursor.ts'
import type { Node } from '../../../../core/proxy/balancer/node.ts'
import { RoundRobin } from '../../../../core/proxy/balancer/round-robin.ts'
import { nodesOf } from '../../../helpers/node.ts'

const none: ReadonlySet<Node> = new Set()
/** A cursor that begins there. */
const from = (first: number) => localCursor(() => first / 2 ** 31)

/** How often each node is picked in `turns` turns. */
function count(nodes: readonly Node[], picker: RoundRobin, turns: number): number[] {
  const counts = new Map<Node | undefined, number>()
  for (let turn = 0; turn < turns; turn++) {
    const node = picker.pick(none)
    counts.set(node, (counts.get(node) ?? 0) + 1)
  }
  assert.equal(counts.get(undefined), undefined)
  return nodes.map(node => counts.get(node) ?? 0)
}

const weights = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 8 })
const start = fc.nat(2 ** 31 - 1)
const settings = { numRuns: 300, seed: 20_261_120 }

describe('round robin', () => {
  it('gives every node exactly its share of each round, wherever it begins', () => {
    fc.assert(
      fc.property(weights, start, (given, begin) => {
        const round = given.reduce((sum, weight) => sum + weight, 0)
        fc.pre(round > 0)
        const nodes = nodesOf(given)
        const picker = new RoundRobin(nodes, from(begin))
        for (let times = 0; times < 3; times++) assert.deepEqual(count(nodes, picker, round), given)
      }),
      settings,
    )
  })

  it('is never more than one turn per node away from the shares', () => {
    fc.assert(
      fc.property(weights, start, fc.integer({ min: 1, max: 300 }), (given, begin, turns) => {
        const round = given.reduce((sum, weight) => sum + weight, 0)
        fc.pre(round > 0)
        const nodes = nodesOf(given)
        const counts = count(nodes, new RoundRobin(nodes, from(begin)), turns)
        const live = given.filter(weight => weight > 0).length
        for (const [at, picked] of counts.entries()) {
          const share = (turns * given[at]!) / round
          assert.ok(Math.abs(picked - share) <= live, `${picked} of ${share}`)
        }
      }),
      settings,
    )
  })

  it('keeps the shares of large and odd weights right to one in 2,048, and never forgets a node', () => {
    const given = [1_000_003, 500_009, 3, 1]
    const nodes = nodesOf(given)
    const total = given.reduce((sum, weight) => sum + weight, 0)
    const turns = 200_000
    const counts = count(nodes, new RoundRobin(nodes, from(99)), turns)
    for (const [at, picked] of counts.entries()) {
      assert.ok(picked > 0)
      assert.ok(Math.abs(picked / turns - given[at]! / total) < 2 / 2_048, `${picked}`)
    }
  })

  it('spreads a heavy node evenly between the others', () => {
    const nodes = nodesOf([5, 1, 1])
    const picker = new RoundRobin(nodes, from(0))
    const order = Array.from({ length: 7 }, () => picker.pick(none)?.host)
    // Smooth: the two light ones are never neighbours, and the heavy one is never picked three times before one of them.
    assert.deepEqual(order, ['n0', 'n0', 'n1', 'n0', 'n2', 'n0', 'n0'])
  })

  it('never picks a node of weight 0, and nothing when all are', () => {
    assert.equal(new RoundRobin(nodesOf([0, 0]), from(0)).pick(none), undefined)
    assert.equal(new RoundRobin([], from(5)).pick(none), undefined)
    for (const weights of [
      [0, 3, 0],
      [0, 1_000_003, 0],
      [0, 1_000_003, 500_009],
    ]) {
      const nodes = nodesOf(weights)
      assert.equal(count(nodes, new RoundRobin(nodes, from(0)), 3_000)[0], 0)
    }
  })

  it('skips what has been tried, until every live node has been', () => {
    fc.assert(
      fc.property(weights, start, (given, begin) => {
        const nodes = nodesOf(given)
        const picker = new RoundRobin(nodes, from(begin))
        const tried = new Set<Node>()
        for (let node = picker.pick(tried); node !== undefined; node = picker.pick(tried)) {
          assert.ok(!tried.has(node) && node.weight > 0)
          tried.add(node)
        }
        assert.equal(tried.size, given.filter(weight => weight > 0).length)
      }),
      settings,
    )
  })

  it('is one round for all who share a cursor', () => {
    const nodes = nodesOf([2, 1, 1])
    const cursor = from(7)
    const pickers = [new RoundRobin(nodes, cursor), new RoundRobin(nodes, cursor)]
    const picked = Array.from({ length: 8 }, (_, turn) => pickers[turn % 2]!.pick(none)!)
    assert.deepEqual(
      nodes.map(node => picked.filter(each => each === node).length),
      [4, 2, 2],
    )
  })
})
