// Header fields to and from providers.
import assert from 'node:assert/strict'
import { requestFields, responseFields } from '../../../core/llm/fields.ts'
import { HeaderList } from '../../../core/reply.ts'

const sent = (client: string[], overlay: Record<string, string> = {}, keepAlive = true) =>
  requestFields(new HeaderList(client), new Map(Object.entries(overlay)), keepAlive)

describe('fields sent to a provider', () => {
  it('are the client’s, as they came, with our content type', () => {
    assert.deepEqual(
      sent(['X-Trace', '1', 'Cookie', 'a', 'x-trace', '2', 'Content-Type', 'application/json; charset=x']),
      ['X-Trace', '1', 'Cookie', 'a', 'x-trace', '2', 'content-type', 'application/json'],
    )
  })

  it('have the operator’s in the place of the client’s, whatever the case', () => {
    assert.deepEqual(sent(['AUTHORIZATION', 'client', 'X-Keep', 'k'], { authorization: 'Bearer operator' }), [
      'X-Keep',
      'k',
      'authorization',
      'Bearer operator',
      'content-type',
      'application/json',
    ])
  })

  it('hold nothing of the client’s connection, nor what the transport makes itself', () => {
    const client = [
      ['Host', 'gateway'],
      ['Content-Length', '7'],
      ['Accept-Encoding', 'gzip'],
      ['Connection', 'keep-alive'],
      ['Keep-Alive', 'timeout=5'],
      ['Proxy-Authorization', 'Basic x'],
      ['Proxy-Connection', 'keep-alive'],
      ['TE', 'trailers'],
      ['Trailer', 'x'],
      ['Transfer-Encoding', 'chunked'],
      ['Upgrade', 'h2c'],
      ['HTTP2-Settings', 'x'],
      ['Expect', '100-continue'],
    ].flat()
    assert.deepEqual(sent(client), ['content-type', 'application/json'])
  })

  it('of the operator’s do not break the request either', () => {
    assert.deepEqual(
      sent([], { host: 'x', 'content-length': '1', 'accept-encoding': 'br', 'content-type': 'text/plain' }),
      ['content-type', 'application/json'],
    )
  })

  it('ask for the connection to be closed when it shall not be kept', () => {
    assert.deepEqual(sent([], {}, false).slice(-2), ['connection', 'close'])
  })
})

describe('fields of an answer', () => {
  it('are those that users steer by', () => {
    const upstream = new HeaderList(
      [
        ['Content-Type', 'application/json'],
        ['Retry-After', '7'],
        ['retry-after-ms', '7000'],
        ['x-should-retry', 'false'],
        ['X-RateLimit-Remaining-Tokens', '5'],
        ['RateLimit-Policy', 'x'],
        ['ratelimit', 'y'],
        ['x-request-id', 'req_1'],
        ['openai-processing-ms', '12'],
        ['anthropic-ratelimit-requests-remaining', '3'],
        ['Set-Cookie', 'a=b'],
        ['Server', 'cloudflare'],
        ['Content-Encoding', 'gzip'],
        ['Content-Length', '9'],
        ['Transfer-Encoding', 'chunked'],
        ['Connection', 'close'],
      ].flat(),
    )
    assert.deepEqual(
      [...responseFields(upstream)].map(([name]) => name),
      [
        'Content-Type',
        'Retry-After',
        'retry-after-ms',
        'x-should-retry',
        'X-RateLimit-Remaining-Tokens',
        'RateLimit-Policy',
        'ratelimit',
        'x-request-id',
        'openai-processing-ms',
        'anthropic-ratelimit-requests-remaining',
      ],
    )
  })
})
