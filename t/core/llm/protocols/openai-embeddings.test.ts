// What bodies and answers of embeddings say.
import assert from 'node:assert/strict'
import { openaiEmbeddings } from '../../../../core/llm/protocols/openai-embeddings.ts'
import { lines } from '../../../helpers/prompts.ts'

describe('openai-embeddings', () => {
  it('never stream', () => assert.equal(openaiEmbeddings.isStreaming({ stream: true }), false))

  it('have a message only where there is one text', () => {
    assert.deepEqual(openaiEmbeddings.messages({ input: 'a' }), [{ role: 'user', content: 'a' }])
    assert.deepEqual(openaiEmbeddings.messages({ input: ['a', 'b'] }), [])
    const body = { input: 'a' }
    assert.equal(openaiEmbeddings.withMessages(body, { before: [{ role: 'user', content: 'x' }], after: [] }), body)
  })

  it('show guards every text, and that tokens are none', () => {
    const seen = (input: unknown) => lines(openaiEmbeddings.prompts({ input }))
    assert.deepEqual(seen('a'), ['0 user: a'])
    assert.deepEqual(seen(['a', 'b']), ['0 user: a', '0 user: b'])
    assert.deepEqual(seen([1, 2]), ['0 user not_text: tokens'])
    assert.deepEqual(seen(['a', [1], [2]]), ['0 user: a', '0 user not_text: tokens'])
    assert.deepEqual(seen([{ type: 'image_url' }]), ['0 user not_text: image_url'])
  })

  it('have usage', () => {
    const facts = (answer: unknown) => openaiEmbeddings.answerFacts(answer)
    assert.deepEqual(facts({ data: [], usage: { prompt_tokens: 8, total_tokens: 9 } }), {
      usage: { prompt: 8, completion: 0, total: 9, cacheRead: 0, cacheCreation: 0, reasoning: 0 },
      text: undefined,
      hasToolCalls: false,
      failed: undefined,
    })
    assert.equal(facts({ usage: { prompt_tokens: 8 } }).usage?.total, 8)
    assert.equal(facts({ data: [] }).usage, undefined)
    assert.equal(facts(undefined).usage, undefined)
    assert.equal(facts({ error: { message: 'm' } }).failed, 502)
  })

  it('are refused with an error', () => {
    const refusal = openaiEmbeddings.refusal({ text: 'no', model: 'm', id: 'i', usage: undefined }, false)
    assert.equal(refusal.toString(), '{"error":{"message":"no","type":"content_policy_violation"}}')
  })
})
