// Budgets under random calls: spent is what the provider says, at its price, and never more than may be. `npm run soak -- budgets` has more.
import fc from 'fast-check'
import { Stage, schedule } from './budgets.schedule.ts'

describe('budgets', () => {
  it('hold what they promise, whatever becomes of the calls', async function () {
    this.timeout(120_000)
    const stage = await Stage.open()
    await fc.assert(
      fc.asyncProperty(schedule, each => stage.play(each)),
      { numRuns: 30, seed: 9 },
    )
    await stage.close()
  })
})
