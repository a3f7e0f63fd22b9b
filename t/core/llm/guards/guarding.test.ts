// What guards have in common, as logs, metrics and their plugins see it.
import assert from 'node:assert/strict'
import type { Context } from '../../../../core/context.ts'
import { type GuardConfig, Guarding } from '../../../../core/llm/guards/guarding.ts'
import { makeContext } from '../../../helpers/context.ts'

describe('a guard', () => {
  let ctx: Context
  let said: string[]
  let counted: Map<string, number>

  beforeEach(async () => {
    ctx = await makeContext()
    said = []
    counted = new Map()
  })

  function guarding(config: Partial<GuardConfig>): Guarding {
    const log = {
      info: (_: object, text: string) => said.push(`info ${text}`),
      warn: (_: object, text: string) => said.push(`warn ${text}`),
    }
    const count = (name: string, by: number) => counted.set(name, (counted.get(name) ?? 0) + by)
    const family = (name: string) => ({
      add: (values: readonly string[]) => count(`${name} ${values.join(' ')}`, 1),
      of: (values: readonly string[]) => ({ observe: (by: number) => count(`${name} ${values.join(' ')}`, by) }),
    })
    const metrics = { counter: family, histogram: family, once: <T>(make: (of: never) => T) => make(metrics as never) }
    return new Guarding('g', { log, metrics: metrics as never }, { mode: 'enforce', fail_mode: 'skip', ...config })
  }

  it('refuses what it denies, and in monitor mode only says so', () => {
    assert.equal(guarding({}).denies(ctx, 'request', 'because'), true)
    assert.equal(guarding({ mode: 'monitor' }).denies(ctx, 'response', 'because'), false)
    guarding({}).allows(ctx, 'request')
    assert.deepEqual(said, ['info g denied a request: because', 'warn g would deny a response: because'])
    assert.deepEqual(
      [...counted],
      [
        ['sluice_guard_verdicts_total g  request deny', 1],
        ['sluice_guard_verdicts_total g  response would_deny', 1],
        ['sluice_guard_verdicts_total g  request allow', 1],
      ],
    )
  })

  it('that fails may refuse, but never in monitor mode', () => {
    assert.equal(guarding({}).failed(ctx, 'request', 'away'), true)
    assert.equal(guarding({ mode: 'monitor' }).failed(ctx, 'request', 'away'), false)
    assert.deepEqual(said, Array(2).fill('warn g failed on a request: away'))
    assert.deepEqual([...counted], [['sluice_guard_verdicts_total g  request error', 2]])
  })

  it('that cannot look does what fail_mode says, but never refuses in monitor mode', () => {
    const skips = (config: Partial<GuardConfig>) => guarding(config).skips(ctx, 'request', `a\n${'b'.repeat(300)}`)
    assert.deepEqual(
      [
        skips({}),
        skips({ fail_mode: 'warn' }),
        skips({ fail_mode: 'error' }),
        skips({ fail_mode: 'error', mode: 'monitor' }),
      ],
      [false, false, true, false],
    )
    const line = `g skipped: a ${'b'.repeat(254)}`
    assert.deepEqual(said, [`info ${line}`, `warn ${line}`, `warn ${line}`])
    assert.deepEqual([...counted], [['sluice_guard_verdicts_total g  request skipped', 4]])
  })

  it('says how long it took, in seconds', () => {
    guarding({}).took('response', 250)
    assert.deepEqual([...counted], [['sluice_guard_seconds g response', 0.25]])
  })
})
