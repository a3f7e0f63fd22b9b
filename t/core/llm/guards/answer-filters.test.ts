// Answers part by part before a guard: whatever they are cut into, nothing bad leaves that is to wait, and nothing is unseen.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { AnswerEvent, Denied, type EventFilter } from '../../../../core/llm/answer-event.ts'
import { openExchange } from '../../../../core/llm/exchange.ts'
import { inParts } from '../../../../core/llm/guards/answer-filters.ts'
import { Judging } from '../../../../core/llm/guards/judging.ts'
import { openaiChat } from '../../../../core/llm/protocols/openai-chat.ts'
import { makeContext } from '../../../helpers/context.ts'
import { until } from '../../../helpers/until.ts'

const event = (data: string) => AnswerEvent.ofStream(Buffer.from(`data: ${data}\n\n`), openaiChat)!
const chunk = (index: number, content: string, finish_reason: string | null = null) =>
  event(JSON.stringify({ choices: [{ index, delta: { content }, finish_reason }] }))

/** Of a stream of chat, before a guard that counts so. */
async function judgingStream(guarding: object, watches: boolean): Promise<Judging> {
  const call = openExchange({
    protocol: 'openai-chat',
    requestType: 'ai_stream',
    requestModel: 'm',
    instance: 'i',
    logging: { summaries: false, payloads: false },
  })
  return new Judging(
    await makeContext(),
    call,
    { side: 'response', streams: true },
    { guarding: guarding as never, watches, denyCode: () => 200, failure: () => 'pass' },
  )
}

describe('an answer in parts', () => {
  /** What a guard that finds `bad` lets through, and what it was asked about. */
  async function guarded(events: readonly AnswerEvent[], { bytes, holds }: { bytes: number; holds: boolean }) {
    const counted: string[] = []
    const guarding = {
      allows: () => counted.push('allow'),
      denies: () => counted.push('deny') > 0,
      took() {},
    }
    const judging = await judgingStream(guarding, false)
    const asked: string[] = []
    const filter: EventFilter = inParts(
      {
        judging,
        kinds: new Set(['text']),
        async look(text) {
          asked.push(text)
          return text.includes('bad') ? { finding: { reason: 'bad', told: 'no' } } : {}
        },
        unknown: () => assert.fail('it is known'),
      },
      { bytes, intervalMs: Number.POSITIVE_INFINITY, holds, now: () => 0 },
    )
    const out: AnswerEvent[] = []
    let held: AnswerEvent[] = []
    try {
      for (const each of [...events, undefined]) {
        const verdict = await filter(each, held)
        if (verdict === 'hold') held.push(each!)
        else {
          out.push(...held, ...(each === undefined ? [] : [each]))
          held = []
        }
      }
    } catch (error) {
      assert.ok(error instanceof Denied)
    }
    return { out, asked, counted }
  }

  const textsOf = (events: readonly AnswerEvent[]) => {
    const texts = ['', '']
    for (const { pieces = [] } of events) for (const { of, text } of pieces) texts[Number(of[0])] += text
    return texts
  }
  const words = fc.array(fc.constantFrom('a', 'b', 'd', ' ', 'ba', 'ü'), { minLength: 1, maxLength: 40 })
  const stream = fc
    .array(fc.tuple(fc.nat({ max: 1 }), words), { minLength: 1, maxLength: 12 })
    .map(said => [
      ...said.map(([index, letters]) => chunk(index, letters.join(''))),
      chunk(0, '', 'stop'),
      chunk(1, '', 'stop'),
      event('[DONE]'),
    ])

  it('is let through as it is, or ends where it is bad, and is judged but once', async () => {
    await fc.assert(
      fc.asyncProperty(stream, fc.integer({ min: 1, max: 80 }), fc.boolean(), async (events, bytes, holds) => {
        const isBad = textsOf(events).some(text => text.includes('bad'))
        const { out, counted } = await guarded(events, { bytes, holds })
        assert.deepEqual(counted, [isBad ? 'deny' : 'allow'])
        assert.deepEqual(out, isBad ? events.slice(0, out.length) : events)
        if (holds) assert.ok(!textsOf(out).some(text => text.includes('bad')))
      }),
      { numRuns: 500, seed: 12 },
    )
  })

  it('is asked about so many times at once, and no more, by who does not wait for what is said', async () => {
    const counted: string[] = []
    const guarding = { failed: () => counted.push('error'), allows: () => counted.push('allow'), took() {} }
    const judging = await judgingStream(guarding, true)
    const waiting: (() => void)[] = []
    const look = () => new Promise<object>(resolve => waiting.push(() => resolve({})))
    for (let part = 0; part < 1000; part++) await judging.ask(look)
    assert.deepEqual([waiting.length, counted], [16, ['error']])
    for (const answer of waiting.splice(0)) answer()
    await until(async () => {
      await judging.ask(look)
      return waiting.length > 0
    }, 'there is room again')
    judging.end()
    assert.deepEqual(counted, ['error'])
  })

  it('is asked about once when it is short, and not at all when it says nothing', async () => {
    const short = await guarded([chunk(0, 'a'), chunk(0, 'b', 'stop'), event('[DONE]')], { bytes: 100, holds: true })
    assert.deepEqual(short.asked, ['ab'])
    const silent = await guarded([chunk(0, ''), chunk(0, ' ', 'stop'), event('[DONE]')], { bytes: 1, holds: true })
    assert.deepEqual([silent.asked, silent.counted], [[], ['allow']])
  })
})
