// The texts of chat completions and their chunks: found, changed, and ended.
import assert from 'node:assert/strict'
import { endsChatText, mapChatTexts } from '../../../../core/llm/protocols/openai-chat-texts.ts'

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
