// Where providers are asked.
import assert from 'node:assert/strict'
import { providers } from '../../../core/llm/providers/table.ts'
import { openTarget, type TargetConfig } from '../../../core/llm/target.ts'

function placeOf(provider: string, given: Partial<TargetConfig> = {}) {
  const { place } = openTarget({
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
  })
  return place && { origin: place.origin, address: place.address, target: place.target('openai-chat') }
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
})
