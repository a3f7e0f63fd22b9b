// ai-aws-content-moderation as clients, models and Comprehend see it.
import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { encodeMessage } from '../../../core/llm/framing/aws-event-stream.ts'
import { configProblem } from '../../../core/resource/plugin-configs.ts'
import aws from '../../../plugins/ai-aws-content-moderation/ai-aws-content-moderation.ts'
import {
  assertNothingOfTheClient,
  chunk,
  done,
  type Guarded,
  type GuardedOptions,
  startGuarded,
  streams,
  textOf,
  whole,
} from '../../helpers/guarded.ts'
import { until } from '../../helpers/until.ts'
import type { Received } from '../../helpers/upstream.ts'

const CHAT = '/v1/chat/completions'
const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'
const user = (content: unknown) => ({ role: 'user', content })
const required = { access_key_id: 'a', secret_access_key: 's', region: 'us-east-1' }

interface Asked {
  LanguageCode: string
  TextSegments: { Text: string }[]
}

async function askedOf(received: Received): Promise<Asked> {
  return JSON.parse((await received.body).toString()) as Asked
}

async function segmentsOf(received: Received): Promise<string[]> {
  return (await askedOf(received)).TextSegments.map(({ Text }) => Text)
}

/** AWS Signature Version 4 of what has come, worked out anew from its own header. */
async function assertSigned(received: Received): Promise<void> {
  const { authorization = '', host = '' } = received.headers
  const [, scope = '', names = '', signature] =
    /^AWS4-HMAC-SHA256 Credential=the-id\/(\S+), SignedHeaders=(\S+), Signature=([\da-f]{64})$/.exec(authorization) ??
    []
  const [date = '', region, service] = scope.split('/')
  assert.deepEqual([region, service], ['eu-west-1', 'comprehend'])
  const hash = (data: Buffer | string) => createHash('sha256').update(data).digest('hex')
  const hmac = (key: Buffer | string, data: string) => createHmac('sha256', key).update(data).digest()
  const fields = names.split(';').map(name => `${name}:${String(received.headers[name])}\n`)
  assert.ok(names.includes('host') && host !== '')
  const request = ['POST', '/', '', fields.join(''), names, hash(await received.body)].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', String(received.headers['x-amz-date']), scope, hash(request)].join('\n')
  const key = ['eu-west-1', 'comprehend', 'aws4_request'].reduce(hmac, hmac(`AWS4${SECRET}`, date))
  assert.equal(signature, hmac(key, toSign).toString('hex'))
}

describe('ai-aws-content-moderation', () => {
  let guarded: Guarded
  afterEach(() => guarded.close())

  async function start(
    config: { comprehend?: object } & Record<string, unknown> = {},
    more: Pick<GuardedOptions, 'provider' | 'withoutProxy'> = {},
  ): Promise<void> {
    const { comprehend, ...rest } = config
    guarded = await startGuarded({
      ...more,
      plugins: service => ({
        'ai-aws-content-moderation': {
          comprehend: {
            access_key_id: 'the-id',
            secret_access_key: SECRET,
            region: 'eu-west-1',
            endpoint: `${service}/ignored`,
            ...comprehend,
          },
          ...rest,
        },
        'response-rewrite': { headers: { set: { 'X-Risk': '$llm_content_risk_level' } } },
      }),
    })
    guarded.service.script = judges
    guarded.provider.script = received => received.json(200, whole('fine'))
  }

  /** Toxic where it says kill, profane where it says damn. */
  async function judges(received: Received): Promise<void> {
    const results = (await segmentsOf(received)).map(text => ({
      Labels: [
        { Name: 'PROFANITY', Score: text.includes('damn') ? 0.6 : 0.1 },
        { Name: 'INSULT', Score: 0.05 },
      ],
      Toxicity: text.includes('kill') ? 0.9 : 0.2,
    }))
    received.json(200, { ResultList: results })
  }
  const said = async (answer: Response) =>
    ((await answer.json()) as ReturnType<typeof whole>).choices[0]!.message.content
  const segments = async () => (await Promise.all(guarded.service.received.map(segmentsOf))).flat()

  describe('before the call', () => {
    it('asks Comprehend with a signature that holds, and nothing of the client', async () => {
      for (const session_token of [undefined, 'a-token']) {
        await start({ comprehend: session_token === undefined ? {} : { session_token } })
        const answer = await guarded.ask(CHAT, { messages: [user('Grüße!')] })
        assert.deepEqual([await said(answer), answer.headers.get('x-risk')], ['fine', 'none'])
        const [received] = guarded.service.received
        assert.deepEqual([received!.method, received!.target], ['POST', '/'])
        assert.equal(received!.headers['content-type'], 'application/x-amz-json-1.1')
        assert.equal(received!.headers['x-amz-target'], 'Comprehend_20171127.DetectToxicContent')
        assert.equal(received!.headers['x-amz-security-token'], session_token)
        assert.deepEqual(await askedOf(received!), { LanguageCode: 'en', TextSegments: [{ Text: 'Grüße!' }] })
        await assertSigned(received!)
        await assertNothingOfTheClient(received!)
        if (session_token === undefined) await guarded.close()
      }
    })

    const conversation = [
      { role: 'system', content: 'S' },
      user('U1'),
      { role: 'assistant', content: 'A' },
      { role: 'tool', content: 'T' },
      user('U2'),
    ]
    for (const [config, expected] of [
      [{}, 'S U1 A T U2'],
      [{ request_check_mode: 'last' }, 'S U1 A T U2'],
      [{ request_check_mode: 'last', request_check_roles: ['user', 'tool'] }, 'T U2'],
      [{ request_check_mode: 'last', request_check_roles: ['user', 'system'] }, 'S U2'],
      [{ request_check_roles: ['assistant'] }, 'A'],
    ] as const) {
      it(`looks at ${expected} with ${JSON.stringify(config)}`, async () => {
        await start(config)
        assert.equal(await said(await guarded.ask(CHAT, { messages: conversation })), 'fine')
        assert.deepEqual(await segments(), [expected])
      })
    }

    it('cuts a long text into segments, ten a call, and asks about all calls at the same time', async () => {
      await start({ request_check_length_limit: 100 })
      const waiting: Received[] = []
      guarded.service.script = received => waiting.push(received)
      const text = 'wörd '.repeat(400)
      const pending = guarded.ask(CHAT, { messages: [user(text)] })
      await until(() => waiting.length === 3, 'all are asked about')
      for (const received of waiting) await judges(received)
      assert.equal(await said(await pending), 'fine')
      const calls = await Promise.all(waiting.map(segmentsOf))
      assert.deepEqual(calls.map(({ length }) => length).toSorted(), [10, 10, 5])
      for (const segment of calls.flat()) assert.ok(Buffer.byteLength(segment) <= 100)
      assert.equal(calls.flat().join('').length, text.length)
      for (const received of waiting) await assertSigned(received)
    })

    for (const [config, content, reason] of [
      [{}, 'kill', 'request body exceeds toxicity threshold'],
      [{ moderation_threshold: 0.9 }, 'kill', undefined],
      [{}, 'damn', undefined],
      [{ moderation_categories: { PROFANITY: 0.5 } }, 'damn', 'request body exceeds PROFANITY threshold'],
      [{ moderation_categories: { PROFANITY: 0.5 } }, 'damn kill', 'request body exceeds PROFANITY threshold'],
      [{ moderation_categories: { PROFANITY: 0.6 } }, 'damn', undefined],
      [
        { moderation_categories: { PROFANITY: 1 }, moderation_threshold: 0.1 },
        'fine',
        'request body exceeds toxicity threshold',
      ],
      [{ deny_message: 'Never.' }, 'kill', 'Never.'],
    ] as const) {
      it(`${reason === undefined ? 'lets pass' : 'refuses'} ${content} with ${JSON.stringify(config)}`, async () => {
        await start({ ...config, deny_code: 403 })
        const answer = await guarded.ask(CHAT, { messages: [user(content)] })
        const [status, risk] = reason === undefined ? [200, 'none'] : [403, 'high']
        assert.deepEqual([answer.status, answer.headers.get('x-risk')], [status, risk])
        assert.equal(await said(answer), reason ?? 'fine')
        assert.equal(guarded.provider.received.length, reason === undefined ? 1 : 0)
      })
    }

    const faults: [string, (received: Received) => unknown, (service: string) => string][] = [
      [
        'refuses',
        received => received.json(400, { __type: 'AccessDeniedException', message: 'kill' }),
        () => 'Comprehend returned status 400, AccessDeniedException',
      ],
      [
        'has no results',
        received => received.json(200, { ResultList: [] }),
        () => 'failed to get moderation results from response',
      ],
      [
        'says nothing sensible',
        received => received.response.end('<kill>'),
        () => 'failed to get moderation results from response',
      ],
      ['hangs up', received => received.reset(), service => `failed to send request to ${service}: connection closed`],
      ['is too slow', () => {}, service => `failed to send request to ${service}: timeout`],
    ]
    for (const [name, fault, words] of faults) {
      it(`lets nothing pass when Comprehend ${name}, and says so`, async () => {
        await start({ timeout: 200 })
        guarded.service.script = fault
        const answer = await guarded.ask(CHAT, { messages: [user('kill')] })
        assert.deepEqual([answer.status, await answer.text()], [500, words('http://127.0.0.1')])
        assert.deepEqual(guarded.verdicts(), { 'request error': 1 })
        assert.doesNotMatch(guarded.lines.join(), /kill|the-id|wJalr/)
      })
    }

    it('only watches in monitor mode, also its own failures', async () => {
      await start({ mode: 'monitor' })
      assert.equal(await said(await guarded.ask(CHAT, { messages: [user('kill')] })), 'fine')
      await until(() => guarded.verdicts()['request would_deny'] === 1, 'the verdict is counted')
      guarded.service.script = received => received.reset()
      assert.equal(await said(await guarded.ask(CHAT, { messages: [user('kill')] })), 'fine')
      await until(() => guarded.verdicts()['request error'] === 1, 'the failure is counted')
    })

    it('says what it cannot do where fail_mode asks for it', async () => {
      await start({ fail_mode: 'error' }, { withoutProxy: true })
      const plain = await guarded.ask('/', {})
      assert.deepEqual(
        [plain.status, await plain.text()],
        [
          500,
          'no ai instance picked, ai-aws-content-moderation plugin must be used with ai-proxy or ai-proxy-multi plugin',
        ],
      )
    })
  })

  describe('behind the call', () => {
    const asked = { model: 'm', messages: [user('Hi!')], stream: true }
    const behind = { check_request: false, check_response: true }

    it('refuses a whole answer, and one that it could not judge', async () => {
      await start({ ...behind, deny_code: 403 })
      guarded.provider.script = received => received.json(200, whole('I kill'))
      const answer = await guarded.ask(CHAT, { ...asked, stream: false })
      assert.deepEqual([answer.status, await said(answer)], [403, 'response body exceeds toxicity threshold'])
      await assertSigned(guarded.service.received[0]!)
      await assertNothingOfTheClient(guarded.service.received[0]!)

      guarded.service.script = received => received.json(200, {})
      const failed = await guarded.ask(CHAT, { ...asked, stream: false })
      const { error } = (await failed.json()) as { error: { message: string; code: string } }
      assert.deepEqual(
        [failed.status, error.message, error.code],
        [500, 'failed to get moderation results from response', 'guard_failed'],
      )
      assert.deepEqual(guarded.verdicts(), { 'response deny': 1, 'response error': 1 })
    })

    it('marks the end of a stream, or leaves it as it is when it could not be judged', async () => {
      await start(behind)
      const events = [chunk('I kill'), chunk(null, 'stop'), done]
      guarded.provider.script = streams(...events)
      const marked = await (await guarded.ask(CHAT, asked)).text()
      assert.ok(marked.startsWith(events[0]!) && marked.endsWith(done))
      assert.match(marked.slice(events[0]!.length), /^data: \{.*"risk_level":"high"\}\n\ndata: \[DONE\]\n\n$/)
      guarded.service.script = received => received.reset()
      assert.equal(await (await guarded.ask(CHAT, asked)).text(), events.join(''))
    })

    it('marks Bedrock’s streams, which have no done event', async () => {
      await start(behind, { provider: 'bedrock' })
      const frame = (type: string, payload: object) =>
        encodeMessage({ ':message-type': 'event', ':event-type': type }, Buffer.from(JSON.stringify(payload)))
      guarded.provider.script = async received => {
        received.response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' })
        await received.write(frame('messageStart', { role: 'assistant' }))
        await received.write(frame('contentBlockDelta', { contentBlockIndex: 0, delta: { text: 'I kill' } }))
        await received.write(frame('messageStop', { stopReason: 'end_turn' }))
        received.response.end(frame('metadata', { usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 } }))
      }
      const answer = await guarded.ask('/model/m/converse-stream', { messages: [user([{ text: 'Hi!' }])] })
      const got = Buffer.from(await answer.arrayBuffer()).toString('latin1')
      assert.equal(got.match(/"risk_level":"high"/g)?.length, 2)
    })

    it('ends a stream in real time where it becomes toxic', async () => {
      await start({ ...behind, stream_check_mode: 'realtime', stream_check_cache_size: 10 })
      guarded.provider.script = streams(
        chunk('All is well. '),
        chunk('Now I ki'),
        chunk('ll them all.'),
        chunk(' And'),
        chunk(null, 'stop'),
        done,
      )
      const got = await (await guarded.ask(CHAT, asked)).text()
      assert.equal(textOf(got), 'All is well. Now I kiresponse body exceeds toxicity threshold')
      assert.ok(got.endsWith(done))
      assert.deepEqual(await segments(), ['All is well. ', 'All is well. Now I kill them all.'])
    })

    it('goes on in real time without Comprehend, unless fail_mode says otherwise', async () => {
      for (const fail_mode of ['skip', 'error']) {
        await start({ ...behind, stream_check_mode: 'realtime', fail_mode })
        guarded.service.script = received => received.reset()
        guarded.provider.script = streams(chunk('I kill'), chunk(null, 'stop'), done)
        const got = await (await guarded.ask(CHAT, asked)).text()
        if (fail_mode === 'skip') assert.equal(textOf(got), 'I kill')
        else assert.match(got, /"code":"guard_failed"/)
        if (fail_mode === 'skip') await guarded.close()
      }
    })
  })
})

describe('the config of ai-aws-content-moderation', () => {
  const problem = (config: object) =>
    configProblem(aws, 'config', config as Record<string, unknown>)?.replace(/^.* err: /, '')

  for (const [config, said] of [
    [{}, 'property "comprehend" is required'],
    [{ comprehend: required }, undefined],
    [{ comprehend: { ...required, endpoint: 'comprehend' } }, /endpoint/],
    [{ comprehend: { ...required, region: 'a b' } }, 'comprehend: neither endpoint nor region makes a URL'],
    [{ comprehend: { ...required, region: '$env://REGION' } }, undefined],
    [{ comprehend: required, moderation_categories: { RUDE: 1 } }, /additional properties forbidden/],
    [{ comprehend: required, moderation_threshold: 2 }, /moderation_threshold.*at most 1/],
    [{ comprehend: required, request_check_length_limit: 1025 }, /request_check_length_limit.*at most 1024/],
    [{ comprehend: required, request_check_roles: ['developer'] }, /request_check_roles/],
  ] as const) {
    it(`${said === undefined ? 'may be' : 'is not'} ${JSON.stringify(config)}`, () => {
      if (said instanceof RegExp) assert.match(problem(config) ?? '', said)
      else assert.equal(problem(config), said)
    })
  }
})
