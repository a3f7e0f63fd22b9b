// Where providers are asked.
import assert from 'node:assert/strict'
import type { ProtocolName } from '../../../core/llm/protocols/protocol.ts'
import { providers } from '../../../core/llm/providers/table.ts'
import { openTarget, type TargetConfig } from '../../../core/llm/target.ts'

function open(provider: string, given: Partial<TargetConfig> = {}) {
  return openTarget({
    provider: providers.get(provider)!,
    instance: provider,
    endpoint: undefined,
    headers: {},
    query: {},
    options: {},
    maxTokens: undefined,
    requestBody: {},
    force: false,
    verify: true,
    keepAlive: true,
    ...given,
  }).place
}

function placeOf(provider: string, given: Partial<TargetConfig> = {}) {
  const place = open(provider, given)
  const target = place?.target('openai-chat', { model: 'm', streams: false })
  return place && { origin: place.origin, address: place.address, target }
}

describe('a target', () => {
  const homes: [string, string, string][] = [
    ['openai', 'https://api.openai.com:443', '/v1/chat/completions'],
    ['deepseek', 'https://api.deepseek.com:443', '/chat/completions'],
    ['aimlapi', 'https://api.aimlapi.com:443', '/chat/completions'],
    ['openrouter', 'https://openrouter.ai:443', '/api/v1/chat/completions'],
    ['gemini', 'https://generativelanguage.googleapis.com:443', '/v1beta/openai/chat/completions'],
  ]
  for (const [provider, origin, target] of homes) {
    it(`of ${provider} is ${origin}${target}`, () => {
      assert.deepEqual(placeOf(provider), { origin, address: origin.slice('https://'.length), target })
    })
  }

  it('has a path for each protocol of its provider', () => {
    const path = (provider: string, protocol: ProtocolName, streams = false) =>
      open(provider, { conf: { region: 'us-east-1', project_id: 'p' }, endpoint: 'http://h' })!.target(protocol, {
        model: 'm',
        streams,
      })
    for (const provider of ['openai', 'openai-compatible']) {
      assert.equal(path(provider, 'openai-responses'), '/v1/responses')
      assert.equal(path(provider, 'openai-embeddings'), '/v1/embeddings')
    }
    assert.equal(path('anthropic', 'openai-chat'), '/v1/chat/completions')
    assert.equal(path('anthropic', 'anthropic-messages'), '/v1/messages')
    assert.equal(
      path('vertex-ai', 'vertex-predict'),
      '/v1/projects/p/locations/us-east-1/publishers/google/models/m:predict',
    )
    assert.equal(path('bedrock', 'bedrock-converse'), '/model/m/converse')
    assert.equal(path('bedrock', 'bedrock-converse', true), '/model/m/converse-stream')
    assert.equal(path('deepseek', 'openai-responses'), undefined)
    assert.equal(path('openai', 'openai-chat', true), '/v1/chat/completions')
  })

  it('is where provider_conf says', () => {
    const conf = { region: 'us-central1', project_id: 'my-project' }
    const vertex = open('vertex-ai', { conf })
    assert.equal(vertex?.origin, 'https://us-central1-aiplatform.googleapis.com:443')
    const bedrock = open('bedrock', { conf: { region: 'eu-west-1' } })
    assert.equal(bedrock?.origin, 'https://bedrock-runtime.eu-west-1.amazonaws.com:443')
    assert.equal(bedrock?.hostHeader, 'bedrock-runtime.eu-west-1.amazonaws.com')
    assert.equal(open('vertex-ai'), undefined)
  })

  it('has no path where provider_conf does not say enough', () => {
    const asked = { model: 'm', streams: false }
    for (const conf of [{}, { region: 'r' }, { project_id: 'p' }, { region: 'r', project_id: '' }])
      assert.equal(open('vertex-ai', { conf, endpoint: 'http://h' })!.target('openai-chat', asked), undefined)
    assert.equal(open('vertex-ai', { endpoint: 'http://h/own' })!.target('openai-chat', asked), '/own')
  })

  it('lets no model lead to another path', () => {
    const at = (model: unknown) =>
      open('bedrock', { endpoint: 'http://h' })!.target('bedrock-converse', { model, streams: false })
    assert.equal(at('a.b-v2:0'), '/model/a.b-v2%3A0/converse')
    assert.equal(at('arn:aws:x/y'), '/model/arn%3Aaws%3Ax%2Fy/converse')
    assert.equal(at('../../x?y#z%2F'), '/model/..%2F..%2Fx%3Fy%23z%252F/converse')
    assert.equal(at("é!'()*$&"), '/model/%C3%A9%21%27%28%29%2A%24%26/converse')
    assert.equal(at('\ud800'), '/model/%EF%BF%BD/converse')
    for (const none of [undefined, null, '', '.', '..', 7, {}]) assert.equal(at(none), undefined)
  })

  for (const provider of ['openai-compatible', 'azure-openai']) {
    it(`of ${provider} is nowhere without an endpoint`, () => assert.equal(placeOf(provider), undefined))
  }

  it('has the path of its protocol when the endpoint has none', () => {
    assert.deepEqual(placeOf('openai-compatible', { endpoint: 'http://localhost:7737' }), {
      origin: 'http://localhost:7737',
      address: 'localhost:7737',
      target: '/v1/chat/completions',
    })
    assert.equal(placeOf('azure-openai', { endpoint: 'https://x.test' })?.target, '/completions')
  })

  it('has the endpoint path where there is one, even a lone slash', () => {
    assert.equal(placeOf('openai', { endpoint: 'http://h/a/b' })?.target, '/a/b')
    assert.equal(placeOf('openai', { endpoint: 'http://h/' })?.target, '/')
    assert.equal(placeOf('openai', { endpoint: 'http://h/?x=1' })?.target, '/?x=1')
  })

  it('has the arguments of auth.query, and the endpoint has the last word', () => {
    const query = { key: 'k 1', v: 'from auth' }
    const endpoint = 'https://h/p?v=from+endpoint&v=twice'
    assert.equal(placeOf('openai', { query, endpoint })?.target, '/p?key=k+1&v=from+endpoint&v=twice')
    assert.equal(placeOf('openai', { endpoint: 'http://h:1234?x=1' })?.target, '/v1/chat/completions?x=1')
  })

  it('has ports and IPv6 addresses as configured', () => {
    assert.equal(placeOf('openai', { endpoint: 'https://h' })?.address, 'h:443')
    assert.equal(placeOf('openai', { endpoint: 'http://h' })?.origin, 'http://h:80')
    assert.equal(placeOf('openai', { endpoint: 'http://[::1]:8080/x' })?.origin, 'http://[::1]:8080')
  })

  for (const endpoint of ['nonsense', 'localhost:8080/v1', 'ftp://h/x', 'http://user:pw@h/x']) {
    it(`takes ${endpoint} for no place`, () => assert.equal(placeOf('openai', { endpoint }), undefined))
  }

  it('says where it is without port and query', () => {
    const place = open('openai', { endpoint: 'http://h:1234/p?x=1' })
    assert.deepEqual([place?.scheme, place?.host], ['http', 'h'])
  })

  describe('for what is passed through', () => {
    const passage = (given: Partial<TargetConfig>, path: string, search = '', provider = 'openai') =>
      open(provider, given)!.passage(path, search)

    it('has the client’s path, unless the endpoint has one', () => {
      assert.equal(passage({}, '/v1/audio/ä b?#'), '/v1/audio/%C3%A4%20b%3F%23')
      assert.equal(passage({ endpoint: 'http://h' }, '/v1/x'), '/v1/x')
      assert.equal(passage({ endpoint: 'http://h/a%20b' }, '/v1/x'), '/a%20b')
      assert.equal(passage({}, '/v1beta/models/gemini:generate'), '/v1beta/models/gemini:generate')
    })

    it('has the client’s arguments, except where auth.query has its own', () => {
      assert.equal(passage({}, '/x', 'a=%20b&a=c'), '/x?a=%20b&a=c')
      const given = { query: { key: 'secret' }, endpoint: 'http://h/p?v=1&w=2' }
      assert.equal(passage(given, '/x', 'key=mine&v=3&v=4'), '/p?key=secret&w=2&v=3&v=4')
      assert.equal(passage({ query: { key: 'secret' } }, '/x'), '/x?key=secret')
    })

    const beside: [string, string | undefined, string, string][] = [
      ['openai', undefined, '/v1/models', '/v1/models'],
      ['openrouter', undefined, '/v1/models/a/b', '/api/v1/models/a/b'],
      ['gemini', undefined, '/v1/models', '/v1beta/openai/models'],
      ['deepseek', undefined, '/prefix/v1/models', '/models'],
      ['openai-compatible', 'http://h/base/v1/chat/completions', '/v1/models', '/base/v1/models'],
      ['openai-compatible', 'http://h/v1/messages', '/x/v1/messages/count_tokens', '/v1/messages/count_tokens'],
      ['openai-compatible', 'http://h/custom', '/v1/models', '/v1/models'],
      ['openai-compatible', 'http://h', '/v1/models', '/v1/models'],
    ]
    for (const [provider, endpoint, asked, sent] of beside) {
      it(`asks ${endpoint ?? provider} at ${sent} for ${asked}`, () => {
        assert.equal(passage({ endpoint }, asked, '', provider), sent)
      })
    }
  })
})
