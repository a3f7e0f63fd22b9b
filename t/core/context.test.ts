// One request as plugins know it: giving up, holds, slots, identity.
import assert from 'node:assert/strict'
import { type Context, slot } from '../../core/context.ts'
import { makeContext } from '../helpers/context.ts'

const gone = new Error('gone')

describe('a request that is given up', () => {
  it('tells everybody who listens once, with the first reason, even when one of them fails', async () => {
    const ctx = await makeContext()
    const heard: string[] = []
    ctx.onAbort(reason => heard.push(`a ${reason.message}`))
    ctx.onAbort(() => {
      throw new Error('bad listener')
    })
    const stopped = () => void heard.push('stopped')
    ctx.onAbort(stopped)
    ctx.onAbort(reason => heard.push(`b ${reason.message}`))
    ctx.offAbort(stopped)
    assert.equal(ctx.aborted, undefined)
    assert.deepEqual(ctx.abort(gone).map(String), ['Error: bad listener'])
    assert.deepEqual(ctx.abort(new Error('later')), [])
    assert.deepEqual(heard, ['a gone', 'b gone'])
    assert.equal(ctx.aborted, gone)
  })

  it('tells whoever comes late at once', async () => {
    const ctx = await makeContext()
    ctx.abort(gone)
    let heard: Error | undefined
    const late = (reason: Error) => {
      heard = reason
    }
    ctx.onAbort(late)
    ctx.offAbort(late)
    assert.equal(heard, gone)
    assert.equal(ctx.signal.aborted, true)
    assert.equal(ctx.signal.reason, gone)
  })

  it('aborts the signal that was asked for before', async () => {
    const ctx = await makeContext()
    const { signal } = ctx
    assert.equal(ctx.signal, signal)
    ctx.abort(gone)
    assert.deepEqual([signal.aborted, signal.reason], [true, gone])
  })

  it('lets a listener stop itself and others while it is told', async () => {
    const ctx = await makeContext()
    const heard: string[] = []
    const first = () => {
      heard.push('first')
      ctx.offAbort(first)
      ctx.offAbort(last)
    }
    const last = () => void heard.push('last')
    ctx.onAbort(first)
    ctx.onAbort(last)
    ctx.abort(gone)
    assert.deepEqual(heard, ['first'])
  })
})

describe('the holds of a request', () => {
  it('that are open when it ends are released, each on its own', async () => {
    const ctx = await makeContext()
    const ends: string[] = []
    const take = (name: string) => ctx.hold('thing', end => void ends.push(`${name} ${end}`))
    take('open')
    ctx.hold('thing', () => {
      throw new Error('stuck')
    })
    take('settled').settle(1)
    take('released').release()
    take('last')
    assert.deepEqual(ctx.releaseHolds().map(String), ['Error: stuck'])
    assert.deepEqual(ends, ['settled settled', 'released released', 'open released', 'last released'])
  })

  it('that are taken after its end are released at once', async () => {
    const ctx = await makeContext()
    ctx.releaseHolds()
    let given = 0
    const late = ctx.hold('thing', () => void given++)
    assert.deepEqual([late.open, given], [false, 1])
  })
})

describe('a slot', () => {
  it('keeps a value per request, and nothing until it is set', async () => {
    const mine = slot<{ n: number }>()
    const other = slot<string>()
    const [one, two]: [Context, Context] = [await makeContext(), await makeContext()]
    mine.set(one, { n: 1 })
    other.set(one, 'x')
    assert.deepEqual([mine.get(one), other.get(one), mine.get(two)], [{ n: 1 }, 'x', undefined])
  })
})

describe('who asks', () => {
  it('is told to the upstream, in place of whatever the client said', async () => {
    const ctx = await makeContext({
      headers: { 'x-consumer-username': 'root', 'X-Credential-Identifier': 'c', 'X-CONSUMER-CUSTOM-ID': '1' },
    })
    const { headers } = ctx.request
    ctx.identify({ username: 'jack', labels: {}, auth: undefined })
    assert.deepEqual(
      ['X-Consumer-Username', 'X-Credential-Identifier', 'X-Consumer-Custom-ID'].map(name => headers.all(name)),
      [['jack'], [], []],
    )
    ctx.identify({ username: 'jill', labels: { custom_id: '7' }, credentialId: 'cred', auth: undefined })
    assert.deepEqual(
      ['X-Consumer-Username', 'X-Credential-Identifier', 'X-Consumer-Custom-ID'].map(name => headers.all(name)),
      [['jill'], ['cred'], ['7']],
    )
  })
})

describe('the id of a request', () => {
  it('is 32 hexadecimal digits, its own, and stays', async () => {
    const [one, two] = [await makeContext(), await makeContext()]
    assert.match(one.id, /^[0-9a-f]{32}$/)
    assert.equal(one.id, one.id)
    assert.notEqual(one.id, two.id)
  })
})
