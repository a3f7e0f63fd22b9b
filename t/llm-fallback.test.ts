// Whatever instances do, in any order: the client gets one whole answer or one honest error, and nobody is asked twice.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Stage, schedule } from './llm-fallback.schedule.ts'

describe('several instances', function () {
  this.timeout(120_000)
  let stage: Stage
  before(async () => {
    stage = await Stage.open()
  })
  after(() => stage.close())

  it('give one whole answer or one honest error, whatever they do', async () => {
    await fc.assert(
      fc.asyncProperty(schedule, each => stage.play(each)),
      { numRuns: 200, seed: 10 },
    )
    assert.doesNotMatch(stage.page, /^apisix_llm_active_connections\{.*\} [^0]/m)
  })
})
