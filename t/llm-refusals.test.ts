// Refusals in the place of answers, wherever in a stream: the SDKs take each for a message of the model that has ended.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Anthropic as Anthropic1 } from '@anthropic-ai/sdk'
import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { Anthropic as Anthropic0 } from 'anthropic-sdk-0'
import OpenAI from 'openai'
import { EndsHere } from '../core/llm/answer-event.ts'
import { Denied, type EventFilter, plugin } from '../core/sluice.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { anthropic as anthropicWire, openai as openaiWire, type Wire } from './helpers/llm-answers.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const NO = 'That is nothing for you.'
const said = {
  text: 'One. Two.',
  thinking: 'Hm.',
  tools: [{ id: 'c1', name: 'add', input: { a: 1, b: 'long enough' } }],
}
const messages = [{ role: 'user' as const, content: 'Hi!' }]
const fixture = (name: string) => readFileSync(new URL(`fixtures/llm/${name}`, import.meta.url))
const inEvents = (name: string) =>
  fixture(name)
    .toString()
    .split(/(?<=\n\n)/)

/** One way to ask, and what its user reads: all that was said, and how it ended. */
interface Client {
  path: string
  provider: string
  stream: { events: readonly (string | Buffer)[]; type: string }
  whole: object
  read(url: string, streams: boolean): Promise<{ text: string; ended: unknown }>
}

const anthropicClient = (
  Sdk: typeof Anthropic1,
  [provider, wire]: [string, Wire] = ['anthropic', anthropicWire],
): Client => ({
  path: '/v1/messages',
  provider,
  stream: { events: wire.stream(said), type: 'text/event-stream' },
  whole: wire.whole(said),
  async read(url, streams) {
    const client = new Sdk({ baseURL: url, apiKey: 'client', maxRetries: 0 })
    const asked = { model: 'm', max_tokens: 9, messages }
    const message = streams ? await client.messages.stream(asked).finalMessage() : await client.messages.create(asked)
    const texts = message.content.flatMap(block => (block.type === 'text' ? block.text : []))
    return { text: texts.join(''), ended: message.stop_reason }
  },
})

const clients: Record<string, Client> = {
  'of chat completions': {
    path: '/v1/chat/completions',
    provider: 'openai-compatible',
    stream: { events: openaiWire.stream(said), type: 'text/event-stream' },
    whole: openaiWire.whole(said),
    async read(url, streams) {
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'client', maxRetries: 0 })
      const asked = { model: 'm', messages }
      const { choices } = streams
        ? await client.chat.completions.stream(asked).finalChatCompletion()
        : await client.chat.completions.create(asked)
      return { text: choices[0]!.message.content ?? '', ended: choices[0]!.finish_reason }
    },
  },
  'of responses': {
    path: '/v1/responses',
    provider: 'openai',
    stream: { events: inEvents('openai-responses-stream.sse'), type: 'text/event-stream' },
    whole: JSON.parse(fixture('openai-responses.json').toString()),
    async read(url, streams) {
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'client', maxRetries: 0 })
      const asked = { model: 'm', input: 'Hi!' }
      const response = streams
        ? await client.responses.stream(asked).finalResponse()
        : await client.responses.create(asked)
      return { text: response.output_text, ended: response.status }
    },
  },
  'of Anthropic’s messages, 1.x': anthropicClient(Anthropic1),
  'of Anthropic’s messages, 0.x': anthropicClient(Anthropic0 as unknown as typeof Anthropic1),
  'of Anthropic’s messages, before OpenAI’s protocol': anthropicClient(Anthropic1, ['openai-compatible', openaiWire]),
  'of Bedrock': {
    path: '/model/m/converse',
    provider: 'bedrock',
    stream: {
      events: framesOf(fixture('bedrock-converse-tools-stream.bin')),
      type: 'application/vnd.amazon.eventstream',
    },
    whole: JSON.parse(fixture('bedrock-converse.json').toString()),
    async read(url, streams) {
      const client = new BedrockRuntimeClient({
        region: 'us-east-1',
        endpoint: url,
        credentials: { accessKeyId: 'A', secretAccessKey: 'S' },
        requestHandler: new NodeHttpHandler(),
        maxAttempts: 1,
      })
      try {
        const asked = { modelId: 'm', messages: [{ role: 'user' as const, content: [{ text: 'Hi!' }] }] }
        if (!streams) {
          const { output, stopReason } = await client.send(new ConverseCommand(asked))
          return { text: output?.message?.content?.[0]?.text ?? '', ended: stopReason }
        }
        const { stream } = await client.send(new ConverseStreamCommand(asked))
        let text = ''
        let ended: unknown
        for await (const event of stream!) {
          text += event.contentBlockDelta?.delta?.text ?? ''
          ended ??= event.messageStop?.stopReason
        }
        return { text, ended }
      } finally {
        client.destroy()
      }
    },
  },
}

function framesOf(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = []
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
    frames.push(bytes.subarray(at, at + bytes.readUInt32BE(at)))
  }
  return frames
}

const ends = ['stop', 'completed', 'end_turn']
const limits = ['length', 'incomplete', 'max_tokens']

describe('a refusal in the place of an answer', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let open: () => EventFilter

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    await gateway.close()
    await upstream.close()
  })

  async function start(provider: string, keepAlive?: number): Promise<void> {
    const guard = plugin({
      name: 'a-guard',
      priority: 1,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({ event_filter: () => open() }),
    })
    const config = {
      provider,
      provider_conf: { region: 'us-east-1' },
      auth: provider === 'bedrock' ? { aws: { access_key_id: 'A', secret_access_key: 'S' } } : {},
      override: { endpoint: upstream.origin },
      ...(provider === 'bedrock' && { options: { model: 'm' } }),
    }
    gateway = await startGateway({
      plugins: [guard],
      limits: { keepAlive },
      resources: { routes: { 1: { uri: '/*', plugins: { 'ai-proxy': config, 'a-guard': {} } } } },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  const denial = (status = 200) => new Denied(status, { text: NO, model: 'm', id: 'an-id', usage: undefined })

  /** Denies the answer when event number `n` comes, or its end. */
  const denyAt = (n: number) => () => {
    let seen = 0
    return () => {
      if (seen++ === n) throw denial()
    }
  }

  const endAt = (n: number) => () => {
    let seen = 0
    return () => {
      if (seen++ === n) throw new EndsHere('insufficient_quota', 'no more', 3)
    }
  }

  for (const [name, client] of Object.entries(clients)) {
    const { stream, whole } = client
    const answer = async (received: Received, streams: boolean, together = false) => {
      if (!streams) return received.json(200, whole)
      received.response.writeHead(200, { 'content-type': stream.type })
      if (together) await received.write(Buffer.concat(stream.events.map(event => Buffer.from(event))))
      else for (const event of stream.events) await received.write(event)
      received.response.end()
    }

    it(`is understood by clients ${name}, whole`, async () => {
      await start(client.provider)
      upstream.script = received => answer(received, false)
      open = denyAt(0)
      const { text, ended } = await client.read(gateway.url, false)
      assert.equal(text, NO)
      assert.ok(ends.includes(ended as string), String(ended))
    })

    it(`is understood by clients ${name}, wherever it comes in a stream`, async () => {
      await start(client.provider)
      for (const together of [true, false]) {
        upstream.script = received => answer(received, true, together)
        // What ends the answer has left behind the last of these.
        for (let at = 0; at < stream.events.length - 3; at++) {
          open = denyAt(at)
          const { text, ended } = await client.read(gateway.url, true)
          assert.ok(text.endsWith(NO), `${at}: ${text}`)
          assert.ok(ends.includes(ended as string), `${at}: ${String(ended)}`)
        }
      }
    })

    it(`may be that there is no more of it, which clients ${name} take for the model's own limit, wherever that is`, async () => {
      await start(client.provider)
      upstream.script = received => answer(received, true)
      open = () => () => {}
      const { text: all } = await client.read(gateway.url, true)
      for (let at = 1; at < stream.events.length - 3; at++) {
        open = endAt(at)
        const { text, ended } = await client.read(gateway.url, true)
        assert.ok(all.startsWith(text), `${at}: ${text}`)
        assert.ok(limits.includes(ended as string), `${at}: ${String(ended)}`)
      }
      open = endAt(0)
      await assert.rejects(client.read(gateway.url, true))
    })
  }

  const ask = (body: object = {}) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ stream: true, messages, ...body }),
    })
  const chunk = (content: string, finish: string | null = null) =>
    `data: ${JSON.stringify({ id: 'c', created: 5, choices: [{ index: 0, delta: { content }, finish_reason: finish }] })}\n\n`

  it('has its own status while nothing has left, and is a stream to those who stream', async () => {
    await start('openai-compatible')
    upstream.script = async received => {
      received.startStream()
      await received.write(chunk('a'))
    }
    open = () => () => {
      throw denial(451)
    }
    const answer = await ask()
    assert.deepEqual([answer.status, answer.headers.get('content-type')], [451, 'text/event-stream'])
    assert.match(await answer.text(), /^data: \{.*That is nothing.*\}\n\ndata: \[DONE\]\n\n$/)
    await until(() => upstream.received[0]!.gone, 'the provider is hung up on')
  })

  it('ends every choice that is open, and says nothing twice', async () => {
    await start('openai-compatible')
    const choice = (index: number, finish_reason: string | null = null) =>
      `data: ${JSON.stringify({ id: 'c', created: 5, choices: [{ index, delta: { content: 'a' }, finish_reason }] })}\n\n`
    upstream.script = async received => {
      received.startStream()
      for (const one of [0, 1, 2]) await received.write(choice(one))
      await received.write(choice(1, 'stop') + choice(0))
    }
    open = denyAt(4)
    const lines = (await (await ask({ n: 3 })).text()).trim().split('\n\n')
    assert.equal(lines.at(-1), 'data: [DONE]')
    const last = JSON.parse(lines.at(-2)!.slice(6)) as {
      id: string
      choices: { index: number; finish_reason: string }[]
    }
    assert.equal(last.id, 'c')
    assert.deepEqual(
      last.choices.map(({ index, finish_reason }) => [index, finish_reason]),
      [
        [0, 'stop'],
        [2, 'stop'],
      ],
    )
  })

  describe('while an answer is held back', () => {
    it('the client hears comments, and then all of it at once', async () => {
      await start('openai-compatible', 20)
      upstream.script = async received => {
        received.startStream()
        await received.write(chunk('a') + chunk('b', 'stop'))
      }
      open = () => event => (event === undefined ? undefined : 'hold')
      const answer = await ask()
      assert.equal(answer.status, 200)
      const reader = answer.body!.getReader()
      let heard = ''
      const read = async () => Buffer.from((await reader.read()).value ?? []).toString()
      while (heard.length < 9) heard += await read()
      assert.match(heard, /^(:\n\n)+$/)
      upstream.received[0]!.response.end()
      for (let more = await read(); more !== ''; more = await read()) heard += more
      assert.equal(heard.replace(/^(:\n\n)+/, ''), chunk('a') + chunk('b', 'stop'))
    })

    it('the client hears comments while a verdict is thought over, and the refusal goes behind them', async () => {
      await start('openai-compatible', 20)
      upstream.script = async received => {
        received.startStream()
        await received.write(chunk('a'))
      }
      const verdict = Promise.withResolvers<void>()
      open = () => () => verdict.promise
      const answer = await ask()
      const reader = answer.body!.getReader()
      assert.equal(Buffer.from((await reader.read()).value!).toString(), ':\n\n')
      verdict.reject(denial(451))
      let heard = ''
      for (let read = await reader.read(); !read.done; read = await reader.read()) heard += Buffer.from(read.value)
      assert.match(heard, /^(:\n\n)*data: \{.*That is nothing.*\}\n\ndata: \[DONE\]\n\n$/)
      assert.equal(answer.status, 200)
    })

    it('what has passed leaves, also what came with the next in one read', async () => {
      await start('openai-compatible')
      upstream.script = async received => {
        received.startStream()
        await received.write(chunk('a') + chunk('b') + chunk('c', 'stop'))
      }
      const verdict = Promise.withResolvers<void>()
      open = () => event => (event?.text === 'c' ? verdict.promise : undefined)
      const answer = await ask()
      const reader = answer.body!.getReader()
      assert.equal(Buffer.from((await reader.read()).value!).toString(), chunk('a') + chunk('b'))
      verdict.reject(denial())
      let heard = ''
      for (let read = await reader.read(); !read.done; read = await reader.read()) heard += Buffer.from(read.value)
      assert.match(heard, /^data: \{.*That is nothing.*\}\n\ndata: \[DONE\]\n\n$/)
    })

    it('nothing is heard where the framing has no comments', async () => {
      await start('bedrock', 20)
      upstream.script = async received => {
        received.response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' })
        for (const event of clients['of Bedrock']!.stream.events) await received.write(event)
        // As long as several comments would take.
        await new Promise(resolve => setTimeout(resolve, 100))
        received.response.end()
      }
      open = () => event => (event === undefined ? undefined : 'hold')
      const answer = await fetch(`${gateway.url}/model/m/converse-stream`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ messages: [{ role: 'user', content: [{ text: 'Hi!' }] }] }),
      })
      const bytes = Buffer.from(await answer.arrayBuffer())
      assert.deepEqual(bytes, fixture('bedrock-converse-tools-stream.bin'))
    })
  })
})
