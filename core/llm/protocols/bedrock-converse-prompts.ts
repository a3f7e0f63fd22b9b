// All that a request of Converse says, for guards; knows no guard.
import { isObject, type JsonObject } from '../json.ts'
import { IN_FRONT, type Prompt, type PromptKind, PromptList, type PromptPlace, promptRole } from '../prompt.ts'

/** See Protocol.prompts. */
export function conversePrompts({ system, messages, promptVariables }: JsonObject): Prompt[] {
  const said = new PromptList()
  takeContent(said, system, { role: 'system', turn: IN_FRONT }, 'text')
  // They are put into a prompt that the provider keeps.
  for (const value of isObject(promptVariables) ? Object.values(promptVariables) : []) {
    takeContent(said, [value], { role: 'user', turn: IN_FRONT }, 'text')
  }
  if (!Array.isArray(messages)) said.text({ role: 'user', turn: 0 }, messages, 'messages')
  else {
    for (const [turn, message] of messages.entries()) {
      const { role, content } = isObject(message) ? message : { role: 'user', content: message }
      takeContent(said, content, { role: promptRole(role), turn }, 'text')
    }
  }
  return said.all
}

function takeContent(said: PromptList, content: unknown, place: PromptPlace, kind: PromptKind): void {
  if (!Array.isArray(content)) return said.text(place, content, 'content', kind)
  for (const block of content) {
    if (!isObject(block)) said.text(place, block, 'block', kind)
    // A block is what its member says; none should have two.
    else for (const [name, value] of Object.entries(block)) takeBlock(said, name, value, { place, kind })
  }
}

function takeBlock(
  said: PromptList,
  name: string,
  value: unknown,
  { place, kind }: { place: PromptPlace; kind: PromptKind },
): void {
  const inner: JsonObject = isObject(value) ? value : {}
  if (name === 'cachePoint') return
  if (name === 'text') said.text(place, value, name, kind)
  else if (name === 'json') said.json(place, value, name, kind)
  else if (name === 'toolUse') said.json(place, inner.input, name)
  else if (name === 'toolResult' && kind !== 'tool_result') {
    takeContent(said, inner.content, { ...place, role: 'tool' }, 'tool_result')
  } else if (name === 'reasoningContent' && isObject(inner.reasoningText)) {
    said.text(place, inner.reasoningText.text, name, 'reasoning')
  } else if (name === 'guardContent' && isObject(inner.text)) said.text(place, inner.text.text, name, kind)
  else if (name === 'citationsContent') takeTexts(said, inner.content, place, kind)
  else if (name === 'searchResult') {
    said.text(place, inner.title, name, kind)
    takeTexts(said, inner.content, place, kind)
  } else if (name === 'document') takeDocument(said, inner, place, kind)
  else said.notText(place, name)
}

/** Models read its name too. */
function takeDocument(
  said: PromptList,
  { name, context, source }: JsonObject,
  place: PromptPlace,
  kind: PromptKind,
): void {
  said.text(place, name, 'document', kind)
  said.text(place, context, 'document', kind)
  const { text, content } = isObject(source) ? source : {}
  if (text !== undefined) said.text(place, text, 'document', kind)
  else if (content !== undefined) takeTexts(said, content, place, kind)
  else said.notText(place, 'document')
}

/** Blocks that have a text and nothing else. */
function takeTexts(said: PromptList, content: unknown, place: PromptPlace, kind: PromptKind): void {
  for (const block of Array.isArray(content) ? content : [content]) {
    if (isObject(block) && typeof block.text === 'string') said.text(place, block.text, 'text', kind)
    else if (block !== undefined) said.notText(place, 'content')
  }
}
