// What a span says of one call to an LLM: OpenTelemetry's GenAI conventions; what was said only where that is asked for.
import type { Attempt, Context } from '../../core/context.ts'
import type { Exchange } from '../../core/llm/exchange.ts'
import { isObject, type JsonObject } from '../../core/llm/json.ts'
import { protocolNamed } from '../../core/llm/protocols/detect.ts'
import type { ProtocolName } from '../../core/llm/protocols/protocol.ts'
import { providers } from '../../core/llm/providers/table.ts'
import { nodeOf } from '../../core/observe/measures.ts'
import type { Attributes, AttributeValue } from '../../core/observe/trace/span.ts'
import { attemptAttributes } from './http-attributes.ts'

/** What is kept of what was said, and how many characters of each of the two. */
export interface Capture {
  readonly input: boolean
  readonly output: boolean
  readonly max_characters: number
}

/** Attributes that have a limit of their own. */
export const contentAttributes = ['gen_ai.input.messages', 'gen_ai.output.messages'] as const

export interface CallFacts {
  readonly name: string
  readonly attributes: Attributes
  readonly failed: boolean
}

const operations: Readonly<Record<ProtocolName, string | undefined>> = {
  'openai-chat': 'chat',
  'openai-responses': 'chat',
  'anthropic-messages': 'chat',
  'bedrock-converse': 'chat',
  'openai-embeddings': 'embeddings',
  'vertex-predict': 'embeddings',
  // It may be anything.
  passthrough: undefined,
}

/** The try that has just ended. `attempt` is its record, where there is one. */
export function callFacts(ctx: Context, call: Exchange, attempt: Attempt | undefined, resent: number): CallFacts {
  const { said, cutBy, spoken, streaming, timeToFirstTokenMs, upstream } = call
  const operation = spoken && operations[spoken]
  const provider = call.provider && (providers.get(call.provider)?.conventionalName ?? call.provider)
  const model = text(call.model)
  const http = attempt === undefined ? [] : attemptAttributes(attempt, resent)
  const failure = cutBy ?? http.find(([key]) => key === 'error.type')?.[1]
  return {
    name: operation === undefined ? ctx.request.method : [operation, model].filter(Boolean).join(' '),
    failed: failure !== undefined && failure !== 'client_disconnect' && failure !== 'client_gone',
    attributes: [
      ['gen_ai.operation.name', operation],
      ['gen_ai.provider.name', provider],
      // Its name in the conventions before 1.37, by which many still look.
      ['gen_ai.system', provider],
      ['gen_ai.request.model', model],
      ...requestAttributes(ctx, call),
      ['gen_ai.response.id', said?.id],
      ['gen_ai.response.model', said?.model],
      ['gen_ai.response.finish_reasons', said && said.finishReasons.length > 0 ? said.finishReasons : undefined],
      ...usageAttributes(call),
      ['gen_ai.response.time_to_first_chunk', streaming ? seconds(timeToFirstTokenMs) : undefined],
      ['server.address', upstream?.host],
      ['server.port', attempt === undefined ? undefined : Number(nodeOf(attempt.address).port) || undefined],
      ...http.filter(([key]) => key !== 'error.type'),
      ['error.type', failure],
      // Ours: who of several was asked, and for whom the provider was.
      ['sluice.llm.instance', call.instance],
    ],
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function seconds(ms: number | undefined): AttributeValue | undefined {
  return ms === undefined ? undefined : { double: ms / 1000 }
}

/** What the client asks for, under the names of the protocols that there are. */
function requestAttributes(ctx: Context, { requestType, spoken }: Exchange): Attributes {
  const body = bodyOf(ctx)
  const inference = isObject(body.inferenceConfig) ? body.inferenceConfig : {}
  const whole = (value: unknown) => (Number.isInteger(value) ? (value as number) : undefined)
  const real = (value: unknown) => (typeof value === 'number' ? { double: value } : undefined)
  const max = body.max_completion_tokens ?? body.max_tokens ?? body.max_output_tokens ?? inference.maxTokens
  return [
    ['gen_ai.request.stream', spoken === 'openai-embeddings' ? undefined : requestType === 'ai_stream'],
    ['gen_ai.request.max_tokens', whole(max)],
    ['gen_ai.request.temperature', real(body.temperature ?? inference.temperature)],
    ['gen_ai.request.top_p', real(body.top_p ?? inference.topP)],
    ['gen_ai.request.choice.count', body.n === 1 ? undefined : whole(body.n)],
  ]
}

function bodyOf(ctx: Context): JsonObject {
  const value = ctx.body.known?.value
  return isObject(value) ? value : {}
}

function usageAttributes({ usage, spoken }: Exchange): Attributes {
  if (usage === undefined) return []
  const { prompt, completion, cacheRead, cacheCreation, reasoning } = usage
  const isApart = spoken !== undefined && protocolNamed(spoken)?.cacheApart === true
  return [
    // What a cache had is input too, whether or not the provider counts it there.
    ['gen_ai.usage.input_tokens', isApart ? prompt + cacheRead + cacheCreation : prompt],
    ['gen_ai.usage.output_tokens', completion],
    ['gen_ai.usage.cache_read.input_tokens', cacheRead || undefined],
    ['gen_ai.usage.cache_creation.input_tokens', cacheCreation || undefined],
    ['gen_ai.usage.reasoning.output_tokens', reasoning || undefined],
  ]
}

/** What was asked and what was answered, as far as it is to be kept. */
export function content(ctx: Context, call: Exchange, { input, output, max_characters: max }: Capture): Attributes {
  const asked = input ? (protocolNamed(call.protocol)?.messages(bodyOf(ctx)) ?? []) : []
  const answered = output && call.responseText !== undefined ? [{ role: 'assistant', content: call.responseText }] : []
  const [finish_reason] = call.said?.finishReasons ?? []
  return [
    ['gen_ai.input.messages', messages(asked, max)],
    ['gen_ai.output.messages', messages(answered, max, finish_reason)],
  ]
}

/** JSON, of texts that have `max` characters together; what is behind them is left out. */
function messages(
  said: readonly { readonly role: string; readonly content: string }[],
  max: number,
  finish_reason?: string,
): string | undefined {
  if (said.length === 0) return undefined
  let left = max
  const kept = []
  for (const { role, content } of said) {
    if (left <= 0) break
    const part = { type: 'text', content: content.slice(0, left) }
    left -= part.content.length
    kept.push({ role, parts: [part], ...(finish_reason !== undefined && { finish_reason }) })
  }
  return JSON.stringify(kept)
}
