// What of an answer guards look at: what belongs together stays together, and nothing twice but the end of a part.
import assert from 'node:assert/strict'
import { AnswerEvent } from '../../../../core/llm/answer-event.ts'
import { type AnswerKinds, AnswerTexts } from '../../../../core/llm/guards/answer-texts.ts'
import { openaiChat } from '../../../../core/llm/protocols/openai-chat.ts'
import { openaiResponses } from '../../../../core/llm/protocols/openai-responses.ts'
import { passthrough } from '../../../../core/llm/protocols/passthrough.ts'
import type { Protocol } from '../../../../core/llm/protocols/protocol.ts'

const text: AnswerKinds = new Set(['text'])
const event = (json: object, protocol: Protocol) =>
  AnswerEvent.ofStream(Buffer.from(`data: ${JSON.stringify(json)}\n\n`), protocol)!
const chunk = (index: number, content: string) =>
  event({ choices: [{ index, delta: { content, reasoning: 'hm' }, finish_reason: null }] }, openaiChat)

describe('the texts of an answer', () => {
  it('are put together by choice, and taken with the end of what was taken before', () => {
    const texts = new AnswerTexts(text)
    for (const [index, content] of [
      [0, 'a b'],
      [1, 'x y'],
      [0, 'ad'],
      [1, 'z'],
    ] as const)
      texts.add(chunk(index, content))
    assert.deepEqual([texts.bytes, texts.take(), texts.bytes], [9, 'a bad x yz', 0])
    texts.add(chunk(0, '!'))
    assert.equal(texts.take(), 'a bad!')
    texts.add(chunk(1, '?'))
    // Nothing has come of it for a whole part.
    assert.equal(texts.take(), 'x yz?')
    texts.add(chunk(1, 'c'.repeat(100)))
    texts.take()
    texts.add(chunk(1, 'd'))
    assert.equal(texts.take(), `${'c'.repeat(32)}d`)
  })

  it('are what arguments of tools mean, however they are escaped and cut', () => {
    const texts = new AnswerTexts(new Set(['tool_arguments']))
    const call = (piece: string) =>
      event(
        { choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: piece } }] } }] },
        openaiChat,
      )
    texts.add(call('{"a":"b\\u00'))
    texts.add(call('61d"'))
    assert.equal(texts.take(), '{"a":"bad"')
  })

  it('are forgotten when many others have gone on since', () => {
    const texts = new AnswerTexts(text)
    for (let index = 0; index < 70; index++) texts.add(chunk(index, 'a'))
    texts.take()
    for (const index of [0, 69]) {
      texts.add(chunk(index, 'b'))
      assert.equal(texts.take(), index === 0 ? 'b' : 'ab')
    }
  })

  it('are not cut within a character', () => {
    const texts = new AnswerTexts(text)
    texts.add(chunk(0, `👋${'a'.repeat(31)}`))
    texts.take()
    texts.add(chunk(0, 'b'))
    assert.equal(texts.take(), `${'a'.repeat(31)}b`)
  })

  it('are read as a whole as often as one likes, as far as they are kept', () => {
    const texts = new AnswerTexts(text, 4)
    for (const content of ['ab', 'cd', 'ef']) texts.add(chunk(0, content))
    assert.deepEqual([texts.bytes, texts.read(), texts.bytes, texts.read()], [6, 'abcd', 0, 'abcd'])
  })

  it('are those of the kinds that are asked for', () => {
    const texts = new AnswerTexts(new Set(['reasoning']))
    texts.add(chunk(0, 'a'))
    assert.equal(texts.read(), 'hm')
  })

  it('are not heard twice where a stream says them again, but where it says them only then', () => {
    const output = [{ type: 'message', content: [{ type: 'output_text', text: 'ab' }] }]
    const delta = { type: 'response.output_text.delta', output_index: 0, content_index: 0, delta: 'ab' }
    const completed = event({ type: 'response.completed', response: { output } }, openaiResponses)
    const texts = new AnswerTexts(text)
    texts.add(event(delta, openaiResponses))
    texts.add(completed)
    assert.equal(texts.take(), 'ab')
    const silent = new AnswerTexts(text)
    silent.add(completed)
    assert.equal(silent.take(), 'ab')
  })

  it('are unknown where nobody knows the protocol', () => {
    const texts = new AnswerTexts(text)
    assert.equal(texts.add(event({ x: 1 }, passthrough)), false)
    assert.equal(texts.add(event({ x: 1 }, openaiChat)), true)
  })
})
