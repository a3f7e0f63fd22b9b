// Tokens of Google's: asked for once, shared, kept as long as they are good, and honest when there is none.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { ClientGone, GatewayError } from '../../../../core/errors.ts'
import { GcpTokens, gcpAuth } from '../../../../core/llm/auth/gcp-tokens.ts'
import { Transport } from '../../../../core/proxy/transport.ts'
import { makeContext } from '../../../helpers/context.ts'
import { type TestAccount, testAccount } from '../../../helpers/service-account.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../../helpers/upstream.ts'

const forever = { earlyMs: 60_000, maxMs: Number.POSITIVE_INFINITY }
const begin = 1_700_000_000_000

describe('a token of Google’s', () => {
  let google: ScriptedUpstream
  let transport: Transport
  let account: TestAccount
  let now: number
  let tokens: GcpTokens

  before(async () => {
    google = await startUpstream()
    account = testAccount(`${google.origin}/token?x=1`)
    transport = new Transport()
  })
  after(async () => {
    await transport.close()
    await google.close()
  })
  beforeEach(() => {
    google.received.length = 0
    let made = 0
    google.script = received => received.json(200, { access_token: `token-${++made}`, expires_in: 3600 })
    now = begin
    tokens = new GcpTokens({ transport, account: undefined, now: () => now })
  })

  const refusal = async (promise: Promise<unknown>): Promise<GatewayError> => {
    const error = await promise.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    assert.ok(error instanceof GatewayError)
    assert.ok(!inspect(error, { depth: 9 }).includes(account.secret))
    return error
  }

  it('is asked for by a statement that the account has signed', async () => {
    assert.equal(await tokens.token(account.json, forever), 'token-1')
    const [asked] = google.received
    assert.deepEqual([asked!.method, asked!.target], ['POST', '/token?x=1'])
    assert.equal(asked!.headers['content-type'], 'application/x-www-form-urlencoded')
    const form = new URLSearchParams((await asked!.body).toString())
    assert.equal(form.get('grant_type'), 'urn:ietf:params:oauth:grant-type:jwt-bearer')
    const { header, claims } = account.read(form.get('assertion')!)
    assert.deepEqual(header, { alg: 'RS256', typ: 'JWT', kid: 'key-7' })
    assert.deepEqual(claims, {
      iss: 'gateway@project.iam.gserviceaccount.com',
      aud: `${google.origin}/token?x=1`,
      scope: 'https://www.googleapis.com/auth/cloud-platform',
      iat: begin / 1000,
      exp: begin / 1000 + 3600,
    })
  })

  it('has the scopes that the account names', async () => {
    const scoped = testAccount(`${google.origin}/token`, { scope: ['a', 'b'] })
    await tokens.token(scoped.json, forever)
    const form = new URLSearchParams((await google.received[0]!.body).toString())
    assert.equal(scoped.read(form.get('assertion')!).claims.scope, 'a b')
  })

  it('is that of the gateway’s own account where none is named', async () => {
    const own = new GcpTokens({ transport, account: account.json, now: () => now })
    assert.equal(await own.token(undefined, forever), 'token-1')
    assert.equal(await own.token(account.json, forever), 'token-1')
  })

  it('is asked for once by all that need it at the same time', async () => {
    const all = await Promise.all(Array.from({ length: 50 }, () => tokens.token(account.json, forever)))
    assert.deepEqual(new Set(all), new Set(['token-1']))
    assert.equal(google.received.length, 1)
  })

  it('is kept until shortly before its end', async () => {
    await tokens.token(account.json, forever)
    now = begin + 3540_000 - 1
    assert.equal(await tokens.token(account.json, forever), 'token-1')
    now++
    assert.equal(await tokens.token(account.json, forever), 'token-2')
  })

  it('is kept no longer than the configuration says', async () => {
    const short = { earlyMs: 60_000, maxMs: 8_000 }
    await tokens.token(account.json, short)
    now = begin + 7_999
    assert.equal(await tokens.token(account.json, short), 'token-1')
    now++
    assert.equal(await tokens.token(account.json, short), 'token-2')
  })

  it('is not shared between ways of keeping it, nor between accounts', async () => {
    assert.equal(await tokens.token(account.json, forever), 'token-1')
    assert.equal(await tokens.token(account.json, { ...forever, earlyMs: 1 }), 'token-2')
    assert.equal(await tokens.token(account.json, { ...forever, maxMs: 1 }), 'token-3')
    assert.equal(await tokens.token(account.json.replace('key-7', 'key-8'), forever), 'token-4')
  })

  it('whose life is shorter than the margin is kept for its life', async () => {
    google.script = received => received.json(200, { access_token: 'brief', expires_in: 30 })
    await tokens.token(account.json, forever)
    now = begin + 29_999
    await tokens.token(account.json, forever)
    assert.equal(google.received.length, 1)
    now++
    await tokens.token(account.json, forever)
    assert.equal(google.received.length, 2)
  })

  describe('that cannot be had', () => {
    const said = 'failed to get gcp access token: failed to get google oauth token'
    const scripts: [string, (received: Received) => unknown, RegExp][] = [
      [
        'is refused by name, without what else Google said',
        received => received.json(400, { error: 'invalid_grant', error_description: 'quoted secret' }),
        /^Error: status 400, invalid_grant$/,
      ],
      [
        'may be no JSON',
        ({ response }) => response.writeHead(200).end('<html>'),
        /^Error: the answer holds no access_token$/,
      ],
      [
        'may be none that a header field can carry',
        received => received.json(200, { access_token: 'a\r\nb' }),
        /^Error: the answer holds no access_token$/,
      ],
      [
        'may be too large',
        ({ response }) => response.writeHead(200).end(Buffer.alloc(100_000, ' ')),
        /^Error: the answer is too large$/,
      ],
      ['may break', received => received.reset(), /^UpstreamError: /],
    ]
    for (const [name, script, cause] of scripts) {
      it(name, async () => {
        google.script = script
        const error = await refusal(tokens.token(account.json, forever))
        assert.deepEqual([error.status, error.code, error.message], [500, 'gcp_token_failed', said])
        assert.match(String(error.cause), cause)
      })
    }

    it('is asked for again after a second, not by every request', async () => {
      google.script = received => received.json(401, { error: 'invalid_client' })
      await refusal(tokens.token(account.json, forever))
      now = begin + 999
      await Promise.all([1, 2, 3].map(() => refusal(tokens.token(account.json, forever))))
      assert.equal(google.received.length, 1)
      google.script = received => received.json(200, { access_token: 'at-last' })
      now++
      assert.equal(await tokens.token(account.json, forever), 'at-last')
    })

    const wrong: [string, string | undefined, string][] = [
      ['without an account', undefined, 'there is none'],
      ['of what is not JSON', 'PRIVATE', 'it is not JSON'],
      ['of a list', '[]', 'it is no object'],
      ['of nobody', '{}', 'client_email is missing'],
      ['of an account without a key', '{"client_email":"a"}', 'private_key is missing'],
      [
        'of a key that is none',
        '{"client_email":"a","private_key":"PRIVATE"}',
        'private_key is no private key in PEM form',
      ],
      [
        'from a place that is none',
        '{"client_email":"a","private_key":"PRIVATE","token_uri":"file:///etc/passwd"}',
        'token_uri is no URL',
      ],
    ]
    for (const [name, json, reason] of wrong) {
      it(`${name} is refused with the reason`, async () => {
        const error = await refusal(tokens.token(json, forever))
        assert.equal(error.message, `failed to get gcp access token: invalid gcp service account json: ${reason}`)
        assert.doesNotMatch(inspect(error), /PRIVATE[^_ ]/)
        assert.equal(google.received.length, 0)
      })
    }
  })

  it('is waited for no longer than the client waits, and comes to the others', async () => {
    google.script = () => {}
    const auth = gcpAuth(tokens, account.json, forever)
    const unsigned = { method: 'POST', host: 'h', target: '/', body: Buffer.alloc(0) }
    const [leaving, staying] = [await makeContext(), await makeContext()]
    const gone = auth.fields(unsigned, leaving) as Promise<unknown>
    const kept = auth.fields(unsigned, staying)
    const asked = await google.request(0)
    leaving.abort(new ClientGone())
    await assert.rejects(gone, ClientGone)
    asked.json(200, { access_token: 'shared' })
    assert.deepEqual(await kept, { authorization: 'Bearer shared' })
    assert.equal(google.received.length, 1)
  })
})
