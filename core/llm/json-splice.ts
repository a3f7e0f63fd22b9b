// Changes one member of a JSON object in its bytes and leaves every other byte alone; knows JSON's grammar and nothing else.

/** Offsets of a value; `end` is the byte after it. */
export interface Span {
  readonly start: number
  readonly end: number
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN = 0x7b
const OPEN_LIST = 0x5b
const CLOSE = 0x7d
const CLOSE_LIST = 0x5d
const COMMA = 0x2c

/**
 * Where the value of top-level member `key` stands in `json`; of members with the same key the last, as JSON.parse has it.
 * `json` must be what JSON.parse takes for an object, in UTF-8 (bytes that are no UTF-8 within strings do no harm).
 */
export function memberSpan(json: Buffer, key: string): Span | undefined {
  let found: Span | undefined
  for (const member of members(json)) if (keyOf(json, member.key) === key) found = member.value
  return found
}

/** The keys of `json` as they stand there, those that come twice twice. */
export function keysOf(json: Buffer): string[] {
  const keys: string[] = []
  for (const member of members(json)) keys.push(keyOf(json, member.key))
  return keys
}

function* members(json: Buffer): Iterable<{ key: Span; value: Span }> {
  let at = skipSpace(json, skipSpace(json, 0) + 1)
  while (json[at] === QUOTE) {
    const afterKey = skipString(json, at)
    const start = skipSpace(json, skipSpace(json, afterKey) + 1)
    const end = skipValue(json, start)
    yield { key: { start: at, end: afterKey }, value: { start, end } }
    at = skipSpace(json, end)
    if (json[at] === COMMA) at = skipSpace(json, at + 1)
  }
}

/** A copy of `json` in which member `key` has the value whose JSON is `value`; all other bytes are what they were. */
export function withMember(json: Buffer, key: string, value: Buffer | string): Buffer {
  const span = memberSpan(json, key)
  if (span === undefined) return appendMember(json, key, value)
  return Buffer.concat([json.subarray(0, span.start), Buffer.from(value), json.subarray(span.end)])
}

/** The same for an object that has no such member, without looking for it: costs a copy, whatever the object's size. */
export function appendMember(json: Buffer, key: string, value: Buffer | string): Buffer {
  let close = json.length - 1
  while (json[close] !== CLOSE) close--
  const empty = json[skipSpace(json, skipSpace(json, 0) + 1)] === CLOSE
  const member = Buffer.concat([Buffer.from(`${empty ? '' : ','}${JSON.stringify(key)}:`), Buffer.from(value)])
  return Buffer.concat([json.subarray(0, close), member, json.subarray(close)])
}

function keyOf(json: Buffer, { start, end }: Span): string {
  const text = json.toString('utf8', start, end)
  return text.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1)
}

function skipSpace(json: Buffer, from: number): number {
  let at = from
  while (json[at] === 0x20 || json[at] === 0x0a || json[at] === 0x0d || json[at] === 0x09) at++
  return at
}

// Most strings are keys and short; for the long ones it takes a search of Node's own, which a call costs 50 ns.
const SHORT = 48

/** `from` is the opening quote. */
export function skipString(json: Buffer, from: number): number {
  const near = Math.min(from + SHORT, json.length)
  let at = from + 1
  while (at < near && json[at] !== QUOTE) at += json[at] === BACKSLASH ? 2 : 1
  while (at < json.length && json[at] !== QUOTE) {
    const quote = json.indexOf(QUOTE, at)
    if (quote < 0) return json.length + 1
    // Behind an odd number of backslashes it is escaped.
    let text = quote
    while (text > at && json[text - 1] === BACKSLASH) text--
    at = (quote - text) % 2 === 0 ? quote : quote + 1
  }
  return at + 1
}

function skipValue(json: Buffer, from: number): number {
  let depth = 0
  for (let at = from; at < json.length; ) {
    const byte = json[at]
    if (byte === QUOTE) {
      at = skipString(json, at)
      if (depth === 0) return at
      continue
    }
    if (byte === OPEN || byte === OPEN_LIST) depth++
    else if (byte === CLOSE || byte === CLOSE_LIST) {
      // The end of the object around a number or a literal.
      if (depth === 0) return at
      depth--
      if (depth === 0) return at + 1
    } else if (depth === 0 && (byte === COMMA || byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09)) {
      return at
    }
    at++
  }
  return json.length
}
