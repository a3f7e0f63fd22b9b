// Collecting garbage on demand.
import assert from 'node:assert/strict'
import { collectGarbage } from '../../core/garbage.ts'

describe('collecting garbage', () => {
  it('takes back what nobody holds', async () => {
    const gone = new WeakRef({ large: new Array(1_000).fill(0) })
    // A reference that was read lives to the end of the turn.
    await new Promise(resolve => setImmediate(resolve))
    collectGarbage()
    assert.equal(gone.deref(), undefined)
  })
})
