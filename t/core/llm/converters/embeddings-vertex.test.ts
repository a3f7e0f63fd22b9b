// OpenAI's embeddings from Vertex AI.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import OpenAI from 'openai'
import { GatewayError, UpstreamError } from '../../../../core/errors.ts'
import { convertAnswer, openConversion } from '../../../../core/llm/converters/converter.ts'
import { embeddingsVertex } from '../../../../core/llm/converters/embeddings-vertex.ts'
import { vertexPredict } from '../../../../core/llm/protocols/vertex-predict.ts'
import { startGateway } from '../../../helpers/gateway.ts'
import { startUpstream } from '../../../helpers/upstream.ts'

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
    [[[1], [{ toString: 1 }]], 'unsupported input type at index 2'],
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

describe('the openai SDK before Vertex AI', () => {
  it('gets its embeddings, in the base64 that it asks for by itself and as floats', async () => {
    const upstream = await startUpstream(received =>
      received.json(200, { predictions: [prediction([0.5, -1], 3), prediction([2, 3.25], 4)] }),
    )
    const config = {
      provider: 'vertex-ai',
      provider_conf: { project_id: 'p', region: 'r' },
      auth: { header: { Authorization: 'Bearer operator' } },
      override: { endpoint: upstream.origin },
    }
    const gateway = await startGateway({
      resources: { routes: { 1: { uri: '/*', plugins: { 'ai-proxy': config } } } },
    })
    try {
      const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'client', maxRetries: 0 })
      for (const more of [{}, { encoding_format: 'float' as const }]) {
        const { data, usage, model } = await client.embeddings.create({ model: 'text-005', input: ['a', 'b'], ...more })
        assert.deepEqual(
          data.map(({ embedding }) => [...embedding]),
          [
            [0.5, -1],
            [2, 3.25],
          ],
        )
        assert.deepEqual({ usage, model }, { usage: { prompt_tokens: 7, total_tokens: 7 }, model: 'text-005' })
      }
      const [received] = upstream.received
      assert.equal(received!.target, '/v1/projects/p/locations/r/publishers/google/models/text-005:predict')
      assert.deepEqual(JSON.parse((await received!.body).toString()), {
        instances: [{ content: 'a' }, { content: 'b' }],
      })
      upstream.script = answered =>
        answered.json(404, { error: { code: 404, message: 'no model', status: 'NOT_FOUND' } })
      await assert.rejects(client.embeddings.create({ model: 'text-006', input: 'a' }), {
        status: 404,
        code: 'NOT_FOUND',
      })
    } finally {
      await gateway.close()
      await upstream.close()
    }
  })
})
