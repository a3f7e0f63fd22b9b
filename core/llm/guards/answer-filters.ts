// Filters that bring an answer before a guard: part by part while it streams, or marked at its end (facts ai-plugins 15.5,
// 17.4); know no service.
import type { AnswerEvent, EventFilter } from '../answer-event.ts'
import { MAX_HELD } from '../filter-chain.ts'
import { isObject } from '../json.ts'
import { type AnswerKinds, AnswerTexts } from './answer-texts.ts'
import type { Judging, Opinion } from './judging.ts'

export interface Guarded {
  readonly judging: Judging
  readonly kinds: AnswerKinds
  /** What is thought of a text, which is never blank. */
  look(text: string): Promise<Opinion>
  /** Of an answer of which nobody knows what it says. Throws what ends it. */
  unknown(): void
}

export interface Batching {
  /** Bytes of text that are a part. */
  readonly bytes: number
  /** Milliseconds after which what there is is one; looked at when an event comes. */
  readonly intervalMs: number
  /** Whether a part waits for its verdict. Otherwise only what completes it does, and what comes after. */
  readonly holds: boolean
  /** Milliseconds on any clock. */
  now(): number
}

/** So much of a stream is a part, however little it says. */
const HELD_BYTES = MAX_HELD / 2

/** Characters of each text of an answer that is judged as a whole, and so kept as one. */
const MAX_READ = 1024 * 1024

/** Judges an answer part by part: what has been denied is the end of it. */
export function inParts(guarded: Guarded, { bytes, intervalMs, holds, now }: Batching): EventFilter {
  const { judging, look, kinds } = guarded
  const texts = new AnswerTexts(kinds)
  let since = 0
  let passed = 0
  let known = true

  async function judge(): Promise<void> {
    passed = 0
    const text = texts.take()
    if (text.trim() !== '') await judging.ask(() => look(text))
  }

  async function end(): Promise<void> {
    if (texts.bytes > 0) await judge()
    if (known) judging.end()
  }

  // Most events are a promise less.
  return event => {
    if (event === undefined) return end()
    if (!known) return undefined
    known = taken(event, texts, guarded)
    if (texts.bytes === 0) return undefined
    if (passed === 0) since = now()
    passed += event.bytes.length
    const isFull = texts.bytes >= bytes || passed >= HELD_BYTES || now() - since >= intervalMs
    if (isFull || endsAll(event)) return judge()
    return holds ? 'hold' : undefined
  }
}

/**
 * Judges a stream when all of it has been said, and marks its last events with how risky it is: `risk_level`, beside their
 * own members. A whole answer is judged as a part is.
 */
export function markedAtEnd(guarded: Guarded): EventFilter {
  const { judging, look, kinds } = guarded
  const texts = new AnswerTexts(kinds, MAX_READ)
  let level: string | undefined
  let known = true

  async function judge(): Promise<void> {
    const text = texts.read()
    if (text.trim() !== '') level = (await judging.ask(() => look(text)))?.level ?? level
  }

  async function end(): Promise<void> {
    if (texts.bytes > 0) await judge()
    if (known) judging.end()
  }

  async function mark(event: AnswerEvent): Promise<readonly AnswerEvent[] | undefined> {
    if (texts.bytes > 0) await judge()
    if (!event.isEnd || level === undefined) return undefined
    return [event.withData(JSON.stringify({ ...event.json, risk_level: level }))]
  }

  return event => {
    if (event === undefined) return end()
    if (!known) return undefined
    known = taken(event, texts, guarded)
    return endsAll(event) ? mark(event) : undefined
  }
}

/** A stream that is told nothing of how it ends, ends with what is no JSON (`[DONE]`). */
function endsAll(event: AnswerEvent): boolean {
  return event.whole || event.isEnd || event.json === undefined
}

/** False when it cannot be said what the answer says. */
function taken(event: AnswerEvent, texts: AnswerTexts, { judging, unknown }: Guarded): boolean {
  const known = texts.add(event)
  if (known) noteUsage(judging, event)
  else unknown()
  return known
}

/** Where the protocols have it: in the answer, in the message or the response that an event has. */
function noteUsage(judging: Judging, { json = {} }: AnswerEvent): void {
  const usage = [json, json.message, json.response]
    .map(said => (isObject(said) ? said.usage : undefined))
    .find(isObject)
  if (usage !== undefined) judging.usage = usage
}
