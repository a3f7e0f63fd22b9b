// AWS Signature Version 4 against the vectors that AWS publishes (aws-sig-v4-test-suite).
import assert from 'node:assert/strict'
import { awsAuth, signature } from '../../../../core/llm/auth/aws.ts'
import { makeContext } from '../../../helpers/context.ts'

const credentials = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  sessionToken: undefined,
}
const scope = { region: 'us-east-1', service: 'service' }
const now = Date.UTC(2015, 7, 30, 12, 36, 0, 999)
const unreserved = '-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const token =
  'AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=='

const request = (method: string, target: string, body = '') => ({
  method,
  host: 'example.amazonaws.com',
  target,
  body: Buffer.from(body),
})

const vectors: [string, string, string, string][] = [
  ['get-vanilla', 'GET', '/', '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31'],
  ['post-vanilla', 'POST', '/', '5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b'],
  [
    'get-vanilla-empty-query-key',
    'GET',
    '/?Param1=value1',
    'a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb',
  ],
  ['post-vanilla-query', 'POST', '/?Param1=value1', '28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11'],
  [
    'get-vanilla-query-order-key-case',
    'GET',
    '/?Param2=value2&Param1=value1',
    'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
  ],
  [
    'get-vanilla-query-order-key',
    'GET',
    '/?Param1=value2&Param1=Value1',
    'eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1',
  ],
  [
    'get-vanilla-query-order-value',
    'GET',
    '/?Param1=value2&Param1=value1',
    '5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694',
  ],
  [
    'get-vanilla-query-unreserved',
    'GET',
    `/?${unreserved}=${unreserved}`,
    '9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197',
  ],
  ['get-vanilla-utf8-query', 'GET', '/?ሴ=bar', '2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04'],
  ['get-unreserved', 'GET', `/${unreserved}`, '07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f'],
  ['get-utf8', 'GET', '/ሴ', '8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85'],
  ['get-space', 'GET', '/example space/', '652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741'],
]

describe('a signature of AWS', () => {
  for (const [name, method, target, hex] of vectors) {
    it(`is that of ${name}`, () => {
      assert.deepEqual(signature(request(method, target), { credentials, scope, now }), {
        'x-amz-date': '20150830T123600Z',
        authorization: `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=${hex}`,
      })
    })
  }

  it('is that of post-sts-header-before, with a session token', () => {
    const means = { credentials: { ...credentials, sessionToken: token }, scope, now }
    assert.deepEqual(signature(request('POST', '/'), means), {
      'x-amz-date': '20150830T123600Z',
      'x-amz-security-token': token,
      authorization:
        'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead',
    })
  })

  it('is another for another body, host, path, day, region and service', () => {
    const of = (asked = request('POST', '/'), means = {}) =>
      /Signature=(.+)$/.exec(signature(asked, { credentials, scope, now, ...means }).authorization!)![1]!
    const all = [
      of(),
      of(request('POST', '/', 'x')),
      of({ ...request('POST', '/'), host: 'example.amazonaws.com:8443' }),
      // A path that is encoded is not the same as one that is not.
      of(request('POST', '/a:b')),
      of(request('POST', '/a%3Ab')),
      of(undefined, { now: now + 1_000 }),
      of(undefined, { scope: { ...scope, region: 'eu-west-1' } }),
      of(undefined, { scope: { ...scope, service: 'bedrock' } }),
      of(undefined, { credentials: { ...credentials, secretAccessKey: 'other' } }),
    ]
    assert.equal(new Set(all).size, all.length)
  })

  it('takes the place of whatever a client signed with, at the time of the request', async () => {
    const clock = { now }
    const auth = awsAuth(credentials, scope, () => clock.now)
    assert.deepEqual([...auth.replaces].sort(), [
      'authorization',
      'x-amz-content-sha256',
      'x-amz-date',
      'x-amz-security-token',
    ])
    const ctx = await makeContext()
    assert.equal((await auth.fields(request('GET', '/'), ctx))['x-amz-date'], '20150830T123600Z')
    clock.now += 86_400_000
    assert.equal((await auth.fields(request('GET', '/'), ctx))['x-amz-date'], '20150831T123600Z')
  })
})
