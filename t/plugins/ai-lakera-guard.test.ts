// ai-lakera-guard as clients, models and Lakera see it.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { configProblem } from '../../core/resource/plugin-configs.ts'
import aiLakeraGuard from '../../plugins/ai-lakera-guard.ts'
import {
  assertNothingOfTheClient,
  chunk,
  done,
  type Guarded,
  startGuarded,
  streams,
  textOf,
  whole,
} from '../helpers/guarded.ts'
import { until } from '../helpers/until.ts'
import type { Received } from '../helpers/upstream.ts'

const CHAT = '/v1/chat/completions'
const asked = { model: 'm', messages: [{ role: 'user', content: 'Hi!' }] }
const verdict = (flagged: boolean) => ({
  flagged,
  breakdown: [
    { detector_type: 'prompt_attack', detected: flagged, result: 'l1_confident' },
    { detector_type: 'pii', detected: false },
  ],
  metadata: { request_uuid: 'u-1' },
})
const BLOCKED = { request: 'Request blocked by Lakera Guard', response: 'Response blocked by Lakera Guard' }

describe('ai-lakera-guard', () => {
  let guarded: Guarded
  afterEach(() => guarded.close())

  async function start(
    config: object = {},
    more: { provider?: string; withoutProxy?: boolean; keepAlive?: number } = {},
  ): Promise<void> {
    guarded = await startGuarded({
      ...more,
      plugins: service => ({
        'ai-lakera-guard': { api_key: 'the-key', lakera_endpoint: `${service}/v2/guard`, ...config },
      }),
    })
    guarded.service.script = received => received.json(200, verdict(false))
    guarded.provider.script = received => received.json(200, whole('fine'))
  }
  const flags = async (received: Received) => {
    const body = (await received.body).toString()
    received.json(200, verdict(body.includes('bad')))
  }
  const sentTo = async (received: Received) => JSON.parse((await received.body).toString()) as Record<string, unknown>

  describe('before the call', () => {
    it('shows Lakera who has said what, and nothing of the client', async () => {
      await start({ project_id: 'p-1' })
      const messages = [
        { role: 'system', content: 'Be kind.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'image_url', image_url: {} },
            { type: 'text', text: 'b' },
          ],
        },
        { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: '{"x":1}' } }] },
        { role: 'tool', content: 'found' },
        { role: 'developer', content: 'Be brief.' },
      ]
      assert.equal((await guarded.ask(CHAT, { messages })).status, 200)
      const [received] = guarded.service.received
      assert.deepEqual([received!.method, received!.target], ['POST', '/v2/guard'])
      assert.equal(received!.headers.authorization, 'Bearer the-key')
      assert.equal(received!.headers['content-type'], 'application/json')
      assert.deepEqual(await sentTo(received!), {
        messages: [
          { role: 'system', content: 'Be kind.' },
          { role: 'user', content: 'a b' },
          { role: 'tool', content: 'found' },
          { role: 'system', content: 'Be brief.' },
        ],
        breakdown: true,
        project_id: 'p-1',
      })
      await assertNothingOfTheClient(received!)
      assert.deepEqual(guarded.verdicts(), { 'request allow': 1 })
    })

    it('shows it the results of tools that stand in users’ messages, and arguments and reasoning where that is asked', async () => {
      await start(
        { request_check_kinds: ['text', 'tool_result', 'tool_arguments', 'reasoning'] },
        { provider: 'anthropic' },
      )
      const messages = [
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'r' },
            { type: 'tool_use', input: { x: 1 } },
          ],
        },
        { role: 'user', content: [{ type: 'tool_result', content: [{ type: 'text', text: 'found' }] }] },
      ]
      await guarded.ask('/v1/messages', { messages })
      assert.deepEqual((await sentTo(guarded.service.received[0]!)).messages, [
        { role: 'assistant', content: 'r {"x":1}' },
        { role: 'tool', content: 'found' },
      ])
    })

    it('refuses what Lakera flags, in the client’s protocol, and the model is not asked', async () => {
      await start()
      guarded.service.script = flags
      const answer = await guarded.ask(CHAT, { ...asked, messages: [{ role: 'user', content: 'bad' }] })
      assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, 'application/json'])
      const { model, choices, usage } = (await answer.json()) as ReturnType<typeof whole>
      assert.deepEqual(
        [model, choices[0]!.message.content, choices[0]!.finish_reason, usage.total_tokens],
        ['m', BLOCKED.request, 'stop', 0],
      )
      assert.equal(guarded.provider.received.length, 0)
      assert.deepEqual(guarded.verdicts(), { 'request deny': 1 })
      assert.ok(
        guarded.lines.some(line =>
          /^warn ai-lakera-guard: request flagged by Lakera Guard, breakdown: \[.*\], request_uuid: u-1$/.test(line),
        ),
      )
    })

    it('refuses in a stream those who stream, with its own status, and says why where it may', async () => {
      await start({ deny_code: 403, reveal_failure_categories: true, request_failure_message: 'No' })
      guarded.service.script = flags
      const answer = await guarded.ask(CHAT, { ...asked, stream: true, messages: [{ role: 'user', content: 'bad' }] })
      assert.deepEqual([answer.status, answer.headers.get('content-type')], [403, 'text/event-stream'])
      assert.equal(textOf(await answer.text()), 'No. Flagged categories: prompt_attack (l1_confident)')
    })

    for (const config of [{ action: 'alert' }, { action: 'alert', fail_open: true }, { mode: 'monitor' }]) {
      it(`only says what it would have refused: ${JSON.stringify(config)}`, async () => {
        await start(config)
        guarded.service.script = flags
        const answer = await guarded.ask(CHAT, { ...asked, messages: [{ role: 'user', content: 'bad' }] })
        assert.deepEqual(await answer.json(), whole('fine'))
        await until(() => guarded.verdicts()['request would_deny'] === 1, 'the verdict is counted')
        assert.ok(guarded.lines.some(line => line.includes('flagged by Lakera Guard')))
      })
    }

    it('keeps nobody waiting while it only watches', async () => {
      await start({ mode: 'monitor', direction: 'both' })
      guarded.service.script = () => {}
      assert.deepEqual(await (await guarded.ask(CHAT, asked)).json(), whole('fine'))
      await until(() => guarded.service.received.length === 2, 'the answer is looked at too')
    })

    it('refuses what holds an image only where it is told to', async () => {
      const messages = [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }]
      await start()
      assert.equal(
        ((await (await guarded.ask(CHAT, { messages })).json()) as ReturnType<typeof whole>).choices[0]!.message
          .content,
        'fine',
      )
      assert.ok(guarded.lines.includes('info not all of a request could be looked at'))
      await guarded.close()
      for (const config of [{ not_text: 'pass' }, { not_text: 'deny', not_text_allowed: ['image_url'] }]) {
        await start(config)
        assert.equal((await guarded.ask(CHAT, { messages })).status, 200)
        assert.equal(guarded.provider.received.length, 1)
        assert.ok(!guarded.lines.includes('info not all of a request could be looked at'))
        await guarded.close()
      }
      await start({ not_text: 'deny' })
      const answer = (await (await guarded.ask(CHAT, { messages })).json()) as ReturnType<typeof whole>
      assert.equal(answer.choices[0]!.message.content, BLOCKED.request)
      assert.ok(guarded.lines.includes('info ai-lakera-guard denied a request: what cannot be looked at: image_url'))
    })

    it('refuses, where it is told to, what another reader may understand otherwise', async () => {
      await start({ not_text: 'deny' })
      const body = '{"messages":[{"role":"user","content":"bad","content":"good"}]}'
      const answer = (await (await guarded.ask(CHAT, {}, { body })).json()) as ReturnType<typeof whole>
      assert.equal(answer.choices[0]!.message.content, BLOCKED.request)
      assert.ok(guarded.lines.includes('info ai-lakera-guard denied a request: what cannot be looked at: key_twice'))
      assert.equal(guarded.provider.received.length, 0)
      const once = (await (await guarded.ask(CHAT, asked)).json()) as ReturnType<typeof whole>
      assert.equal(once.choices[0]!.message.content, 'fine')
    })

    it('gives up its question when the client leaves', async () => {
      await start()
      guarded.service.script = () => {}
      const gone = new AbortController()
      const pending = guarded.ask(CHAT, asked, { signal: gone.signal }).catch(() => {})
      const received = await guarded.service.request(0)
      gone.abort()
      await pending
      await received.closed
      assert.equal(received.gone, true)
      assert.deepEqual(guarded.verdicts(), {})
    })

    const faults: [string, (received: Received) => unknown, RegExp][] = [
      ['refuses', received => received.json(401, { error: 'no' }), /Lakera Guard returned status 401/],
      [
        'says nothing sensible',
        received => received.response.end('{"flagged": '),
        /failed to decode Lakera Guard response/,
      ],
      ['answers with a list', received => received.json(200, []), /expected a JSON object/],
      ['hangs up', received => received.reset(), /failed to request Lakera Guard: connection closed/],
      ['takes too long', () => {}, /failed to request Lakera Guard: timeout/],
      [
        'stops in the middle of its answer',
        received => {
          received.response.writeHead(200, { 'content-length': '50' })
          received.response.write('{"flagged": false')
        },
        /failed to request Lakera Guard: timeout/,
      ],
      ['talks without end', received => received.response.end(Buffer.alloc(2 << 20)), /larger than 1048576 bytes/],
      [
        'speaks no HTTP',
        received => received.lie('no\r\n\r\n'),
        /failed to request Lakera Guard: what it answers is no HTTP/,
      ],
    ]
    for (const [name, fault, words] of faults) {
      it(`blocks when Lakera ${name}, unless it is to fail open, and says so`, async () => {
        for (const fail_open of [false, true]) {
          await start({ fail_open, timeout: 200 })
          guarded.service.script = fault
          const answer = (await (await guarded.ask(CHAT, asked)).json()) as ReturnType<typeof whole>
          assert.equal(answer.choices[0]!.message.content, fail_open ? 'fine' : BLOCKED.request)
          assert.deepEqual(guarded.verdicts(), { 'request error': 1 })
          assert.match(
            guarded.gateway.scrape(),
            /sluice_sidecar_failures_total\{plugin="ai-lakera-guard",reason="[\w ]+"\} 1\n/,
          )
          const said = guarded.lines.find(line => words.test(line)) ?? ''
          assert.ok(
            said.includes(fail_open ? 'fail_open=true, allowing request' : 'fail_open=false, blocking request'),
            said,
          )
          assert.doesNotMatch(guarded.lines.join(), /the-key/)
          if (!fail_open) await guarded.close()
        }
      })
    }

    it('understands an answer that comes in pieces', async () => {
      await start()
      guarded.service.script = async received => {
        received.response.writeHead(200, { 'content-type': 'application/json' })
        for (const byte of JSON.stringify(verdict(true))) await received.write(byte)
        received.response.end()
      }
      const answer = (await (await guarded.ask(CHAT, asked)).json()) as ReturnType<typeof whole>
      assert.equal(answer.choices[0]!.message.content, BLOCKED.request)
    })

    for (const [fail_mode, status] of [
      ['skip', 200],
      ['warn', 200],
      ['error', 500],
    ] as const) {
      it(`does what fail_mode says where it cannot look: ${fail_mode}`, async () => {
        await start({ fail_mode })
        const answer = await guarded.ask('/v1/rerank', { query: 'a' })
        assert.equal(answer.status, status)
        if (status === 500) assert.equal(await answer.text(), 'unsupported protocol: passthrough')
        else
          assert.ok(
            guarded.lines.includes(
              `${fail_mode === 'warn' ? 'warn' : 'info'} ai-lakera-guard skipped: unsupported protocol: passthrough`,
            ),
          )
        assert.equal(guarded.service.received.length, 0)
        assert.deepEqual(guarded.verdicts(), { 'request skipped': 1 })
        await guarded.close()

        await start({ fail_mode }, { withoutProxy: true })
        const plain = await guarded.ask('/', {})
        assert.equal(plain.status, status)
        if (status === 500)
          assert.equal(
            await plain.text(),
            'no ai instance picked, ai-lakera-guard plugin must be used with ai-proxy or ai-proxy-multi plugin',
          )
      })
    }
  })

  describe('behind the call', () => {
    const text = 'A text that is long enough to be cut, and bad in the end.'
    const events = [...(text.match(/.{1,6}/g) ?? []).map(piece => chunk(piece)), chunk(null, 'stop'), done]

    it('shows Lakera the answer, and refuses what it flags', async () => {
      await start({ direction: 'output', deny_code: 451 })
      guarded.service.script = flags
      guarded.provider.script = received => received.json(200, whole('so bad'))
      const answer = await guarded.ask(CHAT, asked)
      assert.equal(answer.status, 451)
      const { choices, usage } = (await answer.json()) as ReturnType<typeof whole>
      assert.deepEqual([choices[0]!.message.content, usage.total_tokens], [BLOCKED.response, 7])
      assert.deepEqual(await sentTo(guarded.service.received[0]!), {
        messages: [{ role: 'assistant', content: 'so bad' }],
        breakdown: true,
      })
      await assertNothingOfTheClient(guarded.service.received[0]!)
      assert.deepEqual(guarded.verdicts(), { 'response deny': 1 })
    })

    it('lets no word of a stream out that it refuses, however it is cut, and every byte of what it does not', async () => {
      await start({ direction: 'output' })
      guarded.service.script = flags
      const bytes = Buffer.from(events.join(''))
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.nat({ max: bytes.length }), { maxLength: 12 }),
          fc.boolean(),
          async (cuts, good) => {
            const sent = good ? Buffer.from(bytes.toString().replaceAll('bad', 'god')) : bytes
            const at = [0, ...cuts.toSorted((a, b) => a - b), sent.length]
            guarded.provider.script = streams(...at.slice(1).map((end, n) => sent.subarray(at[n], end)))
            const answer = await guarded.ask(CHAT, { ...asked, stream: true })
            const got = await answer.text()
            assert.equal(answer.status, 200)
            if (good) assert.equal(got, sent.toString())
            else assert.deepEqual([textOf(got), got.endsWith(done)], [BLOCKED.response, true])
          },
        ),
        { numRuns: 30, seed: 17 },
      )
      const questions = await Promise.all(guarded.service.received.map(sentTo))
      assert.deepEqual(
        new Set(questions.map(({ messages }) => (messages as { content: string }[])[0]!.content)),
        new Set([text, text.replace('bad', 'god')]),
      )
    })

    it('keeps the client informed while it holds a stream', async () => {
      await start({ direction: 'output' }, { keepAlive: 20 })
      const late = Promise.withResolvers<Received>()
      guarded.service.script = received => late.resolve(received)
      guarded.provider.script = streams(...events)
      const answer = await guarded.ask(CHAT, { ...asked, stream: true })
      const reader = answer.body!.getReader()
      assert.equal(Buffer.from((await reader.read()).value!).toString(), ':\n\n')
      ;(await late.promise).json(200, verdict(true))
      let rest = ''
      for (let read = await reader.read(); !read.done; read = await reader.read()) rest += Buffer.from(read.value)
      assert.deepEqual([textOf(rest), rest.endsWith(done)], [BLOCKED.response, true])
    })

    it('looks at what tools are called with, where that is asked', async () => {
      await start({ direction: 'output', response_check_kinds: ['text', 'tool_arguments'] })
      guarded.service.script = flags
      const call = (piece: string) =>
        `data: ${JSON.stringify({ id: 'c', choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: piece } }] }, finish_reason: null }] })}\n\n`
      guarded.provider.script = streams(call('{"a":"b'), call('ad"}'), chunk(null, 'tool_calls'), done)
      const got = await (await guarded.ask(CHAT, { ...asked, stream: true })).text()
      assert.equal(textOf(got), BLOCKED.response)
      assert.doesNotMatch(got, /tool_calls/)
    })

    it('holds nothing of an answer that says nothing', async () => {
      await start({ direction: 'output' })
      guarded.provider.script = streams(chunk(''), chunk(null, 'tool_calls'), done)
      assert.equal(
        await (await guarded.ask(CHAT, { ...asked, stream: true })).text(),
        chunk('') + chunk(null, 'tool_calls') + done,
      )
      assert.equal(guarded.service.received.length, 0)
      assert.deepEqual(guarded.verdicts(), { 'response allow': 1 })
    })

    it('judges in parts what is longer than may be held, and nothing is lost', async () => {
      await start({ direction: 'output' })
      guarded.service.script = flags
      const long = Array.from({ length: 3000 }, (_, n) => chunk(`word ${n} ${'x'.repeat(400)} `))
      guarded.provider.script = streams(long.join(''), chunk('bad'), chunk(null, 'stop'), done)
      const got = await (await guarded.ask(CHAT, { ...asked, stream: true })).text()
      assert.ok(guarded.service.received.length >= 3)
      assert.ok(textOf(got).endsWith(BLOCKED.response))
      assert.doesNotMatch(got, /bad/)
    })

    it('judges what has come of a stream that breaks', async () => {
      await start({ direction: 'output' })
      guarded.service.script = flags
      for (const [said, expected] of [
        ['good', 'good'],
        ['bad', BLOCKED.response],
      ] as const) {
        guarded.provider.script = async received => {
          received.startStream()
          await received.write(chunk(said))
          received.reset()
        }
        const got = await (await guarded.ask(CHAT, { ...asked, stream: true })).text()
        assert.equal(textOf(got), expected)
      }
    })

    it('lets a stream pass live when nothing can come of it', async () => {
      await start({ direction: 'output', action: 'alert', fail_open: true })
      guarded.service.script = flags
      const more = Promise.withResolvers<void>()
      guarded.provider.script = async received => {
        received.startStream()
        await received.write(chunk('bad'))
        await more.promise
        received.response.end(chunk(null, 'stop') + done)
      }
      const answer = await guarded.ask(CHAT, { ...asked, stream: true })
      const reader = answer.body!.getReader()
      assert.equal(Buffer.from((await reader.read()).value!).toString(), chunk('bad'))
      more.resolve()
      while (!(await reader.read()).done);
      await until(() => guarded.verdicts()['response would_deny'] === 1, 'the verdict is counted')
      assert.equal(guarded.service.received.length, 1)
    })

    it('blocks a stream that could not be judged, unless it is to fail open', async () => {
      for (const [fail_open, expected] of [
        [false, BLOCKED.response],
        [true, text],
      ] as const) {
        await start({ direction: 'output', fail_open })
        guarded.service.script = received => received.reset()
        guarded.provider.script = streams(...events)
        const got = await (await guarded.ask(CHAT, { ...asked, stream: true })).text()
        assert.equal(textOf(got), expected)
        assert.deepEqual(guarded.verdicts(), { 'response error': 1 })
        if (!fail_open) await guarded.close()
      }
    })

    it('lets answers pass whose words nobody knows, unless fail_mode says otherwise', async () => {
      for (const [fail_mode, status] of [
        ['skip', 200],
        ['error', 501],
      ] as const) {
        await start({ direction: 'output', fail_mode })
        guarded.provider.script = received => received.json(200, { results: [] })
        assert.equal((await guarded.ask('/v1/rerank', { query: 'a' })).status, status)
        assert.equal(guarded.service.received.length, 0)
        assert.deepEqual(guarded.verdicts(), { 'response skipped': 1 })
        if (status === 200) await guarded.close()
      }
    })
  })
})

describe('the config of ai-lakera-guard', () => {
  const problem = (config: object) =>
    configProblem(aiLakeraGuard, 'config', config as Record<string, unknown>)?.replace(/^.* err: /, '')

  for (const [config, said] of [
    [{}, 'property "api_key" is required'],
    [{ api_key: '' }, /api_key/],
    [{ api_key: 'k' }, undefined],
    [{ api_key: 'k', lakera_endpoint: 'ftp://x' }, /lakera_endpoint/],
    [{ api_key: 'k', lakera_endpoint: 'https://' }, 'lakera_endpoint is no URL'],
    [{ api_key: '$secret://vault/1/a/b', lakera_endpoint: '$env://LAKERA' }, undefined],
    [{ api_key: 'k', direction: 'in' }, /direction.*enum/],
    [{ api_key: 'k', timeout: 0 }, /timeout.*at least 1/],
    [{ api_key: 'k', deny_code: 199 }, /deny_code.*at least 200/],
    [{ api_key: 'k', mode: 'watch' }, /mode.*enum/],
    [{ api_key: 'k', request_check_kinds: [] }, /request_check_kinds/],
    [{ api_key: 'k', not_text_allowed: ['image_url'] }, 'not_text_allowed means nothing unless not_text is deny'],
  ] as const) {
    it(`${said === undefined ? 'may be' : 'is not'} ${JSON.stringify(config)}`, () => {
      if (said instanceof RegExp) assert.match(problem(config) ?? '', said)
      else assert.equal(problem(config), said)
    })
  }
})
