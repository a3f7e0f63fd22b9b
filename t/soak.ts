// The randomised suites at their full counts: `npm run soak -- SUITE [count] [seed]`.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { RedisLink } from '../core/ledger/redis/link.ts'
import { call, mustBeSane } from './admin/nonsense.ts'
import { agreeOn, steps } from './admin-model.ts'
import { Stage as BudgetsStage, schedule as budgetsSchedule } from './budgets.schedule.ts'
import { schedule as callSchedule, Stage } from './charges.schedule.ts'
import {
  nonsenseStream as converted,
  convertNonsense,
  nonsenseCall,
  translateNonsense,
} from './core/llm/converters/nonsense.ts'
import { reloadUnderLoad } from './core/plugin-code/reload.ts'
import { compareRouters } from './core/router/agreement.ts'
import { killRounds } from './core/store/kill.ts'
import { assertHeld, faultRounds } from './etcd-faults.rounds.ts'
import { play, schedule } from './exactly-once.schedule.ts'
import { assertUnharmed, fleetRound } from './fleet.rounds.ts'
import { startAdmin } from './helpers/admin.ts'
import { agree, asked } from './helpers/patterns.ts'
import { startRedis } from './helpers/redis.ts'
import { stores } from './helpers/stores.ts'
import { schedule as ledgerSchedule, play as playLedger } from './ledger.schedule.ts'
import { fallbackLoad } from './llm-fallback.load.ts'
import { Stage as FallbackStage, schedule as fallbackSchedule } from './llm-fallback.schedule.ts'
import { nonsenseJson, nonsenseStream, readNonsense, takeNonsense } from './llm-nonsense.ts'
import { replaceUnderLoad } from './replacement.load.ts'
import { assertScales, scaleRound } from './scale.rounds.ts'
import { ADDED_MB, bodiesThrough } from './slow-bodies.ts'

const suites: Record<string, { count: number; run(count: number, seed: number): Promise<unknown> }> = {
  'exactly-once': {
    count: 2_000,
    run: (numRuns, seed) => fc.assert(fc.asyncProperty(schedule, play), { numRuns, seed }),
  },
  'admin-nonsense': {
    count: 20_000,
    async run(numRuns, seed) {
      const api = await startAdmin()
      await fc.assert(
        fc.asyncProperty(call, async each => void (await mustBeSane(api, each))),
        { numRuns, seed },
      )
      await api.close()
    },
  },
  'llm-nonsense': {
    count: 200_000,
    async run(numRuns, seed) {
      fc.assert(fc.property(nonsenseStream, readNonsense), { numRuns, seed })
      fc.assert(fc.property(nonsenseJson, takeNonsense), { numRuns, seed })
    },
  },
  patterns: {
    count: 100_000,
    run: async (numRuns, seed) => fc.assert(fc.property(asked, agree), { numRuns, seed }),
  },
  ledger: {
    count: 5_000,
    async run(numRuns, seed) {
      const redis = await startRedis()
      const link = new RedisLink(redis.at, { away() {}, back() {} })
      await fc.assert(
        fc.asyncProperty(ledgerSchedule, each => playLedger(each, link)),
        { numRuns, seed },
      )
      link.close()
      await redis.close()
    },
  },
  charges: {
    count: 1_000,
    async run(numRuns, seed) {
      const stage = await Stage.open()
      await fc.assert(
        fc.asyncProperty(callSchedule, each => stage.play(each)),
        { numRuns, seed },
      )
      await stage.close()
    },
  },
  budgets: {
    count: 1_000,
    async run(numRuns, seed) {
      const redis = await startRedis()
      const stage = await BudgetsStage.open(redis)
      await fc.assert(
        fc.asyncProperty(budgetsSchedule, each => stage.play(each)),
        { numRuns, seed },
      )
      await stage.close()
      await redis.close()
    },
  },
  /** Counted in seconds. */
  'llm-fallback': {
    count: 600,
    async run(seconds, seed) {
      const report = await fallbackLoad(seconds, seed)
      process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`)
      assert.deepEqual(report.wrong, [])
      assert.deepEqual(report.left_over, { sockets: 0, timers: 0, holds: [] })
      // A short run tells nothing of what is kept: its connections, plans and code are still being made.
      assert.ok(report.counted < 100_000 || report.usedMb < 1, 'memory is kept')
    },
  },
  'llm-fallback-cases': {
    count: 20_000,
    async run(numRuns, seed) {
      const stage = await FallbackStage.open()
      await fc.assert(
        fc.asyncProperty(fallbackSchedule, each => stage.play(each)),
        { numRuns, seed },
      )
      await stage.close()
    },
  },
  'converter-nonsense': {
    count: 100_000,
    async run(numRuns, seed) {
      fc.assert(fc.property(converted, translateNonsense), { numRuns, seed })
      fc.assert(fc.property(nonsenseCall, convertNonsense), { numRuns, seed })
    },
  },
  router: { count: 100_000, run: compareRouters },
  'plugin-reload': {
    count: 100,
    async run(rounds) {
      const report = await reloadUnderLoad(rounds, { looks: 10 })
      process.stdout.write(`${JSON.stringify(report)}\n`)
      assert.deepEqual([report.refused, report.stale], [{}, 0])
      // A worker that hands over may lose one connection that waits to be accepted.
      assert.ok(report.broken <= 2 * rounds, 'connections were cut')
      // Of main's heap: 3 KB were seen. What is resident comes and goes by tens of MiB with the arenas of malloc and is only
      // reported: 518, 553, 655, 591 MB at the quarters of a run; 315, 317, 326, 314 in a short one with MALLOC_ARENA_MAX=1.
      assert.ok(report.mainHeapKb !== undefined && report.mainHeapKb <= 100, 'memory is kept')
    },
  },
  'admin-model': {
    count: 300,
    async run(numRuns, seed) {
      for (const { begin, open, end } of Object.values(stores)) {
        await begin()
        await fc.assert(
          fc.asyncProperty(steps, all => agreeOn(open, all)),
          { numRuns, seed },
        )
        await end()
      }
    },
  },
  kill: {
    count: 50,
    async run(rounds, seed) {
      const report = await killRounds(rounds, seed)
      process.stdout.write(`${JSON.stringify(report)}\n`)
      for (const what of ['lost', 'torn', 'backwards', 'wrongLogs', 'damaged', 'failedOpens'] as const)
        assert.equal(report[what], 0, what)
    },
  },
  /** Its count is of MiB; the seed means nothing. */
  bodies: {
    count: 1_024,
    async run(mebibytes) {
      const report = await bodiesThrough({ bytes: mebibytes * 2 ** 20, clients: 100, rate: 2 * 2 ** 20 })
      process.stdout.write(`${JSON.stringify(report)}\n`)
      assert.equal(report.wrong, 0)
      assert.ok(report.peakMb - report.idleMb < ADDED_MB, 'bodies are held')
    },
  },
  /** Its count is of connections; the seed means nothing. */
  replacement: {
    count: 10_000,
    async run(connections) {
      const report = await replaceUnderLoad(connections, 700)
      process.stdout.write(`${JSON.stringify(report)}\n`)
      assert.ok(report.lost <= report.workers, 'lost')
    },
  },
  'etcd-faults': {
    count: 30,
    async run(rounds, seed) {
      const say = (line: string) => void process.stdout.write(`${line}\n`)
      const report = await faultRounds(rounds, seed, { say })
      say(JSON.stringify({ ...report, rounds: undefined }))
      assertHeld(report)
      assert.ok(report.medianMs < 4_000 && report.maxMs < 10_000, 'has what etcd has soon after each fault')
    },
  },
  /** Its count is of routes; the seed means nothing. */
  scale: {
    count: 10_000,
    async run(routes) {
      const report = await scaleRound(routes, { edits: 500 })
      process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`)
      assertScales(report)
    },
  },
  /** Counted in seconds. */
  fleet: {
    count: 60,
    async run(seconds, seed) {
      const report = await fleetRound(seed, { seconds, editsPerSecond: 100, workers: 2 })
      process.stdout.write(`${JSON.stringify({ ...report, failed: report.failed.length })}\n`)
      assertUnharmed(report)
    },
  },
}

const [name = '', count, seed] = process.argv.slice(2)
const suite = suites[name]
if (suite === undefined) {
  process.stderr.write(`usage: npm run soak -- ${Object.keys(suites).join('|')} [count] [seed]\n`)
  process.exit(1)
}
const runs = Number(count ?? suite.count)
const start = Number(seed ?? Date.now() % 1_000_000)
const began = performance.now()
process.stdout.write(`${name}: ${runs} with seed ${start}\n`)
await suite.run(runs, start)
process.stdout.write(`${name}: ${runs} passed in ${Math.round((performance.now() - began) / 1000)} s\n`)
