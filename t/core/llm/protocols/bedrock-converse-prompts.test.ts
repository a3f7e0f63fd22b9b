// What guards see of a request of Converse.
import assert from 'node:assert/strict'
import { bedrockConverse } from '../../../../core/llm/protocols/bedrock-converse.ts'
import { lines } from '../../../helpers/prompts.ts'

const seen = (body: Record<string, unknown>) => lines(bedrockConverse.prompts(body))

describe('of Converse guards see', () => {
  it('the system prompt and every text with who says it and where', () => {
    const guarded = { guardContent: { text: { text: 'g', qualifiers: [] } } }
    const cited = { citationsContent: { content: [{ text: 'c' }], citations: [] } }
    const messages = [
      { role: 'user', content: [{ text: 'a' }, guarded, { cachePoint: { type: 'default' } }] },
      { role: 'assistant', content: [{ text: 'b' }, cited] },
    ]
    assert.deepEqual(seen({ system: [{ text: 's' }], messages, promptVariables: { v: { text: 'w' } } }), [
      '-1 system: s',
      '-1 user: w',
      '0 user: a',
      '0 user: g',
      '1 assistant: b',
      '1 assistant: c',
    ])
  })

  it('what tools are asked, and what they say though a user brings it', () => {
    const content = [{ text: 'one' }, { json: { a: 'b' } }, { image: {} }]
    const messages = [
      { role: 'assistant', content: [{ toolUse: { name: 'f', input: { a: 1 } } }] },
      { role: 'user', content: [{ toolResult: { toolUseId: 'x', content } }, { text: 'and now?' }] },
    ]
    assert.deepEqual(seen({ messages }), [
      '0 assistant tool_arguments: {"a":1}',
      '1 tool tool_result: one',
      '1 tool tool_result: {"a":"b"}',
      '1 tool not_text: image',
      '1 user: and now?',
    ])
  })

  it('what was thought, and that some of it is encrypted', () => {
    const content = [
      { reasoningContent: { reasoningText: { text: 'a' } } },
      { reasoningContent: { redactedContent: '' } },
    ]
    assert.deepEqual(seen({ messages: [{ role: 'assistant', content }] }), [
      '0 assistant reasoning: a',
      '0 assistant not_text: reasoningContent',
    ])
  })

  it('documents and search results that are texts; of others the type', () => {
    const content = [
      { document: { name: 'n', source: { text: 'd' } } },
      { document: { name: 'n', source: { content: [{ text: 'e' }] } } },
      { document: { source: { bytes: 'x' } } },
      { searchResult: { title: 't', source: 'u', content: [{ text: 'f' }] } },
    ]
    assert.deepEqual(seen({ messages: [{ role: 'user', content }] }), [
      '0 user: n',
      '0 user: d',
      '0 user: n',
      '0 user: e',
      '0 user not_text: document',
      '0 user: t',
      '0 user: f',
    ])
  })

  it('by its type what is no text or not known', () => {
    const nested = { toolResult: { content: [{ toolResult: { content: [{ text: 'x' }] } }] } }
    const content = [{ image: {} }, { video: {} }, { text: 5 }, 5, nested, { reasoningContent: 7 }]
    assert.deepEqual(seen({ system: 's', messages: [{ role: 'user', content }, 7] }), [
      '-1 system: s',
      ...['image', 'video', 'text', 'block'].map(type => `0 user not_text: ${type}`),
      '0 tool not_text: toolResult',
      '0 user not_text: reasoningContent',
      '1 user not_text: content',
    ])
  })
})
