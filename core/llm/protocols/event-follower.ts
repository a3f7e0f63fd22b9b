// Follows a stream of events for whatever its protocol says is telling, and parses no others; knows no protocol.
import type { Usage } from '../exchange.ts'
import { type Frames, NO_LINE, parseEvent, SOME_LINES } from '../framing/sse.ts'
import { isObject, type JsonObject } from '../json.ts'
import type { TokenEstimate } from '../token-estimate.ts'
import { type Counting, mergeUsage } from '../usage.ts'
import { keptText } from './kept-text.ts'
import type { EventReader, ParsedEvent } from './protocol.ts'
import { type Said, saidMore } from './said.ts'

const BRACKET = 0x5b
const BRACE = 0x7b
const CLOSING_BRACE = 0x7d
const SPACE = 0x20
const LETTER_E = 0x65
const LETTER_O = 0x6f
const COLON = 0x3a
/** Behind the end of any read. */
const NOWHERE = 2 ** 30
const CR = 0x0d

/** A member that makes an event worth parsing wherever it stands in it. */
export interface TellingMember {
  /** Its name and the quote behind: a text cannot hold it by chance, for there quotes are escaped. */
  readonly name: string
  /** What its value must begin with, as a character's code; 0 is anything. */
  readonly opens: number
}

/**
 * What all readers of server-sent events do alike. Events without a name of their own (`event:`) are searched for the names
 * of `members`, those with one are known by it: 0.2 us instead of the 0.7 of parsing. Until the first content has come all
 * are parsed.
 */
export abstract class EventFollower implements EventReader {
  readonly usageOnly: number[] = []
  dataSeen = false
  contentSeen = false
  failed = false
  malformed = false
  usage: Usage | undefined
  hasToolCalls = false
  text: string | undefined
  said: Said | undefined
  estimate: TokenEstimate | undefined
  readonly #collectsText: boolean
  readonly #counting: Counting
  readonly #members: readonly TellingMember[]
  /** Of each member: its next occurrence at or after the event at hand. One that does not come is searched for once a read. */
  readonly #at: number[]

  constructor(options: { members: readonly TellingMember[]; collectsText: boolean; counting: Counting | undefined }) {
    this.#collectsText = options.collectsText
    this.#counting = options.counting ?? 'absolute'
    this.#members = options.members
    this.#at = options.members.map(() => -1)
  }

  abstract readonly complete: boolean

  /** Events with text must be parsed: it is kept or counted. */
  protected get collectsText(): boolean {
    return this.#collectsText || this.estimate !== undefined
  }

  /** Whether an event of that name must be parsed even now. */
  protected abstract tells(type: string): boolean
  /** A parsed event; `type` is `message` without a name of its own. `index` is its place in the read. Named ones set `dataSeen`. */
  protected abstract take(type: string, event: JsonObject, index: number): void
  /** `[DONE]`, which is no JSON. */
  protected takeDone(): void {}
  /** An object that is no JSON. What was never meant to be one is passed over, and behind the end nothing is missing. */
  protected notUnderstood(): void {
    this.malformed ||= !this.complete
  }
  /** An event has gone by, parsed or not. */
  protected passed(): void {}

  read({ bytes, text, ends, lineEnds }: Frames): void {
    this.usageOnly.length = 0
    this.#at.fill(-1)
    let from = 0
    for (let index = 0; index < ends.length; index++) {
      const to = ends[index]!
      const lineEnd = lineEnds[index]!
      if (lineEnd >= 0 && text.startsWith('data:', from)) {
        const start = text.charCodeAt(from + 5) === SPACE ? from + 6 : from + 5
        if (this.#isTelling(text, start, lineEnd))
          this.#takeData('message', bytes.toString('utf8', start, lineEnd), index)
      } else if (lineEnd === SOME_LINES || (lineEnd !== NO_LINE && from === 0)) {
        // The first event may begin with a byte order mark.
        const type = this.contentSeen ? typeOf(text, from) : undefined
        if (type !== undefined && !this.tells(type)) this.passed()
        else this.#takeAny(parseEvent(bytes.subarray(from, to)), index)
      }
      from = to
    }
  }

  takeParsed({ type, data, json }: ParsedEvent): void {
    this.#takeJson(type, data.trim(), json, 0)
  }

  protected addUsage(usage: Usage | undefined): void {
    if (usage !== undefined) this.usage = mergeUsage(this.usage, usage, this.#counting)
  }

  /** The first event with these tells. */
  protected sayWho(id: unknown, model: unknown): void {
    if (this.said?.model === undefined) this.said = saidMore(this.said, { id, model })
  }

  protected sayWhy(reason: unknown): void {
    this.said = saidMore(this.said, { reasons: [reason] })
  }

  protected addText(text: unknown): void {
    if (typeof text !== 'string') return
    this.estimate?.add(text)
    if (this.#collectsText) this.text = keptText(this.text, text)
  }

  #isTelling(text: string, start: number, end: number): boolean {
    if (!this.contentSeen || this.collectsText || isOdd(text, start, end)) return true
    const members = this.#members
    for (let member = 0; member < members.length; member++) {
      let at = this.#at[member]!
      if (at >= end) continue
      const { name, opens } = members[member]!
      if (at < start) at = text.indexOf(name, start)
      while (at >= 0 && at < end) {
        if (valueBegins(text, at + name.length, opens)) return true
        at = text.indexOf(name, at + 1)
      }
      this.#at[member] = at < 0 ? NOWHERE : at
    }
    return false
  }

  #takeAny(event: { type: string; data: string } | undefined, index: number): void {
    if (event === undefined) return
    this.passed()
    this.#takeData(event.type, event.data, index)
  }

  #takeData(type: string, data: string, index: number): void {
    const trimmed = data.trim()
    this.#takeJson(type, trimmed, jsonOf(trimmed), index)
  }

  /** `json` is what `data` says, undefined when it is none. */
  #takeJson(type: string, data: string, json: unknown, index: number): void {
    if (data === '') return
    if (type === 'message') this.dataSeen = true
    if (data === '[DONE]') this.takeDone()
    else if (isObject(json)) this.take(type, json, index)
    // It says enough by its name.
    else if (type === 'error') this.take(type, {}, index)
    else if (json === undefined && data.startsWith('{')) this.notUnderstood()
  }
}

/** What an event's data say; undefined when they are no JSON. */
export function jsonOf(data: string): unknown {
  if (data === '' || data === '[DONE]') return undefined
  try {
    return JSON.parse(data)
  } catch {
    return undefined
  }
}

/**
 * Not an object from brace to brace, as all but `[DONE]` and broken ones are; or an error in the place of a chunk. Such
 * chunks begin with it or have a finish_reason (seen: OpenRouter); to look for one anywhere would cost 0.1 us an event.
 */
function isOdd(text: string, start: number, end: number): boolean {
  const first = text.charCodeAt(start)
  if (first !== BRACE) return first === BRACKET || first === SPACE
  if (text.charCodeAt(end - 1) !== CLOSING_BRACE) return true
  const key = text.charCodeAt(start + 2)
  if (key === LETTER_E) return text.startsWith('"error"', start + 1)
  return key === LETTER_O && text.startsWith('"object":"error"', start + 1)
}

/** The name of an event whose first line says it; undefined when it must be read in full to know. */
function typeOf(text: string, from: number): string | undefined {
  if (!text.startsWith('event:', from)) return undefined
  const lineEnd = text.indexOf('\n', from)
  const start = text.charCodeAt(from + 6) === SPACE ? from + 7 : from + 6
  const end = text.charCodeAt(lineEnd - 1) === CR ? lineEnd - 1 : lineEnd
  const type = text.slice(start, end)
  // A CR within it is a line end too.
  return type.includes('\r') ? undefined : type
}

/** Whether behind a member's name at `from` stands a colon and a value that begins with `opens`. */
function valueBegins(text: string, from: number, opens: number): boolean {
  if (opens === 0) return true
  let at = from
  while (text.charCodeAt(at) <= SPACE) at++
  if (text.charCodeAt(at) !== COLON) return false
  at++
  while (text.charCodeAt(at) <= SPACE) at++
  return text.charCodeAt(at) === opens
}
