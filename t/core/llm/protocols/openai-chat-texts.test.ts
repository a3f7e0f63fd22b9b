// The texts of chat completions and their chunks: found, changed, and ended.
import assert from 'node:assert/strict'
import { chatPieces, endsChatText, isChatEnd, mapChatTexts } from '../../../../core/llm/protocols/openai-chat-texts.ts'

const upper = (text: string) => text.toUpperCase()

describe('the texts of chat completions', () => {
  it('are found in chunks and in whole answers, by choice and member', () => {
    const seen: unknown[] = []
    const look = (text: string, { of, whole }: { of: string; whole: boolean }) => {
      seen.push([text, of, whole])
      return text
    }
    const chunk = { choices: [{ index: 1, delta: { role: 'assistant', content: 'a', reasoning_content: 'b' } }] }
    assert.equal(mapChatTexts(chunk, look), chunk)
    const parts = [{ type: 'text', text: 'c' }, { type: 'image' }]
    const answer = { choices: [{ message: { content: parts } }, { message: { content: null, refusal: 'd' } }] }
    assert.equal(mapChatTexts(answer, look), answer)
    assert.deepEqual(seen, [
      ['a', '1.content', false],
      ['b', '1.reasoning_content', false],
      ['c', '0.content', true],
      ['d', '1.refusal', true],
    ])
  })

  it('are changed in a copy that is the same in everything else', () => {
    const tools = [{ index: 0, function: { arguments: '{"a":' } }]
    const chunk = { id: 'x', choices: [{ index: 0, delta: { content: 'a', tool_calls: tools }, logprobs: null }] }
    assert.deepEqual(mapChatTexts(chunk, upper), {
      id: 'x',
      choices: [{ index: 0, delta: { content: 'A', tool_calls: tools }, logprobs: null }],
    })
    assert.equal(chunk.choices[0]!.delta.content, 'a')
  })

  it('are left alone where there are none', () => {
    for (const odd of [{}, { choices: 1 }, { choices: [null, 1, { delta: 'a' }, { delta: { content: 5 } }] }])
      assert.equal(mapChatTexts(odd, upper), odd)
  })

  it('end with the finish of their own choice', () => {
    const finish = { choices: [{ index: 1, delta: {}, finish_reason: 'stop' }] }
    assert.equal(endsChatText(finish, '1.content'), true)
    assert.equal(endsChatText(finish, '10.content'), false)
    assert.equal(endsChatText({ choices: [{ index: 1, delta: {}, finish_reason: null }] }, '1.content'), false)
  })
})

describe('the pieces of chat completions', () => {
  const said = (event: object) => chatPieces(event as never).map(({ kind, of, text }) => [kind, of, text])

  it('are texts, reasoning, and what tools are called with, by choice and call', () => {
    const tool_calls = [
      { index: 1, function: { arguments: '{"a"' } },
      { index: 2, custom: { input: 'x' } },
    ]
    const delta = { content: 'a', reasoning: 'b', refusal: 'c', tool_calls, audio: { transcript: 'd' } }
    assert.deepEqual(said({ choices: [{ index: 3, delta, finish_reason: null }] }), [
      ['text', '3.content', 'a'],
      ['reasoning', '3.reasoning', 'b'],
      ['text', '3.refusal', 'c'],
      ['text', '3.audio', 'd'],
      ['tool_arguments', '3.tool.1', '{"a"'],
      ['tool_arguments', '3.tool.2', 'x'],
    ])
    const message = { content: null, function_call: { arguments: '{}' } }
    assert.deepEqual(said({ choices: [{ message }] }), [['tool_arguments', '0.tool.0', '{}']])
  })

  it('are reasoning also where details or parts of the content say it, and once where both say it', () => {
    const details = [{ type: 'reasoning.text', text: 'a' }, { summary: 'b' }, { data: 'encrypted' }]
    const detailed = { choices: [{ index: 1, delta: { reasoning_details: details } }] }
    assert.deepEqual(said(detailed), [
      ['reasoning', '1.thoughts', 'a'],
      ['reasoning', '1.thoughts', 'b'],
    ])
    assert.deepEqual(said({ choices: [{ delta: { reasoning: 'ab', reasoning_details: details } }] }), [
      ['reasoning', '0.reasoning', 'ab'],
    ])
    const parts = [
      { type: 'thinking', thinking: [{ type: 'text', text: 'a' }, 1] },
      { type: 'text', text: 'b' },
      { type: 'thinking', thinking: 'c' },
    ]
    assert.deepEqual(said({ choices: [{ message: { content: parts } }] }), [
      ['text', '0.content', 'b'],
      ['reasoning', '0.thoughts', 'a'],
      ['reasoning', '0.thoughts', 'c'],
    ])
  })

  it('are none in what makes no sense', () => {
    for (const odd of [{}, { choices: 1 }, { choices: [null, { delta: { tool_calls: [1, {}, { function: 'x' }] } }] }])
      assert.deepEqual(said(odd), [])
  })

  it('end with a finish, or with usage that is alone', () => {
    const usage = { total_tokens: 1 }
    assert.ok(isChatEnd({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }))
    assert.ok(isChatEnd({ choices: [], usage }))
    assert.ok(!isChatEnd({ choices: [{ index: 0, delta: { content: 'a' }, finish_reason: null }], usage }))
  })
})
