// Anthropic's clients before OpenAI's protocol: what the provider is asked, and what becomes of its answer.
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { UpstreamError } from '../../../../core/errors.ts'
import { anthropicOpenai } from '../../../../core/llm/converters/anthropic-openai.ts'
import { convertAnswer, openConversion } from '../../../../core/llm/converters/converter.ts'
import { translate } from '../../../helpers/translated.ts'
import { convertNonsense, mustBeMessage, nonsenseCall, nonsenseStream, translateNonsense } from './nonsense.ts'

const hello = { role: 'user', content: 'hi' }
const asked = (body: Record<string, unknown>) => openConversion(anthropicOpenai, { messages: [hello], ...body }, 'm')
const sent = (body: Record<string, unknown>) => {
  const { messages, ...rest } = asked(body).body
  return rest
}
const messagesOf = (messages: unknown, more: object = {}) => asked({ messages, ...more }).body.messages

describe('a request of an Anthropic client', () => {
  const members: [object, object][] = [
    [{ model: 'm' }, { model: 'm' }],
    [{ model: 5 }, {}],
    [{ max_tokens: 9 }, { max_completion_tokens: 9 }],
    [
      { temperature: 0, top_p: 0.5 },
      { temperature: 0, top_p: 0.5 },
    ],
    [{ stop_sequences: ['a'] }, { stop: ['a'] }],
    [{ stop_sequences: 'a' }, {}],
    [{ stream: true }, { stream: true, stream_options: { include_usage: true } }],
    [{ stream: false }, { stream: false }],
    [{ metadata: { user_id: 'u', more: 1 } }, { user: 'u' }],
    [{ metadata: { user_id: 1 } }, {}],
    [{ service_tier: 'auto' }, { service_tier: 'auto' }],
    [{ top_k: 1, container: 'c', mcp_servers: [], anything: {} }, {}],
    [{ thinking: { type: 'enabled', budget_tokens: 4096 } }, { reasoning_effort: 'high' }],
    [{ thinking: { type: 'enabled', budget_tokens: 2048 } }, { reasoning_effort: 'medium' }],
    [{ thinking: { type: 'enabled', budget_tokens: 2047 } }, { reasoning_effort: 'low' }],
    [{ thinking: { type: 'enabled', budget_tokens: 1023 } }, { reasoning_effort: 'minimal' }],
    [{ thinking: { type: 'enabled', budget_tokens: '9999' } }, { reasoning_effort: 'minimal' }],
    [{ thinking: { type: 'disabled' } }, {}],
    [{ thinking: { type: 'adaptive' } }, { reasoning_effort: 'medium' }],
    [{ thinking: { type: 'adaptive' }, output_config: { effort: 'max' } }, { reasoning_effort: 'max' }],
    [{ output_config: { effort: 'max' } }, {}],
    [{ tool_choice: { type: 'any' } }, {}],
    [{ tools: [], tool_choice: { type: 'any', disable_parallel_tool_use: true } }, {}],
  ]
  for (const [given, expected] of members) {
    it(`with ${JSON.stringify(given)} becomes ${JSON.stringify(expected)}`, () => {
      assert.deepEqual(sent(given as Record<string, unknown>), expected)
    })
  }

  const add = { type: 'function', function: { name: 'add', description: 'd', parameters: { type: 'object' } } }
  const declared = { name: 'add', description: 'd', input_schema: { type: 'object' }, cache_control: {} }

  it('brings its tools, and none that Anthropic runs itself', () => {
    const builtIn = ['computer_20250124', 'bash_20250124', 'text_editor_20250728', 'web_search_20250305'].map(type => ({
      type,
      name: 'x',
    }))
    assert.deepEqual(sent({ tools: [...builtIn, null, 'x', { name: '' }, { type: 'custom' }, declared] }), {
      tools: [add],
    })
    assert.deepEqual(sent({ tools: builtIn }), {})
  })

  for (const [choice, expected] of [
    [{ type: 'auto' }, { tool_choice: 'auto' }],
    [{ type: 'any' }, { tool_choice: 'required' }],
    [{ type: 'none' }, { tool_choice: 'none' }],
    [{ type: 'tool', name: 'add' }, { tool_choice: { type: 'function', function: { name: 'add' } } }],
    [{ type: 'tool', name: 'no.such' }, { tool_choice: { type: 'function', function: { name: 'no.such' } } }],
    [
      { type: 'auto', disable_parallel_tool_use: true },
      { tool_choice: 'auto', parallel_tool_calls: false },
    ],
    [{ type: 'toString' }, {}],
  ] as const) {
    it(`says ${JSON.stringify(choice)} as ${JSON.stringify(expected)}`, () => {
      assert.deepEqual(sent({ tools: [declared], tool_choice: choice }), { tools: [add], ...expected })
    })
  }

  it('has names of tools that OpenAI takes, the same in the tools, the choice and the history', () => {
    const long = 'a'.repeat(70)
    const { body } = asked({
      tools: [{ name: long }, { name: 'é.x' }],
      tool_choice: { type: 'tool', name: long },
      messages: [{ role: 'assistant', content: [{ type: 'tool_use', id: '1', name: long, input: {} }] }],
    })
    const short = `${'a'.repeat(55)}_6bd5e503`
    const names = (body.tools as { function: { name: string } }[]).map(tool => tool.function.name)
    assert.equal(names[0], short)
    assert.match(names[1]!, /^___x_[0-9a-f]{8}$/)
    assert.deepEqual(body.tool_choice, { type: 'function', function: { name: short } })
    assert.equal(
      (body.messages as { tool_calls: { function: { name: string } }[] }[])[0]!.tool_calls[0]!.function.name,
      short,
    )
  })

  it('asks for structured output with a strict schema, from either member', () => {
    const schema = {
      type: 'object',
      properties: {
        b: { type: 'array', items: { type: 'object', properties: { z: {} } } },
        a: { anyOf: [{ type: 'object', properties: {} }, true] },
      },
      $defs: { d: { type: 'object', properties: { q: { type: 'string' } }, additionalProperties: true } },
    }
    const strict = {
      type: 'object',
      properties: {
        b: {
          type: 'array',
          items: { type: 'object', properties: { z: {} }, additionalProperties: false, required: ['z'] },
        },
        a: { anyOf: [{ type: 'object', properties: {}, additionalProperties: false, required: [] }, true] },
      },
      $defs: {
        d: { type: 'object', properties: { q: { type: 'string' } }, additionalProperties: false, required: ['q'] },
      },
      additionalProperties: false,
      required: ['a', 'b'],
    }
    const before = structuredClone(schema)
    const json_schema = { name: 'structured_output', schema: strict, strict: true }
    const expected = { response_format: { type: 'json_schema', json_schema } }
    const format = { type: 'json_schema', schema }
    assert.deepEqual(sent({ output_format: format }), expected)
    assert.deepEqual(sent({ output_format: {}, output_config: { format } }), expected)
    assert.deepEqual(sent({ output_format: { type: 'text', schema } }), {})
    assert.deepEqual(sent({ output_format: { type: 'json_schema', schema: {} } }), {})
    assert.deepEqual(schema, before)
  })

  const text = (content: string) => ({ type: 'text', text: content })
  const systems: [unknown, string | undefined][] = [
    ['s', 's'],
    ['', undefined],
    [[text('a'), { ...text('b'), cache_control: {} }, null, { type: 'image' }], 'ab'],
    [[], undefined],
    [
      [text('x-anthropic-billing-header: cc_version=2.1; cch=abc12;'), text('s')],
      'x-anthropic-billing-header: cc_version=2.1s',
    ],
    [[text('X-Anthropic-Billing-Header: cch=1; a=2; cch=3; b=4')], 'X-Anthropic-Billing-Header: a=2; b=4'],
    [[text('x-anthropic-billing-header: cch=00000; ')], undefined],
    ['x-anthropic-billing-header: cch=1', 'x-anthropic-billing-header: cch=1'],
    [{ no: 'text' }, undefined],
  ]
  for (const [system, expected] of systems) {
    it(`with system ${JSON.stringify(system)} has ${expected === undefined ? 'no system prompt' : JSON.stringify(expected)}`, () => {
      const first = expected === undefined ? [] : [{ role: 'system', content: expected }]
      assert.deepEqual(messagesOf([hello], { system }), [...first, hello])
    })
  }

  const image = (source: unknown) => ({ type: 'image', source })
  const url = (of: string) => ({ type: 'image_url', image_url: { url: of } })
  const use = (id: string, input?: unknown) => ({ type: 'tool_use', id, name: 'add', input })
  const call = (id: string, args: string) => ({ id, type: 'function', function: { name: 'add', arguments: args } })
  const conversations: [string, unknown[], unknown[]][] = [
    ['text alone', [hello, { role: 'assistant', content: 'x' }], [hello, { role: 'assistant', content: 'x' }]],
    ['a list of one text', [{ role: 'user', content: [text('a')] }], [{ role: 'user', content: [text('a')] }]],
    [
      'an assistant’s texts',
      [{ role: 'assistant', content: [text('a'), text('b')] }],
      [{ role: 'assistant', content: 'ab' }],
    ],
    [
      'nothing',
      [
        { role: 'user', content: [] },
        { role: 'user', content: {} },
      ],
      [
        { role: 'user', content: '' },
        { role: 'user', content: '' },
      ],
    ],
    [
      'images and documents',
      [
        {
          role: 'user',
          content: [
            image({ type: 'base64', media_type: 'image/webp', data: 'AA==' }),
            image({ type: 'base64', data: 'AA==' }),
            image({ type: 'url', url: 'https://h/i.png' }),
            { type: 'document', source: { type: 'base64', data: 'AA==' } },
            { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'words' } },
          ],
        },
      ],
      [
        {
          role: 'user',
          content: [
            url('data:image/webp;base64,AA=='),
            url('data:image/png;base64,AA=='),
            url('https://h/i.png'),
            url('data:application/pdf;base64,AA=='),
            text('words'),
          ],
        },
      ],
    ],
    [
      'images without data',
      [
        {
          role: 'user',
          content: [
            image({ type: 'base64', data: '' }),
            image({ type: 'url' }),
            image(true),
            image({ type: 'file', file_id: 'f' }),
          ],
        },
      ],
      [{ role: 'user', content: '' }],
    ],
    [
      'thinking and what nobody knows',
      [
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 't', signature: 's' },
            { type: 'redacted_thinking', data: 'd' },
            { type: 'new' },
            7,
            text('a'),
          ],
        },
      ],
      [{ role: 'assistant', content: 'a' }],
    ],
    [
      'tool calls with and without text',
      [
        { role: 'assistant', content: [text('a'), use('1', { x: [1] }), use('2')] },
        { role: 'assistant', content: [use('3', null), { type: 'tool_use', id: 4 }] },
      ],
      [
        { role: 'assistant', content: 'a', tool_calls: [call('1', '{"x":[1]}'), call('2', '{}')] },
        { role: 'assistant', tool_calls: [call('3', '{}')] },
      ],
    ],
    [
      'results of tools, first',
      [
        {
          role: 'user',
          content: [
            text('and'),
            { type: 'tool_result', tool_use_id: '1', content: 'one' },
            { type: 'tool_result', tool_use_id: '2', content: [text('t'), text('wo')] },
            { type: 'tool_result', tool_use_id: '3', content: [text('see'), image({ type: 'url', url: 'u' })] },
            { type: 'tool_result', tool_use_id: '4', is_error: true },
            { type: 'tool_result' },
          ],
        },
      ],
      [
        { role: 'tool', tool_call_id: '1', content: 'one' },
        { role: 'tool', tool_call_id: '2', content: 'two' },
        { role: 'tool', tool_call_id: '3', content: [text('see'), url('u')] },
        { role: 'tool', tool_call_id: '4', content: '' },
        { role: 'user', content: [text('and')] },
      ],
    ],
  ]
  for (const [what, given, expected] of conversations) {
    it(`says ${what} in OpenAI’s words`, () => assert.deepEqual(messagesOf(given), expected))
  }

  for (const [messages, message] of [
    [undefined, 'missing messages'],
    [[], 'missing messages'],
    ['x', 'missing messages'],
    [[hello, 'x'], 'invalid message at index 2'],
    [[{ content: 'x' }], 'invalid message at index 1'],
    [[{ role: 'user', content: 5 }], 'invalid message content at index 1'],
    [[{ role: 'user' }], 'invalid message content at index 1'],
  ] as const) {
    it(`with ${JSON.stringify(messages)} for messages is refused`, () => {
      assert.throws(() => messagesOf(messages), { status: 400, code: 'not_convertible', message })
    })
  }

  it('is refused when it is nested too deep', () => {
    const deep = JSON.parse(`${'{"properties":{"a":'.repeat(40_000)}{}${'}}'.repeat(40_000)}`) as object
    assert.throws(() => asked({ output_format: { type: 'json_schema', schema: deep } }), { code: 'body_too_deep' })
    assert.throws(() => messagesOf([{ role: 'assistant', content: [use('1', deep)] }]), { code: 'body_too_deep' })
  })

  it('has fields that OpenAI knows, and its key as a bearer’s where there is none', () => {
    const { headers } = asked({})
    const own = ['Anthropic-Version', '2023-06-01', 'anthropic-beta', 'x', 'X-Stainless-Lang', 'js', 'User-Agent', 'u']
    assert.deepEqual(headers!([...own, 'X-Api-Key', 'k']), ['User-Agent', 'u', 'authorization', 'Bearer k'])
    assert.deepEqual(headers!([...own, 'x-api-key', '']), ['User-Agent', 'u'])
    assert.deepEqual(headers!(['x-api-key', 'k', 'Authorization', 'Bearer o']), ['Authorization', 'Bearer o'])
  })
})

describe('an answer for an Anthropic client', () => {
  const tools = [{ name: 'a.b' }]
  const answer = (said: unknown, status = 200, body: Record<string, unknown> = {}) =>
    JSON.parse(convertAnswer(asked({ tools, ...body }), said, status).toString()) as Record<string, unknown>
  const choice = (message: object, finish_reason = 'stop', more: object = {}) => ({
    id: 'c',
    model: 'upstream',
    choices: [{ message, finish_reason, ...more }],
  })

  it('has what the provider says, thinking first and tools last', () => {
    const renamed = (asked({ tools }).body.tools as { function: { name: string } }[])[0]!.function.name
    const call = (id: unknown, name: unknown, args: unknown) => ({ id, function: { name, arguments: args } })
    const said = {
      content: 'text',
      reasoning_content: 'hm',
      tool_calls: [
        call('1', renamed, '{"x":1}'),
        call('2', 'other', 'no json'),
        call(null, null, '[1]'),
        { id: '4', function: null },
      ],
    }
    assert.deepEqual(answer(choice(said, 'tool_calls')), {
      id: 'c',
      type: 'message',
      role: 'assistant',
      model: 'm',
      content: [
        { type: 'thinking', thinking: 'hm', signature: '' },
        { type: 'text', text: 'text' },
        { type: 'tool_use', id: '1', name: 'a.b', input: { x: 1 } },
        { type: 'tool_use', id: '2', name: 'other', input: {} },
        { type: 'tool_use', id: '', name: '', input: {} },
        { type: 'tool_use', id: '4', name: '', input: {} },
      ],
      stop_reason: 'tool_use',
      stop_sequence: null,
      usage: { input_tokens: 0, output_tokens: 0 },
    })
    assert.deepEqual(answer(choice({ content: null })).content, [{ type: 'text', text: '' }])
    assert.deepEqual(answer(choice({ content: '', reasoning: 'r' })).content, [
      { type: 'thinking', thinking: 'r', signature: '' },
    ])
    assert.deepEqual(answer(choice({ content: null, refusal: 'no' })).content, [{ type: 'text', text: 'no' }])
  })

  for (const [finish, expected] of [
    ['stop', 'end_turn'],
    ['length', 'max_tokens'],
    ['content_filter', 'end_turn'],
    ['tool_calls', 'tool_use'],
    ['function_call', 'tool_use'],
    ['constructor', 'end_turn'],
  ] as const) {
    it(`has stop_reason ${expected} for ${finish}`, () => {
      assert.equal(answer(choice({}, finish)).stop_reason, expected)
    })
  }

  it('has stop_reason tool_use when the client has named the tool, and OpenAI says stop', () => {
    const call = { tool_calls: [{ id: '1', function: { name: 'f', arguments: '{}' } }] }
    assert.equal(answer(choice(call)).stop_reason, 'tool_use')
    assert.equal(answer(choice(call, 'length')).stop_reason, 'max_tokens')
  })

  it('names the stop sequence where the provider does', () => {
    const reasons = (more: object) => {
      const { stop_reason, stop_sequence } = answer(choice({}, 'stop', more), 200, {
        stop_sequences: ['END', 'X'],
      })
      return [stop_reason, stop_sequence]
    }
    assert.deepEqual(reasons({ stop_reason: 'END' }), ['stop_sequence', 'END'])
    assert.deepEqual(reasons({ matched_stop: 'X' }), ['stop_sequence', 'X'])
    assert.deepEqual(reasons({ stop_reason: null, matched_stop: 128_009 }), ['end_turn', null])
    assert.deepEqual(reasons({ stop_reason: 'other' }), ['end_turn', null])
  })

  for (const [usage, expected] of [
    [undefined, { input_tokens: 0, output_tokens: 0 }],
    [
      { prompt_tokens: 5, completion_tokens: 2 },
      { input_tokens: 5, output_tokens: 2 },
    ],
    [
      { prompt_tokens: 5, completion_tokens: 2, prompt_tokens_details: {} },
      { input_tokens: 5, output_tokens: 2, cache_read_input_tokens: 0 },
    ],
    [
      {
        prompt_tokens: 5,
        completion_tokens: 2,
        prompt_tokens_details: { cached_tokens: 4, cache_creation_input_tokens: 1 },
      },
      { input_tokens: 1, output_tokens: 2, cache_read_input_tokens: 4, cache_creation_input_tokens: 1 },
    ],
    [
      { prompt_tokens: 5, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 9 } },
      { input_tokens: 0, output_tokens: 2, cache_read_input_tokens: 9 },
    ],
    [
      { prompt_tokens: 5, completion_tokens: 2, prompt_cache_hit_tokens: 3 },
      { input_tokens: 2, output_tokens: 2, cache_read_input_tokens: 3 },
    ],
  ] as const) {
    it(`counts ${JSON.stringify(usage)} as ${JSON.stringify(expected)}`, () => {
      assert.deepEqual(answer({ ...choice({}), usage }).usage, expected)
    })
  }

  const failed = (type: string, message: string) => ({ type: 'error', error: { type, message } })
  for (const [said, status, expected] of [
    [{ error: { type: 't', code: 'c', message: 'm' } }, 429, failed('t', 'm')],
    [{ error: { type: null, code: 'c', message: 'm' } }, 400, failed('c', 'm')],
    [{ error: 'words' }, 500, failed('api_error', 'words')],
    [{ error: {} }, 500, failed('api_error', '')],
    [[{ error: { code: 400, message: 'm' } }], 400, failed('400', 'm')],
    [{ detail: 'Not Found' }, 404, failed('api_error', 'Not Found')],
    [undefined, 502, failed('api_error', 'the AI service answered with status 502')],
    ['denied', 403, failed('api_error', 'denied')],
  ] as const) {
    it(`is an error of Anthropic’s for ${JSON.stringify(said)} with ${status}`, () => {
      assert.deepEqual(answer(said, status), expected)
    })
  }

  for (const said of [undefined, null, 5, 'x', [], {}, { choices: [] }, { choices: {} }, { choices: ['x'] }]) {
    it(`is none when the provider says ${JSON.stringify(said)}`, () => {
      assert.throws(() => answer(said), UpstreamError)
    })
  }

  it('is none when a tool is called with what is nested too deep', () => {
    const call = { function: { name: 'f', arguments: `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}` } }
    assert.throws(() => answer(choice({ tool_calls: [call] })), UpstreamError)
  })
})

describe('a stream for an Anthropic client', () => {
  const fixtures = globSync('t/fixtures/anthropic-openai/*.in.sse').toSorted()
  const open = () => asked({ stop_sequences: ['END'] })
  const chunk = (delta: object, finish_reason: string | null = null, more: object = {}) =>
    `data: ${JSON.stringify({ id: 'c', model: 'g', choices: [{ index: 0, delta, finish_reason }], ...more })}\n\n`
  const tool = (index: number, id: string, args: string) => ({
    tool_calls: [{ index, ...(id && { id }), function: { ...(id && { name: `f-${id}` }), arguments: args } }],
  })
  const through = (...reads: string[]) => translate(open(), reads.map(Buffer.from))
  const types = (text: string) => [...text.matchAll(/^event: (.*)$/gm)].map(([, type]) => type)
  const datas = (text: string, type: string) =>
    [...text.matchAll(/^event: (.*)\ndata: (.*)$/gm)]
      .filter(([, of]) => of === type)
      .map(([, , data]) => JSON.parse(data!) as Record<string, Record<string, unknown>>)

  it('is tried with fixtures', () => assert.ok(fixtures.length >= 8))

  for (const file of fixtures) {
    const input = readFileSync(file)
    const expected = readFileSync(file.replace('.in.', '.out.'), 'utf8')

    it(`is what ${file} has`, () => {
      mustBeMessage(expected)
      assert.equal(translate(open(), [input]).text, expected)
    })

    it(`is the same for ${file}, wherever its bytes are cut`, () => {
      assert.equal(
        translate(
          open(),
          Array.from(input, byte => Buffer.of(byte)),
        ).text,
        expected,
      )
      fc.assert(
        fc.property(fc.uniqueArray(fc.nat(input.length), { maxLength: 40 }), places => {
          const cuts = [0, ...places.toSorted((a, b) => a - b), input.length]
          const reads = cuts.slice(1).map((to, at) => input.subarray(cuts[at], to))
          assert.equal(translate(open(), reads).text, expected)
        }),
        { numRuns: 50 },
      )
    })

    it(`does not look complete when ${file} is cut short`, () => {
      const whole = input.toString('latin1')
      // The first sign of completeness that stands in the fixture.
      const end = whole.search(/"finish_reason":"|\[DONE\]$|"error"/m)
      for (let to = 0; to < end; to += 7) {
        const { text, over, failed } = translate(open(), [input.subarray(0, to)])
        assert.doesNotMatch(text, /message_stop/)
        assert.ok(failed !== undefined || types(text).at(-1) === 'error', `at ${to}`)
        assert.equal(over, 'incomplete')
      }
    })
  }

  it('leaves in one write per read', () => {
    const { writes } = through(chunk({ content: 'a' }) + chunk({ content: 'b' }), chunk({ content: 'c' }, 'stop'))
    assert.deepEqual(writes.map(types), [
      ['message_start', 'content_block_start', 'content_block_delta', 'content_block_delta'],
      ['content_block_delta', 'content_block_stop'],
      ['message_delta', 'message_stop'],
    ])
  })

  it('is complete with a finish_reason, though neither usage nor [DONE] come', () => {
    const { text, over } = through(chunk({ content: 'a' }), chunk({}, 'stop'))
    assert.deepEqual(types(text).slice(-2), ['message_delta', 'message_stop'])
    assert.equal(over, undefined)
  })

  it('is complete with [DONE], though no finish_reason has come', () => {
    const { text } = through(chunk({ content: 'a' }), 'data: [DONE]\n\n')
    assert.deepEqual(datas(text, 'message_delta')[0]!.delta, { stop_reason: 'end_turn', stop_sequence: null })
    assert.deepEqual(types(text).at(-1), 'message_stop')
  })

  it('stops once, whatever comes behind its end', () => {
    const usage = { usage: { prompt_tokens: 1, completion_tokens: 2 } }
    const last = `data: ${JSON.stringify({ choices: [], ...usage })}\n\n`
    const { text } = through(
      chunk({ content: 'a' }, 'stop', usage) + chunk({ content: 'b' }) + last + last,
      'data: [DONE]\n\ndata: [DONE]\n\n',
    )
    assert.equal(types(text).filter(type => type === 'message_stop').length, 1)
    assert.equal(datas(text, 'content_block_delta').length, 1)
    assert.deepEqual(datas(text, 'message_delta')[0]!.usage, { input_tokens: 1, output_tokens: 2 })
  })

  it('waits behind its last content for the usage', () => {
    const usage = { prompt_tokens: 1, completion_tokens: 2 }
    const last = `data: ${JSON.stringify({ choices: [], usage })}\n\n`
    const { text } = through(chunk({ content: 'a' }, 'stop'), chunk({ content: '' }), last, 'data: [DONE]\n\n')
    assert.deepEqual(datas(text, 'message_delta')[0]!.usage, { input_tokens: 1, output_tokens: 2 })
  })

  it('does not end with a finish_reason that is none', () => {
    for (const none of ['', 'null', ' ']) {
      const { text, over } = through(chunk({ content: 'a' }, none), chunk({ content: 'b' }, none))
      assert.equal(datas(text, 'content_block_delta').length, 2)
      assert.equal(over, 'incomplete')
    }
  })

  it('is an error when the provider says nothing but its end', () => {
    for (const reads of [
      ['data: [DONE]\n\n'],
      ['data: {"choices":[]}\n\n', 'data: [DONE]\n\n'],
      [': x\n\n'],
      ['junk'],
    ]) {
      const { text, failed } = through(...reads)
      assert.equal(text, '')
      assert.ok(failed instanceof UpstreamError)
    }
  })

  for (const failure of [
    'data: {"error":{"message":"m","type":"t"}}\n\n',
    'event: error\ndata: {"error":{"message":"m","type":"t"}}\n\n',
    'event: error\ndata: {"message":"m","type":"t"}\n\n',
  ]) {
    it(`ends with ${JSON.stringify(failure)} as an error, and says no more`, () => {
      const { text, over } = through(
        chunk({ content: 'a' }),
        failure,
        chunk({ content: 'b' }, 'stop'),
        'data: [DONE]\n\n',
      )
      assert.deepEqual(types(text).slice(-2), ['content_block_delta', 'error'])
      assert.deepEqual(datas(text, 'error'), [{ type: 'error', error: { type: 't', message: 'm' } }])
      assert.equal(over, 'upstream_error')
    })
  }

  it('is a ping where the provider says that it lives', () => {
    assert.deepEqual(types(through(': x\n\n', chunk({ content: 'a' }), ': x\n\n', chunk({}, 'stop')).text), [
      'message_start',
      'content_block_start',
      'content_block_delta',
      'ping',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ])
  })

  it('has one block after another, though tool calls come interleaved', () => {
    const reads = [
      chunk(tool(0, 'a', '')),
      chunk(tool(1, 'b', '{"b":')),
      chunk({ content: 'text' }),
      chunk(tool(2, 'c', '{}')),
      chunk(tool(0, '', '{"a":"}\\""')),
      chunk(tool(1, '', '1}')),
      chunk(tool(0, '', '}')),
    ]
    const { text, writes } = through(...reads, chunk({}, 'tool_calls'), 'data: [DONE]\n\n')
    const started = datas(text, 'content_block_start').map(({ content_block }) => content_block!.type)
    assert.deepEqual(started, ['tool_use', 'tool_use', 'text', 'tool_use'])
    const filled = new Map<unknown, string>()
    for (const { index, delta } of datas(text, 'content_block_delta')) {
      filled.set(index, `${filled.get(index) ?? ''}${(delta!.partial_json ?? delta!.text) as string}`)
    }
    assert.deepEqual(
      [...filled],
      [
        [0, '{"a":"}\\""}'],
        [1, '{"b":1}'],
        [2, 'text'],
        [3, '{}'],
      ],
    )
    // What had waited comes with the end of the call that it has waited for.
    assert.equal(writes.length, 5)
    assert.deepEqual(types(writes[2]!).at(-1), 'content_block_delta')
  })

  it('keeps nothing of what comes for a call behind its end, however much it is', () => {
    const late = Array(17).fill(chunk(tool(0, '', 'x'.repeat(1024 * 1024))))
    const { text } = through(chunk(tool(0, 'a', '{}')), chunk(tool(1, 'b', '{')), ...late, chunk({}, 'stop'))
    assert.deepEqual(
      datas(text, 'content_block_delta').map(({ delta }) => delta!.partial_json),
      ['{}', '{'],
    )
    assert.deepEqual(types(text).at(-1), 'message_stop')
  })

  it('has no more waiting than it can keep', () => {
    const piece = 'x'.repeat(1024 * 1024)
    const reads = [chunk(tool(0, 'a', '{')), chunk(tool(1, 'b', '{')), ...Array(17).fill(chunk(tool(1, '', piece)))]
    const { text } = through(...reads)
    assert.match(text, /event: error\n.*upstream_too_large/)
    assert.doesNotMatch(text, /message_stop/)
    const calls = Array.from({ length: 1_100 }, (_, at) => chunk(tool(at, `i${at}`, '{}')))
    const turns = Array.from({ length: 1_100 }, (_, at) => chunk(at % 2 === 0 ? { content: 'x' } : { reasoning: 'x' }))
    for (const many of [calls, [chunk(tool(0, 'a', '{')), ...turns]]) {
      assert.match(through(...many, chunk({}, 'stop')).text, /event: error\n.*upstream_malformed/)
    }
  })

  it('is a message as Anthropic’s clients expect one, whatever the provider sends', () => {
    fc.assert(fc.property(nonsenseStream, translateNonsense), { numRuns: 1_000, seed: 8 })
  })
})

describe('nonsense', () => {
  it('as a request or an answer is refused or converted, and never anything else', () => {
    fc.assert(fc.property(nonsenseCall, convertNonsense), { numRuns: 1_000, seed: 8 })
  })
})
