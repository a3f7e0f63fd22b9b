// The texts in Anthropic's messages and in the events of their streams, to be read and changed; knows no bytes and no stream.
import { isObject, isShallow, type JsonObject } from '../json.ts'
import { mapMember, mapObjects } from '../json-parts.ts'
import type { AnswerPiece, TextPlace } from './protocol.ts'

type Change = (text: string, place: TextPlace) => string

/** Members of blocks, and of their deltas, that are text. */
const TEXTS = ['text', 'thinking']

/** See Protocol.mapTexts. A text is `of` its block and its member: `0.text`. */
export function mapMessageTexts(event: JsonObject, change: Change): JsonObject {
  const piece = (said: unknown) => (isObject(said) ? mapBlock(said, event.index, { change, whole: false }) : said)
  if (event.type === 'content_block_delta') return mapMember(event, 'delta', piece)
  if (event.type === 'content_block_start') return mapMember(event, 'content_block', piece)
  return mapMember(event, 'content', content =>
    mapObjects(content, (block, at) => mapBlock(block, at, { change, whole: true })),
  )
}

/** See Protocol.endsText. */
export function endsMessageText({ type, index }: JsonObject, of: string): boolean {
  if (type === 'content_block_stop') return of.startsWith(`${String(index)}.`)
  return type === 'message_delta' || type === 'message_stop' || type === 'error'
}

function mapBlock(
  block: JsonObject,
  index: unknown,
  { change, whole }: { change: Change; whole: boolean },
): JsonObject {
  return TEXTS.reduce(
    (mapped, member) =>
      mapMember(mapped, member, text =>
        typeof text === 'string' ? change(text, { of: `${String(index)}.${member}`, whole }) : text,
      ),
    block,
  )
}

/** See Protocol.pieces. The arguments of a tool are an object, and come as pieces of its JSON. */
export function messagePieces(event: JsonObject): AnswerPiece[] {
  const pieces: AnswerPiece[] = []
  mapMessageTexts(event, (text, { of }) => {
    pieces.push({ kind: of.endsWith('.thinking') ? 'reasoning' : 'text', of, text })
    return text
  })
  const { type, delta, index, content, content_block: begun } = event
  if (isObject(delta) && typeof delta.partial_json === 'string')
    pieces.push({ kind: 'tool_arguments', of: `${String(index)}.tool`, text: delta.partial_json })
  const blocks: [at: unknown, block: unknown][] = [...(Array.isArray(content) ? content : []).entries()]
  // What comes in pieces begins with nothing; some servers have all of it there.
  if (type === 'content_block_start' && isObject(begun) && isObject(begun.input) && Object.keys(begun.input).length > 0)
    blocks.push([index, begun])
  for (const [at, block] of blocks) {
    if (isObject(block) && isObject(block.input) && isShallow(block.input))
      pieces.push({ kind: 'tool_arguments', of: `${String(at)}.tool`, text: JSON.stringify(block.input) })
  }
  return pieces
}

/** See Protocol.isEnd. */
export function isMessageEnd({ type }: JsonObject): boolean {
  return type === 'message_delta'
}
