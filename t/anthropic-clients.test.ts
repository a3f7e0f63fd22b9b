// Anthropic's own SDKs at the gateway: before Anthropic, and before a provider that speaks OpenAI's protocol.
import assert from 'node:assert/strict'
import { Anthropic as Anthropic1 } from '@anthropic-ai/sdk'
import { Anthropic as Anthropic0 } from 'anthropic-sdk-0'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { anthropic, blocksOf, openai, type Said, tokens, type Wire } from './helpers/llm-answers.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const question = { model: 'm', max_tokens: 100, messages: [{ role: 'user' as const, content: 'What is 1 + 1?' }] }
const long = 'abcdefghij'.repeat(5)
const tools: Anthropic1.Tool[] = [
  { name: 'add', description: 'adds', input_schema: { type: 'object', properties: { a: { type: 'number' } } } },
  { name: 'time.now', input_schema: { type: 'object' } },
]
const answers: Record<string, Said> = {
  'a text': { text: '1 + 1 = 2. Grüße 👋' },
  'a text that was too long': { text: '1 + 1', finish: 'length' },
  thinking: { thinking: 'One and one are two.', text: '2' },
  'a tool call': { tools: [{ id: 'call_1', name: 'add', input: { a: 1, b: 'x"}{' } }] },
  'a text and parallel tool calls': {
    text: 'Let me see.',
    tools: [
      { id: 'call_1', name: 'add', input: { a: [1, 2, { b: 'ü' }] } },
      { id: 'call_2', name: 'add', input: { a: 2, more: 'and more, so that it is longer' } },
      { id: 'call_3', name: 'add', input: {} },
    ],
  },
}

interface Side {
  provider: string
  wire: Wire
  /** Members of the request that the provider gets, by the names that Anthropic has for them. */
  sent(body: Record<string, unknown>): { prompt: unknown; choice: unknown; roles: unknown[] }
}

const roles = ({ messages }: Record<string, unknown>) => (messages as { role: string }[]).map(({ role }) => role)
const sides: Record<string, Side> = {
  'before Anthropic': {
    provider: 'anthropic',
    wire: anthropic,
    sent: body => ({ prompt: body.system, choice: body.tool_choice, roles: roles(body) }),
  },
  'before a provider of OpenAI’s protocol': {
    provider: 'openai-compatible',
    wire: openai,
    sent: body => ({
      prompt: (body.messages as { content: string }[])[0]!.content,
      choice: body.tool_choice,
      roles: roles(body),
    }),
  },
}

for (const [version, Sdk] of [
  ['0', Anthropic0 as unknown as typeof Anthropic1],
  ['1', Anthropic1],
] as const) {
  for (const [place, { provider, wire, sent }] of Object.entries(sides)) {
    const isConverted = provider !== 'anthropic'
    describe(`Anthropic’s SDK ${version}.x ${place}`, () => {
      let upstream: ScriptedUpstream
      let gateway: TestGateway
      let client: Anthropic1

      beforeEach(async () => {
        upstream = await startUpstream()
        await start({ header: { [isConverted ? 'Authorization' : 'x-api-key']: 'operator' } })
      })
      afterEach(async () => {
        await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
        for (const [kind, { opened, settled, released, live }] of Object.entries(gateway.book.totals())) {
          assert.deepEqual({ kind, live, ended: settled + released }, { kind, live: 0, ended: opened })
        }
        await gateway.close()
        await upstream.close()
      })

      async function start(auth: object): Promise<void> {
        await gateway?.close()
        const config = { provider, auth, override: { endpoint: upstream.origin } }
        gateway = await startGateway({
          resources: { routes: { 1: { uri: '/*', plugins: { 'ai-proxy': config, prometheus: {} } } } },
        })
        assert.deepEqual(gateway.rejected, [])
        client = new Sdk({ baseURL: gateway.url, apiKey: 'client', maxRetries: 0 })
      }

      const answer = (said: Said, streams: boolean) => {
        upstream.script = async received => {
          if (!streams) return received.json(200, wire.whole(said), { 'request-id': 'req_1' })
          received.startStream({ 'request-id': 'req_1' })
          for (const one of wire.stream(said)) await received.write(one)
          received.response.end()
        }
      }
      const bodyOf = async (received: Received) =>
        JSON.parse((await received.body).toString()) as Record<string, unknown>

      for (const [name, said] of Object.entries(answers)) {
        for (const streams of [false, true]) {
          it(`gets ${name}, ${streams ? 'streamed' : 'whole'}`, async () => {
            answer(said, streams)
            const message = streams
              ? await client.messages.stream({ ...question, tools }).finalMessage()
              : await client.messages.create({ ...question, tools })
            assert.deepEqual(message.content, blocksOf(said))
            const expected = said.finish === 'length' ? 'max_tokens' : said.tools ? 'tool_use' : 'end_turn'
            assert.deepEqual([message.stop_reason, message.stop_sequence], [expected, null])
            assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], [tokens.input, tokens.output])
            assert.deepEqual([message.type, message.role], ['message', 'assistant'])
            assert.equal(upstream.received[0]!.target, isConverted ? '/v1/chat/completions' : '/v1/messages')
          })
        }
      }

      it('shows the provider nothing of its own when the operator has a key', async () => {
        answer({ text: 'x' }, false)
        await client.messages.create(question)
        const { headers } = upstream.received[0]!
        assert.equal(isConverted ? headers.authorization : headers['x-api-key'], 'operator')
        if (!isConverted) return
        assert.equal(headers['x-api-key'], undefined)
        assert.deepEqual(
          Object.keys(headers).filter(key => /^(anthropic|x-stainless)-/.test(key)),
          [],
        )
      })

      it('brings its own key when the operator has none', async () => {
        await start({})
        answer({ text: 'x' }, false)
        await client.messages.create(question)
        const { headers } = upstream.received[0]!
        const byKey = version === '0' && !isConverted
        assert.deepEqual(
          [headers.authorization, headers['x-api-key']],
          byKey ? [undefined, 'client'] : ['Bearer client', undefined],
        )
      })

      it('has a conversation with tools, images, documents and a system prompt', async () => {
        answer({ text: 'done' }, false)
        const image = { type: 'base64', media_type: 'image/png', data: 'aW1hZ2U=' } as const
        await client.messages.create({
          ...question,
          tools,
          tool_choice: { type: 'tool', name: 'add' },
          system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
          messages: [
            {
              role: 'user',
              content: [
                { type: 'text', text: 'Look.' },
                { type: 'image', source: image },
              ],
            },
            {
              role: 'assistant',
              content: [
                { type: 'thinking', thinking: 'hm', signature: '' },
                { type: 'text', text: 'I call.' },
                { type: 'tool_use', id: 'call_1', name: 'add', input: { a: 1 } },
                { type: 'tool_use', id: 'call_2', name: 'time.now', input: {} },
              ],
            },
            {
              role: 'user',
              content: [
                { type: 'tool_result', tool_use_id: 'call_1', content: '2' },
                { type: 'tool_result', tool_use_id: 'call_2', content: [{ type: 'text', text: 'now' }] },
                { type: 'text', text: 'Go on.' },
              ],
            },
          ],
        })
        const body = await bodyOf(upstream.received[0]!)
        if (!isConverted) {
          assert.deepEqual(sent(body).roles, ['user', 'assistant', 'user'])
          assert.deepEqual(sent(body).choice, { type: 'tool', name: 'add' })
          return
        }
        assert.equal(sent(body).prompt, 'Be brief.')
        assert.deepEqual(sent(body).choice, { type: 'function', function: { name: 'add' } })
        const messages = body.messages as { content: unknown; tool_calls?: unknown; tool_call_id?: string }[]
        assert.deepEqual(sent(body).roles, ['system', 'user', 'assistant', 'tool', 'tool', 'user'])
        assert.deepEqual(messages[1]!.content, [
          { type: 'text', text: 'Look.' },
          { type: 'image_url', image_url: { url: 'data:image/png;base64,aW1hZ2U=' } },
        ])
        const renamed = (body.tools as { function: { name: string } }[])[1]!.function.name
        assert.match(renamed, /^time_now_[0-9a-f]{8}$/)
        assert.deepEqual(messages[2], {
          role: 'assistant',
          content: 'I call.',
          tool_calls: [
            { id: 'call_1', type: 'function', function: { name: 'add', arguments: '{"a":1}' } },
            { id: 'call_2', type: 'function', function: { name: renamed, arguments: '{}' } },
          ],
        })
        assert.deepEqual(messages[4], { role: 'tool', tool_call_id: 'call_2', content: 'now' })
        answer({ tools: [{ id: 'c', name: renamed, input: {} }] }, true)
        const again = await client.messages.stream({ ...question, tools }).finalMessage()
        assert.deepEqual(again.content, [{ type: 'tool_use', id: 'c', name: 'time.now', input: {} }])
      })

      it('sends a prompt of 600 KB', async () => {
        answer({ text: 'x' }, true)
        const prompt = 'Grüße 👋 '.repeat(42_000)
        await client.messages.stream({ ...question, system: prompt }).finalMessage()
        assert.equal(sent(await bodyOf(upstream.received[0]!)).prompt, prompt)
      })

      it('gets each event before the next one is sent', async () => {
        upstream.script = () => {}
        const stream = client.messages.stream(question)
        const texts: string[] = []
        stream.on('text', piece => texts.push(piece))
        const received = await upstream.request(0)
        received.startStream()
        const events = wire.stream({ text: long })
        let written = 0
        for (const one of events) {
          await received.write(one)
          if (/text_delta|"content":"[^"]/.test(one)) written++
          await until(() => texts.length === written, `the SDK has ${written} pieces`)
        }
        received.response.end()
        assert.equal((await stream.finalText()).length, 50)
        assert.equal(texts.length, 10)
      })

      it('tells the provider when it stops in the middle of a stream', async () => {
        upstream.script = async received => {
          received.startStream()
          for (const one of wire.stream({ text: long }).slice(0, 4)) await received.write(one)
        }
        const stream = await client.messages.create({ ...question, stream: true })
        for await (const one of stream) if (one.type === 'content_block_delta') break
        const [received] = upstream.received
        await received!.closed
        assert.equal(received!.gone, true)
      })

      for (const streams of [false, true]) {
        it(`throws a 429 of the provider as it is, ${streams ? 'streaming' : 'unary'}`, async () => {
          upstream.script = received => received.json(429, wire.error(429, 'slow down'), { 'retry-after': '20' })
          await assert.rejects(client.messages.create({ ...question, stream: streams }), (thrown: unknown) => {
            assert.ok(thrown instanceof Sdk.RateLimitError)
            assert.deepEqual(thrown.error, anthropic.error(429, 'slow down'))
            assert.equal(thrown.headers.get('retry-after'), '20')
            return true
          })
        })
      }

      it('throws an error that comes with a good status', async () => {
        const error = { type: 'rate_limit_error', code: 429, message: 'slow down' }
        upstream.script = received => received.json(200, isConverted ? { error } : { type: 'error', error })
        await assert.rejects(client.messages.create(question), (thrown: unknown) => {
          assert.ok(thrown instanceof Sdk.RateLimitError)
          assert.equal(thrown.type, 'rate_limit_error')
          return true
        })
      })

      it('throws an error within a stream with the provider’s words', async () => {
        upstream.script = async received => {
          received.startStream()
          for (const one of wire.stream({ text: long }).slice(0, 4)) await received.write(one)
          received.response.end(wire.errorEvent('overloaded'))
        }
        await assert.rejects(client.messages.stream(question).finalMessage(), (thrown: unknown) => {
          assert.ok(thrown instanceof Sdk.APIError)
          assert.deepEqual(thrown.error, { type: 'error', error: { type: 'overloaded_error', message: 'overloaded' } })
          return true
        })
      })

      for (const [how, cut] of [
        ['is cut', (received: Received) => received.reset()],
        ['ends early', (received: Received) => received.response.end()],
      ] as const) {
        it(`throws when a stream ${how}, and does not take it for whole`, async () => {
          upstream.script = async received => {
            received.startStream()
            for (const one of wire.stream({ text: long }).slice(0, 4)) await received.write(one)
            await until(() => seen.includes('content_block_delta'), 'the client has some of it')
            cut(received)
          }
          const seen: string[] = []
          await assert.rejects(
            async () => {
              for await (const one of await client.messages.create({ ...question, stream: true })) seen.push(one.type)
            },
            (thrown: unknown) => thrown instanceof Sdk.APIError && JSON.stringify(thrown.error).includes('api_error'),
          )
          assert.ok(!seen.includes('message_stop'))
        })
      }

      it('throws an error of ours when the provider cannot be reached', async () => {
        upstream.script = received => received.reset()
        await assert.rejects(client.messages.create(question), (thrown: unknown) => {
          assert.ok(thrown instanceof Sdk.InternalServerError)
          assert.equal((thrown.error as { error: { code: string } }).error.code, 'upstream_reset')
          return true
        })
      })
    })
  }
}
