// What Anthropic's bodies, answers and streams say.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { SseSplitter } from '../../../../core/llm/framing/sse.ts'
import { anthropicMessages } from '../../../../core/llm/protocols/anthropic-messages.ts'

const text = (content: string) => ({ type: 'text', text: content })
const usage = (prompt: number, completion: number, more: object = {}) => ({
  prompt,
  completion,
  total: prompt + completion,
  cacheRead: 0,
  cacheCreation: 0,
  reasoning: 0,
  ...more,
})

function follow(reads: readonly (string | Buffer)[], collectText = false) {
  const reader = anthropicMessages.openReader({}, collectText)
  const splitter = new SseSplitter()
  for (const read of reads) {
    const frames = splitter.feed(Buffer.from(read))
    if (frames !== undefined) reader.read(frames)
  }
  const rest = splitter.rest()
  if (rest !== undefined) reader.read(rest)
  return reader
}

const event = (type: string, more: object = {}) => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`
const start = event('message_start', { message: { usage: { input_tokens: 10, output_tokens: 1 } } })
const said = event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'a' } })
const delta = (counts: object) => event('message_delta', { delta: { stop_reason: 'end_turn' }, usage: counts })
const stop = event('message_stop')

describe('anthropic-messages bodies', () => {
  it('have messages with the text that they carry, and a system prompt of either form', () => {
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'user', content: [text('b'), { type: 'image' }, text('c'), null, { type: 'text' }] },
      { role: 'user', content: [{ type: 'image' }] },
      'nonsense',
      { content: 'd' },
    ]
    const all = [
      { role: 'user', content: 'a' },
      { role: 'user', content: 'b c' },
      { role: '', content: 'd' },
    ]
    assert.deepEqual(anthropicMessages.messages({ messages }), all)
    for (const system of ['s t', [text('s'), text('t')]]) {
      assert.deepEqual(anthropicMessages.messages({ messages, system }), [{ role: 'system', content: 's t' }, ...all])
    }
    assert.deepEqual(anthropicMessages.messages({ messages: 'x', system: 5 }), [])
  })

  it('say whether they stream and for whom they ask', () => {
    assert.equal(anthropicMessages.isStreaming({ stream: true }), true)
    assert.equal(anthropicMessages.isStreaming({ stream: 'true' }), false)
    assert.equal(anthropicMessages.endUserId({ metadata: { user_id: 'u' } }), 'u')
    for (const metadata of [undefined, null, 'u', {}, { user_id: 5 }]) {
      assert.equal(anthropicMessages.endUserId({ metadata }), undefined)
    }
  })
})

describe('anthropic-messages with messages added', () => {
  const system = { role: 'system', content: 's' }
  const turn = { role: 'user', content: 'u' }
  const messages = [{ role: 'user', content: 'own' }]
  const withMessages = (body: Record<string, unknown>, before: (typeof turn)[], after: (typeof turn)[]) =>
    anthropicMessages.withMessages(body, { before, after })

  it('have turns among the messages', () => {
    const all = [turn, ...messages, turn, turn]
    assert.deepEqual(withMessages({ messages, m: 1 }, [turn], [turn, turn]), { m: 1, messages: all })
    assert.deepEqual(withMessages({}, [], [turn]), { messages: [turn] })
  })

  it('have what is the system’s in the system prompt, of whatever form it is', () => {
    assert.deepEqual(withMessages({ messages }, [system], []), { messages, system: 's' })
    assert.deepEqual(withMessages({ messages, system: 'own' }, [system, turn], [system]), {
      messages: [turn, ...messages],
      system: 's\nown\ns',
    })
    assert.deepEqual(withMessages({ messages, system: [text('own')] }, [system], [system]), {
      messages,
      system: [text('s'), text('own'), text('s')],
    })
  })
})

describe('anthropic-messages refusals', () => {
  const said = { text: 'No.', model: 'm', id: 'id', usage: undefined }

  it('are messages that say no', () => {
    assert.deepEqual(JSON.parse(anthropicMessages.refusal(said, false).toString()), {
      id: 'id',
      type: 'message',
      role: 'assistant',
      model: 'm',
      content: [text('No.')],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 0, output_tokens: 0 },
    })
  })

  it('are whole streams to those who stream', () => {
    const reader = follow([anthropicMessages.refusal({ ...said, usage: { input_tokens: 3 } }, true)], true)
    assert.deepEqual([reader.text, reader.complete, reader.failed, reader.usage], ['No.', true, false, usage(3, 0)])
  })
})

describe('anthropic-messages answers', () => {
  it('say text, usage and tool calls', () => {
    const counts = { input_tokens: 10, output_tokens: 8, cache_read_input_tokens: 5, cache_creation_input_tokens: 3 }
    const content = [{ type: 'thinking', thinking: 't' }, text('a'), { type: 'tool_use' }, text('b')]
    assert.deepEqual(anthropicMessages.answerFacts({ content, usage: counts }), {
      usage: usage(10, 8, { cacheRead: 5, cacheCreation: 3 }),
      text: 'a b',
      hasToolCalls: true,
      failed: undefined,
    })
  })

  it('have failed when they are errors that come with a good status', () => {
    const failed = (type: string) => anthropicMessages.answerFacts({ type: 'error', error: { type } }).failed
    assert.deepEqual([failed('overloaded_error'), failed('rate_limit_error'), failed('x')], [529, 429, 500])
  })

  it('say nothing when they are none', () => {
    for (const answer of [undefined, null, 5, 'x', [], {}, { content: 'x', usage: null }, { content: [null, {}] }]) {
      assert.deepEqual(anthropicMessages.answerFacts(answer), {
        usage: undefined,
        text: undefined,
        hasToolCalls: false,
        failed: undefined,
      })
    }
  })

  it('are errors in Anthropic’s shape, with our code', () => {
    const error = { code: 'upstream_idle_timeout', message: 'm', status: 504 }
    const body = { type: 'error', error: { type: 'timeout_error', message: 'm', code: 'upstream_idle_timeout' } }
    assert.deepEqual(anthropicMessages.errorBody(error), body)
    assert.equal(anthropicMessages.errorEvent(error).toString(), `event: error\ndata: ${JSON.stringify(body)}\n\n`)
    assert.deepEqual(anthropicMessages.errorBody({ status: 500, code: 'x', message: 'm' }), {
      type: 'error',
      error: { type: 'api_error', message: 'm', code: 'x' },
    })
  })
})

describe('anthropic-messages streams', () => {
  const fixture = readFileSync('t/fixtures/anthropic-messages/thinking-text-tool.sse')

  it('are read the same, wherever their bytes are cut', () => {
    const facts = (reads: readonly Buffer[]) => {
      const { usage: counted, complete, failed, hasToolCalls, text: all } = follow(reads, true)
      return { counted, complete, failed, hasToolCalls, all }
    }
    const expected = {
      counted: usage(25, 89, { cacheRead: 200, cacheCreation: 10 }),
      complete: true,
      failed: false,
      hasToolCalls: true,
      all: 'Grüße 👋 event: message_stop',
    }
    assert.deepEqual(facts([fixture]), expected)
    assert.deepEqual(facts(Array.from(fixture, byte => Buffer.of(byte))), expected)
    const withCrLf = Buffer.from(fixture.toString().replaceAll('\n', '\r\n'))
    fc.assert(
      fc.property(
        fc.constantFrom(fixture, withCrLf),
        fc.array(fc.nat(fixture.length), { maxLength: 30 }),
        (bytes, at) => {
          const cuts = [0, ...at.toSorted((a, b) => a - b), bytes.length]
          assert.deepEqual(facts(cuts.slice(1).map((to, index) => bytes.subarray(cuts[index], to))), expected)
        },
      ),
      { numRuns: 100 },
    )
  })

  it('are complete with message_stop, and with nothing before it', () => {
    assert.equal(follow([start, said, delta({ output_tokens: 8 })]).complete, false)
    assert.equal(follow([start, said, stop]).complete, true)
    assert.equal(follow([start, 'event: message_stop\ndata: {}']).complete, true)
    assert.equal(follow([start, 'data: {"type":"message_stop"}\n\n']).complete, true)
    const end = fixture.indexOf('event: message_stop\n')
    for (let to = 0; to <= end; to += 11) assert.equal(follow([fixture.subarray(0, to)]).complete, false)
  })

  it('do not end with what the model says', () => {
    const lie = 'event: message_stop\n\nevent: error\ndata: {"type":"error"}\n\n'
    const reader = follow([start, said, event('content_block_delta', { delta: { type: 'text_delta', text: lie } })])
    assert.deepEqual([reader.complete, reader.failed], [false, false])
  })

  it('have content with the first delta, tool call or end, not with a ping or an empty block', () => {
    const block = (content_block: object) => event('content_block_start', { index: 0, content_block })
    const before = [start, event('ping'), block({ type: 'text', text: '' }), block({ type: 'thinking', thinking: '' })]
    assert.deepEqual([follow(before).dataSeen, follow(before).contentSeen], [true, false])
    assert.equal(follow([': x\n\n']).dataSeen, false)
    for (const one of [said, block({ type: 'tool_use' }), block({ type: 'text', text: 'a' }), delta({}), stop]) {
      assert.equal(follow([...before, one]).contentSeen, true)
    }
  })

  it('count from the beginning of the message, whichever events say what', () => {
    assert.deepEqual(follow([start, said]).usage, usage(10, 1))
    assert.deepEqual(follow([start, said, delta({ output_tokens: 8 })]).usage, usage(10, 8))
    assert.deepEqual(follow([start, delta({ output_tokens: 4 }), delta({ output_tokens: 8 })]).usage, usage(10, 8))
    const late = { input_tokens: 12, output_tokens: 8, cache_read_input_tokens: 7 }
    assert.deepEqual(follow([start, delta(late)]).usage, usage(12, 8, { cacheRead: 7 }))
    assert.deepEqual(follow([start, delta({ input_tokens: 0, output_tokens: 8 })]).usage, usage(10, 8))
    assert.deepEqual(follow([delta({ output_tokens: 8 })]).usage, usage(0, 8))
    assert.equal(follow([event('message_start', { message: {} }), said, stop]).usage, undefined)
  })

  it('fail with an error event', () => {
    const reader = follow([start, said, event('error', { error: { type: 'overloaded_error' } })])
    assert.deepEqual([reader.failed, reader.complete], [true, true])
  })

  it('call tools at any time', () => {
    assert.equal(
      follow([start, said, event('content_block_start', { content_block: { type: 'tool_use' } })]).hasToolCalls,
      true,
    )
    assert.equal(follow([start, said, stop]).hasToolCalls, false)
  })

  it('survive anything', () => {
    const types = fc.constantFrom(
      'message_start',
      'content_block_start',
      'content_block_delta',
      'message_delta',
      'error',
    )
    const line = fc.oneof(
      fc.tuple(types, fc.jsonValue()).map(([type, value]) => `event: ${type}\ndata: ${JSON.stringify(value)}\n\n`),
      fc
        .dictionary(fc.constantFrom('type', 'message', 'delta', 'usage', 'content_block'), fc.jsonValue())
        .map(value => `data: ${JSON.stringify(value)}\n\n`),
      fc.string(),
    )
    fc.assert(fc.property(fc.array(line, { maxLength: 8 }), lines => void follow(lines, true)))
  })
})
