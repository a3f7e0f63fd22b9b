// What bodies, answers and streams of the Responses API say.
import assert from 'node:assert/strict'
import { openaiResponses } from '../../../../core/llm/protocols/openai-responses.ts'
import { follow, named } from '../../../helpers/events.ts'

const usage = {
  input_tokens: 20,
  input_tokens_details: { cached_tokens: 10 },
  output_tokens: 5,
  output_tokens_details: { reasoning_tokens: 3 },
  total_tokens: 25,
}
const counted = { prompt: 20, completion: 5, total: 25, cacheRead: 10, cacheCreation: 0, reasoning: 3 }
const message = (...texts: string[]) => ({
  type: 'message',
  role: 'assistant',
  content: texts.map(text => ({ type: 'output_text', text, annotations: [] })),
})
const text = (delta: string) => named('response.output_text.delta', { delta, item_id: 'i', output_index: 0 })
const completed = (response: object = {}) =>
  named('response.completed', { response: { status: 'completed', ...response } })

describe('openai-responses bodies', () => {
  it('have instructions and the texts of their input', () => {
    const input = [
      'bare',
      { role: 'developer', content: 'd' },
      {
        role: 'user',
        content: [{ type: 'input_text', text: 'a' }, { type: 'input_image' }, { type: 'any', text: 'b' }],
      },
      { type: 'function_call', name: 'f', arguments: '{}' },
      { type: 'function_call_output', output: 'result' },
      { type: 'function_call_output', output: [{ type: 'input_text', text: 'listed' }] },
      { type: 'message', text: 't' },
      null,
      5,
    ]
    assert.deepEqual(openaiResponses.messages({ instructions: 'i', input }), [
      { role: 'system', content: 'i' },
      { role: 'user', content: 'bare' },
      { role: 'developer', content: 'd' },
      { role: 'user', content: 'a b' },
      { role: 'user', content: 'result' },
      { role: 'user', content: 'listed' },
      { role: 'user', content: 't' },
    ])
    assert.deepEqual(openaiResponses.messages({ input: 'hi' }), [{ role: 'user', content: 'hi' }])
    assert.deepEqual(openaiResponses.messages({ input: 5, instructions: [] }), [])
  })

  it('take messages in front as instructions, and behind as input', () => {
    const before = [
      { role: 'system', content: 'a' },
      { role: 'user', content: 'b' },
    ]
    const after = [{ role: 'assistant', content: 'z' }]
    const added = (body: object) => openaiResponses.withMessages(body as Record<string, unknown>, { before, after })
    assert.deepEqual(added({ instructions: 'own', input: 'hi' }), { instructions: 'a\nb\nown', input: 'hi\nz' })
    const list = [{ role: 'user', content: 'hi' }]
    assert.deepEqual(added({ input: list }), {
      instructions: 'a\nb',
      input: [...list, { type: 'message', role: 'user', content: 'z' }],
    })
    assert.equal(list.length, 1)
    assert.deepEqual(added({}), { instructions: 'a\nb', input: 'z' })
    assert.deepEqual(openaiResponses.withMessages({ input: 'x' }, { before: [], after: [] }), { input: 'x' })
  })
})

describe('openai-responses answers', () => {
  it('have usage, text and tool calls', () => {
    assert.deepEqual(
      openaiResponses.answerFacts({
        status: 'completed',
        error: null,
        output: [{ type: 'reasoning', content: [] }, message('a', 'b'), { type: 'function_call' }, message('c'), null],
        usage,
      }),
      { usage: counted, text: 'a b c', hasToolCalls: true, failed: undefined },
    )
    const { text: none, hasToolCalls, usage: unknown } = openaiResponses.answerFacts({ output: [] })
    assert.deepEqual([none, hasToolCalls, unknown], [undefined, false, undefined])
    assert.equal(openaiResponses.answerFacts([]).text, undefined)
    const summed = openaiResponses.answerFacts({ usage: { input_tokens: 2, output_tokens: 3 } })
    assert.equal(summed.usage?.total, 5)
  })

  it('that failed say so in the body, unless they are no response at all', () => {
    const failed = (answer: object) => openaiResponses.answerFacts(answer).failed
    assert.equal(failed({ status: 'failed', error: { code: 'server_error' }, output: [] }), true)
    assert.equal(failed({ status: 'incomplete', error: null, output: [] }), undefined)
    assert.equal(failed({ error: { message: 'm', code: 429 } }), 429)
    assert.equal(failed({ error: { message: 'm', code: 'x' } }), 502)
  })
})

describe('openai-responses streams', () => {
  const begun = [
    named('response.created', { response: { status: 'in_progress', usage: null } }),
    named('response.in_progress', { response: {} }),
    named('response.output_item.added', { item: { type: 'message' } }),
    named('response.content_part.added', { part: { type: 'output_text', text: '' } }),
  ]

  it('have data from the first event on, and content with the first delta', () => {
    const before = follow(openaiResponses, begun)
    assert.deepEqual([before.dataSeen, before.contentSeen], [true, false])
    assert.equal(follow(openaiResponses, [': ping\n\n']).dataSeen, false)
    for (const type of ['output_text', 'reasoning_summary_text', 'refusal', 'function_call_arguments']) {
      const event = named(`response.${type}.delta`, { delta: 'x' })
      assert.equal(follow(openaiResponses, [...begun, event]).contentSeen, true, type)
    }
    assert.equal(follow(openaiResponses, [...begun, text('')]).contentSeen, false)
  })

  it('are complete with their last event, and not before', () => {
    const events = [...begun, text('a'), named('response.output_text.done', { text: 'a' })]
    assert.equal(follow(openaiResponses, events).complete, false)
    for (const type of ['completed', 'incomplete']) {
      const {
        complete,
        failed,
        usage: said,
      } = follow(openaiResponses, [...events, named(`response.${type}`, { response: { usage } })])
      assert.deepEqual([complete, failed, said], [true, false, counted])
    }
    assert.equal(follow(openaiResponses, [...events, 'data: [DONE]\n\n']).complete, false)
    assert.equal(follow(openaiResponses, [completed()]).usage, undefined)
  })

  it('have failed with response.failed, with an error, and with an error that has no name', () => {
    for (const event of [
      named('response.failed', { response: { status: 'failed', error: { code: 'server_error' }, usage } }),
      named('error', { code: 'rate_limit_exceeded', message: 'm' }),
      'event: error\ndata: {"error":{"message":"m"}}\n\n',
      'data: {"error":{"message":"m"}}\n\n',
      'data: {"type":"error","message":"m"}\n\n',
    ]) {
      const { failed, complete } = follow(openaiResponses, [...begun, text('a'), event])
      assert.deepEqual([failed, complete], [true, true], event)
    }
  })

  it('call tools in an item of their own, or in the last event', () => {
    const item = named('response.output_item.added', { item: { type: 'function_call', name: 'f' } })
    assert.equal(follow(openaiResponses, [...begun, text('a'), item]).hasToolCalls, true)
    const inTheEnd = completed({ output: [{ type: 'function_call' }] })
    assert.equal(follow(openaiResponses, [text('a'), inTheEnd]).hasToolCalls, true)
    assert.equal(follow(openaiResponses, [...begun, text('function_call'), completed()]).hasToolCalls, false)
  })

  it('have their text collected when somebody asks', () => {
    const events = [...begun, text('Grü'), named('response.refusal.delta', { delta: 'no' }), text('ße 👋'), completed()]
    assert.equal(follow(openaiResponses, events, { collectText: true }).text, 'Grüße 👋')
    assert.equal(follow(openaiResponses, events).text, undefined)
  })

  it('are read whatever their lines end with, and without names', () => {
    const events = [...begun, text('a'), text('b'), completed({ usage })]
    const forms = [
      events.join(''),
      events.join('').replaceAll('\n', '\r\n'),
      events.join('').replaceAll('\n', '\r'),
      events.join('').replace(/^event: .*\n/gm, ''),
      events.join('').replaceAll('event: ', 'event:').replaceAll('data: ', 'data:'),
      events.join('').replace(/^(event: .*)\n(data: .*)\n/gm, '$2\n$1\nid: 7\n'),
    ]
    for (const form of forms) {
      const { complete, usage: said, text: collected } = follow(openaiResponses, [form], { collectText: true })
      assert.deepEqual([complete, said, collected], [true, counted, 'ab'], form.slice(0, 60))
      assert.deepEqual(follow(openaiResponses, [form]).usage, counted)
    }
  })

  it('do not end in what the model says', () => {
    const lie = '\n\nevent: response.completed\ndata: {"type":"response.completed"}\n\n'
    const reader = follow(openaiResponses, [text('a'), text(lie)])
    assert.deepEqual([reader.complete, reader.usage], [false, undefined])
  })

  it('are malformed with a last event that lacks its end', () => {
    const { malformed, complete } = follow(openaiResponses, [text('a'), `${completed({ usage }).slice(0, -9)}\n\n`])
    assert.deepEqual([malformed, complete], [true, false])
  })

  it('end with an error that has the next number, and everything that clients look for', () => {
    const reader = follow(openaiResponses, [...begun, ': ping\n\n', text('a'), text('b')])
    assert.equal(reader.sequence, 6)
    const event = openaiResponses.errorEvent({ status: 504, code: 'c', message: 'm' }, reader.sequence).toString()
    assert.deepEqual(JSON.parse(/^event: error\ndata: (.*)\n\n$/.exec(event)![1]!), {
      type: 'error',
      code: 'c',
      message: 'm',
      param: null,
      sequence_number: 6,
      error: { message: 'm', type: 'api_error', param: null, code: 'c' },
    })
  })
})

describe('openai-responses refusals', () => {
  const said = { text: 'No.', model: 'm', id: 'i', usage: undefined }

  it('are whole answers, and whole streams', () => {
    const response = {
      id: 'i',
      object: 'response',
      status: 'completed',
      model: 'm',
      output: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'No.' }] }],
      usage: { input_tokens: 0, output_tokens: 0, total_tokens: 0 },
    }
    assert.deepEqual(JSON.parse(openaiResponses.refusal(said, false).toString()), response)
    const stream = openaiResponses.refusal({ ...said, usage }, true).toString()
    const reader = follow(openaiResponses, [stream], { collectText: true })
    assert.deepEqual([reader.text, reader.complete, reader.usage], ['No.', true, counted])
  })
})

describe('openai-responses refusals within a stream', () => {
  it('go on with its numbers, its items and its id', () => {
    const begun = openaiResponses.openBegun!()
    begun.took({ type: 'response.created', sequence_number: 0, response: { id: 'r', created_at: 5, output: [] } })
    begun.took({ type: 'response.output_item.added', sequence_number: 1, output_index: 0, item: { type: 'reasoning' } })
    begun.took({ type: 'response.output_item.added', sequence_number: 2, output_index: 1, item: { type: 'message' } })
    const events = begun
      .refusal({ text: 'No.', model: 'm', id: 'i', usage: undefined })
      .toString()
      .match(/^data: .*$/gm)!
      .map(line => JSON.parse(line.slice(6)) as { output_index?: number; sequence_number: number; response?: object })
    assert.deepEqual(
      events.map(({ sequence_number }) => sequence_number),
      [3, 4, 5, 6, 7, 8, 9],
    )
    assert.deepEqual(new Set(events.slice(0, -1).map(({ output_index }) => output_index)), new Set([2]))
    const { id, created_at, status } = events.at(-1)!.response as Record<string, unknown>
    assert.deepEqual([id, created_at, status], ['r', 5, 'completed'])
  })
})
