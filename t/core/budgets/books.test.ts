// The books of budgets: what is written of what was spent, what is there again after a restart, and who hears of thresholds once.
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Account, type Budget, spendKey } from '../../../core/budgets/budget.ts'
import { amountOf, carryOut } from '../../../core/budgets/desk.ts'
import { type Ledger, LedgerError } from '../../../core/ledger/ledger.ts'
import type { RedisServers } from '../../../core/ledger/ledgers.ts'
import { ledgers } from '../../helpers/ledgers.ts'
import { alerts, EUR, monthly, Office, prepaid } from '../../helpers/office.ts'
import { until } from '../../helpers/until.ts'

describe('the books of budgets', () => {
  const folders: string[] = []
  const offices: Office[] = []

  function office(durable = true): Office {
    const folder = durable ? mkdtempSync(join(tmpdir(), 'sluice-books-')) : undefined
    if (folder !== undefined) folders.push(folder)
    const made = new Office(folder)
    offices.push(made)
    return made
  }

  afterEach(() => {
    for (const { books } of offices.splice(0)) books.journal.close()
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
  })

  it('have what was spent, topped up and frozen again after a restart', async () => {
    const one = office()
    await one.spend(one.account(monthly), 30 * EUR)
    await one.spend(one.account(monthly), 1)
    await one.spend(one.account(prepaid), 400)
    await carryOut(one.books, one.books.accounts.find('prepaid', 'consumer:jack')!, {
      what: 'top_up',
      who: 'ops',
      amount: 50,
    })
    await carryOut(one.books, one.books.accounts.find('team', 'consumer:jack')!, { what: 'freeze', who: 'ops' })
    await one.restart()
    const team = await one.view('team')
    assert.deepEqual([team.spent, team.available, team.frozen], ['30.000000001', '0.00', true])
    const { cap, topped_up, spent, reserved, available, frozen } = await one.view('prepaid')
    assert.deepEqual([cap, topped_up, spent, reserved, available, frozen], [1_000, 50, 400, 0, 650, false])
    await carryOut(one.books, one.books.accounts.find('team', 'consumer:jack')!, { what: 'unfreeze', who: 'ops' })
    await one.restart()
    assert.equal((await one.view('team')).available, '69.999999999')
  })

  it('begin a period anew where another has begun, and keep what was spent in those before', async () => {
    const one = office()
    const march = one.account(monthly)
    await one.spend(march, 30 * EUR)
    one.clock.now = march.period.end
    assert.equal((await one.view('team')).spent, '0.00')
    await one.spend(one.account(monthly), 5 * EUR)
    // A stream that was begun in March ends.
    await one.spend(march, 2 * EUR)
    await one.restart()
    assert.equal((await one.view('team')).spent, '5.00')
    const past = one.books.journal.past(march, { now: one.clock.now, most: 10 })
    assert.deepEqual(
      past.map(({ used }) => used),
      [32 * EUR],
    )
    // Memory does not know of March any more: nothing that is written becomes less.
    await one.spend(march, EUR)
    assert.equal(one.books.journal.past(march, { now: one.clock.now, most: 10 })[0]!.used, 32 * EUR)
  })

  it('tell of each threshold once a period, whatever is spent at once, and of none again after a restart', async () => {
    const one = office()
    const told = () => one.reached.splice(0).map(({ threshold, view }) => [view.budget, threshold, view.spent])
    await one.spend(one.account(prepaid), 499)
    assert.deepEqual(told(), [])
    await one.spend(one.account(prepaid), 1)
    await one.spend(one.account(prepaid), 1)
    assert.deepEqual(told(), [['prepaid', 50, 500]])
    await one.restart()
    await one.spend(one.account(prepaid), 499)
    assert.deepEqual(told(), [
      ['prepaid', 80, 1_000],
      ['prepaid', 100, 1_000],
    ])
    await one.spend(one.account(prepaid), 1)
    assert.deepEqual(told(), [])
    await one.spend(one.account(monthly), 50 * EUR)
    one.clock.now = one.account(monthly).period.end
    await one.spend(one.account(monthly), 50 * EUR)
    assert.deepEqual(told(), [
      ['team', 50, '50.00'],
      ['team', 50, '50.00'],
    ])
  })

  it('count thresholds from the cap with what was topped up, and anew after a reset', async () => {
    const one = office()
    await one.spend(one.account(prepaid), 1)
    const kept = one.books.accounts.find('prepaid', 'consumer:jack')!
    await carryOut(one.books, kept, { what: 'top_up', who: 'ops', amount: 1_000 })
    await one.spend(one.account(prepaid), 998)
    assert.deepEqual(one.reached, [])
    await one.spend(one.account(prepaid), 1)
    assert.equal(one.reached.length, 1)
    await carryOut(one.books, one.books.accounts.find('prepaid', 'consumer:jack')!, { what: 'reset', who: 'ops' })
    assert.equal((await one.view('prepaid')).spent, 0)
    await one.spend(one.account(prepaid), 1_000)
    assert.equal(one.reached.length, 2)
  })

  it('go by the window that is configured, though the one before began later and is not over', async () => {
    const one = office()
    const daily: Budget = { ...monthly, window: { kind: 'calendar', every: 'day', timeZone: 'Europe/Berlin' } }
    await one.spend(one.account(daily), EUR)
    // Another window from here on.
    const told = () => one.reached.splice(0).map(({ threshold, view }) => [threshold, view.window.period])
    await one.spend(one.account(monthly), 50 * EUR)
    assert.deepEqual(told(), [[50, 'month']])
    await one.restart()
    assert.deepEqual(await one.view('team').then(({ spent, window }) => [spent, window.start]), [
      '50.00',
      new Date(one.account(monthly).period.start).toISOString(),
    ])
    await one.spend(one.account(monthly), 30 * EUR)
    assert.deepEqual(told(), [[80, 'month']])
  })

  it('know who has changed what, the last first', async () => {
    const one = office()
    await one.spend(one.account(prepaid), 400)
    const order = async (
      what: 'top_up' | 'freeze' | 'unfreeze' | 'reset',
      who: string | undefined,
      amount?: number,
    ) => {
      one.clock.now += 1
      const kept = one.books.accounts.find('prepaid', 'consumer:jack')!
      await carryOut(one.books, kept, { what, who, ...(amount && { amount }) })
    }
    await order('top_up', 'ops', 7)
    await order('freeze', 'boss')
    await order('unfreeze', undefined)
    await order('reset', 'ops')
    await one.restart()
    const changes = one.books.journal.changes(one.account(prepaid), 3)
    assert.deepEqual(
      changes.map(({ who, what, amount }) => [who, what, amount]),
      [
        ['ops', 'reset', 400],
        [undefined, 'unfreeze', undefined],
        ['boss', 'freeze', undefined],
      ],
    )
  })

  it('top up somebody who has not spent yet, where the budget is known', async () => {
    const one = office()
    assert.equal(one.books.accounts.find('prepaid', 'consumer:jill'), undefined)
    await one.spend(one.account(prepaid), 1)
    await carryOut(one.books, one.books.accounts.find('prepaid', 'consumer:jill')!, {
      what: 'top_up',
      who: 'ops',
      amount: 5,
    })
    await one.restart()
    const { topped_up, spent } = await one.view('prepaid', 'consumer:jill')
    assert.deepEqual([topped_up, spent], [5, 0])
  })

  it('have on disk what an operator was told of, whatever was looked at before and is written after', async () => {
    const one = office()
    const jack = one.account(prepaid)
    await one.spend(jack, 400)
    // Two batches: between that look and its write others have their turn.
    const others = Array.from({ length: 600 }, (_, n) => ({ ...jack, principal: `route:${n}` }))
    for (const what of ['reset', 'top_up'] as const) {
      await one.books
        .ledgerOf({ servers: undefined })
        .take(spendKey(jack), { kind: 'balance', limit: 1_000 }, { amount: 10 })
      one.books.touched([jack, ...others].map(account => ({ account, servers: undefined, alerts })))
      const writing = one.books.write()
      const kept = one.books.accounts.find('prepaid', 'consumer:jack')!
      await carryOut(one.books, kept, { what, who: 'ops', amount: 50 })
      await writing
    }
    await one.restart()
    const { topped_up, spent } = await one.view('prepaid')
    assert.deepEqual([topped_up, spent], [50, 10])
  })

  it('change the window that is now, and tell of no threshold twice, however late an order is carried out', async () => {
    const one = office()
    await one.spend(one.account(monthly), EUR)
    await one.spend(one.account(prepaid), 1)
    const [team, paid] = ['team', 'prepaid'].map(budget => one.books.accounts.find(budget, 'consumer:jack')!)
    one.clock.now = one.account(monthly).period.end
    await one.spend(one.account(prepaid), 499)
    for (const kept of [team!, paid!]) await carryOut(one.books, kept, { what: 'top_up', who: 'ops', amount: 10 })
    await one.spend(one.account(prepaid), 10)
    assert.equal((await one.view('team')).topped_up, '0.00000001')
    assert.deepEqual(
      one.reached.map(({ threshold }) => threshold),
      [50],
    )
  })

  it('leave everything as it was when a change cannot be written', async () => {
    const one = office()
    await one.spend(one.account(prepaid), 400)
    one.books.journal.change = () => {
      throw new Error('the disk is full')
    }
    for (const what of ['top_up', 'freeze', 'reset'] as const) {
      const kept = one.books.accounts.find('prepaid', 'consumer:jack')!
      await assert.rejects(carryOut(one.books, kept, { what, who: 'ops', amount: 5 }), /disk is full/)
    }
    const { spent, topped_up, frozen } = await one.view('prepaid')
    assert.deepEqual([spent, topped_up, frozen], [400, 0, false])
  })

  it('write again what could not be written, and say so once', async () => {
    const one = office()
    const { write } = one.books.journal
    let full = true
    one.books.journal.write = (entries, now) => {
      if (full) throw new Error('the disk is full')
      write.call(one.books.journal, entries, now)
    }
    await one.spend(one.account(prepaid), 400)
    await one.books.write()
    assert.equal(one.said.length, 1)
    assert.deepEqual(one.reached, [])
    full = false
    await one.books.write()
    await one.restart()
    assert.equal((await one.view('prepaid')).spent, 400)
  })

  it('tell of thresholds of what Redis keeps, though what is only ours cannot be written, and make no file for it', async () => {
    const one = office()
    const [own, shared] = [one.account(prepaid), one.account(prepaid, 'consumer:jill')]
    const servers = {} as RedisServers
    const { ledgerOf } = one.books
    // In the place of Redis.
    const elsewhere = ledgers(() => one.clock.now).own
    one.books.ledgerOf = of => (of.servers === undefined ? ledgerOf.call(one.books, of) : elsewhere)
    const spend = (ledger: Ledger, account: Account) =>
      ledger.take(spendKey(account), { kind: 'balance', limit: 1_000 }, { amount: 600 })
    await spend(elsewhere, shared)
    one.books.touched([{ account: shared, servers, alerts }])
    await one.books.write()
    assert.deepEqual([one.reached.splice(0).length, readdirSync(one.folder!)], [1, []])
    one.books.journal.write = () => {
      throw new Error('the disk is full')
    }
    await spend(ledgerOf.call(one.books, { servers: undefined }), own)
    await elsewhere.take(spendKey(shared), { kind: 'balance', limit: 1_000 }, { amount: 300 })
    one.books.touched([
      { account: own, servers: undefined, alerts },
      { account: shared, servers, alerts },
    ])
    for (let n = 0; n < 2; n++) await one.books.write()
    assert.deepEqual(
      one.reached.map(({ threshold, view }) => [threshold, view.principal]),
      [[80, 'consumer:jill']],
    )
  })

  it('make no file where no budget is used, and go on in memory where none can be made', async () => {
    const one = office()
    await one.books.write()
    assert.deepEqual(readdirSync(one.folder!), [])
    writeFileSync(join(one.folder!, 'file'), '')
    const nowhere = new Office(join(one.folder!, 'file', 'below'))
    offices.push(nowhere)
    await nowhere.spend(nowhere.account(prepaid), 10)
    assert.equal((await nowhere.view('prepaid')).spent, 10)
    assert.equal(nowhere.books.journal.durable, false)
    assert.match(nowhere.said.join(), /only in memory/)
  })

  it('do not begin with a file that cannot be read: all would be given away', async () => {
    const one = office()
    writeFileSync(join(one.folder!, 'budgets.db'), 'x'.repeat(4_096))
    chmodSync(join(one.folder!, 'budgets.db'), 0o600)
    await assert.rejects(one.restart(), /journal of budgets in .* cannot be opened: budgets\.db is not a database/)
  })

  it('do not ask a Redis that is away again and again, and look when it is back', async () => {
    const one = office()
    const account = one.account(prepaid)
    const servers: RedisServers = {
      at: { kind: 'single', host: '127.0.0.1', port: 1 },
      ...{ username: undefined, password: undefined, database: 0, tls: undefined, connectMs: 1, answerMs: 1 },
    }
    let asked = 0
    let isAway = false
    const { ledgerOf } = one.books
    one.books.ledgerOf = () => {
      asked++
      if (isAway) throw new LedgerError('away', 'Redis is away')
      return ledgerOf.call(one.books, { servers: undefined })
    }
    await one.spend(account, 400)
    asked = 0
    isAway = true
    one.books.touched([{ account, servers, alerts: { ...alerts, thresholds: [30] } }])
    for (let n = 0; n < 50; n++) await one.books.write()
    assert.ok(asked <= 2, `${asked} times`)
    assert.deepEqual(one.reached, [])
    isAway = false
    await until(async () => {
      await one.books.write()
      return one.reached.length === 1
    }, 'it is looked at')
  })

  it('keep of short rolling windows only the last one', async () => {
    const one = office()
    const rolling: Budget = { ...prepaid, name: 'minute', window: { kind: 'rolling', seconds: 60 } }
    for (const amount of [1, 2, 3]) {
      one.clock.now += 60_000
      await one.spend(one.account(rolling), amount)
    }
    await one.restart()
    assert.equal((await one.view('minute')).spent, 3)
    const past = one.books.journal.past(one.account(rolling), { now: one.clock.now + 60_000, most: 10 })
    assert.deepEqual(
      past.map(({ used }) => used),
      [3],
    )
  })

  it('begin with what there is place for, and say so, where the disk has more accounts than memory', async () => {
    const one = office()
    const account = one.account(prepaid)
    const entry = (n: number) => ({
      account: { ...account, principal: `route:${n}` },
      ...{ used: 1, granted: 0, since: one.clock.now, told: 0 },
    })
    one.books.journal.write(
      Array.from({ length: 66_000 }, (_, n) => entry(n)),
      one.clock.now,
    )
    await one.restart()
    const [{ accounts } = { accounts: 0 }] = one.books.accounts.budgets()
    assert.ok(accounts > 40_000 && accounts < 66_000, `${accounts}`)
    assert.match(one.said.join(), /no place in memory for all accounts/)
  }).timeout(60_000)

  it('forget periods that are too old', async () => {
    const one = office()
    const march = one.account(monthly)
    await one.spend(march, EUR)
    one.clock.now += 500 * 86_400_000
    one.books.journal.compact(one.clock.now)
    assert.deepEqual(one.books.journal.past(march, { now: one.clock.now, most: 10 }), [])
  })
})

describe('an amount for a top up', () => {
  it('is a whole number of tokens or an exact amount of money, and more than nothing', () => {
    const euro = { currency: 'EUR' }
    assert.deepEqual(
      [amountOf('tokens', 5), amountOf('tokens', '5'), amountOf(euro, '0.5'), amountOf(euro, 20)],
      [5, 5, EUR / 2, 20 * EUR],
    )
    for (const bad of [0, -1, 1.5, '1e3', 1e17, null, {}, true, '']) assert.equal(amountOf('tokens', bad), undefined)
    for (const bad of [0, -1, '0.0000000001', 1e9, null, '5 EUR']) assert.equal(amountOf(euro, bad), undefined)
  })
})
