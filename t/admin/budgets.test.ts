// Budgets at the admin API: what an operator reads and changes, who may, and what is said of what cannot be.
import assert from 'node:assert/strict'
import type { Ledger } from '../../core/ledger/ledger.ts'
import { LedgerError } from '../../core/ledger/ledger.ts'
import { startAdmin, type TestAdmin, viewerKey } from '../helpers/admin.ts'
import { alerts, EUR, monthly, Office, prepaid } from '../helpers/office.ts'

describe('budgets at the admin API', () => {
  let office: Office
  let api: TestAdmin

  beforeEach(async () => {
    office = new Office(undefined)
    api = await startAdmin({ books: office.books })
    await office.spend(office.account(monthly), 30 * EUR)
    await office.spend(office.account(prepaid, 'credential:jack/key-1'), 400)
    await office.spend(office.account(prepaid, 'consumer:jill'), 1)
  })
  afterEach(async () => {
    await api.close()
    office.books.journal.close()
  })

  const get = (path: string, as?: string) => api.admin('GET', `/budgets${path}`, undefined, as)
  const post = (path: string, body?: unknown, as?: string) => api.admin('POST', `/budgets${path}`, body, as)

  it('are listed, with the accounts of their principals', async () => {
    const all = await get('')
    const window = { type: 'calendar', period: 'month', time_zone: 'Europe/Berlin' }
    assert.deepEqual(all.json, {
      total: 2,
      list: [
        { name: 'prepaid', unit: 'tokens', cap: 1_000, overshoot: 0, window: { type: 'balance' }, accounts: 2 },
        { name: 'team', unit: 'EUR', cap: '100.00', overshoot: '0.00', window, accounts: 1 },
      ],
    })
    const { json } = await get('/prepaid')
    assert.equal(json.total, 2)
    assert.deepEqual(
      json.list.map(({ principal, spent, available }: Record<string, unknown>) => [principal, spent, available]),
      [
        ['consumer:jill', 1, 999],
        ['credential:jack/key-1', 400, 600],
      ],
    )
    const second = (await get('/prepaid?page=2&page_size=1')).json
    assert.deepEqual([second.total, second.list.length, second.list[0].principal], [2, 1, 'credential:jack/key-1'])
  })

  it('show of an account what is spent, reserved and left, when it ends, and for how long it will last', async () => {
    const { json } = await get('/team/consumer:jack')
    assert.deepEqual(json, {
      budget: 'team',
      principal: 'consumer:jack',
      unit: 'EUR',
      cap: '100.00',
      topped_up: '0.00',
      spent: '30.00',
      reserved: '0.00',
      available: '70.00',
      frozen: false,
      window: {
        type: 'calendar',
        period: 'month',
        time_zone: 'Europe/Berlin',
        start: '2026-02-28T23:00:00.000Z',
        end: '2026-03-31T22:00:00.000Z',
      },
      // 30.00 in 10 days and 13 hours of 31 days less an hour.
      forecast: {
        per_day: '2.845849802',
        at_end: '88.102766798',
        exhausted_at: null,
      },
      durable: false,
      past: [],
      changes: [],
    })
    await office.spend(office.account(monthly), 30 * EUR)
    const { forecast } = (await get('/team/consumer:jack')).json
    // At 60.00 in 10 days and 13 hours 40.00 last for 7 days and 40 minutes.
    assert.equal(forecast.exhausted_at, '2026-03-18T12:40:00.000Z')
  })

  it('are topped up, frozen, thawed and reset, and say who has done it by the name of the key', async () => {
    const path = '/prepaid/credential:jack%2Fkey-1'
    const steps: [path: string, body: object | undefined, left: [unknown, unknown, unknown, unknown]][] = [
      ['top_up', { amount: 50 }, [400, 50, 650, false]],
      ['top_up', { amount: '7' }, [400, 57, 657, false]],
      ['freeze', undefined, [400, 57, 0, true]],
      ['unfreeze', undefined, [400, 57, 657, false]],
      ['reset', undefined, [0, 57, 1_057, false]],
    ]
    for (const [act, body, left] of steps) {
      const { status, json } = await post(`${path}/${act}`, body)
      assert.deepEqual([status, [json.spent, json.topped_up, json.available, json.frozen]], [200, left], act)
    }
    const { changes } = (await get(path, viewerKey)).json
    assert.deepEqual(
      changes.map(({ who, what, amount }: Record<string, unknown>) => [who, what, amount]),
      [
        ['admin', 'reset', 400],
        ['admin', 'unfreeze', undefined],
        ['admin', 'freeze', undefined],
        ['admin', 'top_up', 7],
        ['admin', 'top_up', 50],
      ],
    )
    const { json } = await post('/team/consumer:jack/top_up', { amount: '0.5' })
    assert.deepEqual([json.topped_up, json.available, json.changes[0].amount], ['0.50', '70.50', '0.50'])
  })

  it('can be read by a viewer and changed by an admin alone', async () => {
    assert.equal((await get('/team/consumer:jack', viewerKey)).status, 200)
    for (const act of ['top_up', 'freeze', 'unfreeze', 'reset']) {
      const { status, json } = await post(`/team/consumer:jack/${act}`, { amount: 1 }, viewerKey)
      assert.deepEqual([status, json.description], [401, 'invalid method for role viewer'])
    }
    assert.equal((await get('', 'nobody')).status, 401)
    assert.deepEqual((await get('/team/consumer:jack')).json.changes, [])
  })

  it('say what is not there, what cannot be done and what is no amount', async () => {
    const cases: [method: string, path: string, body: unknown, status: number, said: RegExp][] = [
      ['GET', '/nobody', undefined, 404, /budget nobody is not known/],
      ['GET', '/nobody/consumer:jack', undefined, 404, /budget nobody is not known/],
      ['POST', '/team/consumer:jack/burn', {}, 404, /top_up, freeze, unfreeze, reset/],
      ['POST', '/team/consumer:jack/top_up', undefined, 400, /a decimal of EUR with at most nine places above 0/],
      ['POST', '/team/consumer:jack/top_up', { amount: -1 }, 400, /invalid amount/],
      ['POST', '/team/consumer:jack/top_up', { amount: '0.0000000001' }, 400, /invalid amount/],
      ['POST', '/team/consumer:jack/top_up', { amount: '9007199' }, 400, /more than can be counted/],
      ['POST', '/prepaid/consumer:jill/top_up', { amount: 1.5 }, 400, /a whole number above 0/],
      ['GET', '/prepaid?page_size=501', undefined, 400, /page_size: should be between 1 and 500/],
      ['GET', '/prepaid?page=0', undefined, 400, /page: should be between 1/],
      ['DELETE', '/team/consumer:jack', undefined, 405, /DELETE is not supported here/],
      ['PUT', '/team', {}, 405, /PUT is not supported/],
    ]
    for (const [method, path, body, status, said] of cases) {
      const reply = await api.admin(method, `/budgets${path}`, body)
      assert.equal(reply.status, status, `${method} ${path} ${reply.text}`)
      assert.match(reply.json.error_msg, said)
    }
    assert.deepEqual((await get('/team/consumer:jack')).json.changes, [])
  })

  it('are 503 where the ledger, or what is written of it, is away, and nothing has changed then', async () => {
    const away = (): never => {
      throw new LedgerError('away', 'Redis is away')
    }
    const ledger: Ledger = { take: away, takeAll: away, look: away, adjust: away }
    const { ledgerOf } = office.books
    office.books.ledgerOf = () => ledger
    for (const reply of [
      await get('/team'),
      await get('/team/consumer:jack'),
      await post('/team/consumer:jack/freeze'),
    ]) {
      assert.equal(reply.status, 503)
      assert.match(reply.json.error_msg, /Redis is away/)
    }
    office.books.ledgerOf = ledgerOf
    office.books.journal.change = () => {
      throw new Error('secret path of the disk')
    }
    const { status, json } = await post('/team/consumer:jack/freeze')
    assert.deepEqual([status, json.error_msg], [503, 'the change cannot be written: nothing has changed'])
    assert.equal((await get('/team/consumer:jack')).json.frozen, false)
  })

  it('show past periods, the last first', async () => {
    office.clock.now = office.account(monthly).period.end
    office.books.touched([{ account: office.account(monthly), servers: undefined, alerts }])
    const { json } = await get('/team/consumer:jack')
    assert.equal(json.spent, '0.00')
    assert.deepEqual(json.past, [
      { start: '2026-02-28T23:00:00.000Z', end: '2026-03-31T22:00:00.000Z', spent: '30.00', topped_up: '0.00' },
    ])
  })
})
