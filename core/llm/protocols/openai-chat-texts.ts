// The texts in chat completions and their chunks, to be read and changed; knows no bytes and no stream.
import { isObject, type JsonObject } from '../json.ts'
import { mapMember, mapObjects, objects } from '../json-parts.ts'
import { isFinish } from './openai-chat-reader.ts'
import type { AnswerPiece, TextPlace } from './protocol.ts'

/** Members of a message, or of a delta, that are text. */
const TEXTS = ['content', 'reasoning_content', 'reasoning', 'refusal']

type Change = (text: string, place: TextPlace) => string

/** See Protocol.mapTexts. A text is `of` its choice and its member: `0.content`. */
export function mapChatTexts(event: JsonObject, change: Change): JsonObject {
  return mapMember(event, 'choices', choices =>
    mapObjects(choices, (choice, at) => {
      const index = typeof choice.index === 'number' ? choice.index : at
      const mapped = (whole: boolean) => (said: unknown) =>
        isObject(said) ? mapSaid(said, (text, member) => change(text, { of: `${index}.${member}`, whole })) : said
      return mapMember(mapMember(choice, 'delta', mapped(false)), 'message', mapped(true))
    }),
  )
}

/** See Protocol.endsText. */
export function endsChatText(event: JsonObject, of: string): boolean {
  // Nothing comes after an error.
  if (event.error !== undefined && event.error !== null) return true
  const choices = Array.isArray(event.choices) ? event.choices.filter(isObject) : []
  return choices.some(({ index = 0, finish_reason: reason }) => isFinish(reason) && of.startsWith(`${String(index)}.`))
}

function mapSaid(said: JsonObject, change: (text: string, member: string) => string): JsonObject {
  return TEXTS.reduce(
    (mapped, member) =>
      mapMember(mapped, member, value => {
        if (typeof value === 'string') return change(value, member)
        // Some providers send a list of parts.
        return mapObjects(value, part =>
          mapMember(part, 'text', text => (typeof text === 'string' ? change(text, member) : text)),
        )
      }),
    said,
  )
}

/** See Protocol.pieces. */
export function chatPieces(event: JsonObject): AnswerPiece[] {
  const pieces: AnswerPiece[] = []
  mapChatTexts(event, (text, { of }) => {
    pieces.push({ kind: of.includes('.reasoning') ? 'reasoning' : 'text', of, text })
    return text
  })
  for (const [at, choice] of objects(event.choices).entries()) {
    const said = choice.delta ?? choice.message
    if (!isObject(said)) continue
    const { tool_calls: calls, function_call: old, audio } = said
    // What is spoken is written down beside it.
    if (isObject(audio) && typeof audio.transcript === 'string')
      pieces.push({ kind: 'text', of: `${String(choice.index ?? at)}.audio`, text: audio.transcript })
    for (const text of thoughts(said))
      pieces.push({ kind: 'reasoning', of: `${String(choice.index ?? at)}.thoughts`, text })
    for (const [place, call] of [...objects(calls), ...(isObject(old) ? [{ function: old }] : [])].entries()) {
      const { function: called, custom, index = place } = call as JsonObject
      const text = isObject(called) ? called.arguments : isObject(custom) ? custom.input : undefined
      const of = `${String(choice.index ?? at)}.tool.${String(index)}`
      if (typeof text === 'string') pieces.push({ kind: 'tool_arguments', of, text })
    }
  }
  return pieces
}

/** Reasoning elsewhere than in TEXTS: OpenRouter's details where it does not say them there too, and Mistral's parts of content. */
function thoughts({ reasoning, reasoning_details: details, content }: JsonObject): string[] {
  const detailed = typeof reasoning === 'string' ? [] : objects(details).flatMap(({ text, summary }) => [text, summary])
  const parts = objects(content).flatMap(({ thinking }) =>
    Array.isArray(thinking) ? objects(thinking).map(({ text }) => text) : thinking,
  )
  return [...detailed, ...parts].filter(text => typeof text === 'string')
}

/** See Protocol.isEnd. Some servers report usage in every chunk. */
export function isChatEnd({ choices, usage }: JsonObject): boolean {
  const said = objects(choices)
  return said.some(choice => isFinish(choice.finish_reason)) || (said.length === 0 && isObject(usage))
}
