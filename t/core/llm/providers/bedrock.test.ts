// Bedrock at the front door: AWS's own client cannot tell that it does not speak to AWS, nor AWS that we do.
import assert from 'node:assert/strict'
import {
  BedrockRuntimeClient,
  BedrockRuntimeServiceException,
  ConverseCommand,
  type ConverseCommandInput,
  ConverseStreamCommand,
  type ConverseStreamOutput,
  ModelStreamErrorException,
  ThrottlingException,
} from '@aws-sdk/client-bedrock-runtime'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { signature } from '../../../../core/llm/auth/aws.ts'
import { encodeMessage } from '../../../../core/llm/framing/aws-event-stream.ts'
import { textFilter } from '../../../../core/llm/text-filter.ts'
import { type EventFilter, plugin, Refused } from '../../../../core/sluice.ts'
import { startGateway, type TestGateway } from '../../../helpers/gateway.ts'
import { until } from '../../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../../helpers/upstream.ts'

const aws = { access_key_id: 'AKIDOPERATOR', secret_access_key: 'operators-secret' }
const client = { accessKeyId: 'AKIDCLIENT', secretAccessKey: 'clients-secret', sessionToken: 'clients-token' }
const modelId = 'anthropic.claude-3-5-sonnet-20241022-v2:0'
const usage = { inputTokens: 13, outputTokens: 5, totalTokens: 18 }
const asked: ConverseCommandInput = {
  modelId,
  system: [{ text: 'Be brief.' }],
  messages: [{ role: 'user', content: [{ text: 'Hi!' }] }],
  inferenceConfig: { maxTokens: 100, temperature: 0.5 },
}
const tools = {
  tools: [{ toolSpec: { name: 'weather', inputSchema: { json: { type: 'object', properties: {} } } } }],
  toolChoice: { any: {} },
}
const answer = (...content: object[]) => ({
  output: { message: { role: 'assistant', content } },
  stopReason: 'end_turn',
  usage,
  metrics: { latencyMs: 7 },
})

const event = (type: string, payload: object) =>
  encodeMessage(
    { ':message-type': 'event', ':event-type': type, ':content-type': 'application/json' },
    Buffer.from(JSON.stringify(payload)),
  )
const exception = (type: string, message: string) =>
  encodeMessage(
    { ':message-type': 'exception', ':exception-type': type, ':content-type': 'application/json' },
    Buffer.from(JSON.stringify({ message })),
  )
const delta = (text: string) => event('contentBlockDelta', { contentBlockIndex: 0, delta: { text } })
const begin = event('messageStart', { role: 'assistant' })
const stop = event('messageStop', { stopReason: 'end_turn' })
const metadata = event('metadata', { usage, metrics: { latencyMs: 7 } })
const startStream = ({ response }: Received) => {
  response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream', 'x-amzn-requestid': 'req-7' })
  response.flushHeaders()
}
const stream =
  (...frames: Buffer[]) =>
  async (received: Received) => {
    startStream(received)
    for (const frame of frames) await received.write(frame)
    received.response.end()
  }

describe('bedrock', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let bedrock: BedrockRuntimeClient

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    bedrock.destroy()
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    for (const [kind, { live }] of Object.entries(gateway.book.totals()))
      assert.deepEqual({ kind, live }, { kind, live: 0 })
    await gateway.close()
    await upstream.close()
  })

  async function start(config: object = {}, filter?: () => EventFilter): Promise<void> {
    const provider = {
      provider: 'bedrock',
      auth: { aws },
      provider_conf: { region: 'eu-west-1' },
      override: { endpoint: upstream.origin },
      logging: { summaries: true },
      ...config,
    }
    const filtering = plugin({
      name: 'filtering',
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => (filter === undefined ? {} : { event_filter: filter }),
    })
    const plugins = { 'ai-proxy': provider, filtering: {} }
    gateway = await startGateway({ plugins: [filtering], resources: { routes: { 1: { uri: '/*', plugins } } } })
    assert.deepEqual(gateway.rejected, [])
    // By default it speaks HTTP/2 without asking whether it may.
    const requestHandler = new NodeHttpHandler()
    bedrock = new BedrockRuntimeClient({
      requestHandler,
      region: 'us-east-1',
      endpoint: gateway.url,
      credentials: client,
      maxAttempts: 1,
    })
  }

  const post = (path: string, body: object) =>
    fetch(gateway.url + path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    })

  /** That the request is signed with the operator's key for what stands on the wire, and has nothing of the client's. */
  async function checkSigned(received: Received, token?: string): Promise<void> {
    const { authorization, host, 'x-amz-date': date } = received.headers as Record<string, string>
    const time = Date.parse(date!.replace(/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/, '$1-$2-$3T$4:$5:$6Z'))
    assert.ok(Math.abs(Date.now() - time) < 60_000)
    const request = { method: received.method, host: host!, target: received.target, body: await received.body }
    const credentials = { accessKeyId: aws.access_key_id, secretAccessKey: aws.secret_access_key, sessionToken: token }
    const wanted = signature(request, { credentials, scope: { region: 'eu-west-1', service: 'bedrock' }, now: time })
    assert.equal(authorization, wanted.authorization)
    assert.equal(received.headers['x-amz-security-token'], token)
    assert.equal(received.headers['x-amz-content-sha256'], undefined)
    assert.doesNotMatch(JSON.stringify(received.rawHeaders), /AKIDCLIENT|clients-/)
  }

  async function read(output: AsyncIterable<ConverseStreamOutput>): Promise<ConverseStreamOutput[]> {
    const events: ConverseStreamOutput[] = []
    for await (const each of output) events.push(each)
    return events
  }

  describe('with AWS’s own client', () => {
    it('gives a whole answer, signed for by the operator', async () => {
      await start()
      upstream.script = received => received.json(200, answer({ text: 'Hello!' }), { 'x-amzn-requestid': 'req-7' })
      const { $metadata, ...said } = await bedrock.send(new ConverseCommand(asked))
      assert.deepEqual(said, answer({ text: 'Hello!' }))
      assert.equal($metadata.requestId, 'req-7')
      const [received] = upstream.received
      assert.equal(received!.target, '/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse')
      const { modelId: _, ...body } = asked
      assert.deepEqual(JSON.parse((await received!.body).toString()), body)
      await checkSigned(received!)
    })

    it('gives a stream, event by event', async () => {
      await start()
      upstream.script = startStream
      const sending = bedrock.send(new ConverseStreamCommand(asked))
      const received = await upstream.request(0)
      await received.write(begin)
      const events = (await sending).stream![Symbol.asyncIterator]()
      assert.deepEqual((await events.next()).value, { messageStart: { role: 'assistant' } })
      for (const text of ['Hel', 'lo', '!']) {
        await received.write(delta(text))
        const { value } = await events.next()
        assert.equal(value!.contentBlockDelta!.delta!.text, text)
      }
      await received.write(Buffer.concat([stop, metadata]))
      received.response.end()
      assert.deepEqual((await events.next()).value, { messageStop: { stopReason: 'end_turn' } })
      assert.deepEqual((await events.next()).value, { metadata: { usage, metrics: { latencyMs: 7 } } })
      assert.equal((await events.next()).done, true)
      assert.equal(received.target, '/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse-stream')
      await checkSigned(received)
    })

    it('calls tools, whole and streamed', async () => {
      await start()
      const call = { toolUse: { toolUseId: 't1', name: 'weather', input: { city: 'Rome' } } }
      upstream.script = received => received.json(200, { ...answer(call), stopReason: 'tool_use' })
      const { output } = await bedrock.send(new ConverseCommand({ ...asked, toolConfig: tools }))
      assert.deepEqual(output!.message!.content, [call])
      assert.deepEqual(
        (JSON.parse((await upstream.received[0]!.body).toString()) as { toolConfig: unknown }).toolConfig,
        tools,
      )

      upstream.script = stream(
        begin,
        event('contentBlockStart', { contentBlockIndex: 0, start: { toolUse: { toolUseId: 't1', name: 'weather' } } }),
        event('contentBlockDelta', { contentBlockIndex: 0, delta: { toolUse: { input: '{"city":' } } }),
        event('contentBlockDelta', { contentBlockIndex: 0, delta: { toolUse: { input: '"Rome"}' } } }),
        event('contentBlockStop', { contentBlockIndex: 0 }),
        stop,
        metadata,
      )
      const streamed = await bedrock.send(new ConverseStreamCommand({ ...asked, toolConfig: tools }))
      const inputs = (await read(streamed.stream!)).map(each => each.contentBlockDelta?.delta?.toolUse?.input ?? '')
      assert.equal(inputs.join(''), '{"city":"Rome"}')
    })

    it('tells AWS when the client gives up, before an answer and in a stream', async () => {
      await start()
      upstream.script = () => {}
      const giveUp = new AbortController()
      const sending = bedrock.send(new ConverseCommand(asked), { abortSignal: giveUp.signal })
      const before = await upstream.request(0)
      giveUp.abort()
      await assert.rejects(sending, { name: 'AbortError' })
      await before.closed
      assert.equal(before.gone, true)

      upstream.script = async received => {
        startStream(received)
        await received.write(delta('a'))
      }
      const { stream: events } = await bedrock.send(new ConverseStreamCommand(asked))
      for await (const _ of events!) break
      bedrock.destroy()
      const [, within] = upstream.received
      await within!.closed
      assert.equal(within!.gone, true)
    })

    for (const command of [ConverseCommand, ConverseStreamCommand]) {
      it(`gives an error as AWS said it, to ${command.name}`, async () => {
        await start()
        upstream.script = received =>
          received.json(429, { message: 'Too many requests' }, { 'x-amzn-errortype': 'ThrottlingException:http://x/' })
        await assert.rejects(bedrock.send(new command(asked) as ConverseCommand), thrown => {
          assert.ok(thrown instanceof ThrottlingException)
          assert.equal(thrown.message, 'Too many requests')
          return true
        })
      })
    }

    it('gives an error of our own when AWS cannot be reached', async () => {
      await start({ override: { endpoint: 'http://127.0.0.1:1' } })
      await assert.rejects(bedrock.send(new ConverseCommand(asked)), thrown => {
        assert.ok(thrown instanceof BedrockRuntimeServiceException)
        assert.deepEqual(
          [thrown.$metadata.httpStatusCode, thrown.name, thrown.message],
          [500, 'upstream_refused', 'could not connect to the AI service'],
        )
        return true
      })
    })

    it('gives an exception within a stream as AWS said it', async () => {
      await start()
      upstream.script = stream(begin, delta('a'), exception('throttlingException', 'slow down'))
      const { stream: events } = await bedrock.send(new ConverseStreamCommand(asked))
      const seen: unknown[] = []
      const reading = (async () => {
        for await (const each of events!) seen.push(each)
      })()
      await assert.rejects(reading, thrown => thrown instanceof ThrottlingException && thrown.message === 'slow down')
      assert.equal(seen.length, 2)
    })

    const breaks: [string, (received: Received) => unknown, string][] = [
      ['is reset', received => received.reset(), 'the AI service closed the connection before its answer was complete'],
      ['ends too early', ({ response }) => response.end(), 'the AI service ended its stream before it was complete'],
      [
        'ends within a frame',
        ({ response }) => response.end(stop.subarray(0, 20)),
        'the AI service ended its stream before it was complete',
      ],
      [
        'is no event stream any more',
        received => received.write('data: {"choices":[]}\n\n'),
        'the AI service sent an answer that cannot be understood',
      ],
    ]
    for (const [how, end, message] of breaks) {
      it(`throws when a stream ${how}, behind everything that was whole`, async () => {
        await start()
        upstream.script = async received => {
          startStream(received)
          await received.write(Buffer.concat([begin, delta('a'), delta('b').subarray(0, 30)]))
          await received.write(delta('b').subarray(30))
          await end(received)
        }
        const { stream: events } = await bedrock.send(new ConverseStreamCommand(asked))
        const texts: (string | undefined)[] = []
        const reading = (async () => {
          for await (const each of events!) texts.push(each.contentBlockDelta?.delta?.text)
        })()
        await assert.rejects(reading, thrown => {
          assert.ok(thrown instanceof ModelStreamErrorException, String(thrown))
          assert.equal(thrown.message, message)
          return true
        })
        assert.deepEqual(texts, [undefined, 'a', 'b'])
      })
    }
  })

  describe('behind a filter of events', () => {
    const shouting = () => textFilter(() => piece => piece.toUpperCase())

    it('has its texts changed, whole and streamed, and nothing else', async () => {
      await start({}, shouting)
      const call = { toolUse: { toolUseId: 't1', name: 'weather', input: { city: 'Rome' } } }
      upstream.script = received => received.json(200, answer({ text: 'Hello!' }, call))
      const { output } = await bedrock.send(new ConverseCommand(asked))
      assert.deepEqual(output!.message!.content, [{ text: 'HELLO!' }, call])

      const input = event('contentBlockDelta', { contentBlockIndex: 1, delta: { toolUse: { input: '{"a":1}' } } })
      upstream.script = async received => {
        startStream(received)
        const bytes = Buffer.concat([begin, delta('Hel'), delta('lo!'), input, stop, metadata])
        for (let at = 0; at < bytes.length; at += 50) await received.write(bytes.subarray(at, at + 50))
        received.response.end()
      }
      const events = await read((await bedrock.send(new ConverseStreamCommand(asked))).stream!)
      const { text } = Object.groupBy(events, each =>
        each.contentBlockDelta?.delta?.text === undefined ? 'rest' : 'text',
      )
      assert.deepEqual(
        text!.map(each => each.contentBlockDelta!.delta!.text),
        ['HEL', 'LO!'],
      )
      assert.equal(events.length, 6)
      assert.equal(events[3]!.contentBlockDelta!.delta!.toolUse!.input, '{"a":1}')
    })

    it('is refused with an exception where something has left already', async () => {
      await start({}, () => event => {
        if (event?.text === 'bad') throw new Refused(403, 'not_said', 'this is not said here')
      })
      upstream.script = startStream
      const sending = bedrock.send(new ConverseStreamCommand(asked))
      const received = await upstream.request(0)
      await received.write(Buffer.concat([begin, delta('good')]))
      const events = (await sending).stream![Symbol.asyncIterator]()
      await events.next()
      assert.equal((await events.next()).value!.contentBlockDelta!.delta!.text, 'good')
      await received.write(Buffer.concat([delta('bad'), stop]))
      const reading = events.next()
      await assert.rejects(reading, thrown => {
        assert.ok(thrown instanceof ModelStreamErrorException)
        assert.equal(thrown.message, 'this is not said here')
        return true
      })
    })
  })

  describe('as clients of APISIX speak to it', () => {
    const body = { model: 'm/1', messages: [{ role: 'user', content: [{ text: 'hi' }] }] }

    it('is asked for the model of the body, which does not go along', async () => {
      await start({ override: { endpoint: upstream.origin, llm_options: { max_tokens: 9 } } })
      upstream.script = received => received.json(200, answer({ text: 'Hello!' }))
      assert.deepEqual(await (await post('/any/converse', body)).json(), answer({ text: 'Hello!' }))
      const [received] = upstream.received
      assert.equal(received!.target, '/model/m%2F1/converse')
      assert.equal(
        (await received!.body).toString(),
        '{"inferenceConfig":{"maxTokens":9},"messages":[{"content":[{"text":"hi"}],"role":"user"}]}',
      )
      await checkSigned(received!)
    })

    it('streams when the body says so, which does not go along', async () => {
      await start({ options: { model: modelId } })
      upstream.script = stream(begin, delta('Hello!'), stop, metadata)
      const response = await post('/converse', { ...body, stream: true })
      assert.equal(response.headers.get('content-type'), 'application/vnd.amazon.eventstream')
      const bytes = Buffer.from(await response.arrayBuffer())
      assert.deepEqual(bytes, Buffer.concat([begin, delta('Hello!'), stop, metadata]))
      const [received] = upstream.received
      assert.equal(received!.target, '/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse-stream')
      assert.deepEqual(JSON.parse((await received!.body).toString()), { messages: body.messages })
    })

    it('is signed with the session’s token where there is one', async () => {
      await start({ auth: { aws: { ...aws, session_token: 'operators-token' } } })
      upstream.script = received => received.json(200, answer({ text: 'Hello!' }))
      await post('/converse', body)
      await checkSigned(upstream.received[0]!, 'operators-token')
    })

    it('is not asked without a model', async () => {
      await start()
      for (const model of [undefined, '', '..', 7]) {
        const response = await post('/converse', { ...body, model })
        assert.equal(response.status, 400)
        assert.equal(
          await response.text(),
          '{"error_msg":"could not resolve upstream path: ensure the route or request body specifies a model, or that override.endpoint includes a path"}\n',
        )
      }
      assert.equal(upstream.received.length, 0)
    })

    it('speaks nothing else', async () => {
      await start()
      const response = await post('/v1/chat/completions', body)
      assert.equal(response.status, 400)
      assert.equal(
        await response.text(),
        'provider bedrock does not support openai-chat protocol (supported: bedrock-converse)',
      )
    })
  })
})
