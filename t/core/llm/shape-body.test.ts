// What becomes of the client's body.
import assert from 'node:assert/strict'
import { bedrockConverse } from '../../../core/llm/protocols/bedrock-converse.ts'
import { openaiChat } from '../../../core/llm/protocols/openai-chat.ts'
import type { Protocol } from '../../../core/llm/protocols/protocol.ts'
import { providers } from '../../../core/llm/providers/table.ts'
import { shapeBody } from '../../../core/llm/shape-body.ts'
import { openTarget, type TargetConfig } from '../../../core/llm/target.ts'

function shape(
  text: string,
  given: Partial<Omit<TargetConfig, 'provider'>> & { provider?: string; protocol?: Protocol } = {},
): string {
  const { provider = 'openai-compatible', protocol = openaiChat, ...rest } = given
  const target = openTarget({
    provider: providers.get(provider)!,
    instance: 'test',
    endpoint: 'http://h',
    headers: {},
    query: {},
    options: {},
    maxTokens: undefined,
    requestBody: {},
    force: false,
    verify: true,
    keepAlive: true,
    ...rest,
  })
  const bytes = Buffer.from(text)
  const client = { bytes, json: JSON.parse(text) as Record<string, unknown> }
  const before = structuredClone(client.json)
  const shaped = shapeBody(client, protocol, target)
  assert.deepEqual(client.json, before, 'the parsed body is not changed')
  assert.equal(client.bytes.toString(), text, 'the bytes are not changed')
  assert.deepEqual(shaped.json, JSON.parse(shaped.bytes.toString()), 'the object says what the bytes say')
  return shaped.bytes.toString()
}

describe('the body for a provider', () => {
  it('is byte for byte the client’s when nothing changes it', () => {
    const odd = ' {"messages" : [],\n"x":null, "n":1.0, "big":12345678901234567890, "x":"\\u0041"}\r\n'
    assert.equal(shape(odd), odd)
  })

  it('of Bedrock names neither the model nor a stream: the path does', () => {
    const bedrock = { provider: 'bedrock', protocol: bedrockConverse }
    const untouched = '{ "messages":[ ] }'
    assert.equal(shape(untouched, bedrock), untouched)
    assert.equal(shape('{"stream":true,"model":"m","messages":[]}', bedrock), '{"messages":[]}')
    assert.equal(shape('{"stream":false,"b":1,"a":2}', bedrock), '{"a":2,"b":1}')
    assert.equal(shape('{"messages":[]}', { ...bedrock, options: { model: 'm' } }), '{"messages":[]}')
  })

  it('of Bedrock has its limit of tokens within another member', () => {
    const limited = { provider: 'bedrock', protocol: bedrockConverse, maxTokens: 5 }
    assert.equal(shape('{}', limited), '{"inferenceConfig":{"maxTokens":5}}')
    assert.equal(
      shape('{"inferenceConfig":{"maxTokens":9,"topP":1}}', limited),
      '{"inferenceConfig":{"maxTokens":5,"topP":1}}',
    )
    assert.equal(shape('{"inferenceConfig":"x"}', limited), '{"inferenceConfig":{"maxTokens":5}}')
  })

  it('of a stream gets include_usage and nothing else', () => {
    assert.equal(
      shape('{"stream":true, "messages":[ ]}'),
      '{"stream":true, "messages":[ ],"stream_options":{"include_usage":true}}',
    )
  })

  it('keeps the client’s own stream_options', () => {
    assert.equal(
      shape('{"stream_options":{ "include_obfuscation":false }, "stream":true}'),
      '{"stream_options":{ "include_obfuscation":false ,"include_usage":true}, "stream":true}',
    )
    assert.equal(
      shape('{"stream_options":{"include_usage": false,"a":1},"stream":true}'),
      '{"stream_options":{"include_usage": true,"a":1},"stream":true}',
    )
    assert.equal(
      shape('{"stream":true,"stream_options":null}'),
      '{"stream":true,"stream_options":{"include_usage":true}}',
    )
  })

  for (const text of [
    '{"stream":true,"stream_options":{"include_usage":true}}',
    '{"stream":true,"stream_options":"nonsense"}',
    '{"stream":false,"messages":[]}',
    '{"stream":"true","messages":[]}',
  ]) {
    it(`leaves ${text} alone`, () => assert.equal(shape(text), text))
  }

  it('is shaped in the order of facts ai-plugins A.2', () => {
    const client =
      '{"model":"c","messages":[],"stream":true,"max_tokens":9,"metadata":{"user":"u"},"stream_options":{"x":1}}'
    const given = {
      provider: 'openai',
      options: { model: 'm1', temperature: 0.5 },
      maxTokens: 100,
      requestBody: { 'openai-chat': { metadata: { team: 'x' }, temperature: 0.1, list: [1] } },
    }
    const expected = {
      list: [1],
      max_completion_tokens: 100,
      messages: [],
      metadata: { team: 'x', user: 'u' },
      model: 'm1',
      stream: true,
      stream_options: { include_usage: true, x: 1 },
      temperature: 0.5,
    }
    assert.equal(shape(client, given), JSON.stringify(expected))
    assert.equal(shape(client, { ...given, force: true }), JSON.stringify({ ...expected, temperature: 0.1 }))
  })

  it('has sorted keys at every level once something changed it', () => {
    assert.equal(
      shape('{"z":[{"b":1,"a":{"10":0,"9":0}}],"m":null,"e":[]}', { options: { a: 1 } }),
      '{"a":1,"e":[],"m":null,"z":[{"a":{"10":0,"9":0},"b":1}]}',
    )
  })

  it('merges patches into objects and never into lists', () => {
    const requestBody = { 'openai-chat': { a: { b: { c: 1 } }, l: [9], n: 5, d: 6 } }
    const client = '{"a":{"b":{"k":0}},"l":[1,2],"n":null}'
    assert.equal(shape(client, { requestBody }), '{"a":{"b":{"c":1,"k":0}},"d":6,"l":[1,2],"n":null}')
    assert.equal(shape(client, { requestBody, force: true }), '{"a":{"b":{"c":1,"k":0}},"d":6,"l":[9],"n":5}')
  })

  it('ignores patches for other protocols', () => {
    const text = '{ "messages":[]}'
    assert.equal(shape(text, { requestBody: { 'openai-responses': { a: 1 } } }), text)
  })

  it('has max_tokens under the name that the provider knows', () => {
    const text = '{"max_tokens":1}'
    assert.equal(shape(text, { maxTokens: 7 }), '{"max_tokens":7}')
    assert.equal(shape(text, { maxTokens: 7, provider: 'openai' }), '{"max_completion_tokens":7}')
    assert.equal(shape(text, { maxTokens: 7, provider: 'gemini' }), '{"max_completion_tokens":7,"max_tokens":1}')
  })

  it('for azure-openai has no model', () => {
    assert.equal(shape('{"model":"m","a":1}', { provider: 'azure-openai' }), '{"a":1}')
    assert.equal(shape('{"a" :1}', { provider: 'azure-openai' }), '{"a" :1}')
    assert.equal(shape('{"a":1}', { provider: 'azure-openai', options: { model: 'm' } }), '{"a":1}')
  })

  it('asks for no usage when the operator turns the stream off or on', () => {
    assert.equal(shape('{"stream":true}', { options: { stream: false } }), '{"stream":false}')
    assert.equal(
      shape('{"stream":true,"stream_options":{"a":1}}', { options: { stream: false } }),
      '{"stream":false,"stream_options":{"a":1}}',
    )
    assert.equal(shape('{"stream":false}', { options: { stream: true } }), '{"stream":true}')
  })

  it('can have members with any name', () => {
    assert.equal(
      shape('{"__proto__":{"x":1},"constructor":2}', {
        requestBody: { 'openai-chat': JSON.parse('{"__proto__":{"y":3}}') as Record<string, unknown> },
      }),
      '{"__proto__":{"x":1,"y":3},"constructor":2}',
    )
  })
})
