// The texts of Anthropic's messages and of their events: found, changed, and ended.
import assert from 'node:assert/strict'
import {
  endsMessageText,
  isMessageEnd,
  mapMessageTexts,
  messagePieces,
} from '../../../../core/llm/protocols/anthropic-messages-texts.ts'

const upper = (text: string) => text.toUpperCase()

describe("the texts of Anthropic's messages", () => {
  it('are found in events and in whole answers, by block and member', () => {
    const seen: unknown[] = []
    const look = (text: string, { of, whole }: { of: string; whole: boolean }) => {
      seen.push([text, of, whole])
      return text
    }
    const events = [
      { type: 'message_start', message: { content: [] } },
      { type: 'content_block_start', index: 1, content_block: { type: 'text', text: '' } },
      { type: 'content_block_delta', index: 1, delta: { type: 'text_delta', text: 'a' } },
      { type: 'content_block_delta', index: 0, delta: { type: 'thinking_delta', thinking: 'b' } },
      { type: 'content_block_delta', index: 2, delta: { type: 'input_json_delta', partial_json: '{' } },
      {
        type: 'message',
        content: [{ type: 'thinking', thinking: 'c' }, { type: 'text', text: 'd' }, { type: 'image' }],
      },
      { type: 'content_block_delta', delta: null },
    ]
    for (const event of events) assert.equal(mapMessageTexts(event, look), event)
    assert.deepEqual(seen, [
      ['', '1.text', false],
      ['a', '1.text', false],
      ['b', '0.thinking', false],
      ['c', '0.thinking', true],
      ['d', '1.text', true],
    ])
  })

  it('are changed in a copy', () => {
    const event = { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'a' } }
    assert.deepEqual(mapMessageTexts(event, upper), { ...event, delta: { type: 'text_delta', text: 'A' } })
    assert.equal(event.delta.text, 'a')
  })

  it('end with their block, or with the message', () => {
    const stop = { type: 'content_block_stop', index: 1 }
    assert.deepEqual([endsMessageText(stop, '1.text'), endsMessageText(stop, '10.text')], [true, false])
    assert.ok(endsMessageText({ type: 'message_stop' }, '1.text'))
    assert.ok(!endsMessageText({ type: 'ping' }, '1.text'))
  })
})

describe("the pieces of Anthropic's messages", () => {
  const said = (event: object) => messagePieces(event as never).map(({ kind, of, text }) => [kind, of, text])

  it('are texts, reasoning, and what tools are called with, in events and in whole answers', () => {
    const events = [
      { type: 'content_block_delta', index: 0, delta: { type: 'thinking_delta', thinking: 'a' } },
      { type: 'content_block_delta', index: 1, delta: { type: 'text_delta', text: 'b' } },
      { type: 'content_block_delta', index: 2, delta: { type: 'input_json_delta', partial_json: '{"c"' } },
      {
        type: 'message',
        content: [
          { type: 'text', text: 'd' },
          { type: 'tool_use', input: { e: 'f' } },
        ],
      },
    ]
    assert.deepEqual(events.flatMap(said), [
      ['reasoning', '0.thinking', 'a'],
      ['text', '1.text', 'b'],
      ['tool_arguments', '2.tool', '{"c"'],
      ['text', '0.text', 'd'],
      ['tool_arguments', '1.tool', '{"e":"f"}'],
    ])
  })

  it('are what a tool is called with also where its block begins with all of it', () => {
    const begins = (input: object) => ({
      type: 'content_block_start',
      index: 2,
      content_block: { type: 'tool_use', input },
    })
    assert.deepEqual(said(begins({ a: 'b' })), [['tool_arguments', '2.tool', '{"a":"b"}']])
    assert.deepEqual(said(begins({})), [])
  })

  it('are none of what nobody nests so deep', () => {
    let input: object = {}
    for (let level = 0; level < 300; level++) input = { input }
    assert.deepEqual(said({ type: 'message', content: [{ type: 'tool_use', input }] }), [])
  })

  it('end with why the message does', () => {
    assert.ok(isMessageEnd({ type: 'message_delta' }))
    assert.ok(!isMessageEnd({ type: 'content_block_stop', index: 0 }))
  })
})
