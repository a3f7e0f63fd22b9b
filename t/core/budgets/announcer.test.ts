// How it is told that much of a budget is spent: a line of the log, and posts that are tried again, each with its own secret.
import assert from 'node:assert/strict'
import { Announcer } from '../../../core/budgets/announcer.ts'
import type { Reached } from '../../../core/budgets/books.ts'
import { alertsOf, type BudgetMetadata } from '../../../core/budgets/metadata.ts'
import { MetricsReader } from '../../../core/observe/metrics-reader.ts'
import { MetricsWriter } from '../../../core/observe/metrics-writer.ts'
import { veiled } from '../../../core/secrets/veiled.ts'
import aiBudget from '../../../plugins/ai-budget/ai-budget.ts'
import { openJournal } from '../../helpers/journal.ts'
import { monthly, Office } from '../../helpers/office.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

describe('the announcement of a threshold', () => {
  let hook: ScriptedUpstream
  let announcer: Announcer
  let reached: Reached
  let reader: MetricsReader
  const journal = openJournal()

  beforeEach(async () => {
    hook = await startUpstream(received => received.json(200, {}))
    reader = new MetricsReader()
    announcer = new Announcer({
      log: journal.log,
      metrics: new MetricsWriter({ publish: series => reader.add('main', series) }),
      lookup: undefined,
      now: () => 0,
      random: Math.random,
      retryDelayMs: 1,
    })
    const office = new Office(undefined)
    await office.spend(office.account(monthly), 1)
    const [kept] = [...office.books.accounts.all()]
    reached = { threshold: 80, view: await office.books.view(kept!) }
    journal.lines.length = 0
  })
  afterEach(async () => {
    await announcer.close()
    await hook.close()
  })

  const alerts = (auth_header?: string) => {
    const webhook = { uri: hook.origin, timeout: 3, ssl_verify: true, ...(auth_header && { auth_header }) }
    return alertsOf(veiled(aiBudget, { currency: 'EUR', thresholds: [80], webhook } as BudgetMetadata))
  }

  it('is a line of the log, whether or not there is a webhook', () => {
    announcer.announce(reached, { thresholds: [80], webhook: undefined })
    const [{ level, fields, message } = assert.fail()] = journal.lines
    assert.deepEqual([level, message], ['warn', 'a threshold of a budget is reached'])
    const { threshold, budget, principal, unit, spent } = fields
    assert.deepEqual([threshold, budget, principal, unit, spent], [80, 'team', 'consumer:jack', 'EUR', '0.000000001'])
  })

  it('is posted with the secret that the metadata have now, which is in no line', async () => {
    for (const [at, secret] of ['one-secret', 'two-secret', undefined].entries()) {
      announcer.announce(reached, alerts(secret))
      await until(() => hook.received.length === at + 1, 'it is posted')
    }
    const said = hook.received.map(({ headers }) => headers.authorization)
    assert.deepEqual(said, ['one-secret', 'two-secret', undefined])
    assert.ok(!JSON.stringify(journal.lines).includes('-secret'))
  })

  it('is posted again until it is taken, and given up and counted after the fifth time', async () => {
    hook.script = received => received.json(hook.received.length < 4 ? 503 : 200, {})
    announcer.announce(reached, alerts())
    await until(() => hook.received.length === 4, 'it is taken')
    hook.script = received => received.json(503, {})
    announcer.announce(reached, alerts())
    await until(() => hook.received.length === 10, 'it is tried six times')
    await until(
      () => /dropped_total\{plugin="ai-budget",reason="failed"\} 1$/m.test(reader.print()),
      'what is lost is counted',
    )
  })
})
