// What guards see of a request of the Responses API.
import assert from 'node:assert/strict'
import { openaiResponses } from '../../../../core/llm/protocols/openai-responses.ts'
import { lines } from '../../../helpers/prompts.ts'

const seen = (body: Record<string, unknown>) => lines(openaiResponses.prompts(body))

describe('of a response’s request guards see', () => {
  it('instructions and every text with who says it and where', () => {
    assert.deepEqual(seen({ instructions: 'i', input: 'hi' }), ['-1 system: i', '0 user: hi'])
    const input = [
      'plain',
      { role: 'developer', content: 'd' },
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'a' }] },
      {
        type: 'message',
        role: 'assistant',
        content: [
          { type: 'output_text', text: 'b' },
          { type: 'refusal', refusal: 'c' },
        ],
      },
      { text: 'lone' },
    ]
    assert.deepEqual(seen({ input }), [
      '0 user: plain',
      '1 system: d',
      '2 user: a',
      '3 assistant: b',
      '3 assistant: c',
      '4 user: lone',
    ])
  })

  it('what tools are asked, and what they say', () => {
    const input = [
      { type: 'function_call', name: 'f', arguments: '{"a":"\\u0062"}' },
      { type: 'function_call_output', output: 'one' },
      { type: 'function_call_output', output: [{ type: 'input_text', text: 'two' }, { type: 'input_image' }] },
      { type: 'custom_tool_call', input: 'run' },
      { type: 'custom_tool_call_output', output: 'ran' },
      { type: 'local_shell_call', action: { command: ['ls'] } },
      { type: 'shell_call_output', output: [{ stdout: 'out', stderr: 'err', outcome: {} }] },
      { type: 'mcp_call', arguments: '{}', output: 'said' },
      { type: 'code_interpreter_call', code: 'print(1)', outputs: [{ type: 'logs', logs: '1' }] },
      { type: 'web_search_call', action: { query: 'q' } },
      { type: 'computer_call_output', output: { type: 'computer_screenshot' } },
      { output: 'untyped' },
    ]
    assert.deepEqual(seen({ input }), [
      '0 assistant tool_arguments: {"a":"b"}',
      '1 tool tool_result: one',
      '2 tool tool_result: two',
      '2 tool not_text: input_image',
      '3 assistant tool_arguments: run',
      '4 tool tool_result: ran',
      '5 assistant tool_arguments: {"command":["ls"]}',
      '6 tool tool_result: out',
      '6 tool tool_result: err',
      '7 assistant tool_arguments: {}',
      '7 tool tool_result: said',
      '8 assistant tool_arguments: print(1)',
      '8 tool tool_result: 1',
      '9 assistant tool_arguments: {"query":"q"}',
      '10 tool not_text: computer_screenshot',
      '11 tool tool_result: untyped',
    ])
  })

  it('what was thought, and that some of it is encrypted', () => {
    const summary = [{ type: 'summary_text', text: 'a' }]
    const content = [{ type: 'reasoning_text', text: 'b' }]
    assert.deepEqual(seen({ input: [{ type: 'reasoning', summary, content, encrypted_content: 'x' }] }), [
      '0 assistant reasoning: a',
      '0 assistant reasoning: b',
      '0 assistant not_text: encrypted_content',
    ])
  })

  it('by its type what is no text, not known or kept by the provider', () => {
    const content = [{ type: 'input_image', text: 'x' }, { type: 'input_file' }]
    const input = [{ role: 'user', content }, { type: 'item_reference', id: 'x' }, { type: 'constructor' }, 7]
    const prompt = { id: 'p', variables: { a: 'v', b: { type: 'input_image' } } }
    assert.deepEqual(seen({ input, prompt, previous_response_id: 'r', conversation: null }), [
      '-1 user not_text: prompt',
      '-1 user not_text: previous_response_id',
      '-1 user: v',
      '-1 user not_text: input_image',
      '0 user not_text: input_image',
      '0 user not_text: input_file',
      '1 user not_text: item_reference',
      '2 user not_text: constructor',
      '3 user not_text: item',
    ])
  })

  it('an unknown thing where its type is no text, whatever it is', () => {
    const types = [{ toString: 1 }, JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`) as unknown, null, 7]
    assert.deepEqual(
      seen({ input: types.map(type => ({ type, content: 'x' })) }),
      types.map((_, at) => `${at} user not_text: unknown`),
    )
  })

  it('no definition of a tool', () => {
    assert.deepEqual(seen({ input: [{ type: 'mcp_list_tools', tools: [{ description: 'bad' }] }], tools: [{}] }), [])
  })
})
