// What one event of an answer costs between the provider's socket and the client's: cut, followed, passed on or converted.
import { openConversion } from '../../../core/llm/converters/converter.ts'
import { findConverter } from '../../../core/llm/converters/table.ts'
import { Translation } from '../../../core/llm/converters/translation.ts'
import { EventStream } from '../../../core/llm/event-stream.ts'
import { protocolNamed } from '../../../core/llm/protocols/detect.ts'
import type { ProtocolName } from '../../../core/llm/protocols/protocol.ts'
import { named } from '../../helpers/events.ts'
import { handFedBody } from '../../helpers/hand-fed-body.ts'
import { quietNanos } from '../routes/meter.ts'

export interface EventCost {
  readonly what: string
  /** Events that come with one read of the socket. */
  readonly perRead: number
  readonly nanos: number
}

/** A piece of text, with all that providers say around it. */
const pieces: Partial<Record<ProtocolName, string>> = {
  'openai-chat': `data: ${JSON.stringify({
    id: 'chatcmpl-BsQ7',
    object: 'chat.completion.chunk',
    created: 1_752_000_000,
    model: 'gpt-4o-2024-08-06',
    service_tier: 'default',
    system_fingerprint: 'fp_07871e2ad8',
    choices: [{ index: 0, delta: { content: ' hello' }, logprobs: null, finish_reason: null }],
    usage: null,
  })}\n\n`,
  'openai-responses': named('response.output_text.delta', {
    sequence_number: 7,
    item_id: 'msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654',
    output_index: 0,
    content_index: 0,
    delta: ' hello',
    logprobs: [],
  }),
  'anthropic-messages': named('content_block_delta', { index: 0, delta: { type: 'text_delta', text: ' hello' } }),
  passthrough: 'data: {"id":"x","choices":[{"text":" hello","index":0,"finish_reason":null}]}\n\n',
}

const EVENTS = 1_024

/** Of every protocol that is sent as text, and of the one conversion of streams. */
export function eventCosts(): EventCost[] {
  const costs: EventCost[] = []
  for (const perRead of [1, 4, 32]) {
    for (const name of Object.keys(pieces) as ProtocolName[]) {
      for (const hidesUsage of name === 'openai-chat' ? [false, true] : [false]) {
        const what = hidesUsage ? `${name}, usage hidden` : name
        costs.push({ what, perRead, nanos: passing(name, perRead, { hidesUsage }) })
      }
    }
    const what = 'openai-chat for anthropic-messages'
    costs.push({ what, perRead, nanos: passing('openai-chat', perRead, { client: 'anthropic-messages' }) })
  }
  return costs
}

function passing(
  name: ProtocolName,
  perRead: number,
  { hidesUsage = false, client }: { hidesUsage?: boolean; client?: ProtocolName },
): number {
  const protocol = protocolNamed(name)!
  const read = Buffer.from(pieces[name]!.repeat(perRead))
  const fed = handFedBody()
  const reader = protocol.openReader({}, false)
  const converter = client && findConverter(client, to => to === name)
  const conversion =
    converter && openConversion(converter, { messages: [{ role: 'user', content: 'hi' }], max_tokens: 5 }, 'm')
  const stream = new EventStream(fed.body, {
    reader,
    hidesUsage,
    translation: conversion && new Translation(conversion, reader),
    maxBytes: Number.POSITIVE_INFINITY,
    errorEvent: () => Buffer.alloc(0),
    firstData() {},
    over() {},
  })
  let bytes = 0
  stream.pipe({
    write: chunk => {
      bytes += chunk.length
    },
    end() {},
    fail() {},
  })
  const nanos = quietNanos(EVENTS, () => {
    for (let at = 0; at < EVENTS; at += perRead) fed.provider.write(read)
  })
  if (bytes === 0) throw new Error(`nothing has passed of ${name}`)
  return nanos
}
