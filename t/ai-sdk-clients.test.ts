// The AI SDK at the gateway: its Anthropic client before either kind of provider, its OpenAI client before its own.
import assert from 'node:assert/strict'
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import { APICallError, generateText, jsonSchema, type LanguageModel, Output, stepCountIs, streamText, tool } from 'ai'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { anthropic, openai, type Said, tokens, type Wire } from './helpers/llm-answers.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const schema = jsonSchema<{ city: string }>({
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
})

type Client = (url: string) => LanguageModel
// Of models that it does not know it assumes that they have no structured output.
const viaAnthropic: Client = url => createAnthropic({ baseURL: `${url}/v1`, apiKey: 'client' })('claude-opus-4-5')
const viaOpenai: Client = url => createOpenAI({ baseURL: `${url}/v1`, apiKey: 'client' }).chat('m')

const sides: Record<string, { provider: string; wire: Wire; client: Client }> = {
  'its Anthropic client before Anthropic': { provider: 'anthropic', wire: anthropic, client: viaAnthropic },
  'its Anthropic client before OpenAI’s protocol': {
    provider: 'openai-compatible',
    wire: openai,
    client: viaAnthropic,
  },
  'its OpenAI client before OpenAI’s protocol': { provider: 'openai-compatible', wire: openai, client: viaOpenai },
}

for (const [place, { provider, wire, client }] of Object.entries(sides)) {
  describe(`the AI SDK, ${place}`, () => {
    let upstream: ScriptedUpstream
    let gateway: TestGateway
    let model: LanguageModel

    beforeEach(async () => {
      upstream = await startUpstream()
      const config = { provider, auth: { header: { 'x-op': 'key' } }, override: { endpoint: upstream.origin } }
      gateway = await startGateway({ resources: { routes: { 1: { uri: '/*', plugins: { 'ai-proxy': config } } } } })
      assert.deepEqual(gateway.rejected, [])
      model = client(gateway.url)
    })
    afterEach(async () => {
      await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
      await gateway.close()
      await upstream.close()
    })

    /** Request number n is answered with the n-th of these. */
    const answers = (...said: Said[]) => {
      upstream.script = async received => {
        const one = said[upstream.received.length - 1]!
        const body = (await bodyOf(received)) as { stream?: boolean }
        if (body.stream !== true) return received.json(200, wire.whole(one))
        received.startStream()
        for (const event of wire.stream(one)) await received.write(event)
        received.response.end()
      }
    }
    const bodyOf = async (received: Received) => JSON.parse((await received.body).toString()) as object
    const options = () => ({ model, maxRetries: 0, maxOutputTokens: 100, prompt: 'hi' })
    const counted = ({
      inputTokens,
      outputTokens,
    }: {
      inputTokens: number | undefined
      outputTokens: number | undefined
    }) => assert.deepEqual([inputTokens, outputTokens], [tokens.input, tokens.output])

    it('gets a text', async () => {
      answers({ text: 'Grüße 👋' })
      const { text, finishReason, usage } = await generateText(options())
      assert.deepEqual([text, finishReason], ['Grüße 👋', 'stop'])
      counted(usage)
    })

    it('gets a text in a stream', async () => {
      answers({ text: 'Grüße 👋, and more' })
      const stream = streamText({ ...options(), onError: () => {} })
      const pieces: string[] = []
      for await (const piece of stream.textStream) pieces.push(piece)
      assert.deepEqual([pieces.join(''), await stream.finishReason], ['Grüße 👋, and more', 'stop'])
      assert.ok(pieces.length > 2)
      counted(await stream.usage)
    })

    for (const streams of [false, true]) {
      it(`calls tools in parallel and brings their results back, ${streams ? 'streaming' : 'unary'}`, async () => {
        const calls = ['Köln', 'Oslo "x"'].map((city, at) => ({ id: `call_${at}`, name: 'weather', input: { city } }))
        answers({ text: 'I ask.', tools: calls }, { text: 'It rains.' })
        const asked: string[] = []
        const weather = tool({
          description: 'tells',
          inputSchema: schema,
          execute: ({ city }) => {
            asked.push(city)
            return { rain: city }
          },
        })
        const all = { ...options(), tools: { weather }, stopWhen: stepCountIs(3) }
        const { steps, text } = streams ? streamText(all) : await generateText(all)
        assert.equal(await text, 'It rains.')
        assert.deepEqual(
          (await steps).map(step => step.finishReason),
          ['tool-calls', 'stop'],
        )
        assert.deepEqual(asked.toSorted(), ['Köln', 'Oslo "x"'])
        const second = JSON.stringify(await bodyOf(upstream.received[1]!))
        for (const { id } of calls) assert.equal(second.split(`"${id}"`).length - 1, 2, `${id} is asked and answered`)
        assert.match(second, /rain.{1,6}:.{1,4}Köln/)
      })
    }

    it('forces a tool', async () => {
      answers({ tools: [{ id: 'call_1', name: 'weather', input: { city: 'Rom' } }], finish: 'stop' })
      const weather = tool({ inputSchema: schema, execute: () => 'rain' })
      const forced = { type: 'tool', toolName: 'weather' } as const
      const { toolCalls } = await generateText({ ...options(), tools: { weather }, toolChoice: forced })
      assert.deepEqual(
        toolCalls.map(({ toolName, input }) => [toolName, input]),
        [['weather', { city: 'Rom' }]],
      )
      const { tool_choice } = (await bodyOf(upstream.received[0]!)) as { tool_choice: object }
      assert.match(JSON.stringify(tool_choice), /"name":"weather"/)
    })

    it('gets an object of a schema', async () => {
      answers({ text: '{"city":"Rom"}' })
      const { output } = await generateText({ ...options(), output: Output.object({ schema }) })
      assert.deepEqual(output, { city: 'Rom' })
      const body = JSON.stringify(await bodyOf(upstream.received[0]!))
      assert.match(body, /"json_schema"/)
    })

    it('hears of an error before the answer', async () => {
      upstream.script = received => received.json(429, wire.error(429, 'slow down'))
      await assert.rejects(generateText(options()), (thrown: unknown) => {
        assert.ok(APICallError.isInstance(thrown))
        assert.deepEqual([thrown.statusCode, thrown.message, thrown.isRetryable], [429, 'slow down', true])
        return true
      })
    })

    it('hears of an error within the stream, and of a stream that is cut', async () => {
      for (const cut of [
        (received: Received) => received.response.end(wire.errorEvent('overloaded')),
        (received: Received) => received.reset(),
      ]) {
        upstream.script = async received => {
          received.startStream()
          for (const event of wire.stream({ text: 'abcdefghij'.repeat(3) }).slice(0, 4)) await received.write(event)
          await until(() => parts.includes('text-delta'), 'the client has some of it')
          cut(received)
        }
        const parts: string[] = []
        for await (const part of streamText({ ...options(), onError: () => {} }).fullStream) parts.push(part.type)
        assert.ok(parts.includes('error'), parts.join())
      }
    })

    it('tells the provider when it gives up', async () => {
      upstream.script = async received => {
        received.startStream()
        for (const event of wire.stream({ text: 'abcdefghij'.repeat(3) }).slice(0, 4)) await received.write(event)
      }
      const giveUp = new AbortController()
      const stream = streamText({ ...options(), abortSignal: giveUp.signal, onError: () => {} })
      for await (const _ of stream.textStream) giveUp.abort()
      const [received] = upstream.received
      await received!.closed
      assert.equal(received!.gone, true)
    })
  })
}
