// What is answered for a ledger that cannot be reached, of one key and of several: nothing, yes, or a share of one's own.
import assert from 'node:assert/strict'
import { LedgerOrElse, type SharedElsewhere, type WhenAway } from '../../../core/ledger/away.ts'
import { LedgerError, type Limit, type Taking } from '../../../core/ledger/ledger.ts'
import { ledgers } from '../../helpers/ledgers.ts'

const limit: Limit = { kind: 'balance', limit: 100 }
const takings: Taking[] = [
  { key: 'a', limit, wish: { amount: 30, ticket: true } },
  { key: 'b', limit, wish: { amount: 40, ticket: true } },
  { key: 'c', limit, wish: { amount: 0, need: 1 } },
]

/** A ledger that is away, and what it is owed: by key, in the order of the ends. */
function away(when: WhenAway) {
  const owed: string[] = []
  const gone = () => Promise.reject(new LedgerError('away', 'gone'))
  const elsewhere: SharedElsewhere = {
    ...{ take: gone, takeAll: gone, look: gone, adjust: gone },
    owe: key => ({ settle: actual => void owed.push(`${key} ${actual}`), release: () => void owed.push(key) }),
  }
  let answered = 0
  const ledger = new LedgerOrElse(elsewhere, ledgers().own, when, () => answered++)
  return { ledger, owed, answered: () => answered }
}

describe('a ledger that is away', () => {
  it('says so, where it is to refuse, and to whoever looks or changes', async () => {
    const { ledger, answered } = away({ answer: 'refuse' })
    await assert.rejects(ledger.takeAll(takings), { reason: 'away' })
    await assert.rejects(ledger.take('a', limit, { amount: 1 }), { reason: 'away' })
    assert.equal(answered(), 2)
    const { ledger: generous } = away({ answer: 'allow' })
    await assert.rejects(generous.look('a', limit), { reason: 'away' })
    await assert.rejects(generous.adjust('a', limit, { what: 'used', to: 0 }), { reason: 'away' })
  })

  it('is owed what was used of each key, where all is allowed', async () => {
    const { ledger, owed } = away({ answer: 'allow' })
    const { allowed, each, ticket } = await ledger.takeAll(takings)
    assert.deepEqual([allowed, each.map(({ remaining }) => remaining)], [true, [70, 60, 100]])
    await ticket!.settle([5, 6, 7])
    const { ticket: other } = await ledger.take('a', limit, { amount: 10_000, ticket: true })
    await other!.release()
    assert.deepEqual(owed, ['a 5', 'b 6', 'a'])
  })

  it('grants its share by itself, of all keys or of none', async () => {
    const { ledger, owed } = away({ answer: 'local_share', share: 0.5 })
    const { ticket } = await ledger.takeAll(takings)
    // Of b there are 10 left of 50.
    const refused = await ledger.takeAll(takings)
    assert.deepEqual(
      [refused.allowed, refused.ticket, refused.each.map(({ remaining }) => remaining)],
      [false, undefined, [20, 10, 50]],
    )
    await ticket!.settle([20, 10, 0])
    assert.deepEqual(owed, ['a 20', 'b 10'])
    assert.equal((await ledger.take('b', limit, { amount: 41 })).allowed, false)
    assert.equal((await ledger.take('b', limit, { amount: 40 })).allowed, true)
  })
})
