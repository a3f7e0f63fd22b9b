// The texts in Anthropic's messages and in the events of their streams, to be read and changed; knows no bytes and no stream.
import { isObject, type JsonObject } from '../json.ts'
import { mapMember, mapObjects } from '../json-parts.ts'
import type { TextPlace } from './protocol.ts'

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
