// A whole answer of OpenAI's API, or its error, as one of Anthropic's (facts ai-plugins 4.2).
import { UpstreamError } from '../../../errors.ts'
import { isObject, type JsonObject, walk } from '../../json.ts'
import { tokens } from '../../usage.ts'
import type { ToolNames } from './tool-names.ts'

/** What is known of the request when its answer comes. */
export interface Asked {
  readonly model: unknown
  readonly stopSequences: readonly unknown[]
  readonly names: ToolNames
}

export function anthropicAnswer(answer: unknown, status: number, asked: Asked): JsonObject {
  // Gemini puts its errors into a list.
  const said = Array.isArray(answer) && answer.length === 1 ? answer[0] : answer
  const failure = isObject(said) ? said.error : undefined
  if (status >= 400) return anthropicError(isError(failure) ? failure : otherError(said, status))
  const choice = isObject(said) && Array.isArray(said.choices) ? said.choices[0] : undefined
  if (!isObject(said) || !isObject(choice)) throw new UpstreamError('malformed', 'no choices in response')
  const content = contentOf(isObject(choice.message) ? choice.message : {}, asked.names)
  const callsTools = content.some(({ type }) => type === 'tool_use')
  return {
    id: filled(said.id),
    type: 'message',
    role: 'assistant',
    model: filled(asked.model) || filled(said.model),
    content,
    ...stopOf(choice, asked.stopSequences, callsTools),
    usage: anthropicUsage(said.usage),
  }
}

/** An error in no shape that OpenAI has: a web server's page, or what a framework makes of an exception. */
function otherError(said: unknown, status: number): JsonObject {
  const { type, message, detail } = isObject(said) ? said : {}
  const words = [message, detail, said].find(one => typeof one === 'string' && one !== '')
  return { type, message: words ?? `the AI service answered with status ${status}` }
}

export function isError(failure: unknown): boolean {
  return failure !== undefined && failure !== null
}

/** `error` is OpenAI's: an object, or only its message; of anything else the client learns that it was an error. */
export function anthropicError(error: unknown): JsonObject & { type: 'error' } {
  const { type, code, message } = isObject(error) ? error : { type: undefined, code: undefined, message: error }
  const name = [type, code].find(one => (typeof one === 'string' && one !== '') || typeof one === 'number')
  return {
    type: 'error',
    error: {
      type: name === undefined ? 'api_error' : String(name),
      message: typeof message === 'string' ? message : '',
    },
  }
}

function contentOf(message: JsonObject, names: ToolNames): JsonObject[] {
  const content: JsonObject[] = []
  const thinking = thinkingOf(message)
  if (thinking !== '') content.push({ type: 'thinking', thinking, signature: '' })
  const text = textOf(message)
  if (text !== '') content.push({ type: 'text', text })
  const calls = Array.isArray(message.tool_calls) ? message.tool_calls.filter(isObject) : []
  for (const call of calls) {
    const { name, arguments: input } = isObject(call.function) ? call.function : {}
    content.push({ type: 'tool_use', id: filled(call.id), name: names.inward(filled(name)), input: inputOf(input) })
  }
  return content.length === 0 ? [{ type: 'text', text: '' }] : content
}

/** Of a message or a delta. */
export function thinkingOf({ reasoning_content, reasoning }: JsonObject): string {
  return filled(reasoning_content) || filled(reasoning)
}

/** Of a message or a delta; what a model says when it refuses is text, too. */
export function textOf({ content, refusal }: JsonObject): string {
  return filled(content) || filled(refusal)
}

/** A text, or none. */
export function filled(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** A tool is called with an object, whatever the model has written. */
function inputOf(written: unknown): JsonObject {
  let input: unknown
  try {
    input = JSON.parse(filled(written))
  } catch {
    return {}
  }
  walk(input)
  return isObject(input) ? input : {}
}

const stopReasons: Readonly<Record<string, string>> = {
  stop: 'end_turn',
  length: 'max_tokens',
  content_filter: 'end_turn',
  tool_calls: 'tool_use',
  function_call: 'tool_use',
}

/**
 * OpenAI does not say whether a stop sequence has ended an answer; vLLM (`stop_reason`) and SGLang (`matched_stop`) say
 * which.
 */
export function stopOf(
  { finish_reason, stop_reason, matched_stop }: JsonObject,
  sequences: readonly unknown[],
  callsTools: boolean,
): { stop_reason: string; stop_sequence: string | null } {
  const sequence = [stop_reason, matched_stop].find(one => typeof one === 'string' && sequences.includes(one))
  if (typeof sequence === 'string') return { stop_reason: 'stop_sequence', stop_sequence: sequence }
  const finish = typeof finish_reason === 'string' ? finish_reason.trim() : ''
  const reason = Object.hasOwn(stopReasons, finish) ? stopReasons[finish]! : 'end_turn'
  // OpenAI says `stop` when the client has named the tool: an agent would take that for the end.
  return { stop_reason: callsTools && reason === 'end_turn' ? 'tool_use' : reason, stop_sequence: null }
}

/** Anthropic counts what came from a cache apart. Zeros where the provider has said nothing. */
export function anthropicUsage(usage: unknown): JsonObject {
  const {
    prompt_tokens,
    completion_tokens,
    prompt_tokens_details: details,
    prompt_cache_hit_tokens,
  } = isObject(usage) ? usage : {}
  const prompt = tokens(prompt_tokens)
  const output_tokens = tokens(completion_tokens)
  // The second name is DeepSeek's.
  const hit = isObject(details) ? (details.cached_tokens ?? prompt_cache_hit_tokens ?? 0) : prompt_cache_hit_tokens
  if (hit === undefined) return { input_tokens: prompt, output_tokens }
  const created = isObject(details) ? details.cache_creation_input_tokens : undefined
  return {
    input_tokens: Math.max(0, prompt - tokens(hit)),
    output_tokens,
    cache_read_input_tokens: tokens(hit),
    ...(typeof created === 'number' && { cache_creation_input_tokens: created }),
  }
}
