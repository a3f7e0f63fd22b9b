// All that a chat completion's request says, for guards; knows no guard.
import { isObject, type JsonObject } from '../json.ts'
import { type Prompt, type PromptKind, PromptList, type PromptPlace, promptRole } from '../prompt.ts'

const TEXT_PARTS: readonly unknown[] = ['text', 'input_text', 'output_text', undefined]

/** See Protocol.prompts. */
export function chatPrompts({ messages }: JsonObject): Prompt[] {
  const said = new PromptList()
  if (!Array.isArray(messages)) said.text({ role: 'user', turn: 0 }, messages, 'messages')
  else {
    for (const [turn, message] of messages.entries()) {
      if (isObject(message)) takeMessage(said, { role: promptRole(message.role), turn }, message)
      else said.text({ role: 'user', turn }, message, 'message')
    }
  }
  return said.all
}

function takeMessage(said: PromptList, place: PromptPlace, message: JsonObject): void {
  takeReasoning(said, place, message)
  takeContent(said, place, message.content, place.role === 'tool' ? 'tool_result' : 'text')
  said.text(place, message.refusal, 'refusal')
  if (message.audio !== undefined && message.audio !== null) said.notText(place, 'audio')
  takeCall(said, place, message.function_call)
  const { tool_calls: calls } = message
  if (!Array.isArray(calls)) said.text(place, calls, 'tool_calls')
  else for (const call of calls) takeToolCall(said, place, call)
}

/** `reasoning_content` is DeepSeek's and others', `reasoning` and its details are OpenRouter's. */
function takeReasoning(said: PromptList, place: PromptPlace, message: JsonObject): void {
  said.text(place, message.reasoning_content, 'reasoning_content', 'reasoning')
  said.text(place, message.reasoning, 'reasoning', 'reasoning')
  const { reasoning_details: details } = message
  if (!Array.isArray(details)) return said.text(place, details, 'reasoning_details', 'reasoning')
  for (const detail of details) {
    const { type, text, summary } = isObject(detail) ? detail : {}
    if (typeof text === 'string' || typeof summary === 'string') {
      said.text(place, text, 'reasoning.text', 'reasoning')
      said.text(place, summary, 'reasoning.summary', 'reasoning')
    } else said.notText(place, type)
  }
}

function takeToolCall(said: PromptList, place: PromptPlace, call: unknown): void {
  if (!isObject(call)) return said.notText(place, 'tool_call')
  if (call.function === undefined && call.custom === undefined) return said.notText(place, call.type)
  takeCall(said, place, call.function)
  if (isObject(call.custom)) said.text(place, call.custom.input, 'custom', 'tool_arguments')
  else if (call.custom !== undefined) said.notText(place, 'custom')
}

function takeCall(said: PromptList, place: PromptPlace, call: unknown): void {
  if (isObject(call)) said.json(place, call.arguments, 'function')
  else if (call !== undefined && call !== null) said.notText(place, 'function')
}

function takeContent(said: PromptList, place: PromptPlace, content: unknown, kind: PromptKind): void {
  if (!Array.isArray(content)) return said.text(place, content, 'content', kind)
  for (const part of content) {
    if (!isObject(part)) said.text(place, part, 'part', kind)
    else if (part.type === 'refusal') said.text(place, part.refusal, 'refusal', kind)
    else if (part.type === 'thinking') takeThinking(said, place, part.thinking)
    else if (TEXT_PARTS.includes(part.type) && typeof part.text === 'string') said.text(place, part.text, 'text', kind)
    else said.notText(place, part.type)
  }
}

/** Mistral's: a text, or parts with texts. */
function takeThinking(said: PromptList, place: PromptPlace, thinking: unknown): void {
  for (const part of Array.isArray(thinking) ? thinking : [thinking]) {
    said.text(place, isObject(part) ? (part.text ?? part) : part, 'thinking', 'reasoning')
  }
}
