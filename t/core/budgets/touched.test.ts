// What a worker tells main of accounts: new ones at once, others once in a while, each once, and what is asked is answered.
import assert from 'node:assert/strict'
import { StandingsAsker, type Touched, TouchedAccounts } from '../../../core/budgets/touched.ts'
import { alerts, monthly, Office } from '../../helpers/office.ts'
import { until } from '../../helpers/until.ts'

describe('accounts that a worker has touched', () => {
  const office = new Office(undefined)
  const touch = (principal: string, cap = 1): Touched => ({
    account: office.account({ ...monthly, cap }, principal),
    servers: undefined,
    alerts,
  })
  const shown = (all: readonly Touched[]) => all.map(({ account }) => `${account.principal} ${account.budget.cap}`)

  it('are told of at once when they are new, and together after a moment when they are not', async () => {
    const told: string[][] = []
    const accounts = new TouchedAccounts(
      all => told.push(shown(all)),
      async () => [],
    )
    for (const principal of ['a', 'b', 'a', 'b', 'a']) accounts.touched(touch(principal))
    accounts.touched(touch('a', 2))
    assert.deepEqual(told, [['a 1'], ['b 1']])
    await until(() => told.length === 3, 'the others are told')
    assert.deepEqual(told[2], ['b 1', 'a 2'].sort())
    accounts.touched(touch('a', 3))
    accounts.flush()
    accounts.flush()
    assert.deepEqual(told.slice(3), [['a 3']])
  })

  it('are asked for, and every question has its answer', async () => {
    const asked: [number, readonly string[]][] = []
    const asker = new StandingsAsker((question, principals) => asked.push([question, principals]))
    const [one, other] = [asker.ask(['a']), asker.ask(['b'])]
    const view = await office.books.view((await spent())!)
    asker.answer(asked[1]![0], [])
    asker.answer(asked[0]![0], [view])
    asker.answer(99, [view])
    assert.deepEqual([await one, await other], [[view], []])
    assert.deepEqual(
      asked.map(([, principals]) => principals),
      [['a'], ['b']],
    )
  })

  async function spent() {
    await office.spend(office.account(monthly), 1)
    return office.books.accounts.find('team', 'consumer:jack')
  }
})
