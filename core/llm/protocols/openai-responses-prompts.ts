// All that a request of the Responses API says, for guards; knows no guard.
import { isObject, type JsonObject } from '../json.ts'
import { IN_FRONT, type Prompt, type PromptKind, PromptList, type PromptPlace, promptRole } from '../prompt.ts'

const TEXT_PARTS: readonly unknown[] = [
  'input_text',
  'output_text',
  'text',
  'summary_text',
  'reasoning_text',
  undefined,
]

/** What the provider has and we have not: it is named by an id. */
const ELSEWHERE = ['prompt', 'previous_response_id', 'conversation']

/** The member in which a call of a tool says what it wants. */
const CALLS: Readonly<Record<string, string>> = {
  apply_patch_call: 'operation',
  code_interpreter_call: 'code',
  computer_call: 'action',
  custom_tool_call: 'input',
  file_search_call: 'queries',
  function_call: 'arguments',
  local_shell_call: 'action',
  mcp_approval_request: 'arguments',
  mcp_call: 'arguments',
  shell_call: 'action',
  web_search_call: 'action',
}

/** The member in which a tool's result stands. */
const RESULTS: Readonly<Record<string, string>> = {
  apply_patch_call_output: 'output',
  code_interpreter_call: 'outputs',
  computer_call_output: 'output',
  custom_tool_call_output: 'output',
  file_search_call: 'results',
  function_call_output: 'output',
  local_shell_call_output: 'output',
  mcp_approval_response: 'reason',
  mcp_call: 'output',
  shell_call_output: 'output',
}

/** See Protocol.prompts. */
export function responsesPrompts(body: JsonObject): Prompt[] {
  const said = new PromptList()
  const front: PromptPlace = { role: 'user', turn: IN_FRONT }
  said.text({ ...front, role: 'system' }, body.instructions, 'instructions')
  for (const name of ELSEWHERE) if (body[name] !== undefined && body[name] !== null) said.notText(front, name)
  // They are put into a prompt that the provider keeps.
  const variables = isObject(body.prompt) ? body.prompt.variables : undefined
  for (const value of isObject(variables) ? Object.values(variables) : []) takePart(said, front, value, 'text')
  const { input } = body
  if (!Array.isArray(input)) said.text({ role: 'user', turn: 0 }, input, 'input')
  else for (const [turn, item] of input.entries()) takeItem(said, turn, item)
  return said.all
}

function takeItem(said: PromptList, turn: number, item: unknown): void {
  if (!isObject(item)) return said.text({ role: 'user', turn }, item, 'item')
  const { type } = item
  const name = typeof type === 'string' ? type : ''
  if (type === undefined || type === 'message') return takeMessage(said, turn, item)
  if (type === 'reasoning') return takeReasoning(said, turn, item)
  // Definitions.
  if (type === 'mcp_list_tools') return
  const [call, result] = [own(CALLS, name), own(RESULTS, name)]
  if (call === undefined && result === undefined) return said.notText({ role: promptRole(item.role), turn }, type)
  if (call !== undefined) takeCall(said, { role: 'assistant', turn }, item[call], name)
  if (result !== undefined) takeResult(said, { role: 'tool', turn }, item[result], name)
}

/** Some servers take a text without content, and results of tools without a type. */
function takeMessage(said: PromptList, turn: number, { role, content, text, output }: JsonObject): void {
  const place = { role: promptRole(role), turn }
  takeParts(said, place, content, 'text')
  takeParts(said, place, text, 'text')
  takeParts(said, { ...place, role: 'tool' }, output, 'tool_result')
}

function takeReasoning(said: PromptList, turn: number, { summary, content, encrypted_content }: JsonObject): void {
  const place: PromptPlace = { role: 'assistant', turn }
  takeParts(said, place, summary, 'reasoning')
  takeParts(said, place, content, 'reasoning')
  if (encrypted_content !== undefined && encrypted_content !== null) said.notText(place, 'encrypted_content')
}

/** Code and a custom tool's input are no JSON. */
function takeCall(said: PromptList, place: PromptPlace, wanted: unknown, name: string): void {
  if (name === 'custom_tool_call' || name === 'code_interpreter_call') {
    said.text(place, wanted, name, 'tool_arguments')
  } else said.json(place, wanted, name)
}

/** A text, parts of a message, or what the tool itself says: of a shell what it printed, of a search what it found. */
function takeResult(said: PromptList, place: PromptPlace, result: unknown, name: string): void {
  if (!Array.isArray(result)) {
    if (isObject(result)) said.notText(place, result.type ?? name)
    else said.text(place, result, name, 'tool_result')
    return
  }
  for (const part of result) {
    const { stdout, stderr, logs } = isObject(part) ? part : {}
    const printed = [stdout, stderr, logs].filter(text => text !== undefined)
    for (const text of printed) said.text(place, text, name, 'tool_result')
    if (printed.length === 0) takePart(said, place, part, 'tool_result')
  }
}

function takeParts(said: PromptList, place: PromptPlace, content: unknown, kind: PromptKind): void {
  if (!Array.isArray(content)) return said.text(place, content, 'content', kind)
  for (const part of content) takePart(said, place, part, kind)
}

function takePart(said: PromptList, place: PromptPlace, part: unknown, kind: PromptKind): void {
  if (!isObject(part)) said.text(place, part, 'part', kind)
  else if (part.type === 'refusal') said.text(place, part.refusal, 'refusal', kind)
  else if (TEXT_PARTS.includes(part.type) && typeof part.text === 'string') said.text(place, part.text, 'text', kind)
  else said.notText(place, part.type)
}

function own(table: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined
}
