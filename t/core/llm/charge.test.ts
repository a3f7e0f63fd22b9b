// What a request may cost at most, whatever words it says its limits in.
import assert from 'node:assert/strict'
import { worstCase } from '../../../core/llm/charge.ts'
import type { JsonObject } from '../../../core/llm/json.ts'
import type { ProtocolName } from '../../../core/llm/protocols/protocol.ts'

const output = (body: JsonObject, spoken: ProtocolName = 'openai-chat') => worstCase(body, 400, { spoken }).completion

describe('the worst case of a request', () => {
  it('is a quarter of its bytes and the output that it allows, for each choice', () => {
    assert.deepEqual(worstCase({ max_tokens: 7, n: 3 }, 401, { spoken: 'openai-chat' }), {
      ...{ prompt: 101, completion: 21, total: 122, cacheRead: 0, cacheCreation: 0, reasoning: 0 },
    })
    assert.equal(worstCase({}, 401, { spoken: 'openai-chat', bytesPerToken: 1 }).prompt, 401)
  })

  it('is what is said of requests that allow anything', () => {
    for (const body of [{}, { max_tokens: null }, { max_tokens: 0 }, { max_tokens: -1 }, { max_tokens: 'many' }])
      assert.equal(output(body), 4_096)
    assert.equal(worstCase({}, 4, { spoken: 'openai-chat', output: 9 }).completion, 9)
  })

  it('takes the largest of limits that may mean the same, and none that means nothing in the protocol', () => {
    assert.equal(output({ max_completion_tokens: 1, max_tokens: 9_000 }), 9_000)
    assert.equal(output({ max_tokens: 1, MAX_TOKENS: 9_000 }), 9_000)
    assert.equal(output({ max_tokens: '9000' }), 9_000)
    assert.equal(output({ n: 1, N: 5, max_tokens: 10 }), 50)
    assert.equal(output({ max_output_tokens: 1 }), 4_096)
    assert.equal(output({ max_output_tokens: 7 }, 'openai-responses'), 7)
    assert.equal(output({ max_tokens: 7 }, 'openai-responses'), 4_096)
    assert.equal(output({ max_completion_tokens: 1, max_tokens: 70 }, 'anthropic-messages'), 70)
    assert.equal(output({ max_tokens: 1 }, 'passthrough'), 4_096)
    assert.equal(output({ max_tokens: 9_000 }, 'passthrough'), 9_000)
  })
})
