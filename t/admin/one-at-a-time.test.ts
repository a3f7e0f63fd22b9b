// The queue of writes.
import assert from 'node:assert/strict'
import { oneAtATime } from '../../admin/one-at-a-time.ts'

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
