// The texts in responses and in the events of their streams, to be read and changed; knows no bytes and no stream.
import { isObject, type JsonObject } from '../json.ts'
import { mapMember, mapObjects, objects } from '../json-parts.ts'
import type { AnswerPiece, TextPlace } from './protocol.ts'

type Change = (text: string, place: TextPlace) => string

/** Kinds of text that come in pieces, each with the member that has all of it in the end. */
const KINDS: ReadonlyMap<string, string> = new Map([
  ['output_text', 'text'],
  ['refusal', 'refusal'],
  ['reasoning_text', 'text'],
  ['reasoning_summary_text', 'text'],
])

/**
 * See Protocol.mapTexts. A piece is `of` its kind and its place: `output_text.0.0`. The stream says each text again, whole:
 * at its end, with its part, its item and the response; those are `of` what repeats them.
 */
export function mapResponsesTexts(event: JsonObject, change: Change): JsonObject {
  const { type } = event
  if (typeof type !== 'string') return mapResponse(event, change)
  const [, kind = '', step] = /^response\.(\w+)\.(delta|done)$/.exec(type) ?? []
  const member = KINDS.get(kind)
  if (member !== undefined) {
    if (step === 'delta') return mapMember(event, 'delta', textBy(change, { of: placeOf(kind, event), whole: false }))
    return mapMember(event, member, textBy(change, { of: `done.${placeOf(kind, event)}`, whole: true }))
  }
  const parts = mapMember(event, 'part', part => (isObject(part) ? mapPart(part, change) : part))
  const items = mapMember(parts, 'item', item => (isObject(item) ? mapItem(item, change) : item))
  return mapMember(items, 'response', response => (isObject(response) ? mapResponse(response, change) : response))
}

/** See Protocol.endsText. */
export function endsResponsesText(event: JsonObject, of: string): boolean {
  const type = String(event.type)
  // Nothing comes after these.
  if (/^(error|response\.(completed|incomplete|failed))$/.test(type)) return true
  const [, kind = ''] = /^response\.(\w+)\.done$/.exec(type) ?? []
  return KINDS.has(kind) && of === placeOf(kind, event)
}

function placeOf(kind: string, { output_index, content_index, summary_index }: JsonObject): string {
  return `${kind}.${String(output_index)}.${String(content_index ?? summary_index)}`
}

function mapResponse(response: JsonObject, change: Change): JsonObject {
  return mapMember(response, 'output', output => mapObjects(output, item => mapItem(item, change)))
}

/** A message, or what was thought; calls of tools have neither. */
function mapItem(item: JsonObject, change: Change): JsonObject {
  const parts = (list: unknown) => mapObjects(list, part => mapPart(part, change))
  return mapMember(mapMember(item, 'content', parts), 'summary', parts)
}

function mapPart(part: JsonObject, change: Change): JsonObject {
  const texts = textBy(change, { of: 'part', whole: true })
  return mapMember(mapMember(part, 'text', texts), 'refusal', texts)
}

function textBy(change: Change, place: TextPlace): (value: unknown) => unknown {
  return value => (typeof value === 'string' ? change(value, place) : value)
}

/** See Protocol.pieces. Items and responses within a stream say again what came in pieces. */
export function responsePieces(event: JsonObject): AnswerPiece[] {
  const { type, delta, item, response } = event
  if (typeof type !== 'string') return objects(event.output).flatMap(itemPieces)
  const kind = /^response\.(\w+)\.delta$/.exec(type)?.[1]
  if (kind !== undefined) {
    const isText = typeof delta === 'string' && !kind.endsWith('audio')
    return isText ? [{ kind: pieceKind(kind), of: placeOf(kind, event), text: delta }] : []
  }
  const items = isObject(item) ? [item] : isObject(response) ? objects(response.output) : []
  return items.flatMap(itemPieces).map(piece => ({ ...piece, again: true }))
}

/** See Protocol.isEnd. */
export function isResponseEnd({ type }: JsonObject): boolean {
  return type === 'response.completed' || type === 'response.incomplete' || type === 'response.failed'
}

/** Calls of tools have `arguments`, custom ones an `input`. */
function itemPieces({ type, content, summary, arguments: called, input }: JsonObject, at: number): AnswerPiece[] {
  const kind = pieceKind(String(type))
  const of = `${kind}.${at}`
  const texts = [...objects(content), ...objects(summary)].flatMap(({ text, refusal }) => [text, refusal])
  return [
    ...texts.filter(isString).map(text => ({ kind, of, text })),
    ...[called, input].filter(isString).map(text => ({ kind: 'tool_arguments' as const, of: `tool.${at}`, text })),
  ]
}

function pieceKind(name: string): AnswerPiece['kind'] {
  if (name.startsWith('reasoning')) return 'reasoning'
  return /arguments|input/.test(name) ? 'tool_arguments' : 'text'
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}
