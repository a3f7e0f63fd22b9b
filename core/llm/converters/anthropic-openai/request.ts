// A request to Anthropic's API as one to OpenAI's: what is not named here does not leave (facts ai-plugins 4.1).
import { isObject, type JsonObject } from '../../json.ts'
import { openaiMessages } from './messages.ts'
import { strictSchema } from './strict-schema.ts'
import type { ToolNames } from './tool-names.ts'

/** Throws GatewayError 400 for a body without messages, RangeError for what is nested too deep. */
export function openaiRequest(body: JsonObject, names: ToolNames): JsonObject {
  const tools = openaiTools(body.tools, names)
  const choice = isObject(body.tool_choice) ? body.tool_choice : {}
  return {
    ...copied(body),
    ...(body.stream === true && { stream_options: { include_usage: true } }),
    ...said('max_completion_tokens', body.max_tokens),
    ...said('stop', Array.isArray(body.stop_sequences) ? body.stop_sequences : undefined),
    ...said('reasoning_effort', reasoningEffort(body)),
    ...said('response_format', responseFormat(body)),
    ...said('user', isObject(body.metadata) ? stringOf(body.metadata.user_id) : undefined),
    ...(tools.length > 0 && {
      tools,
      ...said('tool_choice', toolChoice(choice, tools, names)),
      ...(choice.disable_parallel_tool_use === true && { parallel_tool_calls: false }),
    }),
    messages: openaiMessages(body, names),
  }
}

function copied({ model, stream, temperature, top_p, service_tier }: JsonObject): JsonObject {
  return {
    ...said('model', stringOf(model)),
    ...said('stream', stream),
    ...said('temperature', temperature),
    ...said('top_p', top_p),
    ...said('service_tier', stringOf(service_tier)),
  }
}

/** A member, where there is a value for it. */
function said(key: string, value: unknown): JsonObject {
  return value === undefined ? {} : { [key]: value }
}

function stringOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function reasoningEffort({ thinking, output_config }: JsonObject): string | undefined {
  if (!isObject(thinking)) return undefined
  if (thinking.type === 'adaptive') {
    const effort = isObject(output_config) ? stringOf(output_config.effort) : undefined
    return effort || 'medium'
  }
  if (thinking.type !== 'enabled') return undefined
  const budget = typeof thinking.budget_tokens === 'number' ? thinking.budget_tokens : 0
  if (budget >= 4096) return 'high'
  if (budget >= 2048) return 'medium'
  return budget >= 1024 ? 'low' : 'minimal'
}

function responseFormat({ output_format, output_config }: JsonObject): JsonObject | undefined {
  const stated = isObject(output_format) && Object.keys(output_format).length > 0
  const format = stated ? output_format : isObject(output_config) ? output_config.format : undefined
  if (!isObject(format) || format.type !== 'json_schema' || !isObject(format.schema)) return undefined
  if (Object.keys(format.schema).length === 0) return undefined
  const schema = strictSchema(format.schema)
  return { type: 'json_schema', json_schema: { name: 'structured_output', schema, strict: true } }
}

/** Tools that Anthropic runs itself, by the beginning of their type. */
const BUILT_IN = /^(computer_|bash_|text_editor_|web_search|code_execution_)/

type OpenaiTool = { type: 'function'; function: { name: string } & JsonObject }

function openaiTools(tools: unknown, names: ToolNames): OpenaiTool[] {
  if (!Array.isArray(tools)) return []
  return tools.filter(isObject).flatMap(({ type, name, description, input_schema }) => {
    if ((typeof type === 'string' && BUILT_IN.test(type)) || typeof name !== 'string' || name === '') return []
    const parameters = { ...said('description', description), ...said('parameters', input_schema) }
    return { type: 'function', function: { name: names.outward(name), ...parameters } }
  })
}

const choices: Readonly<Record<string, string>> = { auto: 'auto', any: 'required', none: 'none' }

function toolChoice(
  { type, name }: JsonObject,
  tools: readonly OpenaiTool[],
  names: ToolNames,
): JsonObject | string | undefined {
  if (type === 'tool' && typeof name === 'string') {
    const outward = names.outward(name)
    const declared = tools.some(tool => tool.function.name === outward)
    return { type: 'function', function: { name: declared ? outward : name } }
  }
  return typeof type === 'string' && Object.hasOwn(choices, type) ? choices[type] : undefined
}
