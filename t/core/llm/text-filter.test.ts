// Filters of running text: the same whatever a text is cut into.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { AnswerEvent, type EventFilter } from '../../../core/llm/answer-event.ts'
import { openaiChat } from '../../../core/llm/protocols/openai-chat.ts'
import { textFilter } from '../../../core/llm/text-filter.ts'

/** Digits go out as #, in runs; a run is held back until something else comes. */
const filter = () =>
  textFilter(() => {
    let held = ''
    return (piece, last) => {
      const text = held + piece
      const end = last ? text.length : text.length - /\d*$/.exec(text)![0].length
      held = text.slice(end)
      return masked(text.slice(0, end))
    }
  })
const masked = (text: string) => text.replace(/\d+/g, '#')

const event = (json: object | string) =>
  AnswerEvent.ofStream(Buffer.from(`data: ${typeof json === 'string' ? json : JSON.stringify(json)}\n\n`), openaiChat)!
const chunk = (index: number, delta: object, finish_reason: string | null = null) => ({
  choices: [{ index, delta, finish_reason }],
})

/** What a client reads of each choice, and in which order choices end. */
function read(events: readonly (AnswerEvent | undefined)[], run: EventFilter) {
  const texts = new Map<string, string>()
  const ended: string[] = []
  for (const each of events) {
    for (const out of (run(each, []) ?? []) as readonly AnswerEvent[]) {
      out.mapTexts((text, { of }) => {
        if (text !== '') assert.ok(!ended.some(prefix => of.startsWith(prefix)), 'a text goes on behind its end')
        texts.set(of, (texts.get(of) ?? '') + text)
        return text
      })
      for (const choice of ['0.', '1.']) if (out.endsText(choice) && !ended.includes(choice)) ended.push(choice)
    }
  }
  return Object.fromEntries(texts)
}

describe('a filter of running text', () => {
  const text = fc.string({ unit: fc.constantFrom('1', '2', 'a', ' ', 'ü'), maxLength: 30 })
  const pieces = (whole: string) =>
    fc.array(fc.nat({ max: whole.length }), { maxLength: 8 }).map(cuts => {
      const at = [0, ...cuts.sort((a, b) => a - b), whole.length]
      return at.slice(1).map((end, index) => whole.slice(at[index], end))
    })

  it('gives the same text however it is cut, with two choices between each other, and whatever ends them', () => {
    const stream = fc.record({ first: text, second: text, finishes: fc.boolean(), withText: fc.boolean() })
    fc.assert(
      fc.property(
        stream.chain(known =>
          fc.tuple(fc.constant(known), pieces(known.first), pieces(known.second), fc.infiniteStream(fc.boolean())),
        ),
        ([{ first, second, finishes, withText }, ones, others, order]) => {
          const queues = [
            ones.map(piece => chunk(0, { content: piece })),
            others.map(piece => chunk(1, { content: piece })),
          ]
          if (finishes) {
            for (const [index, queue] of queues.entries()) {
              const last = withText ? queue.pop() : undefined
              queue.push(chunk(index, last?.choices[0]?.delta ?? {}, 'stop'))
            }
          }
          const events: AnswerEvent[] = []
          while (queues[0]!.length + queues[1]!.length > 0) {
            const [queue, other] = order.next().value ? queues : [queues[1]!, queues[0]!]
            events.push(event((queue!.shift() ?? other!.shift())!))
          }
          if (finishes) events.push(event('[DONE]'))
          const texts = read([...events, undefined], filter())
          assert.equal(texts['0.content'] ?? '', masked(first))
          assert.equal(texts['1.content'] ?? '', masked(second))
        },
      ),
      { numRuns: 300, seed: 8 },
    )
  })

  it('lets pass at once what need not be held', () => {
    const run = filter()
    const out = run(event(chunk(0, { content: 'ab1' })), []) as readonly AnswerEvent[]
    assert.deepEqual(
      out.map(each => each.text),
      ['ab'],
    )
  })

  it('takes whole answers as a whole', () => {
    const answer = {
      choices: [{ message: { content: 'a12', reasoning_content: '3' } }, { message: { content: '4b' } }],
    }
    const whole = AnswerEvent.ofWhole(Buffer.from(JSON.stringify(answer)), openaiChat)
    const [out] = filter()(whole, []) as readonly AnswerEvent[]
    assert.deepEqual(JSON.parse(out!.bytes.toString()), {
      choices: [{ message: { content: 'a#', reasoning_content: '#' } }, { message: { content: '#b' } }],
    })
  })
})
