// Traffic of providers as their documentation has it: what is read of it, and that it does not matter where it is cut.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { EventStream } from '../core/llm/event-stream.ts'
import type { Usage } from '../core/llm/exchange.ts'
import { protocolNamed } from '../core/llm/protocols/detect.ts'
import type { Protocol, ProtocolName } from '../core/llm/protocols/protocol.ts'
import { cutAt, follow } from './helpers/events.ts'
import { handFedBody } from './helpers/hand-fed-body.ts'

const folder = new URL('fixtures/llm/', import.meta.url)

interface Golden {
  protocol: ProtocolName
  text?: string
  usage?: Partial<Usage>
  tools?: true
  failed?: true
  request?: Record<string, unknown>
  /** Events that tell of usage and nothing else. */
  usageOnly?: number
}

const greeting = 'Grüße aus "Köln" 👋🏽'
const ofResponse = { prompt: 37, completion: 11, total: 48, cacheRead: 12, reasoning: 5 }
const ofTools = { prompt: 81, completion: 45, total: 126 }

const goldens: Record<string, Golden> = {
  'azure-openai-chat-stream.sse': {
    protocol: 'openai-chat',
    text: 'Hello',
    usage: { prompt: 9, completion: 2, total: 11 },
    usageOnly: 1,
  },
  'bedrock-converse-exception-stream.bin': { protocol: 'bedrock-converse', text: 'Once', failed: true },
  'bedrock-converse-stream.bin': {
    protocol: 'bedrock-converse',
    text: greeting,
    usage: { prompt: 12, completion: 14, total: 126, cacheRead: 100 },
  },
  'bedrock-converse-tools-stream.bin': {
    protocol: 'bedrock-converse',
    text: 'I look it up.',
    usage: { prompt: 402, completion: 61, total: 463 },
    tools: true,
  },
  'bedrock-converse-tools.json': {
    protocol: 'bedrock-converse',
    text: 'I look it up.',
    usage: { prompt: 402, completion: 61, total: 463 },
    tools: true,
  },
  'bedrock-converse.json': {
    protocol: 'bedrock-converse',
    text: greeting,
    usage: { prompt: 12, completion: 14, total: 126, cacheRead: 100 },
  },
  'deepseek-chat-stream.sse': {
    protocol: 'openai-chat',
    text: '42',
    usage: { prompt: 17, completion: 21, total: 38, cacheRead: 16, reasoning: 18 },
  },
  'gemini-chat-stream.sse': {
    protocol: 'openai-chat',
    text: 'The sky is blue.',
    usage: { prompt: 6, completion: 5, total: 11 },
  },
  'openai-chat-error-stream.sse': { protocol: 'openai-chat', text: 'Once', failed: true },
  'openai-chat-stream.sse': {
    protocol: 'openai-chat',
    text: 'Grüße aus "Köln"!\n 👋🏽',
    usage: { prompt: 19, completion: 10, total: 29, cacheRead: 4 },
    usageOnly: 1,
  },
  'openai-chat-tools-stream.sse': {
    protocol: 'openai-chat',
    request: { tools: [{ type: 'function' }] },
    usage: ofTools,
    tools: true,
    usageOnly: 1,
  },
  'openai-chat-tools.json': { protocol: 'openai-chat', text: '', usage: ofTools, tools: true },
  'openai-chat-two-choices-stream.sse': { protocol: 'openai-chat', request: { n: 2 }, text: 'headstails' },
  'openai-chat.json': {
    protocol: 'openai-chat',
    text: 'Grüße!',
    usage: { prompt: 19, completion: 10, total: 29, cacheRead: 4 },
  },
  'openai-embeddings-base64.json': { protocol: 'openai-embeddings', usage: { prompt: 8, total: 8 } },
  'openai-embeddings.json': { protocol: 'openai-embeddings', usage: { prompt: 8, total: 8 } },
  'openai-responses-error-stream.sse': { protocol: 'openai-responses', failed: true },
  'openai-responses-failed-stream.sse': { protocol: 'openai-responses', text: 'Grüße', failed: true },
  'openai-responses-failed.json': { protocol: 'openai-responses', failed: true },
  'openai-responses-incomplete-stream.sse': { protocol: 'openai-responses', text: greeting, usage: ofResponse },
  'openai-responses-stream.sse': { protocol: 'openai-responses', text: greeting, usage: ofResponse },
  'openai-responses-tools-stream.sse': {
    protocol: 'openai-responses',
    usage: { prompt: 60, completion: 30, total: 90, reasoning: 14 },
    tools: true,
  },
  'openai-responses-tools.json': {
    protocol: 'openai-responses',
    usage: { ...ofResponse, cacheRead: 0 },
    tools: true,
  },
  'openai-responses.json': { protocol: 'openai-responses', text: greeting, usage: ofResponse },
  'openrouter-chat-error-stream.sse': { protocol: 'openai-chat', text: 'Hi', failed: true },
  'openrouter-chat-stream.sse': {
    protocol: 'openai-chat',
    text: 'Hi there',
    usage: { prompt: 8, completion: 3, total: 11 },
  },
  'passthrough-completions-stream.sse': { protocol: 'passthrough' },
  'vllm-chat-stream.sse': {
    protocol: 'openai-chat',
    text: 'One two',
    usage: { prompt: 12, completion: 3, total: 15 },
    usageOnly: 1,
  },
}

const nothing: Usage = { prompt: 0, completion: 0, total: 0, cacheRead: 0, cacheCreation: 0, reasoning: 0 }

/** What a reader knows in the end. */
function facts(protocol: Protocol, pieces: readonly Buffer[], golden: Golden, collectText: boolean) {
  const reader = follow(protocol, pieces, { collectText, ...(golden.request && { request: golden.request }) })
  const { usage, text, hasToolCalls, failed, complete, dataSeen, contentSeen, sequence } = reader
  return { usage, text, hasToolCalls, failed, complete, dataSeen, contentSeen, sequence, malformed: reader.malformed }
}

/** The stream as the client gets it, and why it was cut short if it was. */
function through(protocol: Protocol, pieces: readonly Buffer[], golden: Golden, hidesUsage: boolean) {
  const fed = handFedBody()
  const out: Buffer[] = []
  let why: unknown
  const stream = new EventStream(fed.body, {
    reader: protocol.openReader(golden.request ?? {}, false),
    framing: protocol.framing,
    hidesUsage,
    maxBytes: Number.POSITIVE_INFINITY,
    errorEvent: () => Buffer.from('broken'),
    firstData() {},
    over: (error, aborted) => {
      why = aborted ?? error
    },
  })
  stream.opened.catch(() => {})
  stream.pipe({ write: chunk => void out.push(Buffer.from(chunk)), end() {}, fail() {} })
  for (const piece of pieces) fed.provider.write(piece)
  fed.provider.end()
  return { out: Buffer.concat(out).toString(), why }
}

/** Where a stream's last event begins, the terminator behind it left out. */
function endOf({ framing }: Protocol, bytes: Buffer): number {
  if (framing !== undefined) return framing.open().feed(bytes)!.ends.at(-2)!
  const [end] = /(?:event: .*\n)?data: .*\n\n(?:data: \[DONE\]\n\n)?$/.exec(bytes.toString())!
  return bytes.length - Buffer.byteLength(end)
}

describe('the traffic of providers', () => {
  it('is that of the table, and no other', () => {
    assert.deepEqual(readdirSync(folder).sort(), Object.keys(goldens).sort())
  })

  for (const [file, golden] of Object.entries(goldens)) {
    const bytes = readFileSync(new URL(file, folder))
    const protocol = protocolNamed(golden.protocol)!
    const usage = golden.usage && { ...nothing, ...golden.usage }

    if (file.endsWith('.json')) {
      it(`says in ${file} what it says`, () => {
        const said = protocol.answerFacts(JSON.parse(bytes.toString()))
        assert.deepEqual(
          [said.usage, said.text, said.hasToolCalls, said.failed],
          [usage, golden.text, golden.tools ?? false, golden.failed],
        )
      })
      continue
    }

    it(`says in ${file} what it says, wherever it is cut, and passes as it is`, () => {
      const collected = facts(protocol, [bytes], golden, true)
      const isWhole = golden.protocol !== 'passthrough' || bytes.includes('[DONE]')
      assert.deepEqual(collected, {
        usage,
        text: golden.text,
        hasToolCalls: golden.tools ?? false,
        failed: golden.failed ?? false,
        complete: isWhole,
        dataSeen: true,
        contentSeen: true,
        sequence: collected.sequence,
        malformed: false,
      })
      const read = { ...collected, text: undefined }
      assert.deepEqual(facts(protocol, [bytes], golden, false), read)

      const why = golden.failed ? 'upstream_error' : undefined
      const hidden = through(protocol, [bytes], golden, true)
      const events = (text: string) => text.split('\n\n').length
      assert.equal(events(bytes.toString()) - events(hidden.out), golden.usageOnly ?? 0)
      assert.equal(hidden.why, why)

      const everyByte = Array.from(bytes, (_, at) => at)
      const cuts = fc.oneof(
        { arbitrary: fc.array(fc.nat(bytes.length), { maxLength: 40 }), weight: 40 },
        { arbitrary: fc.constant(everyByte), weight: 1 },
      )
      fc.assert(
        fc.property(cuts, places => {
          const pieces = cutAt(bytes, places)
          assert.deepEqual(facts(protocol, pieces, golden, true), collected)
          assert.deepEqual(facts(protocol, pieces, golden, false), read)
          assert.deepEqual(through(protocol, pieces, golden, false), { out: bytes.toString(), why })
          assert.deepEqual(through(protocol, pieces, golden, true), hidden)
        }),
        { numRuns: 200, seed: 8 },
      )
    })

    // A stream of an unknown kind may end anywhere; one that has failed has said all it will.
    if (golden.protocol === 'passthrough') continue
    it(`does not look whole in ${file} when it ends early`, () => {
      const whole = facts(protocol, [bytes], golden, false)
      fc.assert(
        fc.property(fc.nat(endOf(protocol, bytes)), place => {
          const { complete, usage: said } = facts(protocol, [bytes.subarray(0, place)], golden, false)
          // Only where the model has finished is there anything behind its end: usage.
          if (complete) assert.match(bytes.subarray(0, place).toString(), /"(finish_reason|stopReason)":"/)
          else assert.notEqual(through(protocol, [bytes.subarray(0, place)], golden, false).why, undefined)
          if (complete && usage === undefined) assert.deepEqual(said, whole.usage)
        }),
        { numRuns: 200, seed: 8 },
      )
    })
  }
})
