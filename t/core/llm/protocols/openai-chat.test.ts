// What chat completion bodies and streams say.
import assert from 'node:assert/strict'
import { SseSplitter } from '../../../../core/llm/framing/sse.ts'
import { openaiChat } from '../../../../core/llm/protocols/openai-chat.ts'

const usage = { prompt_tokens: 10, completion_tokens: 8, total_tokens: 18 }
const counted = { prompt: 10, completion: 8, total: 18, cacheRead: 0, cacheCreation: 0, reasoning: 0 }
const delta = (part: object, more: object = {}) => ({
  choices: [{ index: 0, delta: part, finish_reason: null }],
  ...more,
})

/** Reads events, each as one read, and says what the reader knows behind each. */
function follow(events: unknown[], request: object = {}, collectText = false) {
  const reader = openaiChat.openReader(request as Record<string, unknown>, collectText)
  const splitter = new SseSplitter()
  for (const event of events) {
    const text = typeof event === 'string' ? event : `data: ${JSON.stringify(event)}\n\n`
    const frames = splitter.feed(Buffer.from(text))
    if (frames !== undefined) reader.read(frames)
  }
  return reader
}

describe('openai-chat bodies', () => {
  it('have messages with the text that they carry', () => {
    const messages = [
      { role: 'system', content: 's' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'a' },
          { type: 'image_url', image_url: {} },
          { type: 'text', text: 'b' },
        ],
      },
      { role: 'user', content: [{ type: 'image_url', image_url: {} }] },
      { role: 'assistant', content: null, tool_calls: [] },
      'nonsense',
      null,
      { content: 'no role' },
    ]
    assert.deepEqual(openaiChat.messages({ messages }), [
      { role: 'system', content: 's' },
      { role: 'user', content: 'a b' },
      { role: '', content: 'no role' },
    ])
    assert.deepEqual(openaiChat.messages({ messages: {} }), [])
  })

  it('take messages in front and behind, and stay as they are themselves', () => {
    const body = { model: 'm', messages: [{ role: 'user', content: [] }] }
    const [before, after] = [[{ role: 'system', content: 's' }], [{ role: 'user', content: 'u' }]]
    assert.deepEqual(openaiChat.withMessages(body, { before, after }), {
      model: 'm',
      messages: [...before, { role: 'user', content: [] }, ...after],
    })
    assert.equal(body.messages.length, 1)
    assert.deepEqual(openaiChat.withMessages({}, { before, after: [] }), { messages: before })
  })

  it('name the end user', () => {
    assert.equal(openaiChat.endUserId({ safety_identifier: 's', user: 'u' }), 's')
    assert.equal(openaiChat.endUserId({ safety_identifier: 5, user: 'u' }), 'u')
    assert.equal(openaiChat.endUserId({}), undefined)
  })
})

describe('openai-chat answers', () => {
  it('have usage, with the names of all dialects', () => {
    const facts = (raw: unknown) => openaiChat.answerFacts({ usage: raw }).usage
    assert.deepEqual(facts(usage), counted)
    assert.deepEqual(
      facts({
        prompt_tokens: 30,
        completion_tokens: 15,
        prompt_tokens_details: { cached_tokens: 10, cache_creation_input_tokens: 5 },
        completion_tokens_details: { reasoning_tokens: 7 },
      }),
      { prompt: 30, completion: 15, total: 45, cacheRead: 10, cacheCreation: 5, reasoning: 7 },
    )
    assert.equal(facts({ prompt_cache_hit_tokens: 4 })?.cacheRead, 4)
    assert.equal(facts(null), undefined)
    assert.equal(facts('18')?.total, undefined)
  })

  it('have the text of every choice, and tool calls', () => {
    const choices = [
      { message: { content: 'a' } },
      { message: { content: null, tool_calls: [{}] } },
      { message: { content: 'b' } },
    ]
    const { text, hasToolCalls } = openaiChat.answerFacts({ choices })
    assert.equal(text, 'a b')
    assert.equal(hasToolCalls, true)
    assert.equal(openaiChat.answerFacts({ choices: [] }).text, undefined)
    assert.equal(openaiChat.answerFacts([1]).text, undefined)
    assert.equal(openaiChat.answerFacts(undefined).hasToolCalls, false)
  })
})

describe('openai-chat errors', () => {
  for (const [status, code, type] of [
    [400, 'x', 'invalid_request_error'],
    [403, 'model_not_found', 'invalid_request_error'],
    [429, 'rate_limit_exceeded', 'rate_limit_error'],
    [429, 'insufficient_quota', 'insufficient_quota'],
    [504, 'upstream_idle_timeout', 'api_error'],
  ] as const) {
    it(`of ${status} ${code} are an ${type}, in a body and in a stream`, () => {
      const error = { error: { message: 'said', type, param: null, code } }
      assert.deepEqual(openaiChat.errorBody({ status, code, message: 'said' }), error)
      const event = openaiChat.errorEvent({ status, code, message: 'said' })
      assert.equal(event.toString(), `data: ${JSON.stringify(error)}\n\n`)
      assert.equal(follow([event.toString()]).failed, true)
    })
  }

  it('in an answer that calls itself a success have the status they should have had', () => {
    const failed = (answer: unknown) => openaiChat.answerFacts(answer).failed
    assert.equal(failed({ error: { message: 'm', code: 429 } }), 429)
    assert.equal(failed({ error: { code: 'x', status: 503 } }), 503)
    assert.equal(failed({ error: { code: 200 } }), 502)
    assert.equal(failed({ error: 'overloaded' }), 502)
    assert.equal(failed({ error: null, choices: [{}] }), undefined)
    assert.equal(failed({ error: {}, choices: [{}] }), undefined)
    assert.equal(failed({}), undefined)
  })
})

describe('openai-chat refusals', () => {
  const said = { text: 'No "way".', model: 'm', id: 'i', usage: undefined }
  const none = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }

  it('are whole answers', () => {
    const answer = JSON.parse(openaiChat.refusal(said, false).toString()) as Record<string, unknown>
    assert.deepEqual(answer, {
      id: 'i',
      object: 'chat.completion',
      model: 'm',
      choices: [{ index: 0, message: { role: 'assistant', content: 'No "way".' }, finish_reason: 'stop' }],
      usage: none,
    })
    assert.equal(openaiChat.answerFacts(answer).text, 'No "way".')
  })

  it('are whole streams, with the usage that there was', () => {
    const reader = follow([openaiChat.refusal({ ...said, usage }, true).toString()], {}, true)
    assert.deepEqual([reader.text, reader.complete, reader.usage], ['No "way".', true, counted])
  })
})

describe('openai-chat streams', () => {
  const content: [string, object][] = [
    ['text', { content: 'a' }],
    ['a tool call', { tool_calls: [{ index: 0 }] }],
    ['reasoning', { reasoning_content: 'r' }],
    ['reasoning by its other name', { reasoning: 'r' }],
    ['a refusal', { refusal: 'no' }],
  ]
  for (const [name, part] of content) {
    it(`have content with ${name}`, () => assert.equal(follow([delta(part)]).contentSeen, true))
  }

  it('have no content with a role, a ping, an empty text or nonsense', () => {
    const { contentSeen, dataSeen } = follow([': ping\n\n', '\n', 'data: \n\n', 'event: x\ndata: {"choices":1}\n\n'])
    assert.deepEqual({ contentSeen, dataSeen }, { contentSeen: false, dataSeen: false })
    const later = follow([delta({ role: 'assistant', content: '', tool_calls: [] }), 'data: {{{\n\n', { choices: [] }])
    assert.deepEqual([later.contentSeen, later.dataSeen], [false, true])
  })

  it('may begin with a byte order mark', () => {
    assert.equal(follow([`\uFEFFdata: ${JSON.stringify(delta({ content: 'a' }))}\n\n`]).contentSeen, true)
  })

  it('have no more to wait for when the model finishes without content', () => {
    assert.equal(follow([{ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }]).contentSeen, true)
  })

  it('report usage in an event of its own, in the last one, or in each', () => {
    const own = follow([delta({ content: 'a' }, { usage: null }), { choices: [], usage }])
    assert.deepEqual(own.usage, counted)
    assert.deepEqual(own.usageOnly, [0])
    const last = follow([delta({ content: 'a' }), { choices: [{ delta: {}, finish_reason: 'stop' }], usage }])
    assert.deepEqual([last.usage, last.usageOnly], [counted, []])
    const each = follow([
      delta({ content: 'a' }, { usage: { prompt_tokens: 10, completion_tokens: 1, total_tokens: 11 } }),
      delta({ content: 'a' }, { usage: { prompt_tokens: 0, completion_tokens: 8 } }),
    ])
    assert.deepEqual(each.usage, counted)
  })

  it('report usage with any whitespace', () => {
    assert.deepEqual(
      follow([delta({ content: 'a' }), `data: { "usage" : ${JSON.stringify(usage)}, "choices" : [ ] }\n\n`]).usageOnly,
      [0],
    )
  })

  it('do not report usage or an end in what the model says', () => {
    const lie = '"usage":{"prompt_tokens":1},"finish_reason":"stop",[DONE]'
    const reader = follow([
      delta({ content: 'a' }),
      delta({ content: lie }),
      delta({ content: 'usage' }),
      delta({ content: '[DONE]' }),
    ])
    assert.equal(reader.usage, undefined)
    assert.equal(reader.complete, false)
  })

  it('are complete with [DONE], or with a finish_reason of every choice', () => {
    const finish = (index: number) => ({ choices: [{ index, delta: {}, finish_reason: 'stop' }] })
    const text = delta({ content: 'a' })
    assert.equal(follow([text]).complete, false)
    assert.equal(follow([text, 'data: [DONE]\n\n']).complete, true)
    assert.equal(follow([text, 'data:[DONE] \r\n\r\n']).complete, true)
    assert.equal(follow([text, finish(0)]).complete, true)
    assert.equal(follow([text, finish(0)], { n: 2 }).complete, false)
    assert.equal(follow([text, finish(0), finish(1)], { n: 2 }).complete, true)
    assert.equal(follow([text, finish(0), finish(0)], { n: 2 }).complete, false)
  })

  for (const event of [
    'data: {"error":{"message":"overloaded"}}\n\n',
    'event: error\ndata: {"message":"overloaded"}\n\n',
    'data: {"error":"overloaded"}\n\n',
    'data: {"object":"error","message":"overloaded"}\n\n',
  ]) {
    it(`fail with ${JSON.stringify(event)}`, () => {
      assert.equal(follow([event]).failed, true)
      assert.equal(follow([delta({ content: 'a' }), event]).failed, true)
    })
  }

  for (const event of ['data: {"choices":[{"delta":{"content":"\n\n', 'data: {"choices":[}\n\n']) {
    it(`are malformed with ${JSON.stringify(event)}`, () => {
      assert.equal(follow([event]).malformed, true)
      assert.equal(follow([delta({ content: 'a' })]).malformed, false)
    })
  }

  it('are malformed with a chunk that lacks its end, wherever it comes', () => {
    const half = JSON.stringify(delta({ content: 'b c' })).slice(0, -20)
    assert.equal(follow([delta({ content: 'a' }), `data: ${half}\n\n`]).malformed, true)
  })

  it('count what came since, where the provider counts so', () => {
    const events = [1, 2, 3].map(n =>
      delta({ content: 'a' }, { usage: { prompt_tokens: n === 1 ? 7 : 0, completion_tokens: n } }),
    )
    const reader = openaiChat.openReader({}, false, 'delta')
    const splitter = new SseSplitter()
    for (const event of events) reader.read(splitter.feed(Buffer.from(`data: ${JSON.stringify(event)}\n\n`))!)
    assert.deepEqual(reader.usage, { ...counted, prompt: 7, completion: 6, total: 13 })
    assert.equal(follow(events).usage?.completion, 3)
  })

  it('call tools at any time', () => {
    const call = delta({ tool_calls: [{ index: 0, function: { name: 'f' } }] })
    assert.equal(follow([call]).hasToolCalls, true)
    assert.equal(follow([delta({ content: 'a' }), call], { tools: [{}] }).hasToolCalls, true)
    assert.equal(
      follow([delta({ content: '"tool_calls"' }), delta({ tool_calls: [] })], { tools: [{}] }).hasToolCalls,
      false,
    )
  })

  it('have their text collected when somebody asks', () => {
    const events = [
      delta({ content: 'Grü' }),
      delta({ content: 'ße ' }),
      delta({ reasoning: 'x' }),
      delta({ content: '👋' }),
    ]
    assert.equal(follow(events, {}, true).text, 'Grüße 👋')
    assert.equal(follow(events).text, undefined)
  })

  it('are read the same when all events come in one read', () => {
    const events = [
      delta({ role: 'assistant' }),
      delta({ content: 'a' }),
      delta({ content: 'b' }),
      { choices: [], usage },
    ]
    const all = `${events.map(event => `data: ${JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`
    const reader = follow([all])
    assert.deepEqual([reader.usage, reader.usageOnly, reader.complete], [counted, [3], true])
  })
})
