// Header fields to and from providers.
import assert from 'node:assert/strict'
import type { Auth } from '../../../core/llm/auth/auth.ts'
import { requestFields, responseFields } from '../../../core/llm/fields.ts'
import { providers } from '../../../core/llm/providers/table.ts'
import { openTarget, type TargetConfig } from '../../../core/llm/target.ts'
import { markCredentials } from '../../../core/observe/credentials.ts'
import { HeaderList } from '../../../core/reply.ts'
import { makeContext } from '../../helpers/context.ts'

interface Sent {
  overlay?: Record<string, string>
  auth?: Auth
  proof?: Record<string, string>
  keepAlive?: boolean
  safe?: boolean
  /** Where an authentication plugin looked for the client's key. */
  key?: string
}

async function sent(client: string[], given: Sent = {}): Promise<string[]> {
  const ctx = await makeContext()
  ctx.request.headers.raw = client
  if (given.key !== undefined) markCredentials(ctx, new Set([given.key]))
  const target = openTarget({
    ...(bareTarget as TargetConfig),
    headers: given.overlay ?? {},
    auth: given.auth,
    keepAlive: given.keepAlive ?? true,
    safeHeaders: given.safe ?? false,
  })
  return requestFields(ctx, target, given.proof)
}

const bareTarget: Partial<TargetConfig> = { provider: providers.get('openai')!, endpoint: undefined, query: {} }

describe('fields sent to a provider', () => {
  it('are the client’s, as they came, with our content type', async () => {
    assert.deepEqual(
      await sent(['X-Trace', '1', 'Cookie', 'a', 'x-trace', '2', 'Content-Type', 'application/json; charset=x']),
      ['X-Trace', '1', 'Cookie', 'a', 'x-trace', '2', 'content-type', 'application/json'],
    )
  })

  it('have the operator’s in the place of the client’s, whatever the case', async () => {
    assert.deepEqual(
      await sent(['AUTHORIZATION', 'client', 'X-Keep', 'k'], { overlay: { authorization: 'Bearer operator' } }),
      ['X-Keep', 'k', 'authorization', 'Bearer operator', 'content-type', 'application/json'],
    )
  })

  it('hold nothing of the client’s connection, nor what the transport makes itself', async () => {
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
    assert.deepEqual(await sent(client), ['content-type', 'application/json'])
  })

  it('of the operator’s do not break the request either', async () => {
    assert.deepEqual(
      await sent([], {
        overlay: { host: 'x', 'content-length': '1', 'accept-encoding': 'br', 'content-type': 'text/plain' },
      }),
      ['content-type', 'application/json'],
    )
  })

  it('ask for the connection to be closed when it shall not be kept', async () => {
    assert.deepEqual((await sent([], { keepAlive: false })).slice(-2), ['connection', 'close'])
  })
})

describe('fields of a client that are not for a provider', () => {
  const proof = { authorization: 'Bearer token', 'x-amz-date': 'now' }
  const auth: Auth = { replaces: ['authorization', 'x-amz-date', 'x-amz-security-token'], fields: () => proof }

  it('are those that prove who the client is, where the operator proves it', async () => {
    const client = ['Authorization', 'client', 'X-Amz-Date', 'then', 'X-Amz-Security-Token', 'client', 'X-Own', '1']
    assert.deepEqual(await sent(client, { auth, proof, overlay: { authorization: 'Basic operator', 'x-key': 'k' } }), [
      ...['X-Own', '1', 'x-key', 'k', 'authorization', 'Bearer token', 'x-amz-date', 'now'],
      ...['content-type', 'application/json'],
    ])
  })

  it('are the one in which the gateway found its own key', async () => {
    const client = ['ApiKey', 'of the gateway', 'Authorization', 'of the provider']
    assert.deepEqual(await sent(client, { key: 'apikey' }), [
      ...['Authorization', 'of the provider', 'content-type', 'application/json'],
    ])
    assert.deepEqual(await sent(client, { key: 'authorization', overlay: { authorization: 'operator' } }), [
      ...['ApiKey', 'of the gateway', 'authorization', 'operator', 'content-type', 'application/json'],
    ])
  })

  it('are all that could tell who it is, where only safe ones are to be forwarded', async () => {
    const client = [
      ...['User-Agent', 'sdk', 'Cookie', 'session', 'Authorization', 'client', 'X-Forwarded-For', '10.0.0.1'],
      ...['X-Consumer-Username', 'jack', 'Anthropic-Version', '2023-06-01', 'X-Api-Key', 'client', 'traceparent', '00'],
    ]
    assert.deepEqual(await sent(client, { safe: true, overlay: { cookie: 'of the operator' } }), [
      ...['User-Agent', 'sdk', 'Anthropic-Version', '2023-06-01', 'traceparent', '00', 'cookie', 'of the operator'],
      ...['content-type', 'application/json'],
    ])
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
