// Parts of a text asked about at the same time: the first hit counts, and nothing is asked in vain after it.
import assert from 'node:assert/strict'
import { ClientGone } from '../../../../core/errors.ts'
import { firstHit } from '../../../../core/llm/guards/first-hit.ts'
import type { Wisher } from '../../../../core/llm/sidecar.ts'
import { makeContext } from '../../../helpers/context.ts'
import { until } from '../../../helpers/until.ts'

interface Asked {
  part: number
  wisher: Wisher
  answer: PromiseWithResolvers<string | undefined>
}

describe('asking about the parts of a text', () => {
  async function start(parts: number) {
    const ctx = await makeContext()
    const asked: Asked[] = []
    const all = Array.from({ length: parts }, (_, part) => part)
    const found = firstHit(ctx, all, (part, wisher) => {
      const answer = Promise.withResolvers<string | undefined>()
      wisher.onAbort(answer.reject)
      asked.push({ part, wisher, answer })
      return answer.promise
    })
    found.catch(() => {})
    return { ctx, asked, found }
  }

  it('asks about eight at once, and about the next when one is answered', async () => {
    const { asked, found } = await start(10)
    assert.equal(asked.length, 8)
    asked[3]!.answer.resolve(undefined)
    await until(() => asked.length === 9, 'the next is asked about')
    for (const { answer } of asked) answer.resolve(undefined)
    await until(() => asked.length === 10, 'the last is asked about')
    asked[9]!.answer.resolve(undefined)
    assert.equal(await found, undefined)
    assert.deepEqual(
      asked.map(({ part }) => part),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    )
  })

  it('ends with the first hit, gives up the others and asks no more', async () => {
    const { asked, found } = await start(20)
    asked[5]!.answer.resolve('bad')
    assert.equal(await found, 'bad')
    assert.ok(asked.every(({ wisher }) => wisher.aborted !== undefined))
    assert.equal(asked.length, 8)
  })

  it('ends with the first error', async () => {
    const { asked, found } = await start(3)
    asked[1]!.answer.reject(new Error('away'))
    await assert.rejects(found, { message: 'away' })
    assert.ok(asked.every(({ wisher }) => wisher.aborted?.message === 'away'))
  })

  it('gives all up when the client leaves, also one that has left before', async () => {
    const { ctx, asked, found } = await start(3)
    ctx.abort(new ClientGone())
    await assert.rejects(found, ClientGone)
    assert.ok(asked.every(({ wisher }) => wisher.aborted instanceof ClientGone))
    await assert.rejects(
      firstHit(ctx, [1], () => assert.fail('it is asked')),
      ClientGone,
    )
  })

  it('finds nothing in nothing', async () => assert.equal(await (await start(0)).found, undefined))
})
