// Trace context as it stands in header fields: what is understood, what is written, and that the two agree.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  dropTrace,
  type Propagator,
  propagators,
  readIncoming,
  writeOutgoing,
} from '../../../../core/observe/trace/propagation.ts'
import { HeaderList } from '../../../../core/reply.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'

const read = (raw: string[], forms: readonly Propagator[] = propagators) => readIncoming(new HeaderList(raw), forms)

describe('trace context', () => {
  it('is understood in all three forms', () => {
    const known = { traceId: TRACE, spanId: SPAN, sampled: true }
    assert.deepEqual(read(['traceparent', `00-${TRACE}-${SPAN}-01`]), { by: 'tracecontext', ...known })
    assert.deepEqual(read(['b3', `${TRACE}-${SPAN}-1-${SPAN}`]), { by: 'b3', ...known, debug: false })
    assert.deepEqual(read(['X-B3-TraceId', TRACE, 'X-B3-SpanId', SPAN, 'X-B3-Sampled', '1']), {
      by: 'b3multi',
      ...known,
      debug: false,
    })
  })

  it('of a later version is understood as far as this one goes', () => {
    assert.equal(read(['traceparent', `cc-${TRACE}-${SPAN}-01-what-the-future-will-be-like`])?.traceId, TRACE)
    assert.equal(read(['traceparent', `00-${TRACE}-${SPAN}-03`])?.sampled, true)
    assert.equal(read(['traceparent', `00-${TRACE}-${SPAN}-02`])?.sampled, false)
  })

  it('that makes no sense is none', () => {
    for (const text of [
      '',
      `00-${TRACE}-${SPAN}`,
      `00-${TRACE.toUpperCase()}-${SPAN}-01`,
      `00-${'0'.repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
      `ff-${TRACE}-${SPAN}-01`,
      `00-${TRACE}-${SPAN}-01-more`,
      `00-${TRACE}-${SPAN}-01extra`,
    ])
      assert.equal(read(['traceparent', text]), undefined, text)
    assert.equal(
      read(['traceparent', `00-${TRACE}-${SPAN}-01`, 'traceparent', `00-${TRACE}-${SPAN}-01`]),
      undefined,
      'two of them',
    )
    for (const b3 of ['', 'x', `${TRACE}`, `${TRACE}-`, `${TRACE.slice(1)}-${SPAN}-1`, `${'0'.repeat(16)}-${SPAN}-1`])
      assert.equal(read(['b3', b3]), undefined, b3)
  })

  it('of B3 may have a short id, no decision, a decision only, or ask to be recorded whatever happens', () => {
    const short = read(['b3', `${SPAN}-${SPAN}`])
    assert.deepEqual([short?.traceId, short?.sampled], [`${'0'.repeat(16)}${SPAN}`, undefined])
    const denied = read(['b3', '0'])
    assert.deepEqual([denied?.traceId, denied?.sampled], [undefined, false])
    const flagged = read(['X-B3-TraceId', TRACE, 'X-B3-SpanId', SPAN, 'X-B3-Flags', '1'])
    assert.deepEqual([flagged?.sampled, flagged?.debug], [true, true])
  })

  it('is read as it was written, whatever stood there before', () => {
    const id = (digits: number) =>
      fc
        .uint8Array({ minLength: digits / 2, maxLength: digits / 2 })
        .map(bytes => Buffer.from(bytes).toString('hex'))
        .filter(text => !/^0+$/.test(text))
    const fields = fc.array(fc.constantFrom('traceparent', 'B3', 'x-b3-sampled', 'X-B3-TraceId', 'x-b3-parentspanid'))
    fc.assert(
      fc.property(
        fc.constantFrom(...propagators),
        fields,
        fc.record({
          traceId: id(32),
          spanId: id(16),
          parentSpanId: fc.option(id(16), { nil: undefined }),
          sampled: fc.boolean(),
        }),
        (form, before, span) => {
          const headers = new HeaderList(before.flatMap(name => [name, 'old']))
          writeOutgoing(headers, form, span)
          const { by, traceId, spanId, sampled } = readIncoming(headers, [form])!
          assert.deepEqual(
            { by, traceId, spanId, sampled },
            { by: form, traceId: span.traceId, spanId: span.spanId, sampled: span.sampled },
          )
          dropTrace(headers)
          assert.deepEqual(headers.raw, [])
        },
      ),
      { seed: 11, numRuns: 300 },
    )
  })
})
