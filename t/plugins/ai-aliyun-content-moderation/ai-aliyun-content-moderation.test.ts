// ai-aliyun-content-moderation as clients, models and Aliyun see it.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { configProblem } from '../../../core/resource/plugin-configs.ts'
import aliyun from '../../../plugins/ai-aliyun-content-moderation/ai-aliyun-content-moderation.ts'
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
const SECRET = 'the secret/+ of the operator'
const DENIED = 'Your request violate our content policy.'
const required = { endpoint: 'https://a', region_id: 'r', access_key_id: 'i', access_key_secret: 's' }
const user = (content: unknown) => ({ role: 'user', content })
type Form = Record<string, string>

async function formOf(received: Received): Promise<Form> {
  return Object.fromEntries(new URLSearchParams((await received.body).toString()))
}

/** What was to be judged. */
async function contentOf(received: Received): Promise<string> {
  return (JSON.parse((await formOf(received)).ServiceParameters!) as { content: string }).content
}

/** The signature of a form by the rules of Aliyun's RPC style, worked out anew. */
function signatureOf({ Signature: _, ...form }: Form): string {
  const escaped = (text: string) =>
    [...Buffer.from(text)]
      .map(byte =>
        /[\w.~-]/.test(String.fromCharCode(byte))
          ? String.fromCharCode(byte)
          : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
      )
      .join('')
  const pairs = Object.keys(form)
    .toSorted()
    .map(name => `${escaped(name)}=${escaped(form[name]!)}`)
  const toSign = ['POST', escaped('/'), escaped(pairs.join('&'))].join('&')
  return createHmac('sha1', `${SECRET}&`).update(toSign).digest('base64')
}

describe('ai-aliyun-content-moderation', () => {
  let guarded: Guarded
  afterEach(() => guarded.close())

  async function start(
    config: object = {},
    more: Pick<GuardedOptions, 'provider' | 'withoutProxy' | 'now'> = {},
  ): Promise<void> {
    guarded = await startGuarded({
      ...more,
      plugins: service => ({
        'ai-aliyun-content-moderation': {
          endpoint: `${service}/ignored?path`,
          region_id: 'cn-shanghai',
          access_key_id: 'the-id',
          access_key_secret: SECRET,
          ...config,
        },
        'response-rewrite': { headers: { set: { 'X-Risk': '$llm_content_risk_level' } } },
      }),
    })
    guarded.service.script = judges
    guarded.provider.script = received => received.json(200, whole('fine'))
  }

  /** High where it says kill, low where it says hurt. */
  async function judges(received: Received): Promise<void> {
    const content = await contentOf(received)
    const level = content.includes('kill') ? 'high' : content.includes('hurt') ? 'low' : 'none'
    received.json(200, { Code: 200, Data: { RiskLevel: level, Advice: [{ Answer: 'Be kind.' }] } })
  }
  const judged = () => Promise.all(guarded.service.received.map(contentOf))
  const said = async (answer: Response) =>
    ((await answer.json()) as ReturnType<typeof whole>).choices[0]!.message.content

  describe('before the call', () => {
    it('asks Aliyun with a signature that holds, and nothing of the client', async () => {
      await start()
      const answer = await guarded.ask(CHAT, { model: 'm', messages: [user("Grüße & 'more' ( 100% ) *~!")] })
      assert.deepEqual([await said(answer), answer.headers.get('x-risk')], ['fine', 'none'])
      const [received] = guarded.service.received
      assert.deepEqual([received!.method, received!.target], ['POST', '/'])
      assert.equal(received!.headers['content-type'], 'application/x-www-form-urlencoded')
      const form = await formOf(received!)
      const { ServiceParameters, SignatureNonce, Signature, Timestamp, ...rest } = form
      assert.deepEqual(rest, {
        AccessKeyId: 'the-id',
        Action: 'TextModerationPlus',
        Format: 'JSON',
        RegionId: 'cn-shanghai',
        Service: 'llm_query_moderation',
        SignatureMethod: 'HMAC-SHA1',
        SignatureVersion: '1.0',
        Version: '2022-03-02',
      })
      const { sessionId, content } = JSON.parse(ServiceParameters!) as { sessionId: string; content: string }
      assert.equal(content, "Grüße & 'more' ( 100% ) *~!")
      const uuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/
      assert.match(sessionId, uuid)
      assert.match(SignatureNonce!, uuid)
      assert.match(Timestamp!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
      assert.equal(Signature, signatureOf(form))
      await assertNothingOfTheClient(received!)
    })

    const system = { role: 'system', content: 'S' }
    const tool = { role: 'tool', content: 'T' }
    const assistant = { role: 'assistant', content: 'A' }
    const conversation = [system, user('U1'), assistant, user('U2'), user('U3')]
    const scopes: [object, object[], string | undefined][] = [
      [{}, conversation, 'U2 U3'],
      [{ request_check_mode: 'all' }, conversation, 'U1 U2 U3'],
      [{ request_check_roles: ['user', 'system'] }, conversation, 'S U2 U3'],
      [{ request_check_roles: ['system'] }, conversation, 'S'],
      [{ request_check_roles: ['tool'] }, [...conversation, assistant, tool], 'T'],
      [{}, [...conversation, assistant, tool], undefined],
      [{}, [user('  \n')], undefined],
      [{}, [user([{ type: 'text', text: 'a' }, { type: 'image_url' }, { type: 'text', text: 'b' }])], 'a b'],
    ]
    for (const [config, messages, expected] of scopes) {
      it(`looks at ${expected ?? 'nothing'} of ${JSON.stringify(messages)} with ${JSON.stringify(config)}`, async () => {
        await start(config)
        assert.equal(await said(await guarded.ask(CHAT, { messages })), 'fine')
        assert.deepEqual(await judged(), expected === undefined ? [] : [expected])
      })
    }

    it('looks at the results of tools where protocols have them within users’ messages', async () => {
      await start({ request_check_roles: ['user', 'tool'] }, { provider: 'anthropic' })
      await guarded.ask('/v1/messages', { messages: [user([{ type: 'tool_result', content: 'kill' }])] })
      assert.deepEqual(await judged(), ['kill'])
      assert.equal(guarded.provider.received.length, 0)
    })

    it('asks about the pieces of a long text at the same time, each by its characters, and words stay whole', async () => {
      await start({ request_check_length_limit: 20 })
      const waiting: Received[] = []
      guarded.service.script = received => waiting.push(received)
      const text = `${'äöü '.repeat(12)}end`
      const pending = guarded.ask(CHAT, { messages: [user(text)] })
      await until(() => waiting.length === 3, 'all are asked about')
      for (const received of waiting) await judges(received)
      assert.equal(await said(await pending), 'fine')
      const pieces = await judged()
      assert.deepEqual(pieces.toSorted(), ['äöü äöü äöü äöü äöü ', 'äöü äöü äöü äöü äöü ', 'äöü äöü end'].toSorted())
      const forms = await Promise.all(guarded.service.received.map(formOf))
      assert.equal(
        new Set(forms.map(({ ServiceParameters: p }) => (JSON.parse(p!) as { sessionId: string }).sessionId)).size,
        1,
      )
      assert.equal(new Set(forms.map(form => form.SignatureNonce)).size, 3)
      for (const form of forms) assert.equal(form.Signature, signatureOf(form))
    })

    it('waits for no other piece when one is bad', async () => {
      await start({ request_check_length_limit: 10 })
      guarded.service.script = async received => {
        if ((await contentOf(received)).includes('kill')) await judges(received)
      }
      assert.equal(
        await said(await guarded.ask(CHAT, { messages: [user('one two three kill four five six')] })),
        'Be kind.',
      )
      for (const received of guarded.service.received) await received.closed
      assert.ok(guarded.service.received.some(({ gone }) => gone))
    })

    const protocols: [string, string, string, object, (json: never) => unknown][] = [
      [
        'chat completions',
        CHAT,
        'openai-compatible',
        { messages: [user('kill')] },
        ({ choices: [first] }: { choices: { message: { content: string } }[] }) => first!.message.content,
      ],
      [
        'responses',
        '/v1/responses',
        'openai',
        { input: 'kill' },
        ({ output: [first] }: { output: { content: { text: string }[] }[] }) => first!.content[0]!.text,
      ],
      [
        'Anthropic’s messages',
        '/v1/messages',
        'anthropic',
        { messages: [user('kill')] },
        ({ content: [first] }: { content: { text: string }[] }) => first!.text,
      ],
      [
        'Converse',
        '/model/m/converse',
        'bedrock',
        { messages: [user([{ text: 'kill' }])] },
        ({
          output: {
            message: { content },
          },
        }: {
          output: { message: { content: { text: string }[] } }
        }) => content[0]!.text,
      ],
      [
        'embeddings',
        '/v1/embeddings',
        'openai',
        { input: ['kill'] },
        ({ error }: { error: { message: string } }) => error.message,
      ],
    ]
    for (const [name, path, provider, body, read] of protocols) {
      it(`refuses in the words of ${name}`, async () => {
        await start({ deny_code: 400 }, { provider })
        const answer = await guarded.ask(path, body)
        assert.deepEqual(
          [answer.status, answer.headers.get('content-type'), answer.headers.get('x-risk')],
          [400, 'application/json', 'high'],
        )
        assert.equal(read((await answer.json()) as never), 'Be kind.')
        assert.equal(guarded.provider.received.length, 0)
        assert.deepEqual(guarded.verdicts(), { 'request deny': 1 })
      })
    }

    it('refuses in a stream those who stream, in the operator’s words', async () => {
      await start({ deny_message: 'Never.' })
      const answer = await guarded.ask(CHAT, { messages: [user('kill')], stream: true })
      assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, 'text/event-stream'])
      assert.equal(textOf(await answer.text()), 'Never.')
    })

    it('has words of its own where Aliyun has none', async () => {
      await start()
      guarded.service.script = received => received.json(200, { Data: { RiskLevel: 'max' } })
      assert.equal(await said(await guarded.ask(CHAT, { messages: [user('x')] })), DENIED)
    })

    for (const [risk_level_bar, level, denied] of [
      ['low', 'low', true],
      ['medium', 'low', false],
      ['max', 'high', false],
      ['none', 'none', true],
      ['none', 'strange', false],
    ] as const) {
      it(`${denied ? 'refuses' : 'lets pass'} ${level} at the bar ${risk_level_bar}`, async () => {
        await start({ risk_level_bar })
        guarded.service.script = received => received.json(200, { Data: { RiskLevel: level } })
        const answer = await guarded.ask(CHAT, { messages: [user('x')] })
        assert.deepEqual([await said(answer), answer.headers.get('x-risk')], [denied ? DENIED : 'fine', level])
      })
    }

    it('does not look where it is not to', async () => {
      await start({ check_request: false })
      assert.equal(await said(await guarded.ask(CHAT, { messages: [user('kill')] })), 'fine')
      assert.deepEqual(await judged(), [])
    })

    const faults: [string, (received: Received) => unknown, RegExp][] = [
      [
        'refuses',
        received => received.json(403, { Message: 'kill' }),
        /failed to check content: Aliyun returned status 403/,
      ],
      [
        'names no level',
        received => received.json(200, { Code: 408 }),
        /failed to check content: Aliyun names no risk level, but code 408/,
      ],
      [
        'says nothing sensible',
        received => received.response.end('<kill>'),
        /failed to check content: what Aliyun answers is no JSON/,
      ],
      ['hangs up', received => received.reset(), /failed to check content: connection closed/],
      ['is too slow', () => {}, /failed to check content: timeout/],
    ]
    for (const [name, fault, words] of faults) {
      it(`lets requests pass when Aliyun ${name}, unless fail_mode says otherwise, and says so`, async () => {
        for (const fail_mode of ['error', 'skip'] as const) {
          await start({ fail_mode, timeout: 200 })
          guarded.service.script = fault
          const answer = await guarded.ask(CHAT, { messages: [user('kill')] })
          if (fail_mode === 'skip') assert.equal(await said(answer), 'fine')
          else {
            assert.equal(answer.status, 500)
            assert.match(await answer.text(), words)
          }
          assert.deepEqual(guarded.verdicts(), { 'request error': 1 })
          assert.ok(guarded.lines.some(line => line.startsWith('warn') && words.test(line)))
          assert.doesNotMatch(guarded.lines.join(), /kill|the-id|secret\//)
          if (fail_mode === 'error') await guarded.close()
        }
      })
    }

    it('still finds what is bad when about another piece nothing can be said', async () => {
      await start({ request_check_length_limit: 10 })
      guarded.service.script = async received => {
        if ((await contentOf(received)).includes('one')) received.reset()
        else await judges(received)
      }
      assert.equal(await said(await guarded.ask(CHAT, { messages: [user('one two three four kill')] })), 'Be kind.')
      assert.deepEqual(guarded.verdicts(), { 'request deny': 1 })
    })

    it('only watches in monitor mode', async () => {
      await start({ mode: 'monitor' })
      assert.equal(await said(await guarded.ask(CHAT, { messages: [user('kill')] })), 'fine')
      await until(() => guarded.verdicts()['request would_deny'] === 1, 'the verdict is counted')
    })

    it('says what it cannot do where fail_mode asks for it', async () => {
      await start({ fail_mode: 'error' })
      const passed = await guarded.ask('/v1/rerank', { query: 'kill' })
      assert.deepEqual(
        [passed.status, await passed.text()],
        [500, 'protocol passthrough cannot moderate the configured request_check_roles'],
      )
      await guarded.close()
      await start({ fail_mode: 'error' }, { withoutProxy: true })
      const plain = await guarded.ask('/', {})
      assert.deepEqual(
        [plain.status, await plain.text()],
        [
          500,
          'no ai instance picked, ai-aliyun-content-moderation plugin must be used with ai-proxy or ai-proxy-multi plugin',
        ],
      )
    })
  })

  describe('behind the call', () => {
    const asked = { model: 'm', messages: [user('Hi!')], stream: true }
    const realtime = { check_request: false, check_response: true, stream_check_mode: 'realtime' }

    it('refuses a whole answer, with what it used', async () => {
      await start({ check_response: true, deny_code: 403 })
      guarded.provider.script = received => received.json(200, whole('I kill'))
      const answer = await guarded.ask(CHAT, { messages: [user('Hi!')] })
      const { choices, usage } = (await answer.json()) as ReturnType<typeof whole>
      assert.deepEqual([answer.status, choices[0]!.message.content, usage.total_tokens], [403, 'Be kind.', 7])
      const forms = await Promise.all(guarded.service.received.map(formOf))
      assert.deepEqual(
        forms.map(({ Service }) => Service),
        ['llm_query_moderation', 'llm_response_moderation'],
      )
      assert.equal(forms[1]!.Signature, signatureOf(forms[1]!))
      await assertNothingOfTheClient(guarded.service.received[1]!)
      assert.deepEqual(guarded.verdicts(), { 'request allow': 1, 'response deny': 1 })
    })

    it('marks the end of a stream with its risk, and stops nothing', async () => {
      await start({ check_request: false, check_response: true })
      const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
      const events = [
        chunk('I ki'),
        chunk('ll'),
        chunk(null, 'stop'),
        `data: ${JSON.stringify({ choices: [], usage })}\n\n`,
        done,
      ]
      guarded.provider.script = streams(...events)
      const lines = (
        await (await guarded.ask(CHAT, { ...asked, stream_options: { include_usage: true } })).text()
      ).split('\n\n')
      assert.deepEqual(
        lines.slice(0, 2).map(line => `${line}\n\n`),
        events.slice(0, 2),
      )
      const marked = lines.slice(2, 4).map(line => JSON.parse(line.slice(6)) as { risk_level: string; usage?: object })
      assert.deepEqual(
        marked.map(({ risk_level }) => risk_level),
        ['high', 'high'],
      )
      assert.deepEqual(marked[1]!.usage, usage)
      assert.deepEqual(lines.slice(4), ['data: [DONE]', ''])
      assert.deepEqual(await judged(), ['I kill'])
      assert.deepEqual(guarded.verdicts(), { 'response would_deny': 1 })
    })

    it('marks the ends of all choices, whichever was risky', async () => {
      await start({ check_request: false, check_response: true })
      const event = (index: number, content: string, finish_reason: string | null = null) =>
        `data: ${JSON.stringify({ choices: [{ index, delta: { content }, finish_reason }] })}\n\n`
      guarded.provider.script = streams(
        event(0, 'kill'),
        event(1, 'hurt'),
        event(0, '', 'stop'),
        event(1, 'more', 'stop'),
        done,
      )
      const got = await (await guarded.ask(CHAT, { ...asked, n: 2 })).text()
      assert.equal(got.match(/"risk_level":"high"/g)?.length, 2)
    })

    it('marks the streams of protocols that have no done event', async () => {
      await start({ check_request: false, check_response: true }, { provider: 'anthropic' })
      const event = (type: string, more: object = {}) =>
        `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`
      guarded.provider.script = streams(
        event('message_start', { message: { usage: { input_tokens: 1, output_tokens: 1 } } }),
        event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
        event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'hurt' } }),
        event('content_block_stop', { index: 0 }),
        event('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 2 } }),
        event('message_stop'),
      )
      const got = await (await guarded.ask('/v1/messages', asked)).text()
      assert.deepEqual(got.match(/"type":"(\w+)"[^\n]*"risk_level":"low"/)?.[1], 'message_delta')
      assert.ok(got.endsWith(event('message_stop')))
    })

    it('leaves a stream unmarked when Aliyun does not answer', async () => {
      await start({ check_request: false, check_response: true, fail_mode: 'error' })
      guarded.service.script = received => received.reset()
      const events = [chunk('I kill'), chunk(null, 'stop'), done]
      guarded.provider.script = streams(...events)
      assert.equal(await (await guarded.ask(CHAT, asked)).text(), events.join(''))
      assert.deepEqual(guarded.verdicts(), { 'response error': 1 })
    })

    it('asks once about a short stream in real time, and ends it there', async () => {
      await start(realtime)
      guarded.provider.script = streams(chunk('I ki'), chunk('ll'), chunk(null, 'stop'), done)
      const got = await (await guarded.ask(CHAT, asked)).text()
      assert.equal(textOf(got), 'I killBe kind.')
      assert.ok(got.endsWith(done))
      assert.deepEqual(await judged(), ['I kill'])
      assert.deepEqual(guarded.verdicts(), { 'response deny': 1 })
    })

    it('lets out nothing before its verdict where that is asked', async () => {
      await start({ ...realtime, stream_hold: true, stream_check_cache_size: 20 })
      const text = 'A text that goes on for long until it comes to kill and goes on.'
      const bytes = Buffer.from(
        (text.match(/.{1,5}/g) ?? []).map(piece => chunk(piece)).join('') + chunk(null, 'stop') + done,
      )
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat({ max: bytes.length }), { maxLength: 12 }), async cuts => {
          const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length]
          guarded.provider.script = streams(...at.slice(1).map((end, n) => bytes.subarray(at[n], end)))
          const got = textOf(await (await guarded.ask(CHAT, asked)).text())
          assert.ok(got.endsWith('Be kind.') && text.startsWith(got.slice(0, -8)) && got.length > 8, got)
          assert.doesNotMatch(got.slice(0, -8), /ki/)
        }),
        { numRuns: 20, seed: 15 },
      )
    })

    it('finds a word that two parts share, whatever their size', async () => {
      for (const size of [1, 7, 30]) {
        await start({ ...realtime, stream_check_cache_size: size })
        const pieces = [...'Some words and then kill'].map(letter => chunk(letter))
        guarded.provider.script = streams(...pieces, chunk(' more of it. '.repeat(5)), chunk(null, 'stop'), done)
        const got = textOf(await (await guarded.ask(CHAT, asked)).text())
        assert.ok(got.endsWith('Be kind.'), got)
        if (size < 30) await guarded.close()
      }
    })

    it('asks when a part has waited for long enough', async () => {
      let now = 1_700_000_000_000
      await start({ ...realtime, stream_check_interval: 2.5 }, { now: () => now })
      guarded.provider.script = async received => {
        received.startStream()
        await received.write(chunk('a'))
      }
      const answer = await guarded.ask(CHAT, asked)
      const reader = answer.body!.getReader()
      await reader.read()
      const provider = await guarded.provider.request(0)
      now += 2_499
      await provider.write(chunk('b'))
      assert.equal(textOf(Buffer.from((await reader.read()).value!).toString()), 'b')
      assert.deepEqual(await judged(), [])
      now += 1
      await provider.write(chunk('c'))
      assert.equal(textOf(Buffer.from((await reader.read()).value!).toString()), 'c')
      assert.deepEqual(await judged(), ['abc'])
      provider.response.end(chunk(null, 'stop') + done)
      while (!(await reader.read()).done);
    })

    it('stops with a late verdict what has not left, and the provider too', async () => {
      await start({ ...realtime, stream_check_cache_size: 4 })
      const late = Promise.withResolvers<Received>()
      guarded.service.script = received => late.resolve(received)
      guarded.provider.script = async received => {
        received.startStream()
        for (let at = 0; at < 50 && !received.gone; at++) await received.write(chunk('kill '))
      }
      const answer = guarded.ask(CHAT, asked)
      const received = await late.promise
      await judges(received)
      assert.equal(textOf(await (await answer).text()), 'Be kind.')
      await until(() => guarded.provider.received[0]!.gone, 'the provider is hung up on')
    })

    it('gives up its question when the client leaves in the middle of a stream', async () => {
      await start({ ...realtime, stream_check_cache_size: 4 })
      guarded.service.script = () => {}
      guarded.provider.script = async received => {
        received.startStream()
        await received.write(chunk('a'))
        await received.write(chunk('bcdef'))
      }
      const gone = new AbortController()
      const reading = guarded
        .ask(CHAT, asked, { signal: gone.signal })
        .then(answer => answer.text())
        .catch(() => {})
      const received = await guarded.service.request(0)
      gone.abort()
      await reading
      await received.closed
      assert.equal(received.gone, true)
      assert.doesNotMatch(guarded.lines.join('\n'), /event filter failed/)
    })

    it('goes on without Aliyun, unless fail_mode says otherwise', async () => {
      for (const fail_mode of ['skip', 'error']) {
        await start({ ...realtime, fail_mode })
        guarded.service.script = received => received.reset()
        guarded.provider.script = streams(chunk('I kill'), chunk(null, 'stop'), done)
        const got = await (await guarded.ask(CHAT, asked)).text()
        if (fail_mode === 'skip') assert.equal(textOf(got), 'I kill')
        else assert.match(got, /"code":"guard_failed"/)
        assert.deepEqual(guarded.verdicts(), { 'response error': 1 })
        if (fail_mode === 'skip') await guarded.close()
      }
    })
  })
})

describe('the config of ai-aliyun-content-moderation', () => {
  const problem = (config: object) =>
    configProblem(aliyun, 'config', config as Record<string, unknown>)?.replace(/^.* err: /, '')

  for (const [config, said] of [
    [{}, /property "\w+" is required/],
    [required, undefined],
    [{ ...required, endpoint: 'a' }, 'endpoint is no URL of http or https'],
    [{ ...required, endpoint: '$env://ENDPOINT' }, undefined],
    [{ ...required, request_check_roles: ['assistant'] }, /request_check_roles/],
    [{ ...required, stream_check_interval: 0.01 }, /stream_check_interval.*at least 0.1/],
    [{ ...required, risk_level_bar: 'extreme' }, /risk_level_bar.*enum/],
    [{ ...required, deny_code: 600 }, /deny_code.*at most 599/],
  ] as const) {
    it(`${said === undefined ? 'may be' : 'is not'} ${JSON.stringify(config)}`, () => {
      if (said instanceof RegExp) assert.match(problem(config) ?? '', said)
      else assert.equal(problem(config), said)
    })
  }
})
