// The queue of writes, and runs that many share.
import assert from 'node:assert/strict'
import { inTurn, oneAtATime } from '../../admin/one-at-a-time.ts'

describe('one at a time', () => {
  it('runs tasks in order, each when the one before is over, however that ended', async () => {
    const alone = oneAtATime()
    const seen: string[] = []
    const task = (name: string, fails = false) =>
      alone(async () => {
        seen.push(`${name} begins`)
        await new Promise(resolve => setImmediate(resolve))
        seen.push(`${name} ends`)
        if (fails) throw new Error(name)
        return name
      })
    const [a, b, c] = await Promise.allSettled([task('a'), task('b', true), task('c')])
    assert.deepEqual([a.status, b.status, c.status], ['fulfilled', 'rejected', 'fulfilled'])
    assert.deepEqual(seen, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  })

  it('refuses what it cannot keep waiting, and goes on when there is room again', async () => {
    const alone = oneAtATime()
    let open = () => {}
    const gate = new Promise<void>(resolve => {
      open = resolve
    })
    const waiting = Array.from({ length: 1_000 }, () => alone(() => gate))
    await assert.rejects(
      alone(async () => {}),
      { status: 503 },
    )
    open()
    await Promise.all(waiting)
    assert.equal(await alone(async () => 'again'), 'again')
  })
})

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
