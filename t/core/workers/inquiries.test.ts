// Questions to somebody who answers late, never, out of order or twice: each asker hears once.
import assert from 'node:assert/strict'
import { Inquiries } from '../../../core/workers/inquiries.ts'

describe('an inquiry', () => {
  it('gets its own answer, whatever the order, and only the first', async () => {
    const inquiries = new Inquiries<string>()
    const numbers: number[] = []
    const asked = [1, 2, 3].map(() => inquiries.ask(number => numbers.push(number), 60_000))
    for (const number of numbers.toReversed()) inquiries.answered(number, `to ${number}`)
    for (const number of numbers) inquiries.answered(number, 'again')
    inquiries.answered(99, 'to nobody')
    assert.deepEqual(
      (await Promise.all(asked)).map(each => each?.answer),
      numbers.map(number => `to ${number}`),
    )
  })

  it('tells an answer that is nothing from none', async () => {
    const inquiries = new Inquiries<undefined>()
    const answered = inquiries.ask(number => inquiries.answered(number, undefined), 60_000)
    assert.deepEqual(await answered, { answer: undefined })
    assert.equal(await inquiries.ask(() => {}, 1), undefined)
  })

  it('has no answer once nobody can give one, and what comes late is let go', async () => {
    const inquiries = new Inquiries<string>()
    let late = -1
    const asked = inquiries.ask(number => {
      late = number
    }, 60_000)
    inquiries.close()
    inquiries.answered(late, 'too late')
    assert.equal(await asked, undefined)
  })
})
