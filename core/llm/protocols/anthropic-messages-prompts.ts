// All that a request of Anthropic's messages says, for guards; knows no guard.
import { isObject, type JsonObject } from '../json.ts'
import { IN_FRONT, type Prompt, type PromptKind, PromptList, type PromptPlace, promptRole } from '../prompt.ts'

/** The results of a tool may have documents in them, and those texts; nobody nests deeper. */
const MAX_NESTED = 4

/** Calls of tools, the provider's own among them. */
const CALLS: readonly unknown[] = ['tool_use', 'server_tool_use', 'mcp_tool_use']
const RESULTS: readonly unknown[] = ['tool_result', 'mcp_tool_result']

interface Standing {
  readonly place: PromptPlace
  /** Of the texts in it. */
  readonly kind: PromptKind
  readonly nested: number
}

/** See Protocol.prompts. */
export function messagePrompts({ system, messages }: JsonObject): Prompt[] {
  const said = new PromptList()
  takeContent(said, system, { place: { role: 'system', turn: IN_FRONT }, kind: 'text', nested: 0 })
  if (!Array.isArray(messages)) said.text({ role: 'user', turn: 0 }, messages, 'messages')
  else {
    for (const [turn, message] of messages.entries()) {
      const { role, content } = isObject(message) ? message : { role: 'user', content: message }
      takeContent(said, content, { place: { role: promptRole(role), turn }, kind: 'text', nested: 0 })
    }
  }
  return said.all
}

function takeContent(said: PromptList, content: unknown, standing: Standing): void {
  const { place, kind } = standing
  if (!Array.isArray(content)) return said.text(place, content, 'content', kind)
  for (const block of content) {
    if (isObject(block)) takeBlock(said, block, standing)
    else said.text(place, block, 'block', kind)
  }
}

function takeBlock(said: PromptList, block: JsonObject, { place, kind, nested }: Standing): void {
  const { type } = block
  const within: Standing = { place, kind, nested: nested + 1 }
  if (nested > MAX_NESTED) said.notText(place, type)
  else if (type === 'text' && typeof block.text === 'string') said.text(place, block.text, 'text', kind)
  else if (type === 'thinking') said.text(place, block.thinking, 'thinking', 'reasoning')
  else if (CALLS.includes(type)) said.json(place, block.input, 'tool_use')
  else if (RESULTS.includes(type)) {
    takeContent(said, block.content, { ...within, place: { ...place, role: 'tool' }, kind: 'tool_result' })
  } else if (type === 'search_result') {
    said.text(place, block.title, 'search_result', kind)
    takeContent(said, block.content, within)
  } else if (type === 'document') takeDocument(said, block, within)
  else said.notText(place, type)
}

/** A text, or blocks; everything else is a file. */
function takeDocument(said: PromptList, { title, context, source }: JsonObject, standing: Standing): void {
  const { place, kind } = standing
  said.text(place, title, 'document', kind)
  said.text(place, context, 'document', kind)
  const { type, data, content } = isObject(source) ? source : {}
  if (type === 'text' && typeof data === 'string') said.text(place, data, 'document', kind)
  else if (type === 'content') takeContent(said, content, standing)
  else said.notText(place, 'document')
}
