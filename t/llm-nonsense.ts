// Nonsense for protocols, as bodies, answers and streams: nothing of it may throw, last or be kept.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { encodeMessage } from '../core/llm/framing/aws-event-stream.ts'
import { sse } from '../core/llm/framing/sse.ts'
import { detectProtocol, protocolNamed } from '../core/llm/protocols/detect.ts'
import type { Protocol, ProtocolName } from '../core/llm/protocols/protocol.ts'
import { cutAt } from './helpers/events.ts'

const names: readonly ProtocolName[] = [
  'openai-chat',
  'openai-responses',
  'openai-embeddings',
  'anthropic-messages',
  'bedrock-converse',
  'passthrough',
]
export const protocols: readonly Protocol[] = names.map(protocolNamed).filter(spoken => spoken !== undefined)

/** Every key and every short text that stands in the source of a protocol: what nonsense must be made of to go deep. */
const words = [...new Set(sources().flatMap(text => [...text.matchAll(/[\w.]{2,40}/g)].map(([word]) => word)))]

function sources(): string[] {
  const files = ['openai-chat', 'openai-chat-reader', 'openai-responses', 'openai-embeddings', 'passthrough', 'detect']
  files.push('anthropic-messages', 'anthropic-messages-reader', 'bedrock-converse', 'bedrock-converse-reader')
  files.push(
    'openai-chat-prompts',
    'openai-responses-prompts',
    'anthropic-messages-prompts',
    'bedrock-converse-prompts',
    'openai-chat-texts',
    'openai-responses-texts',
    'anthropic-messages-texts',
    'bedrock-converse-texts',
  )
  return files.map(file => readFileSync(new URL(`../core/llm/protocols/${file}.ts`, import.meta.url), 'utf8'))
}

const word = fc.constantFrom(...words)
const eventName = fc.oneof(
  word,
  fc.constantFrom('error', ...words.filter(name => /^(response\.|message_|content|message[A-Z]|metadata)/.test(name))),
)

/** JSON whose keys and texts are often those that protocols know. */
const { json } = fc.letrec<{ json: unknown }>(tie => ({
  json: fc.oneof(
    { depthSize: 'small' },
    fc.oneof(word, fc.constantFrom(null, true, false, 0, -1, 1e308, 5, ''), fc.string({ maxLength: 5 })),
    fc.dictionary(word, tie('json'), { maxKeys: 5 }),
    fc.array(tie('json'), { maxLength: 4 }),
  ),
}))

const piece = fc.oneof(
  fc.uint8Array({ maxLength: 12 }).map(bytes => Buffer.from(bytes)),
  fc
    .constantFrom(
      'data: ',
      'data:',
      'event: ',
      'event:',
      ': ',
      '\n',
      '\n\n',
      '\r',
      '\r\n\r\n',
      '[DONE]',
      '\uFEFF',
      '{',
      '}',
      '"',
    )
    .map(text => Buffer.from(text)),
  word.map(name => Buffer.from(name)),
  json.map(value => Buffer.from(`data: ${JSON.stringify(value)}\n\n`)),
  fc.tuple(eventName, json).map(([name, value]) => Buffer.from(`event: ${name}\ndata: ${JSON.stringify(value)}\n\n`)),
)

const frame = fc
  .tuple(fc.constantFrom('event', 'exception', 'error', 'x'), eventName, fc.oneof(json, fc.constant(undefined)))
  .map(([kind, type, value]) => {
    const headers = { ':message-type': kind, ':event-type': type, ':exception-type': type }
    return encodeMessage(headers, Buffer.from(value === undefined ? '{' : JSON.stringify(value)))
  })

/** A stream as nobody would send it, as text and as frames of AWS's, and where it is cut. */
export const nonsenseStream = fc.tuple(
  fc.array(piece, { maxLength: 40, size: 'max' }).map(pieces => Buffer.concat(pieces)),
  fc.array(frame, { maxLength: 20, size: 'max' }).map(frames => Buffer.concat(frames)),
  fc.array(fc.nat(800), { maxLength: 20 }),
  json,
)

export const nonsenseJson = fc.tuple(json, fc.constantFrom('/v1/messages', '/v1/responses', '/m/converse', '/x'))

/** Reads a stream of nonsense with every protocol. */
export function readNonsense(drawn: readonly [Buffer, Buffer, readonly number[], unknown]): void {
  const [text, frames, places, request] = drawn
  for (const protocol of protocols) {
    const bytes = protocol.framing === undefined ? text : Buffer.concat([frames, text])
    for (const collectText of [false, true]) {
      const reader = protocol.openReader(asObject(request), collectText)
      const splitter = (protocol.framing ?? sse).open()
      for (const part of cutAt(bytes, places)) {
        const cut = splitter.feed(part)
        if (cut === undefined) continue
        reader.read(cut)
        for (const index of reader.usageOnly) assert.ok(index >= 0 && index < cut.ends.length)
      }
      const rest = splitter.rest()
      if (rest !== undefined) reader.read(rest)
      for (const count of Object.values(reader.usage ?? {})) assert.ok(count >= 0)
      assert.ok((reader.text ?? '').length <= bytes.length)
    }
  }
}

/** Takes JSON for what an answer says, and for the last that has left of a stream that a guard ends. */
function answerNonsense({ pieces, isEnd, openBegun, framing = sse }: Protocol, body: Record<string, unknown>): void {
  for (const { kind, of, text } of pieces?.(body) ?? []) {
    assert.match(kind, /^(text|tool_arguments|reasoning)$/)
    assert.ok(typeof of === 'string' && typeof text === 'string')
  }
  assert.ok(['boolean', 'undefined'].includes(typeof isEnd?.(body)))
  const begun = openBegun?.()
  if (begun === undefined) return
  begun.took(body)
  const bytes = begun.refusal({ text: 'No.', model: 'm', id: 'i', usage: undefined })
  const { ends } = framing.open().feed(bytes)!
  assert.equal(ends.at(-1), bytes.length)
  const events = ends.map((end, at) => framing.read(bytes.subarray(ends[at - 1] ?? 0, end))!.data)
  assert.ok(events.some(data => data.includes('No.')))
}

/** Takes JSON for a request and for an answer of every protocol. */
export function takeNonsense([value, path]: readonly [unknown, string]): void {
  const before = JSON.stringify(value)
  detectProtocol(value, path)
  const body = asObject(value)
  const added = { before: [{ role: 'system', content: 'a' }], after: [{ role: 'user', content: 'b' }] }
  for (const protocol of protocols) {
    for (const { role, content } of protocol.messages(body)) {
      assert.equal(typeof role, 'string')
      assert.equal(typeof content, 'string')
    }
    const prompts = protocol.prompts(body)
    for (const { role, kind, text, turn } of prompts) {
      assert.match(role, /^(system|user|assistant|tool)$/)
      assert.match(kind, /^(text|tool_arguments|tool_result|reasoning|not_text)$/)
      assert.ok(typeof text === 'string' && text !== '' && Number.isInteger(turn) && turn >= -1)
    }
    const said = protocol.messages(body).some(({ content }) => /\S/.test(content))
    assert.ok(prompts.length > 0 || !said, 'what counts as a message is no secret to guards')
    const changed = protocol.withMessages(body, added)
    const texts = protocol.messages(changed).map(({ content }) => content)
    // Whatever was there, what is added can be seen, if anything can.
    if (protocol.messages(protocol.withMessages({}, added)).length > 0)
      assert.ok(['a', 'b'].every(text => texts.some(content => content.includes(text))))
    assert.ok(['string', 'undefined'].includes(typeof protocol.endUserId(body)))
    assert.equal(typeof protocol.isStreaming(body), 'boolean')
    protocol.usageRequest(body)
    const { usage, text, failed } = protocol.answerFacts(value)
    for (const count of Object.values(usage ?? {})) assert.ok(count >= 0)
    assert.ok(['string', 'undefined'].includes(typeof text))
    assert.ok(failed === undefined || failed === true || (failed >= 400 && failed < 600))
    answerNonsense(protocol, body)
  }
  assert.equal(JSON.stringify(value), before)
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : { value }
}
