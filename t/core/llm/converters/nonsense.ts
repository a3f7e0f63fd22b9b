// Nonsense for converters, as requests, answers and streams: nothing of it may throw what is no answer, last, or end twice.
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { GatewayError, UpstreamError } from '../../../../core/errors.ts'
import { anthropicOpenai } from '../../../../core/llm/converters/anthropic-openai.ts'
import { type Conversion, convertAnswer, openConversion } from '../../../../core/llm/converters/converter.ts'
import { embeddingsVertex } from '../../../../core/llm/converters/embeddings-vertex.ts'
import { cutAt } from '../../../helpers/events.ts'
import { translate } from '../../../helpers/translated.ts'

/** Every key and every short text that stands in the source of a converter: what nonsense must be made of to go deep. */
const source = globSync('core/llm/converters/**/*.ts')
  .map(file => readFileSync(file, 'utf8').replace(/^\s*(\/\/|\*|\/\*).*$/gm, ''))
  .join('\n')
const words = [...new Set([...source.matchAll(/\b[a-z][a-z_]{1,30}\b/g)].map(([word]) => word))]

const { value } = fc.letrec<{ value: unknown }>(tie => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.oneof(fc.constantFrom(...words), fc.constantFrom(null, true, 0, 1, -1, 1e308, '', '{"a":1}', '{', '\u{1F44B}')),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...words), tie('value'), { maxKeys: 5 }),
  ),
}))
const some: { requiredKeys: [] } = { requiredKeys: [] }
const maybe = (near: fc.Arbitrary<unknown>) => fc.oneof({ weight: 4, arbitrary: near }, { weight: 1, arbitrary: value })
const listOf = (near: fc.Arbitrary<unknown>) => maybe(fc.array(maybe(near), { maxLength: 3 }))

const blockType = fc.constantFrom('text', 'image', 'document', 'tool_use', 'tool_result', 'thinking')
const block = fc.record(
  {
    type: blockType,
    text: maybe(fc.string()),
    id: fc.string(),
    name: fc.string(),
    input: value,
    content: value,
    source: value,
    tool_use_id: fc.string(),
  },
  some,
)
const message = fc.record({ role: fc.constantFrom('user', 'assistant'), content: listOf(block) })
const body = fc.record(
  {
    messages: listOf(message),
    system: listOf(block),
    tools: listOf(fc.record({ name: fc.string(), input_schema: value })),
    tool_choice: value,
    thinking: value,
    output_format: value,
    stop_sequences: value,
    input: value,
    stream: value,
  },
  some,
)

const call = fc.record(
  {
    index: fc.constantFrom(0, 1, 2),
    id: fc.constantFrom('a', 'b', ''),
    function: maybe(
      fc.record({ name: fc.string(), arguments: maybe(fc.constantFrom('', '{', '"', '}', '{"a":1}')) }, some),
    ),
  },
  some,
)
const said = fc.record({ content: maybe(fc.string()), reasoning: maybe(fc.string()), tool_calls: listOf(call) }, some)
const finish = maybe(fc.constantFrom(null, 'stop', 'tool_calls', ''))
const choice = fc.record({ delta: maybe(said), message: maybe(said), finish_reason: finish }, some)
const answer = fc.record({ id: value, choices: listOf(choice), usage: value, predictions: listOf(value) }, some)

/** A request, an answer and its status. */
export const nonsenseCall = fc.tuple(maybe(body), maybe(answer), fc.constantFrom(200, 400, 500))

const data = (one: unknown) => `data: ${JSON.stringify(one)}`
const event = fc.oneof(
  { weight: 8, arbitrary: maybe(answer).map(data) },
  fc.constantFrom('data: [DONE]', ': x', 'event: error\ndata: x', 'data: {', 'data', 'event: ping', ''),
  fc.string(),
)

/** A stream, and where it is cut. */
export const nonsenseStream = fc.tuple(
  fc.array(fc.tuple(event, fc.constantFrom('\n\n', '\r\n\r\n', '\r\r', '\n')), { maxLength: 12 }),
  fc.array(fc.nat(1_500), { maxLength: 20 }),
)

/** Takes JSON for a request, and for its answer, with every converter. */
export function convertNonsense([asked, answered, status]: readonly [unknown, unknown, number]): void {
  const before = JSON.stringify([asked, answered])
  for (const converter of [anthropicOpenai, embeddingsVertex]) {
    for (const request of [asked, { messages: [{ role: 'user', content: 'x' }], input: 'x' }]) {
      try {
        const conversion = openConversion(converter, Object(request) as Record<string, unknown>, 'm')
        JSON.parse(JSON.stringify(conversion.body))
        JSON.parse(convertAnswer(conversion, answered, status).toString())
      } catch (error) {
        if (error instanceof UpstreamError) assert.ok(status < 400, 'an error can always be told')
        else assert.ok(error instanceof GatewayError && error.code === 'not_convertible', String(error))
      }
    }
  }
  assert.equal(JSON.stringify([asked, answered]), before)
}

/** Reads a stream in one piece, and cut: one end or one error, block after block, and the same both times. */
export function translateNonsense([events, places]: readonly [
  readonly (readonly [string, string])[],
  readonly number[],
]): void {
  const open = (): Conversion =>
    openConversion(anthropicOpenai, { messages: [{ role: 'user', content: 'x' }], stop_sequences: ['stop'] }, 'm')
  const bytes = Buffer.from(events.map(([one, end]) => one + end).join(''))
  const whole = translate(open(), [bytes])
  const cut = translate(open(), cutAt(bytes, places))
  const facts = ({ text, ends, over, failed }: typeof cut) => ({ text, ends, over, failed: failed?.message })
  assert.deepEqual(facts(cut), facts(whole))
  if (whole.failed === undefined) mustBeMessage(whole.text)
  else assert.equal(whole.text, '')
  assert.equal(whole.ends, whole.failed === undefined ? 1 : 0)
}

/** Holds a stream to what Anthropic's clients expect of one: blocks one after another, and one end or one error, last. */
export function mustBeMessage(text: string): void {
  const events = [...text.matchAll(/event: (.*)\ndata: (.*)\n\n/g)].map(([, type, json]) => {
    const said = JSON.parse(json!) as { type: string; index?: number }
    assert.equal(said.type, type)
    return said
  })
  const written = events.map(said => `event: ${said.type}\ndata: ${JSON.stringify(said)}\n\n`).join('')
  assert.equal(written, text, 'there is nothing else')
  let state = 'before'
  let blocks = 0
  const steps: Record<string, [from: string, to: string]> = {
    message_start: ['before', 'between'],
    content_block_start: ['between', 'within'],
    content_block_delta: ['within', 'within'],
    content_block_stop: ['within', 'between'],
    message_delta: ['between', 'ending'],
    message_stop: ['ending', 'over'],
  }
  for (const { type, index } of events) {
    assert.notEqual(state, 'over', `${type} comes behind the end`)
    if (type === 'error') state = 'over'
    else if (type === 'ping') assert.notEqual(state, 'before')
    else {
      const [from, to] = steps[type]!
      assert.equal(state, from, `${type} comes ${state}`)
      if (index !== undefined) assert.equal(index, blocks)
      if (type === 'content_block_stop') blocks++
      state = to
    }
  }
  assert.equal(state, 'over')
}
