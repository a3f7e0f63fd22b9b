// A filter of events from a function of running text: it sees words, not events; knows no protocol.
import type { AnswerEvent, EventFilter } from './answer-event.ts'

/**
 * What goes on in the place of a piece of a text; what may go on in the next piece is held back by the function itself, and
 * comes out with `last`, whose piece is empty. Called for one text from its beginning to its end.
 */
export type TextEdit = (piece: string, last: boolean) => string

interface Running {
  readonly edit: TextEdit
  /** The last event that had some of it: what was held back goes out in its likeness. */
  event: AnswerEvent
}

/**
 * Makes a filter: `open` is called for each text of an answer (one per choice, and one for its reasoning). However a stream is
 * cut into events, the function sees the same text.
 */
export function textFilter(open: () => TextEdit): EventFilter {
  const running = new Map<string, Running>()

  function rest(of: string, { edit, event }: Running): AnswerEvent[] {
    running.delete(of)
    const text = edit('', true)
    return text === '' ? [] : [event.mapTexts((_, place) => (place.of === of ? text : ''))]
  }

  return event => {
    if (event === undefined) return [...running].flatMap(([of, text]) => rest(of, text))
    const edited = event.mapTexts((piece, { of, whole }) => {
      const text = running.get(of) ?? { edit: open(), event }
      if (!whole && !event.endsText(of)) {
        text.event = event
        running.set(of, text)
        return text.edit(piece, false)
      }
      running.delete(of)
      return text.edit(piece, false) + text.edit('', true)
    })
    // Ended by an event that has nothing of them.
    const ended = [...running].filter(([of]) => event.endsText(of))
    return [...ended.flatMap(([of, text]) => rest(of, text)), edited]
  }
}
