// Looks at what an answer says while it streams, however it is cut into events; knows no pattern and no guard.
import type { AnswerEvent, EventFilter } from '../answer-event.ts'
import type { AnswerPiece } from '../protocols/protocol.ts'

export interface Watch {
  readonly kinds: ReadonlySet<AnswerPiece['kind']>
  /** Characters that stay together: so many are looked at with what comes behind them, and leave when so many have come. */
  readonly window: number
  /** Without it nothing waits, and what `look` finds has left already. */
  readonly holds: boolean
  /**
   * A part of one text, never empty, with a NUL where the text goes on: the beginning and the end of a part are none of the
   * text. Throws what ends the answer.
   */
  look(part: string): void
  /** Of an answer of which nobody knows what it says. Throws what ends it. */
  unknown(): void
  /** The answer has come to its end. */
  end(): void
}

/** Of what is held, whatever it says. */
const MAX_HELD_BYTES = 512 * 1024

/** One text of an answer: what has been said of it, as far as it matters to what comes. */
interface Text {
  tail: string
  /** The tail is not all of it. */
  begun: boolean
  /** Characters in all. */
  said: number
  /** Of them, those that have been looked at with nothing left to wait for. */
  sure: number
  over: boolean
}

interface Waiting {
  readonly event: AnswerEvent
  /** The texts of which it says something, and how far each has come with it. */
  readonly ends: readonly (readonly [text: Text, said: number])[]
}

export function watchedAnswer(watch: Watch): EventFilter {
  const { kinds, window, holds } = watch
  const texts = new Map<string, Text>()
  /** Kinds that have come in pieces: what says them again says nothing new. */
  const pieced = new Set<AnswerPiece['kind']>()
  const waiting: Waiting[] = []
  let bytes = 0
  let known = true

  function take(pieces: readonly AnswerPiece[], whole: boolean): Waiting['ends'] {
    const ends: [Text, number][] = []
    for (const { kind, of, text: piece, again = false } of pieces) {
      if (!kinds.has(kind) || piece === '' || (again && pieced.has(kind))) continue
      if (!whole && !again) pieced.add(kind)
      const text = texts.get(of) ?? { tail: '', begun: false, said: 0, sure: 0, over: false }
      texts.set(of, text)
      text.tail += piece
      text.said += piece.length
      if (!whole) look(text)
      ends.push([text, text.said])
    }
    return ends
  }

  function look(text: Text): void {
    const sure = withoutLastWord(text.tail, window)
    const unsure = text.tail.length - sure.length
    text.sure = text.said - unsure
    if (sure !== '') watch.look(`${text.begun ? '\0' : ''}${sure}\0`)
    // One more, to know whether a word begins behind it.
    const kept = window + 1 + unsure
    if (text.tail.length <= kept) return
    text.tail = text.tail.slice(-kept)
    text.begun = true
  }

  function end(isOver: (of: string) => boolean): void {
    for (const [of, text] of texts) {
      if (!isOver(of)) continue
      texts.delete(of)
      text.over = true
      watch.look(`${text.begun ? '\0' : ''}${text.tail}`)
    }
  }

  function* ready(all: boolean): Generator<AnswerEvent> {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      const isSure = first.ends.every(([text, said]) => text.over || text.sure - said >= window)
      if (!all && !isSure && bytes <= MAX_HELD_BYTES) return
      waiting.shift()
      bytes -= first.event.bytes.length
      yield first.event
    }
  }

  return event => {
    if (event === undefined) {
      end(() => true)
      if (known) watch.end()
      return [...ready(true)]
    }
    const { pieces } = event
    if (pieces === undefined && known) {
      known = false
      watch.unknown()
    }
    const ends = take(pieces ?? [], event.whole)
    // A choice ends when it does, and others may go on behind it.
    end(of => event.endsText(of))
    if (waiting.length === 0 && (ends.length === 0 || !holds)) return undefined
    waiting.push({ event, ends })
    bytes += event.bytes.length
    return [...ready(!holds || event.whole)]
  }
}

/** The last word may go on in the next piece; what goes on and on is no word. */
function withoutLastWord(text: string, most: number): string {
  let end = text.length
  while (end > 0 && text.length - end < most && isOfWord(text.charCodeAt(end - 1))) end--
  return text.slice(0, end)
}

/** Letters, digits, `_`, and whatever is not ASCII. */
function isOfWord(code: number): boolean {
  return (
    (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122) || code === 95 || code > 127
  )
}
