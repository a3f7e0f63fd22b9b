// Random sequences of admin calls come to what a plain model comes to, whatever store is behind the API.
import fc from 'fast-check'
import { agreeOn, steps } from './admin-model.ts'
import { stores } from './helpers/stores.ts'

for (const [name, { begin, open, end }] of Object.entries(stores)) {
  describe(`the admin API and a plain model, on the ${name} store`, function () {
    this.timeout(600_000)
    before(begin)
    after(end)

    it('agree over random sequences of calls', async () => {
      await fc.assert(
        fc.asyncProperty(steps, all => agreeOn(open, all)),
        { numRuns: 6, seed: 20_261_120 },
      )
    })
  })
}
