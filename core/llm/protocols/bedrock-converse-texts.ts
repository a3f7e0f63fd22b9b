// The texts in Converse's answers and events, to be read and changed; knows no bytes and no stream.
import { isObject, isShallow, type JsonObject } from '../json.ts'
import { mapMember, mapObjects } from '../json-parts.ts'
import type { AnswerPiece, TextPlace } from './protocol.ts'

type Change = (text: string, place: TextPlace) => string

/** See Protocol.mapTexts. A text is `of` its block: `0.text`, `0.reasoning`. */
export function mapConverseTexts(event: JsonObject, change: Change): JsonObject {
  const piece = mapMember(event, 'delta', delta => {
    const at = event.contentBlockIndex
    return mapBlock(delta, (text, kind) => change(text, { of: `${String(at)}.${kind}`, whole: false }))
  })
  return mapMember(piece, 'output', output =>
    within(output, 'message', message =>
      within(message, 'content', content =>
        mapObjects(content, (block, at) => {
          const mapped = mapBlock(block, (text, kind) => change(text, { of: `${at}.${kind}`, whole: true }))
          return mapped as JsonObject // of an object comes an object
        }),
      ),
    ),
  )
}

/** See Protocol.endsText. The end of a block has its index and nothing of it; behind the answer's own end comes none. */
export function endsConverseText(event: JsonObject, of: string): boolean {
  const { contentBlockIndex: at, delta, start } = event
  if (at === undefined) return event.stopReason !== undefined || event.message !== undefined
  return delta === undefined && start === undefined && of.startsWith(`${String(at)}.`)
}

/** A block of an answer, or a piece of one. */
function mapBlock(block: unknown, change: (text: string, kind: string) => string): unknown {
  const changed = (kind: string) => (text: unknown) => (typeof text === 'string' ? change(text, kind) : text)
  const plain = within(block, 'text', changed('text'))
  const cited = within(plain, 'citationsContent', cited =>
    within(cited, 'content', parts => mapObjects(parts, part => mapMember(part, 'text', changed('text')))),
  )
  // Of a stream the text itself, of a whole answer an object with it.
  return within(cited, 'reasoningContent', reasoning =>
    within(within(reasoning, 'text', changed('reasoning')), 'reasoningText', whole =>
      within(whole, 'text', changed('reasoning')),
    ),
  )
}

function within(value: unknown, name: string, map: (value: unknown) => unknown): unknown {
  return isObject(value) ? mapMember(value, name, map) : value
}

/** See Protocol.pieces. The arguments of a tool are an object, and come as pieces of its JSON. */
export function conversePieces(event: JsonObject): AnswerPiece[] {
  const pieces: AnswerPiece[] = []
  mapConverseTexts(event, (text, { of }) => {
    pieces.push({ kind: of.endsWith('.reasoning') ? 'reasoning' : 'text', of, text })
    return text
  })
  const { delta, contentBlockIndex: index, output } = event
  const message = isObject(output) ? output.message : undefined
  const content = isObject(message) && Array.isArray(message.content) ? message.content : []
  for (const [at, block] of [...(isObject(delta) ? [[index, delta] as const] : []), ...content.entries()]) {
    const input = isObject(block) && isObject(block.toolUse) ? block.toolUse.input : undefined
    const text = isObject(input) && isShallow(input) ? JSON.stringify(input) : input
    if (typeof text === 'string') pieces.push({ kind: 'tool_arguments', of: `${String(at)}.tool`, text })
  }
  return pieces
}

/** See Protocol.isEnd. */
export function isConverseEnd({ stopReason, usage, output }: JsonObject): boolean {
  return output === undefined && (stopReason !== undefined || usage !== undefined)
}
