// What guards see of a chat completion's request.
import assert from 'node:assert/strict'
import { openaiChat } from '../../../../core/llm/protocols/openai-chat.ts'
import { lines } from '../../../helpers/prompts.ts'

const seen = (...messages: unknown[]) => lines(openaiChat.prompts({ messages }))

describe('of a chat completion guards see', () => {
  it('every text with who says it and where', () => {
    const parts = [{ type: 'text', text: 'a' }, { type: 'text', text: '' }, { text: 'b' }, 'c']
    assert.deepEqual(
      seen(
        { role: 'system', content: 's' },
        { role: 'developer', content: 'd' },
        { role: 'user', content: parts },
        { role: 'assistant', content: 'hi', refusal: 'no' },
        { role: 'assistant', content: [{ type: 'refusal', refusal: 'never' }] },
        { role: 'critic', content: 'who knows' },
        { role: 'user', content: null },
      ),
      [
        '0 system: s',
        '1 system: d',
        '2 user: a',
        '2 user: b',
        '2 user: c',
        '3 assistant: hi',
        '3 assistant: no',
      ].concat('4 assistant: never', '5 user: who knows'),
    )
  })

  it('what tools are asked, and what they say', () => {
    const calls = [
      { type: 'function', function: { name: 'f', arguments: '{"a":"b\\u0061d"}' } },
      { type: 'function', function: { name: 'f', arguments: { a: [1] } } },
      { type: 'function', function: { name: 'f', arguments: '{"cut \\u00' } },
      { type: 'custom', custom: { name: 'c', input: 'run' } },
    ]
    assert.deepEqual(
      seen(
        { role: 'assistant', content: null, tool_calls: calls },
        { role: 'assistant', function_call: { name: 'g', arguments: '{}' } },
        { role: 'tool', tool_call_id: '1', content: [{ type: 'text', text: 'sunny' }] },
        { role: 'function', name: 'g', content: 'old' },
      ),
      [
        '0 assistant tool_arguments: {"a":"bad"}',
        '0 assistant tool_arguments: {"a":[1]}',
        '0 assistant tool_arguments: {"cut \\u00',
        '0 assistant tool_arguments: run',
        '1 assistant tool_arguments: {}',
        '2 tool tool_result: sunny',
        '3 tool tool_result: old',
      ],
    )
  })

  it('what was thought, in every dialect', () => {
    const reasoning_details = [
      { type: 'reasoning.text', text: 'c' },
      { type: 'reasoning.summary', summary: 'd' },
      { type: 'reasoning.encrypted', data: 'x' },
    ]
    const content = [
      { type: 'thinking', thinking: [{ type: 'text', text: 'e' }] },
      { type: 'thinking', thinking: 'f' },
    ]
    assert.deepEqual(seen({ role: 'assistant', reasoning_content: 'a', reasoning: 'b', reasoning_details, content }), [
      '0 assistant reasoning: a',
      '0 assistant reasoning: b',
      '0 assistant reasoning: c',
      '0 assistant reasoning: d',
      '0 assistant not_text: reasoning.encrypted',
      '0 assistant reasoning: e',
      '0 assistant reasoning: f',
    ])
  })

  it('by its type what is no text or not known', () => {
    const content = [{ type: 'image_url', text: 'x' }, { type: 'input_audio' }, { type: 'text', text: { a: 1 } }, {}, 5]
    assert.deepEqual(
      seen(
        { role: 'user', content },
        { role: 'user', content: { text: 'x' } },
        { role: 'assistant', audio: { id: 'a' }, tool_calls: [{ type: 'spell' }, 7], function_call: 'x' },
        7,
      ),
      [
        ...['image_url', 'input_audio', 'text', 'unknown', 'part'].map(type => `0 user not_text: ${type}`),
        '1 user not_text: content',
        ...['audio', 'function', 'spell', 'tool_call'].map(type => `2 assistant not_text: ${type}`),
        '3 user not_text: message',
      ],
    )
    assert.deepEqual(lines(openaiChat.prompts({ messages: { 0: { content: 'x' } } })), ['0 user not_text: messages'])
  })

  it('no definition of a tool', () => {
    const tools = [{ type: 'function', function: { name: 'f', description: 'bad' } }]
    assert.deepEqual(openaiChat.prompts({ messages: [], tools }), [])
  })
})
