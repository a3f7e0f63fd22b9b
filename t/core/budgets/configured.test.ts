// Budgets as the configuration has them: what counts as one, where it is counted, and what becomes of a change.
import assert from 'node:assert/strict'
import { ConfiguredBudgets } from '../../../core/budgets/configured.ts'
import { silent } from '../../../core/observe/log.ts'
import type { Plugin } from '../../../core/plugin.ts'
import type { Kind } from '../../../core/store/store.ts'
import aiBudget from '../../../plugins/ai-budget/ai-budget.ts'
import { MemoryStore } from '../../helpers/memory-store.ts'
import { until } from '../../helpers/until.ts'

const plugins = new Map([['ai-budget', aiBudget as Plugin]])
const balance = { type: 'balance' }

describe('the budgets of a configuration', () => {
  let store: MemoryStore
  let configured: ConfiguredBudgets

  beforeEach(() => {
    store = new MemoryStore()
  })
  afterEach(async () => {
    configured.close()
    await store.close()
  })

  const put = (kind: Kind, id: string, value: Record<string, unknown> | null) =>
    store.write([{ kind, id, value: value === null ? null : { id, ...value } }])
  const using = (budgets: object[], more: object = {}) => ({ plugins: { 'ai-budget': { budgets, ...more } } })
  const open = () => {
    configured = new ConfiguredBudgets({ source: store, plugins, log: silent })
  }
  const names = () => [...configured.known.keys()].sort().join()

  it('are those of every resource that has the plugin, with what its metadata say', async () => {
    await put('routes', '1', using([{ name: 'a', principal: 'consumer', unit: 'money', cap: '1.50', window: balance }]))
    await put('services', '1', using([{ name: 'b', principal: 'route', window: { type: 'rolling', seconds: 60 } }]))
    await put('consumers', 'jack', {
      username: 'jack',
      ...using([{ name: 'c', principal: 'consumer', window: balance }]),
    })
    await put('routes', '2', { plugins: { 'key-auth': {} } })
    await put('plugin_metadata', 'ai-budget', { currency: 'EUR', thresholds: [90, 10], webhook: { uri: 'http://h/' } })
    open()
    await until(() => names() === 'a,b,c', 'all are known')
    const { budget, principal, servers, alerts } = configured.known.get('a')!
    assert.deepEqual(
      [budget.unit, budget.cap, principal, servers],
      [{ currency: 'EUR' }, 1_500_000_000, 'consumer', undefined],
    )
    assert.deepEqual([alerts.thresholds, alerts.webhook?.timeout], [[10, 90], 3])
    assert.deepEqual(configured.known.get('b')!.budget.window, { kind: 'rolling', seconds: 60 })
  })

  it('follow what is written, and leave out what is wrong', async () => {
    open()
    await put('routes', '1', using([{ name: 'a', principal: 'consumer', window: balance }]))
    await until(() => names() === 'a', 'it is known')
    assert.equal(configured.known.get('a')!.budget.cap, undefined)
    await put('routes', '1', using([{ name: 'a', principal: 'consumer', cap: 7, window: balance }]))
    await until(() => configured.known.get('a')?.budget.cap === 7, 'the cap is known')
    await put('routes', '2', using([{ name: 'b', principal: 'nobody', window: balance }]))
    await put('routes', '3', using([{ name: 'c', principal: 'route', window: { type: 'calendar' } }]))
    await put('routes', '4', using([{ name: 'd', principal: 'route', window: balance }]))
    await until(() => names() === 'a,d', 'the last is known')
    await put('routes', '1', null)
    await put('routes', '4', { plugins: {} })
    await until(() => names() === '', 'all are gone')
  })

  it('name the Redis that the plugin counts in, in the same words', async () => {
    const policy = { policy: 'redis', redis_host: '10.0.0.5', redis_password: 'secret' }
    await put('routes', '1', using([{ name: 'a', principal: 'consumer', window: balance }], policy))
    open()
    await until(() => names() === 'a', 'it is known')
    const { servers } = configured.known.get('a')!
    assert.deepEqual(servers?.at, { kind: 'single', host: '10.0.0.5', port: 6379 })
    assert.equal(servers.password, 'secret')
  })
})
