// Telling protocols apart.
import assert from 'node:assert/strict'
import { detectProtocol } from '../../../../core/llm/protocols/detect.ts'

describe('protocol detection', () => {
  const cases: [unknown, string, string | undefined][] = [
    [{ messages: [] }, '/model/x/converse', 'bedrock-converse'],
    [{ messages: 'x' }, '/model/x/converse', 'passthrough'],
    [{ messages: [] }, '/v1/messages', 'anthropic-messages'],
    [{ messages: [] }, '/v1/messages/count_tokens', 'passthrough'],
    [{}, '/prefix/v1/messages', 'anthropic-messages'],
    [{ input: 'x', messages: [] }, '/v1/responses', 'openai-responses'],
    [{ input: null }, '/v1/responses', 'openai-responses'],
    [{ messages: [] }, '/v1/responses', 'openai-chat'],
    [{ messages: [], input: 'x' }, '/anything', 'openai-chat'],
    [{ messages: {} }, '/anything', 'openai-chat'],
    [{ input: 'x' }, '/anything', 'openai-embeddings'],
    [{ messages: 'x' }, '/anything', 'passthrough'],
    [[1], '/anything', 'passthrough'],
    [{ prompt: 'x' }, '/v1/images/generations', 'passthrough'],
    [{ messages: [] }, '/v1/messages/count_tokens', 'passthrough'],
    [{ messages: [] }, '/prefix/v1/messages/count_tokens', 'passthrough'],
    [{ input: 'x' }, '/v1/moderations', 'passthrough'],
    [{ input: 'x' }, '/v1/audio/speech', 'passthrough'],
    [{ input: 'x' }, '/v1/responses/input_tokens', 'passthrough'],
    [{ input: 'x' }, '/v1/audio/speeches', 'openai-embeddings'],
    [{ messages: [] }, '/v1/messages/count_tokens/x', 'openai-chat'],
    [{ messages: [] }, '/v1/models', 'openai-chat'],
    [undefined, '/v1/models', 'passthrough'],
    [undefined, '/prefix/v1/models/openai/gpt-4o', 'passthrough'],
    [undefined, '/v1/modelsX', undefined],
    [undefined, '/v1/messages/count_tokens', undefined],
    [undefined, '/v1/chat/completions', undefined],
    [{}, '/anything', undefined],
    [[], '/anything', undefined],
    [null, '/v1/messages', undefined],
    ['text', '/v1/messages', undefined],
  ]
  for (const [body, path, name] of cases) {
    it(`takes ${JSON.stringify(body)} at ${path} for ${name ?? 'nothing'}`, () => {
      assert.equal(detectProtocol(body, path), name)
    })
  }
})
