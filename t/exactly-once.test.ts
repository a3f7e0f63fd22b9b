// Whatever happens to a request: it logs once, every hold ends once, nothing is left behind.
import fc from 'fast-check'
import { play, schedule } from './exactly-once.schedule.ts'

describe('exactly once', function () {
  this.timeout(120_000)

  it('holds over random schedules of plugins, exits and faults', async () => {
    await fc.assert(fc.asyncProperty(schedule, play), { numRuns: 150, seed: 20_261_120 })
  })
})
