// The texts in responses and in the events of their streams, to be read and changed; knows no bytes and no stream.
import { isObject, type JsonObject } from '../json.ts'
import { mapMember, mapObjects } from '../json-parts.ts'
import type { TextPlace } from './protocol.ts'

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
