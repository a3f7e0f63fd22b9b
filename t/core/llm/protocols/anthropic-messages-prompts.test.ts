// What guards see of a request of Anthropic's messages.
import assert from 'node:assert/strict'
import { anthropicMessages } from '../../../../core/llm/protocols/anthropic-messages.ts'
import { lines } from '../../../helpers/prompts.ts'

const seen = (body: Record<string, unknown>) => lines(anthropicMessages.prompts(body))
const text = (said: string) => ({ type: 'text', text: said })

describe('of Anthropic’s messages guards see', () => {
  it('the system prompt and every text with who says it and where', () => {
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: [text('b'), text('c')] },
    ]
    const all = ['0 user: a', '1 assistant: b', '1 assistant: c']
    assert.deepEqual(seen({ system: 's', messages }), ['-1 system: s', ...all])
    assert.deepEqual(seen({ system: [text('s'), text('t')], messages }), ['-1 system: s', '-1 system: t', ...all])
  })

  it('what tools are asked, and what they say though a user brings it', () => {
    const image = { type: 'image', source: {} }
    const messages = [
      { role: 'assistant', content: [text('let me see'), { type: 'tool_use', name: 'f', input: { a: 'b' } }] },
      {
        role: 'user',
        content: [
          { type: 'tool_result', content: 'one' },
          {
            type: 'mcp_tool_result',
            content: [text('two'), image, { type: 'search_result', title: 't', content: [text('u')] }],
          },
          { type: 'tool_result' },
          text('and now?'),
        ],
      },
    ]
    assert.deepEqual(seen({ messages }), [
      '0 assistant: let me see',
      '0 assistant tool_arguments: {"a":"b"}',
      '1 tool tool_result: one',
      '1 tool tool_result: two',
      '1 tool not_text: image',
      '1 tool tool_result: t',
      '1 tool tool_result: u',
      '1 user: and now?',
    ])
  })

  it('what was thought, and that some of it is encrypted', () => {
    const content = [
      { type: 'thinking', thinking: 'a', signature: 's' },
      { type: 'redacted_thinking', data: 'x' },
    ]
    assert.deepEqual(seen({ messages: [{ role: 'assistant', content }] }), [
      '0 assistant reasoning: a',
      '0 assistant not_text: redacted_thinking',
    ])
  })

  it('documents that are texts; of others the type', () => {
    const content = [
      { type: 'document', title: 't', context: 'c', source: { type: 'text', data: 'd' } },
      { type: 'document', source: { type: 'content', content: [text('e'), { type: 'image' }] } },
      { type: 'document', source: { type: 'base64', data: 'x' } },
      { type: 'document' },
    ]
    assert.deepEqual(seen({ messages: [{ role: 'user', content }] }), [
      '0 user: t',
      '0 user: c',
      '0 user: d',
      '0 user: e',
      '0 user not_text: image',
      '0 user not_text: document',
      '0 user not_text: document',
    ])
  })

  it('by its type what is no text or not known, however deep it stands', () => {
    const content = [{ type: 'image', text: 'x' }, { type: 'container_upload' }, { type: 'text', text: 5 }, {}, 5]
    assert.deepEqual(
      seen({ system: 5, messages: [{ role: 'user', content }, { role: 'user', content: {} }, 7] }),
      ['-1 system not_text: content'].concat(
        ['image', 'container_upload', 'text', 'unknown', 'block'].map(type => `0 user not_text: ${type}`),
        '1 user not_text: content',
        '2 user not_text: content',
      ),
    )
    const nest = (depth: number): unknown =>
      depth === 0 ? text('deep') : { type: 'tool_result', content: [nest(depth - 1)] }
    assert.deepEqual(seen({ messages: [{ role: 'user', content: [nest(2)] }] }), ['0 tool tool_result: deep'])
    assert.deepEqual(seen({ messages: [{ role: 'user', content: [nest(900)] }] }), ['0 tool not_text: tool_result'])
  })

  it('no definition of a tool', () => {
    assert.deepEqual(seen({ messages: [], tools: [{ name: 'f', description: 'bad' }] }), [])
  })
})
