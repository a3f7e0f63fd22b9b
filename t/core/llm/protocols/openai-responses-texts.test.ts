// The texts of responses and of their events: found, changed, and ended.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { AnswerEvent } from '../../../../core/llm/answer-event.ts'
import { openaiResponses } from '../../../../core/llm/protocols/openai-responses.ts'
import {
  endsResponsesText,
  isResponseEnd,
  mapResponsesTexts,
  responsePieces,
} from '../../../../core/llm/protocols/openai-responses-texts.ts'
import { textFilter } from '../../../../core/llm/text-filter.ts'

const fixture = (name: string) =>
  readFileSync(new URL(`../../../fixtures/llm/${name}`, import.meta.url), 'utf8').split(/(?<=\n\n)/)
const upper = (text: string) => text.toUpperCase()

/** Every text of an event, with where it stands. */
function seenIn(event: object): unknown[] {
  const seen: unknown[] = []
  const look = (text: string, { of, whole }: { of: string; whole: boolean }) => {
    seen.push([text, of, whole])
    return text
  }
  assert.equal(mapResponsesTexts(event as Record<string, unknown>, look), event)
  return seen
}

describe('the texts of responses', () => {
  it('are found in pieces, by kind and place', () => {
    const at = { output_index: 1, content_index: 2 }
    for (const kind of ['output_text', 'refusal', 'reasoning_text'])
      assert.deepEqual(seenIn({ type: `response.${kind}.delta`, delta: 'a', ...at }), [['a', `${kind}.1.2`, false]])
    const thought = { type: 'response.reasoning_summary_text.delta', delta: 'a', output_index: 0, summary_index: 3 }
    assert.deepEqual(seenIn(thought), [['a', 'reasoning_summary_text.0.3', false]])
  })

  it('are found again in all that repeats them', () => {
    const part = { type: 'output_text', text: 'a' }
    const item = { type: 'message', content: [part, { type: 'refusal', refusal: 'b' }] }
    const thought = { type: 'reasoning', summary: [{ type: 'summary_text', text: 'c' }] }
    for (const [event, texts] of [
      [{ type: 'response.output_text.done', text: 'a', output_index: 0, content_index: 0 }, ['a']],
      [{ type: 'response.refusal.done', refusal: 'b', output_index: 0, content_index: 0 }, ['b']],
      [{ type: 'response.content_part.done', part }, ['a']],
      [{ type: 'response.output_item.done', item }, ['a', 'b']],
      [{ type: 'response.completed', response: { output: [thought, item] } }, ['c', 'a', 'b']],
      [{ status: 'completed', output: [thought, item] }, ['c', 'a', 'b']],
    ] as const) {
      const seen = seenIn(event) as [string, string, boolean][]
      assert.deepEqual(
        seen.map(([text]) => text),
        texts,
      )
      assert.ok(seen.every(([, , whole]) => whole))
    }
  })

  it('are not the arguments of tools, instructions or nonsense', () => {
    for (const odd of [
      { type: 'response.function_call_arguments.delta', delta: 'a' },
      { type: 'response.output_item.done', item: { type: 'function_call', arguments: 'a' } },
      { type: 'response.created', response: { instructions: 'a', output: [] } },
      { type: 'response.output_text.delta', delta: 5 },
      { type: 5, output: [null, 5, { content: 'a' }, { content: [5] }] },
      { type: 'response.constructor.delta', delta: 'a' },
      {},
    ])
      assert.deepEqual(seenIn(odd), [])
  })

  it('are changed everywhere, and nothing else is', () => {
    const events = fixture('openai-responses-stream.sse')
    const changed = events.map(text => AnswerEvent.ofStream(Buffer.from(text), openaiResponses)!.mapTexts(upper))
    const expected = events.map(text => text.replace(/Grüße| aus |Köln/g, upper).split('\ndata: ') as [string, string])
    assert.deepEqual(
      changed.map(({ type, json }) => [`event: ${type}`, json]),
      expected.map(([name, data]) => [name, JSON.parse(data) as unknown]),
    )
  })

  it('end with the event that says so for their own place, or with the response', () => {
    const done = { type: 'response.output_text.done', output_index: 1, content_index: 0 }
    assert.equal(endsResponsesText(done, 'output_text.1.0'), true)
    assert.equal(endsResponsesText(done, 'output_text.1.1'), false)
    assert.equal(endsResponsesText(done, 'refusal.1.0'), false)
    assert.equal(endsResponsesText({ type: 'response.output_text.delta' }, 'output_text.1.0'), false)
    for (const type of ['response.completed', 'response.incomplete', 'response.failed', 'error'])
      assert.equal(endsResponsesText({ type }, 'output_text.1.0'), true)
  })

  it('run through a filter of text that holds words back, however they are cut', () => {
    // Holds back a word until the next one begins.
    const words = () => {
      let held = ''
      return (piece: string, last: boolean) => {
        const text = held + piece
        const end = last ? text.length : text.lastIndexOf(' ') + 1
        held = text.slice(end)
        return upper(text.slice(0, end))
      }
    }
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b c', ' ', 'd '), { minLength: 1 }), pieces => {
        const at = { output_index: 0, content_index: 0 }
        const all = pieces.join('')
        const response = { output: [{ type: 'message', content: [{ type: 'output_text', text: all }] }] }
        const events = [
          ...pieces.map(delta => ({ type: 'response.output_text.delta', delta, ...at })),
          { type: 'response.output_text.done', text: all, ...at },
          { type: 'response.completed', response },
        ].map(event => {
          const text = `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
          return AnswerEvent.ofStream(Buffer.from(text), openaiResponses)!
        })
        const filter = textFilter(words)
        const out = [...events, undefined].flatMap(event => filter(event, []) as readonly AnswerEvent[])
        const deltas = out.filter(({ type }) => type.endsWith('.delta')).map(({ json }) => json?.delta)
        assert.equal(deltas.join(''), upper(all))
        const [done, completed] = out.slice(-2)
        assert.deepEqual([done?.type, done?.json?.text], ['response.output_text.done', upper(all)])
        assert.equal(completed?.text, upper(all))
      }),
      { seed: 8 },
    )
  })
})

describe('the pieces of responses', () => {
  const said = (event: object) =>
    responsePieces(event as never).map(({ kind, of, text, again = false }) => [kind, of, text, again])

  it('come as deltas, of texts, reasoning, and what tools are called with', () => {
    const at = { output_index: 1, content_index: 0 }
    const kinds = [
      'output_text',
      'refusal',
      'reasoning_summary_text',
      'function_call_arguments',
      'custom_tool_call_input',
    ]
    const deltas = kinds.map(kind => ({ type: `response.${kind}.delta`, delta: 'a', ...at }))
    assert.deepEqual(
      deltas.flatMap(said).map(([kind]) => kind),
      ['text', 'text', 'reasoning', 'tool_arguments', 'tool_arguments'],
    )
    assert.deepEqual(said({ type: 'response.audio.delta', delta: 'UklGR' }), [])
  })

  const output = [
    { type: 'reasoning', summary: [{ type: 'summary_text', text: 'a' }] },
    {
      type: 'message',
      content: [
        { type: 'output_text', text: 'b' },
        { type: 'refusal', refusal: 'c' },
      ],
    },
    { type: 'function_call', arguments: '{}' },
    { type: 'custom_tool_call', input: 'd' },
  ]
  const all = (again: boolean) => [
    ['reasoning', 'reasoning.0', 'a', again],
    ['text', 'text.1', 'b', again],
    ['text', 'text.1', 'c', again],
    ['tool_arguments', 'tool.2', '{}', again],
    ['tool_arguments', 'tool.3', 'd', again],
  ]

  it('are those of all items of a whole answer', () => assert.deepEqual(said({ output }), all(false)))

  it('are said again at the end of a stream', () =>
    assert.deepEqual(said({ type: 'response.completed', response: { output } }), all(true)))

  it('end with the response', () => {
    for (const type of ['response.completed', 'response.incomplete', 'response.failed'])
      assert.ok(isResponseEnd({ type }))
    assert.ok(!isResponseEnd({ type: 'response.output_item.done' }))
  })
})
