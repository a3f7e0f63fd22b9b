// How providers say when to come again, each in its own way.
import assert from 'node:assert/strict'
import { restAsked } from '../../../core/llm/rest-asked.ts'
import { HeaderList } from '../../../core/reply.ts'

const NOW = Date.parse('2026-02-01T10:00:00Z')

function asked(fields: Record<string, string>, { status = 429, body }: { status?: number; body?: unknown } = {}) {
  const headers = new HeaderList(Object.entries(fields).flat())
  return restAsked(status, { headers, body: body === undefined ? undefined : Buffer.from(JSON.stringify(body)) }, NOW)
}

describe('a provider that asks for rest', () => {
  const dialects: [string, Record<string, string>, number | undefined][] = [
    ['seconds', { 'Retry-After': '20' }, 20_000],
    ['parts of seconds', { 'retry-after': '0.5' }, 500],
    ['milliseconds', { 'retry-after-ms': '1500' }, 1_500],
    ['a date', { 'retry-after': 'Sun, 01 Feb 2026 10:01:00 GMT' }, 60_000],
    ['a date that has passed', { 'retry-after': 'Sun, 01 Feb 2026 09:59:00 GMT' }, undefined],
    ['both, of which the later counts', { 'retry-after-ms': '1500', 'retry-after': '1' }, 1_500],
    ['OpenAI’s durations', { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '6m0s' }, 360_000],
    ['Groq’s', { 'x-ratelimit-reset-requests': '2m59.56s' }, 179_560],
    ['milliseconds of OpenAI’s', { 'x-ratelimit-reset-requests': '20ms' }, 20],
    [
      'a limit of which something remains',
      { 'x-ratelimit-remaining-tokens': '7', 'x-ratelimit-reset-tokens': '6m' },
      undefined,
    ],
    ['Azure’s seconds', { 'x-ratelimit-reset-requests': '12' }, 12_000],
    ['milliseconds since the epoch', { 'X-RateLimit-Reset': String(NOW + 7_000) }, 7_000],
    ['seconds since the epoch', { 'X-RateLimit-Reset': String(NOW / 1000 + 7) }, 7_000],
    ['the IETF’s seconds', { 'ratelimit-remaining': '0', 'ratelimit-reset': '30' }, 30_000],
    [
      'Anthropic’s moments, of which the exhausted one counts',
      {
        'anthropic-ratelimit-requests-remaining': '10',
        'anthropic-ratelimit-requests-reset': '2026-02-01T11:00:00Z',
        'anthropic-ratelimit-input-tokens-remaining': '0',
        'anthropic-ratelimit-input-tokens-reset': '2026-02-01T10:00:09Z',
      },
      9_000,
    ],
    ['nothing', {}, undefined],
    ['nonsense', { 'retry-after': 'soon', 'x-ratelimit-reset': '-1', 'x-ratelimit-reset-tokens': 'NaNs' }, undefined],
  ]
  for (const [name, fields, ms] of dialects) it(`may say it in ${name}`, () => assert.equal(asked(fields), ms))

  it('may say it in the body, as Google does', () => {
    const details = [
      { '@type': 'type.googleapis.com/google.rpc.QuotaFailure' },
      { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '34.5s' },
    ]
    assert.equal(asked({}, { body: { error: { code: 429, details } } }), 34_500)
    assert.equal(asked({}, { body: [{ error: { code: 429, details } }] }), 34_500)
    for (const body of [null, [], [null], { error: 'retryDelay' }, { error: { details: ['retryDelay'] } }])
      assert.equal(asked({}, { body }), undefined)
  })

  it('says so with a status that means it', () => {
    assert.equal(asked({ 'retry-after': '3' }, { status: 503 }), 3_000)
    assert.equal(asked({ 'retry-after': '3' }, { status: 529 }), 3_000)
    assert.equal(asked({ 'retry-after': '3' }, { status: 500 }), undefined)
    // These are on every answer, and about calls to come.
    assert.equal(asked({ 'x-ratelimit-reset-requests': '12' }, { status: 503 }), undefined)
  })
})
