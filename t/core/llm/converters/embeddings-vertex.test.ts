// OpenAI's embeddings from Vertex AI.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { GatewayError, UpstreamError } from '../../../../core/errors.ts'
import { convertAnswer, openConversion } from '../../../../core/llm/converters/converter.ts'
import { embeddingsVertex } from '../../../../core/llm/converters/embeddings-vertex.ts'
import { vertexPredict } from '../../../../core/llm/protocols/vertex-predict.ts'

const open = (body: Record<string, unknown>) => openConversion(embeddingsVertex, body, 'v')
const answer = (said: unknown, body: Record<string, unknown> = {}, status = 200) => {
  const bytes = convertAnswer(open({ input: 'x', ...body }), said, status)
  return { body: JSON.parse(bytes.toString()) as Record<string, unknown> }
}
const prediction = (values: unknown, token_count?: number) => ({ embeddings: { values, statistics: { token_count } } })

describe('embeddings for Vertex AI', () => {
  for (const [body, expected] of [
    [{ input: 'a', model: 'm', user: 'u' }, { instances: [{ content: 'a' }] }],
    [{ input: ['a', 'b'] }, { instances: [{ content: 'a' }, { content: 'b' }] }],
    [{ input: [[1, 2], 'b'] }, { instances: [{ content: '1 2' }, { content: 'b' }] }],
    [{ input: [] }, { instances: [] }],
    [
      { input: 'a', dimensions: 256 },
      { instances: [{ content: 'a' }], parameters: { outputDimensionality: 256 } },
    ],
  ] as const) {
    it(`ask ${JSON.stringify(body)} as ${JSON.stringify(expected)}`, () => assert.deepEqual(open(body).body, expected))
  }

  for (const [input, message] of [
    [undefined, '`input` is required for embeddings'],
    [null, '`input` is required for embeddings'],
    [5, '`input` must be string or array'],
    [{}, '`input` must be string or array'],
    [['a', 5], 'unsupported input type at index 2'],
  ] as const) {
    it(`refuse ${JSON.stringify(input)}`, () => {
      assert.throws(() => open({ input }), { status: 400, code: 'not_convertible', message })
    })
  }

  it('come as floats, with the tokens of all of them', () => {
    const said = { predictions: [prediction([0.5, -1], 3), prediction([0], 4)] }
    const data = [
      { object: 'embedding', index: 0, embedding: [0.5, -1] },
      { object: 'embedding', index: 1, embedding: [0] },
    ]
    const body = { object: 'list', data, model: 'm', usage: { prompt_tokens: 7, total_tokens: 7 } }
    assert.deepEqual(answer(said, { model: 'm' }), { body })
    assert.equal(answer(said).body.model, 'unknown')
    assert.deepEqual(vertexPredict.answerFacts(said).usage, {
      prompt: 7,
      completion: 0,
      total: 7,
      cacheRead: 0,
      cacheCreation: 0,
      reasoning: 0,
    })
  })

  it('come in base64 to those who ask for it', () => {
    const { body } = answer({ predictions: [prediction([0.5, -1, 3.25])] }, { encoding_format: 'base64' })
    const bytes = Buffer.from((body.data as { embedding: string }[])[0]!.embedding, 'base64')
    assert.deepEqual(
      Array.from({ length: 3 }, (_, at) => bytes.readFloatLE(at * 4)),
      [0.5, -1, 3.25],
    )
  })

  it('are none without predictions, or with one that is no vector', () => {
    for (const said of [undefined, {}, { predictions: {} }, { predictions: [prediction('x')] }, { predictions: [1] }]) {
      assert.throws(() => answer(said), UpstreamError)
    }
    assert.throws(() => answer({ predictions: [prediction([1]), prediction([1, 'x'])] }), /index 2/)
  })

  it('fail in OpenAI’s words', () => {
    const error = { code: 400, message: 'bad', status: 'INVALID_ARGUMENT' }
    const expected = { error: { message: 'bad', type: 'api_error', param: null, code: 'INVALID_ARGUMENT' } }
    assert.deepEqual(answer({ error }, {}, 400), { body: expected })
    assert.deepEqual(answer([{ error }], {}, 400).body, expected)
    assert.deepEqual(answer(undefined, {}, 502).body, {
      error: { message: 'the AI service answered with status 502', type: 'api_error', param: null, code: null },
    })
  })

  it('survive anything', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.constantFrom(200, 500), (input, said, status) => {
        try {
          convertAnswer(open({ input }), { predictions: said }, status)
          convertAnswer(open({ input }), said, status)
        } catch (error) {
          assert.ok(error instanceof UpstreamError || error instanceof GatewayError)
        }
      }),
      { numRuns: 500 },
    )
  })
})
