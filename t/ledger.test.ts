// Ledgers under random schedules: nothing is charged twice or for nothing, and nothing stays reserved. `npm run soak -- ledger` has more.
import fc from 'fast-check'
import { RedisLink } from '../core/ledger/redis/link.ts'
import { schedule as calls, Stage } from './charges.schedule.ts'
import { type RedisForTest, startRedis } from './helpers/redis.ts'
import { play, schedule } from './ledger.schedule.ts'

describe('ledgers', () => {
  let redis: RedisForTest
  let link: RedisLink
  before(async function () {
    this.timeout(300_000)
    redis = await startRedis()
    link = new RedisLink(redis.at, { away() {}, back() {} })
  })
  after(async () => {
    link.close()
    await redis.close()
  })

  it('count what was used and nothing else, whatever happens to whoever took it', async function () {
    this.timeout(120_000)
    await fc.assert(
      fc.asyncProperty(schedule, each => play(each, link)),
      { numRuns: 150, seed: 9 },
    )
  })
})

describe('calls to LLMs', () => {
  it('are charged for once, however they end', async function () {
    this.timeout(120_000)
    const stage = await Stage.open()
    await fc.assert(
      fc.asyncProperty(calls, each => stage.play(each)),
      { numRuns: 30, seed: 9 },
    )
    await stage.close()
  })
})
