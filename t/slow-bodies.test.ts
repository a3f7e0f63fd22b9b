// Bodies stream: what slow clients have not read yet, and what they send meanwhile, is not held. `npm run soak -- bodies` is the same with 1 GiB.
import assert from 'node:assert/strict'
import { ADDED_MB, bodiesThrough } from './slow-bodies.ts'

describe('a gateway between fast senders and slow readers', () => {
  it('passes every byte on, there and back, and holds few of them', async function () {
    this.timeout(180_000)
    const bytes = 320 * 1024 * 1024
    const { wrong, idleMb, peakMb } = await bodiesThrough({ bytes, clients: 40, rate: 4 * 1024 * 1024 })
    assert.equal(wrong, 0)
    // Half of it would already be more.
    assert.ok(peakMb - idleMb < ADDED_MB, `${peakMb - idleMb} MiB more than before`)
  })
})
