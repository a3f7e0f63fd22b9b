// Random sequences of admin calls come to what a plain model comes to, whatever store is behind the API.
import fc from 'fast-check'
import { agreeOn, steps } from './admin-model.ts'
import { stores } from './helpers/stores.ts'

describe('the admin API and a plain model', function () {
  this.timeout(120_000)

  for (const [name, open] of Object.entries(stores)) {
    it(`agree over random sequences of calls, on the ${name} store`, async () => {
      await fc.assert(
        fc.asyncProperty(steps, all => agreeOn(open, all)),
        { numRuns: 6, seed: 20_261_120 },
      )
    })
  }
})
