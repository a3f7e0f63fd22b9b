// What Converse's bodies, answers and events say.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { worstCase } from '../../../../core/llm/charge.ts'
import { awsEventStream, encodeMessage } from '../../../../core/llm/framing/aws-event-stream.ts'
import type { JsonObject } from '../../../../core/llm/json.ts'
import { bedrockConverse } from '../../../../core/llm/protocols/bedrock-converse.ts'
import { detectProtocol } from '../../../../core/llm/protocols/detect.ts'
import type { EventReader } from '../../../../core/llm/protocols/protocol.ts'
import { estimateTokens, TokenEstimate } from '../../../../core/llm/token-estimate.ts'

const event = (type: string, payload: unknown) =>
  encodeMessage({ ':message-type': 'event', ':event-type': type }, Buffer.from(JSON.stringify(payload)))
const delta = (delta: object) => event('contentBlockDelta', { contentBlockIndex: 0, delta })
const begin = event('messageStart', { role: 'assistant' })
const toolStart = event('contentBlockStart', {
  contentBlockIndex: 1,
  start: { toolUse: { toolUseId: 't', name: 'n' } },
})
const stop = event('messageStop', { stopReason: 'end_turn' })
const metadata = event('metadata', {
  usage: { inputTokens: 10, outputTokens: 5, totalTokens: 215, cacheReadInputTokens: 150, cacheWriteInputTokens: 50 },
})
const usage = { prompt: 10, completion: 5, total: 215, cacheRead: 150, cacheCreation: 50, reasoning: 0 }

/** What a reader knows after `reads`. */
function follow(reads: readonly Buffer[], collectText = true) {
  const splitter = awsEventStream.open()
  const reader = bedrockConverse.openReader({}, collectText)
  for (const read of reads) {
    const cut = splitter.feed(read)
    if (cut !== undefined) reader.read(cut)
  }
  return factsOf(reader)
}

const factsOf = ({ dataSeen, contentSeen, complete, failed, usage, hasToolCalls, text }: EventReader) => ({
  ...{ dataSeen, contentSeen, complete, failed, usage, hasToolCalls, text },
})
const nothing = factsOf(bedrockConverse.openReader({}, true))

describe('bedrock-converse', () => {
  it('is what is sent to its paths with messages, and nothing else', () => {
    for (const path of ['/converse', '/model/m/converse', '/model/m/converse-stream', '/x/converse'])
      assert.equal(detectProtocol({ messages: [] }, path), 'bedrock-converse')
    assert.equal(detectProtocol({ messages: 'x' }, '/converse'), 'passthrough')
    assert.equal(detectProtocol({ messages: [] }, '/converse/x'), 'openai-chat')
  })

  it('streams by its body or by its path', () => {
    assert.equal(bedrockConverse.isStreaming({ stream: true }, '/converse'), true)
    assert.equal(bedrockConverse.isStreaming({}, '/model/m/converse-stream'), true)
    assert.equal(bedrockConverse.isStreaming({ stream: 'true' }, '/model/m/converse'), false)
    assert.equal(bedrockConverse.isStreaming({}), false)
  })

  it('may name its model in the path', () => {
    const arn = 'arn:aws:bedrock:us-east-1:1:inference-profile/us.m'
    assert.equal(bedrockConverse.pathModel!('/model/m:0/converse'), 'm:0')
    assert.equal(bedrockConverse.pathModel!(`/aws/model/${arn}/converse-stream`), arn)
    assert.equal(bedrockConverse.pathModel!('/converse'), undefined)
  })

  it('has messages with text, the system’s first', () => {
    const body = {
      system: [{ text: 'a' }, { cachePoint: {} }, { text: 'b' }],
      messages: [
        { role: 'user', content: [{ text: 'c' }, { image: {} }, { text: 'd' }] },
        { role: 'assistant', content: [{ toolUse: {} }] },
        { role: 'assistant', content: 'not a list' },
        null,
      ],
    }
    assert.deepEqual(bedrockConverse.messages(body), [
      { role: 'system', content: 'a b' },
      { role: 'user', content: 'c d' },
    ])
    assert.deepEqual(bedrockConverse.messages({}), [])
  })

  it('says in a whole answer what it used, and whether it calls tools', () => {
    const content = [{ text: 'a' }, { toolUse: { name: 'n' } }, { text: 'b' }]
    const answer = { output: { message: { content } }, usage: { inputTokens: 3, outputTokens: 4 } }
    assert.deepEqual(bedrockConverse.answerFacts(answer), {
      usage: { prompt: 3, completion: 4, total: 7, cacheRead: 0, cacheCreation: 0, reasoning: 0 },
      text: 'a b',
      hasToolCalls: true,
    })
    for (const other of [undefined, null, 7, [], {}, { output: 1, usage: [] }])
      assert.deepEqual(bedrockConverse.answerFacts(other), { usage: undefined, text: undefined, hasToolCalls: false })
  })

  it('says the same in a stream however it is cut', () => {
    const whole = Buffer.concat([begin, delta({ text: 'Hel' }), delta({ text: 'lo' }), toolStart, stop, metadata])
    const wanted = {
      ...{ dataSeen: true, contentSeen: true, complete: true, failed: false },
      ...{ usage, hasToolCalls: true, text: 'Hello' },
    }
    assert.deepEqual(follow([whole]), wanted)
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length), { maxLength: 30 }), places => {
        const at = [...new Set(places)].sort((a, b) => a - b)
        const reads = [0, ...at].map((from, index) => whole.subarray(from, at[index] ?? whole.length))
        assert.deepEqual(follow(reads), wanted)
      }),
      { numRuns: 200 },
    )
    assert.deepEqual(follow([whole], false), { ...wanted, text: undefined })
  })

  it('counts its text as it passes, where somebody charges for it', () => {
    const reader = bedrockConverse.openReader({}, false)
    reader.estimate = new TokenEstimate()
    for (const bytes of [begin, delta({ text: 'Once upon ' }), delta({ text: 'a time' })])
      reader.read({ bytes, ends: [bytes.length] })
    assert.deepEqual([reader.estimate.tokens, reader.text], [estimateTokens(['Once upon a time']), undefined])
  })

  it('may cost as much output as it allows', () => {
    const most = (body: JsonObject) => worstCase(body, 400, { spoken: 'bedrock-converse' }).completion
    assert.equal(most({ inferenceConfig: { maxTokens: 50_000 } }), 50_000)
    assert.equal(most({ inferenceConfig: 'x' }), most({}))
  })

  it('has content with the first text, tool or reasoning, not with the announcement of a role', () => {
    const empty = { ...nothing, dataSeen: true }
    assert.deepEqual(follow([begin]), empty)
    assert.deepEqual(follow([begin, delta({ text: '' })]), { ...empty, text: '' })
    for (const first of [
      delta({ text: 'a' }),
      delta({ reasoningContent: { text: 'a' } }),
      delta({ toolUse: {} }),
      toolStart,
    ])
      assert.equal(follow([begin, first]).contentSeen, true)
  })

  it('has failed with an exception, and is not complete without its stop', () => {
    const failing = encodeMessage({ ':message-type': 'exception', ':exception-type': 'x' }, Buffer.from('{}'))
    const error = encodeMessage({ ':message-type': 'error', ':error-code': 'x' }, Buffer.alloc(0))
    for (const end of [failing, error]) assert.deepEqual(pick(follow([begin, end])), { complete: true, failed: true })
    assert.deepEqual(pick(follow([begin, delta({ text: 'a' }), metadata])), { complete: false, failed: false })
  })

  it('makes no sense of nonsense, and no harm either', () => {
    const odd = [event('metadata', 7), event('contentBlockDelta', null), event('unheardOf', {}), event('metadata', {})]
    assert.deepEqual(follow(odd), { ...nothing, dataSeen: true })
  })

  it('says of an event that cannot be read that something is lost', () => {
    const noJson = encodeMessage({ ':message-type': 'event', ':event-type': 'metadata' }, Buffer.from('{'))
    // A header of a type that there is none.
    const noHeaders = Buffer.from('0000001400000004d4f2f6f001410a0000000000', 'hex')
    for (const bytes of [noJson, noHeaders]) {
      const reader = bedrockConverse.openReader({}, false)
      reader.read({ bytes, ends: [bytes.length] })
      assert.equal(reader.malformed, true)
    }
  })

  it('takes messages in front and behind, the system’s in their own place', () => {
    const before = [
      { role: 'system', content: 's1' },
      { role: 'user', content: 'u1' },
    ]
    const after = [
      { role: 'system', content: 's2' },
      { role: 'assistant', content: 'a2' },
    ]
    const body = { system: [{ text: 's' }], messages: [{ role: 'user', content: [{ text: 'u' }] }], x: 1 }
    assert.deepEqual(bedrockConverse.withMessages(body, { before, after }), {
      system: [{ text: 's1' }, { text: 's' }, { text: 's2' }],
      messages: [
        { role: 'user', content: [{ text: 'u1' }] },
        { role: 'user', content: [{ text: 'u' }] },
        { role: 'assistant', content: [{ text: 'a2' }] },
      ],
      x: 1,
    })
    assert.deepEqual(bedrockConverse.withMessages({}, { before: [], after: [] }), { messages: [] })
  })

  it('refuses in its own shape, whole and streamed', () => {
    const said = { text: 'no', model: 'm', id: 'i', usage: { inputTokens: 1, outputTokens: 2, totalTokens: 3 } }
    assert.deepEqual(JSON.parse(bedrockConverse.refusal(said, false).toString()), {
      output: { message: { role: 'assistant', content: [{ text: 'no' }] } },
      stopReason: 'end_turn',
      usage: said.usage,
    })
    assert.deepEqual(follow([bedrockConverse.refusal({ ...said, usage: undefined }, true)]), {
      ...{ dataSeen: true, contentSeen: true, complete: true, failed: false, hasToolCalls: false, text: 'no' },
      usage: { prompt: 0, completion: 0, total: 0, cacheRead: 0, cacheCreation: 0, reasoning: 0 },
    })
  })

  it('has texts that can be changed, of each block, and no arguments of tools', () => {
    const places: string[] = []
    const change = (text: string, { of, whole }: { of: string; whole: boolean }) => {
      places.push(`${of} ${whole}`)
      return text.toUpperCase()
    }
    const mapped = (json: object) => bedrockConverse.mapTexts!(json as Record<string, unknown>, change)
    const content = [
      { text: 'a' },
      { toolUse: { input: { text: 'no' } } },
      { reasoningContent: { reasoningText: { text: 'b', signature: 's' } } },
      { citationsContent: { content: [{ text: 'c' }], citations: [] } },
    ]
    assert.deepEqual(mapped({ output: { message: { role: 'assistant', content } }, usage: {} }), {
      output: {
        message: {
          role: 'assistant',
          content: [
            { text: 'A' },
            { toolUse: { input: { text: 'no' } } },
            { reasoningContent: { reasoningText: { text: 'B', signature: 's' } } },
            { citationsContent: { content: [{ text: 'C' }], citations: [] } },
          ],
        },
      },
      usage: {},
    })
    assert.deepEqual(mapped({ contentBlockIndex: 3, delta: { text: 'd' }, p: 'ab' }), {
      ...{ contentBlockIndex: 3, delta: { text: 'D' }, p: 'ab' },
    })
    assert.deepEqual(mapped({ contentBlockIndex: 4, delta: { reasoningContent: { text: 'e' } } }), {
      ...{ contentBlockIndex: 4, delta: { reasoningContent: { text: 'E' } } },
    })
    assert.deepEqual(places, ['0.text true', '2.reasoning true', '3.text true', '3.text false', '4.reasoning false'])
    for (const other of [
      { contentBlockIndex: 1, delta: { toolUse: { input: 'x' } } },
      { delta: 7 },
      { output: [] },
      {},
    ])
      assert.equal(mapped(other), other)
  })

  it('knows the end of a text: that of its block, or of the answer', () => {
    const ends = (json: Record<string, unknown>) => ['0.text', '1.text'].map(of => bedrockConverse.endsText!(json, of))
    assert.deepEqual(ends({ contentBlockIndex: 1 }), [false, true])
    assert.deepEqual(ends({ contentBlockIndex: 1, delta: { text: 'a' } }), [false, false])
    assert.deepEqual(ends({ contentBlockIndex: 1, start: {} }), [false, false])
    assert.deepEqual(ends({ stopReason: 'end_turn' }), [true, true])
    assert.deepEqual(ends({ message: 'an exception' }), [true, true])
    assert.deepEqual(ends({ role: 'assistant' }), [false, false])
  })

  it('tells errors as AWS’s clients understand them', () => {
    const error = { status: 500, code: 'upstream_reset', message: 'it broke' }
    assert.deepEqual(bedrockConverse.errorBody(error), { message: 'it broke', code: 'upstream_reset' })
    assert.deepEqual(pick(follow([bedrockConverse.errorEvent(error)])), { complete: true, failed: true })
  })
})

function pick({ complete, failed }: { complete: boolean; failed: boolean }) {
  return { complete, failed }
}

describe('the pieces of Converse', () => {
  const said = (event: object) => bedrockConverse.pieces!(event as never).map(({ kind, of, text }) => [kind, of, text])

  it('are texts, reasoning, and what tools are called with, in events and in whole answers', () => {
    const content = [{ reasoningContent: { reasoningText: { text: 'd' } } }, { toolUse: { input: { e: 1 } } }]
    const events = [
      { contentBlockIndex: 0, delta: { text: 'a' } },
      { contentBlockIndex: 1, delta: { reasoningContent: { text: 'b' } } },
      { contentBlockIndex: 2, delta: { toolUse: { input: '{"c"' } } },
      { output: { message: { content } }, usage: {} },
    ]
    assert.deepEqual(events.flatMap(said), [
      ['text', '0.text', 'a'],
      ['reasoning', '1.reasoning', 'b'],
      ['tool_arguments', '2.tool', '{"c"'],
      ['reasoning', '0.reasoning', 'd'],
      ['tool_arguments', '1.tool', '{"e":1}'],
    ])
  })

  it('end with why the message does, and with what it used', () => {
    for (const event of [{ stopReason: 'end_turn' }, { usage: {} }]) assert.ok(bedrockConverse.isEnd!(event))
    for (const event of [{ contentBlockIndex: 0 }, { role: 'assistant' }]) assert.ok(!bedrockConverse.isEnd!(event))
  })
})

describe('bedrock-converse refusals within a stream', () => {
  it('end the block that is open, and say no in the next', () => {
    const begun = bedrockConverse.openBegun!()
    begun.took({ role: 'assistant' })
    begun.took({ contentBlockIndex: 0, delta: { text: 'a' } })
    begun.took({ contentBlockIndex: 0 })
    begun.took({ contentBlockIndex: 1, start: { toolUse: {} } })
    const bytes = begun.refusal({ text: 'No.', model: '', id: '', usage: undefined })
    const events: unknown[] = []
    let from = 0
    for (const end of awsEventStream.open().feed(bytes)!.ends) {
      const { type, data } = awsEventStream.read(bytes.subarray(from, end))!
      events.push([type, JSON.parse(data)])
      from = end
    }
    assert.deepEqual(events.slice(0, 4), [
      ['contentBlockStop', { contentBlockIndex: 1 }],
      ['contentBlockDelta', { contentBlockIndex: 2, delta: { text: 'No.' } }],
      ['contentBlockStop', { contentBlockIndex: 2 }],
      ['messageStop', { stopReason: 'end_turn' }],
    ])
  })
})
