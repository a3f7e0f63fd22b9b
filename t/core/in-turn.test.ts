// Runs that many share.
import assert from 'node:assert/strict'
import { inTurn } from '../../core/in-turn.ts'

describe('in turn', () => {
  it('runs once for all who ask while it runs, and always after they asked', async () => {
    const gates: (() => void)[] = []
    const run = inTurn(() => new Promise(resolve => gates.push(resolve)))
    const turn = () => new Promise(resolve => setImmediate(resolve))
    const first = run()
    await turn()
    const later = [run(), run(), run()]
    await turn()
    assert.equal(gates.length, 1)
    gates[0]!()
    await first
    await turn()
    assert.equal(gates.length, 2)
    gates[1]!()
    await Promise.all(later)
    const last = run()
    await turn()
    gates[2]!()
    await last
  })

  it('tells a failure to those who shared the run, and goes on', async () => {
    let runs = 0
    const run = inTurn(async () => {
      if (++runs === 1) throw new Error('broken')
    })
    await assert.rejects(run(), /broken/)
    await run()
    assert.equal(runs, 2)
  })
})
