// Cutting an event stream into events.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Frames, NO_LINE, parseEvent, SseSplitter } from '../../../../core/llm/framing/sse.ts'

/** The blocks that a splitter finds in `reads`, and what it still holds in the end. */
function split(reads: readonly Buffer[]): { events: string[]; rest: string | undefined } {
  const splitter = new SseSplitter()
  const events: string[] = []
  const take = (frames: Frames | undefined): void => {
    let from = 0
    for (const [at, to] of (frames?.ends ?? []).entries()) {
      const block = frames!.bytes.subarray(from, to)
      const lineEnd = frames!.lineEnds[at]!
      const event = parseEvent(block)
      // A single line that starts with `data:` may be read in place: it must say the same.
      const line = block.subarray(0, Math.max(0, lineEnd - from)).toString()
      if (lineEnd >= 0 && line.startsWith('data:')) assert.equal(line.replace(/^data: ?/, ''), event?.data)
      if (event !== undefined) events.push(`${event.type}|${event.data}`)
      from = to
    }
  }
  for (const read of reads) take(splitter.feed(read))
  const rest = splitter.rest()
  return { events, rest: rest?.bytes.toString('latin1') }
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map(place => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length))
}

/** Streams of fields, comments and nonsense with every kind of line end. */
const stream = fc
  .array(
    fc.tuple(
      fc.oneof(
        fc.constantFrom(
          'data: {"x":1}',
          'data:x',
          'data: ',
          'data',
          ': ping',
          'event: error',
          'id: 1',
          '',
          '',
          '',
          'é—data',
        ),
        fc.string({ unit: 'grapheme' }).map(text => `data: ${text.replace(/[\r\n]/g, '')}`),
      ),
      fc.constantFrom('\n', '\r\n', '\r'),
    ),
    { maxLength: 30 },
  )
  .map(lines => Buffer.from(lines.flat().join('')))

describe('an event stream', () => {
  it('has the same events however it is cut', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(2000), { maxLength: 40 }), (bytes, places) => {
        const whole = split([bytes])
        assert.deepEqual(split(cut(bytes, places)), whole)
        assert.deepEqual(split(Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))), whole)
      }),
      { numRuns: 300 },
    )
  })

  for (const [name, end] of [
    ['LF', '\n'],
    ['CRLF', '\r\n'],
    ['CR', '\r'],
  ] as const) {
    it(`may end its lines with ${name}`, () => {
      const text = [': comment', '', 'data: a', 'data:b', 'event: x', '', 'id: 1', '', 'data: c', '', 'data: d'].join(
        end,
      )
      const { events, rest } = split([Buffer.from(text)])
      assert.deepEqual(events, ['x|a\nb', 'message|c'])
      assert.equal(rest, 'data: d')
    })
  }

  it('may begin with a byte order mark', () => {
    assert.deepEqual(split([Buffer.from('\uFEFFdata: a\n\n')]).events, ['message|a'])
  })

  it('gives an event as soon as its blank line is there, before the LF of a CRLF', () => {
    const splitter = new SseSplitter()
    assert.ok(splitter.feed(Buffer.from('data: a\r\n\r')))
    assert.equal(splitter.partial, false)
  })

  it('forgets an event that is too large and finds the next one', () => {
    const splitter = new SseSplitter()
    const part = Buffer.alloc(9 * 1024 * 1024, 'x')
    assert.equal(splitter.feed(Buffer.concat([Buffer.from('data: '), part])), undefined)
    assert.equal(splitter.feed(part), undefined)
    assert.equal(splitter.lost, true)
    const frames = splitter.feed(Buffer.from('x\ndata: of the lost event\n\ndata: ok\n\n'))!
    assert.deepEqual(frames.lineEnds, [NO_LINE, frames.text.length - 2])
    assert.equal(frames.text.slice(frames.ends[0], frames.lineEnds[1]), 'data: ok')
    assert.equal(splitter.lost, false)
  })
})
