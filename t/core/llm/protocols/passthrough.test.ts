// What can be said of streams of an unknown kind: that something comes, and how they end.
import assert from 'node:assert/strict'
import { passthrough } from '../../../../core/llm/protocols/passthrough.ts'
import { follow, named } from '../../../helpers/events.ts'

describe('passthrough', () => {
  it('has neither messages nor usage, and nothing is added to it', () => {
    const body = { stream: true, messages: [{ role: 'user', content: 'x' }] }
    assert.equal(passthrough.isStreaming(body), true)
    assert.deepEqual(passthrough.messages(body), [])
    assert.equal(passthrough.withMessages(body, { before: [{ role: 'user', content: 'x' }], after: [] }), body)
    assert.deepEqual(passthrough.answerFacts({ error: {}, usage: {} }), {
      usage: undefined,
      text: undefined,
      hasToolCalls: false,
    })
    assert.equal(passthrough.refusal({ text: 'x', model: '', id: '', usage: undefined }, true).length, 0)
  })

  it('has content with the first event of any kind', () => {
    for (const event of ['data: {"a":1}\n\n', 'data: {broken\n\n', named('x'), 'data: [DONE]\n\n']) {
      const { contentSeen, malformed, failed } = follow(passthrough, [event])
      assert.deepEqual([contentSeen, malformed, failed], [true, false, false], event)
    }
    assert.equal(follow(passthrough, [': ping\n\n']).contentSeen, false)
  })

  it('is complete with [DONE], or when the body ends', () => {
    assert.equal(follow(passthrough, ['data: {}\n\n']).complete, false)
    assert.equal(follow(passthrough, ['data: {}\n\n']).endsWithBody, true)
    assert.equal(follow(passthrough, ['data: {}\n\ndata: [DONE]\n\n']).complete, true)
  })

  it('has failed with an error', () => {
    for (const event of [named('error'), 'data: {"error":{}}\n\n'])
      assert.equal(follow(passthrough, ['data: {}\n\n', event]).failed, true, event)
  })
})
