// What is looked at of an answer is the same however it is cut, and what is found has not left.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { AnswerEvent } from '../../../../core/llm/answer-event.ts'
import { type Watch, watchedAnswer } from '../../../../core/llm/guards/watched-answer.ts'
import { openaiChat } from '../../../../core/llm/protocols/openai-chat.ts'
import { openaiResponses } from '../../../../core/llm/protocols/openai-responses.ts'
import { passthrough } from '../../../../core/llm/protocols/passthrough.ts'

const event = (json: object | string) =>
  AnswerEvent.ofStream(Buffer.from(`data: ${typeof json === 'string' ? json : JSON.stringify(json)}\n\n`), openaiChat)!
const chunk = (delta: object, finish_reason: string | null = null, index = 0) =>
  event({ choices: [{ index, delta, finish_reason }] })
const whole = (content: string) =>
  AnswerEvent.ofWhole(Buffer.from(JSON.stringify({ choices: [{ index: 0, message: { content } }] })), openaiChat)

interface Watched {
  /** What has left before the answer ended, or was ended. */
  left: AnswerEvent[]
  found: boolean
  ended: boolean
  unknown: boolean
}

function run(events: readonly AnswerEvent[], pattern: RegExp, more: Partial<Watch> = {}): Watched {
  const watched: Watched = { left: [], found: false, ended: false, unknown: false }
  const filter = watchedAnswer({
    kinds: new Set(['text']),
    window: 16,
    holds: true,
    look(part) {
      if (!pattern.test(part)) return
      watched.found = true
      throw new Error('found')
    },
    unknown: () => {
      watched.unknown = true
    },
    end: () => {
      watched.ended = true
    },
    ...more,
  })
  try {
    for (const each of [...events, undefined]) {
      const out = filter(each, []) as readonly AnswerEvent[] | undefined
      watched.left.push(...(out ?? (each === undefined ? [] : [each])))
    }
  } catch (error) {
    if ((error as Error).message !== 'found') throw error
  }
  return watched
}

const texts = (events: readonly AnswerEvent[]) => events.map(({ text }) => text).join('')

describe('an answer that is watched', () => {
  const filler = fc.string({ unit: fc.constantFrom('a', ' ', 'b', '\n', 'ü', 'SEC'), maxLength: 60 })
  const cuts = (text: string, places: readonly number[]) => {
    const at = [0, ...places.map(place => place % (text.length + 1)).sort((a, b) => a - b), text.length]
    return at.slice(1).map((end, index) => text.slice(at[index], end))
  }
  const places = fc.array(fc.nat(200), { maxLength: 12 })

  it('leaves as it came where nothing is found, event by event', () => {
    fc.assert(
      fc.property(filler, places, fc.boolean(), (text, at, finishes) => {
        const events = [chunk({ role: 'assistant' }), ...cuts(text, at).map(content => chunk({ content }))]
        if (finishes) events.push(chunk({}, 'stop'))
        events.push(event('[DONE]'))
        const { left, found, ended } = run(events, /SECRET/)
        assert.deepEqual([found, ended], [false, true])
        assert.equal(left.length, events.length)
        assert.ok(left.every((one, index) => one === events[index]))
      }),
      { numRuns: 300, seed: 8 },
    )
  })

  it('ends before anything of what is found has left, wherever it stands and however it is cut', () => {
    fc.assert(
      fc.property(filler, filler, places, fc.boolean(), (before, after, at, finishes) => {
        const events = cuts(`${before}SECRET 123${after}`, at).map(content => chunk({ content }))
        if (finishes) events.push(chunk({}, 'stop'))
        const { left, found } = run([...events, event('[DONE]')], /SECRET 123/)
        assert.ok(found)
        assert.ok(before.startsWith(texts(left)), texts(left))
      }),
      { numRuns: 300, seed: 8 },
    )
  })

  it('keeps back what stands between pieces of another choice', () => {
    const events = [
      chunk({ content: 'SEC' }),
      ...Array.from({ length: 9 }, () => chunk({ content: 'and so on ' }, null, 1)),
    ]
    const { left, found } = run([...events, chunk({ content: 'RET' }), chunk({}, 'stop')], /SECRET/)
    assert.deepEqual([texts(left), found], ['', true])
  })

  it('goes on where a provider writes that nothing has ended it yet', () => {
    for (const reason of ['', 'null', null]) {
      const { left, found } = run([chunk({ content: 'SEC' }, reason), chunk({ content: 'RET' }, reason)], /SECRET/)
      assert.deepEqual([texts(left), found], ['', true], `${reason}`)
    }
  })

  it('goes on when another choice has ended', () => {
    const events = [chunk({ content: 'SEC' }, null, 1), chunk({ content: 'x' }), chunk({}, 'stop')]
    const { left, found } = run([...events, chunk({ content: 'RET' }, null, 1), chunk({}, 'stop', 1)], /SECRET/)
    assert.deepEqual([texts(left), found], ['', true])
  })

  it('is one text for each choice and kind', () => {
    const events = ['SE', 'CR', 'ET'].flatMap(content => [
      chunk({ content: `${content}` }, null, 1),
      chunk({ content: 'SECRE' }, null, 0),
      chunk({ reasoning_content: 'SECRET' }),
    ])
    assert.ok(run(events, /SECRET/).found)
    assert.ok(
      !run(
        events.filter((_, at) => at % 3 !== 0),
        /SECRET/,
      ).found,
    )
    assert.ok(
      run(
        events.filter((_, at) => at % 3 === 2),
        /SECRET/,
        { kinds: new Set(['reasoning']) },
      ).found,
    )
    const call = (args: string) => chunk({ tool_calls: [{ index: 0, function: { arguments: args } }] })
    assert.ok(run([call('{"a":"SEC'), call('RET"}')], /SECRET/, { kinds: new Set(['tool_arguments']) }).found)
  })

  it('is looked at where a stream says all of it at once, and once where it says it again', () => {
    const say = (type: string, more: object) =>
      AnswerEvent.ofStream(
        Buffer.from(`event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`),
        openaiResponses,
      )!
    const output = [{ type: 'message', content: [{ type: 'output_text', text: 'a SECRET' }] }]
    const completed = say('response.completed', { response: { output } })
    assert.ok(run([completed], /SECRET/).found)
    const delta = say('response.output_text.delta', { output_index: 0, content_index: 0, delta: 'a SECRET, ' })
    const looked: string[] = []
    run([delta, completed], /never/, { look: part => void looked.push(part) })
    // Once as it comes, and once at its end.
    assert.deepEqual(looked, ['a SECRET, \0', 'a SECRET, '])
  })

  it('has its own beginning and end and no other', () => {
    const stream = (...pieces: string[]) => [...pieces.map(content => chunk({ content })), chunk({}, 'stop')]
    const long = 'x '.repeat(40)
    assert.ok(run(stream('bad', ' start'), /^bad/).found)
    assert.ok(!run(stream(long, 'bad', ' end'), /^bad/).found)
    assert.ok(run(stream('so bad'), /bad$/).found)
    assert.ok(!run(stream('so bad', ' is it'), /bad$/).found)
    assert.ok(!run(stream('bad', 'ge of honour'), /\bbad\b/).found)
    assert.ok(!run(stream(`${long}a`, ...'gloomybad'), /\bbad\b/).found)
    assert.ok(run(stream('so ', 'b', 'ad', ', is it'), /\bbad\b/).found)
    assert.ok(run([whole('so bad')], /^so bad$/).found)
  })

  it('waits for no more than the window', () => {
    const events = Array.from({ length: 40 }, () => chunk({ content: 'abcd' }))
    const filter = watchedAnswer({
      kinds: new Set(['text']),
      window: 16,
      holds: true,
      look() {},
      unknown() {},
      end() {},
    })
    let held = 0
    for (const each of events) {
      held += 1 - ((filter(each, []) as AnswerEvent[] | undefined)?.length ?? 1)
      // The window, and a word as long.
      assert.ok(held <= 9)
    }
  })

  it('waits for nothing where what is found has no effect', () => {
    const events = [chunk({ content: 'a' }), chunk({ content: 'b' }), chunk({}, 'stop')]
    const filter = watchedAnswer({
      kinds: new Set(['text']),
      window: 16,
      holds: false,
      look() {},
      unknown() {},
      end() {},
    })
    for (const each of events) assert.equal(filter(each, []), undefined)
  })

  it('is told of when nobody knows what it says', () => {
    const other = AnswerEvent.ofStream(Buffer.from('data: {"content":"SECRET"}\n\n'), passthrough)!
    const { unknown, ended, left } = run([other, other], /SECRET/)
    assert.deepEqual([unknown, ended, left.length], [true, false, 2])
  })
})
