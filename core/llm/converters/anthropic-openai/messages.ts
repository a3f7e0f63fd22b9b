// Anthropic's system prompt and messages as OpenAI's messages (facts ai-plugins 4.1).
import { GatewayError } from '../../../errors.ts'
import { isObject, isTable, type JsonObject, walk } from '../../json.ts'
import type { ToolNames } from './tool-names.ts'

/** Throws GatewayError 400 for messages that are none. */
export function openaiMessages(body: JsonObject, names: ToolNames): JsonObject[] {
  const { messages } = body
  if (!Array.isArray(messages) || messages.length === 0) throw refused('missing messages')
  const system = systemText(body.system)
  const converted: JsonObject[] = system === '' ? [] : [{ role: 'system', content: system }]
  messages.forEach((message: unknown, index) => {
    if (!isObject(message) || typeof message.role !== 'string') throw refused(`invalid message at index ${index + 1}`)
    const { role, content } = message
    if (typeof content === 'string') converted.push({ role, content })
    else if (isTable(content)) converted.push(...fromBlocks(role, Array.isArray(content) ? content : [], names))
    else throw refused(`invalid message content at index ${index + 1}`)
  })
  return converted
}

function refused(message: string): GatewayError {
  return new GatewayError(400, 'not_convertible', message)
}

/** One message of blocks becomes several where it brings results of tools: OpenAI has a message for each. */
function fromBlocks(role: string, blocks: readonly unknown[], names: ToolNames): JsonObject[] {
  const parts: JsonObject[] = []
  const calls: JsonObject[] = []
  const results: JsonObject[] = []
  for (const block of blocks.filter(isObject)) {
    const part = partOf(block)
    if (part !== undefined) parts.push(part)
    else if (block.type === 'tool_use' && typeof block.id === 'string' && typeof block.name === 'string') {
      const { id, name, input } = block
      walk(input)
      const asked = { name: names.outward(name), arguments: JSON.stringify(input ?? {}) }
      calls.push({ id, type: 'function', function: asked })
    } else if (block.type === 'tool_result' && typeof block.tool_use_id === 'string') {
      results.push({ role: 'tool', tool_call_id: block.tool_use_id, content: resultContent(block.content) })
    }
    // Thinking, which is signed for Anthropic alone, and blocks that nobody knows are left out.
  }
  if (results.length > 0) return parts.length === 0 ? results : [...results, { role, content: parts }]
  if (calls.length > 0) {
    const content = textOf(parts)
    return [content === '' ? { role, tool_calls: calls } : { role, content, tool_calls: calls }]
  }
  if (parts.length === 0) return [{ role, content: '' }]
  return [{ role, content: role === 'assistant' ? textOf(parts) : parts }]
}

/** Text, an image or a document as a part of a message; undefined for any other block, and for one without data. */
function partOf(block: JsonObject): JsonObject | undefined {
  if (block.type === 'text') return typeof block.text === 'string' ? { type: 'text', text: block.text } : undefined
  if (block.type !== 'image' && block.type !== 'document') return undefined
  const source = isObject(block.source) ? block.source : {}
  const { type, media_type, data, url } = source
  // A document of plain text is text.
  if (type === 'text' && isFilled(data)) return { type: 'text', text: data }
  const assumed = block.type === 'image' ? 'image/png' : 'application/pdf'
  if (type === 'base64' && isFilled(data)) {
    return imagePart(`data:${isFilled(media_type) ? media_type : assumed};base64,${data}`)
  }
  return type === 'url' && isFilled(url) ? imagePart(url) : undefined
}

function imagePart(url: string): JsonObject {
  return { type: 'image_url', image_url: { url } }
}

/** A tool's result: text, or a list of parts when there is more than text. */
function resultContent(content: unknown): string | JsonObject[] {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  const parts = content
    .filter(isObject)
    .map(partOf)
    .filter(part => part !== undefined)
  return parts.every(({ type }) => type === 'text') ? textOf(parts) : parts
}

function textOf(parts: readonly JsonObject[]): string {
  return parts.map(({ text }) => (typeof text === 'string' ? text : '')).join('')
}

function systemText(system: unknown): string {
  if (typeof system === 'string') return system
  if (!Array.isArray(system)) return ''
  return system
    .filter(isObject)
    .map(({ type, text }) => (type === 'text' && typeof text === 'string' ? withoutHash(text) : ''))
    .join('')
}

const BILLING = /^x-anthropic-billing-header:/i

/**
 * Claude Code puts a header into the system prompt whose `cch` is another with every request: a prompt that begins with it
 * is found in no cache.
 */
function withoutHash(text: string): string {
  const header = BILLING.exec(text)?.[0]
  if (header === undefined) return text
  const rest = text
    .slice(header.length)
    .replace(/(^|;)\s*cch=[^;\s]*/gi, '')
    .replace(/^[;\s]+/, '')
  const end = rest.search(/[^;\s][;\s]*$/)
  return end < 0 ? '' : `${header} ${rest.slice(0, end + 1)}`
}

function isFilled(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
