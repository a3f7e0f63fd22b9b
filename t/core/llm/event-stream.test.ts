// A stream on its way through: what passes, what is taken out, how it breaks.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ClientGone, UpstreamError } from '../../../core/errors.ts'
import { EventStream } from '../../../core/llm/event-stream.ts'
import { openaiChat } from '../../../core/llm/protocols/openai-chat.ts'
import type { AnswerBody } from '../../../core/proxy/transport.ts'
import type { Sink } from '../../../core/reply.ts'

/** A provider's side that a test drives by hand. */
class Provider implements AnswerBody {
  sink: Sink | undefined
  paused = false
  cancelled: Error | undefined
  content = 0

  whole(): undefined {}
  pipe(sink: Sink): void {
    this.sink = sink
  }
  pause(): void {
    this.paused = true
  }
  resume(): void {
    this.paused = false
  }
  cancel(reason: Error): void {
    this.cancelled ??= reason
  }
  contentSeen(): void {
    this.content++
  }
}

function open(given: { hidesUsage?: boolean; maxBytes?: number; holdsStart?: boolean } = {}) {
  const provider = new Provider()
  const reader = openaiChat.openReader({}, false)
  const seen = { writes: [] as Buffer[], ends: 0, failures: [] as Error[], over: [] as unknown[], firstData: 0 }
  const stream = new EventStream(provider, {
    reader,
    hidesUsage: given.hidesUsage ?? false,
    holdsStart: given.holdsStart ?? false,
    maxBytes: given.maxBytes ?? Number.POSITIVE_INFINITY,
    errorEvent: error => Buffer.from(`data: {"error":"${(error as UpstreamError).code}"}\n\n`),
    firstData: () => {
      seen.firstData++
    },
    over: (error, aborted) => seen.over.push(aborted ?? error),
  })
  stream.opened.catch(() => {})
  const sink: Sink = {
    write: chunk => seen.writes.push(Buffer.from(chunk)),
    end: () => {
      seen.ends++
    },
    fail: error => seen.failures.push(error),
  }
  const read = (text: string | Buffer) => provider.sink!.write(Buffer.from(text))
  return { provider, reader, seen, stream, sink, read, text: () => Buffer.concat(seen.writes).toString() }
}

const chunk = (content: string) => `data: {"choices":[{"index":0,"delta":{"content":"${content}"}}]}\n\n`
const usageChunk = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n'
const done = 'data: [DONE]\n\n'
const reset = () => new UpstreamError('reset', 'reset')

describe('a stream on its way', () => {
  it('opens with the first thing there is to send, and waits there for somebody to send it to', async () => {
    const { provider, stream, sink, read, seen, text } = open()
    read(': pi')
    await stream.opened
    assert.equal(provider.paused, true)
    read('ng\n\n')
    stream.pipe(sink)
    assert.equal(provider.paused, false)
    assert.equal(text(), ': ping\n\n')
    assert.equal(seen.writes.length, 1)
  })

  it('leaves in one write per read, untouched', () => {
    const { stream, sink, read, seen } = open()
    stream.pipe(sink)
    const reads = [chunk('a') + chunk('b') + chunk('c').slice(0, 9), chunk('c').slice(9), usageChunk + done]
    for (const one of reads) read(one)
    assert.deepEqual(seen.writes.map(String), reads)
  })

  it('without usage leaves in one write per read, as far as events are complete', () => {
    const { stream, sink, read, seen } = open({ hidesUsage: true })
    stream.pipe(sink)
    read(chunk('a') + chunk('b').slice(0, 9))
    read(chunk('b').slice(9) + chunk('c') + usageChunk + done)
    assert.deepEqual(seen.writes.map(String), [chunk('a'), chunk('b') + chunk('c') + done])
  })

  it('tells the clock of the first content, and not of a ping, a role or the second content', () => {
    const { provider, stream, sink, read, seen } = open()
    stream.pipe(sink)
    read(': ping\n\n')
    assert.deepEqual([provider.content, seen.firstData], [0, 0])
    read('data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n')
    assert.deepEqual([provider.content, seen.firstData], [0, 1])
    read(chunk('a'))
    read(chunk('b'))
    assert.deepEqual([provider.content, seen.firstData], [1, 1])
  })

  it('ends once, and only then is over', () => {
    const { provider, stream, sink, read, seen } = open()
    stream.pipe(sink)
    read(chunk('a') + done)
    assert.deepEqual(seen.over, [])
    provider.sink!.end()
    assert.deepEqual(seen, { ...seen, ends: 1, failures: [], over: [undefined] })
  })

  it('that was over before it was piped still comes whole', async () => {
    const { provider, stream, sink, read, seen, text } = open()
    read(chunk('a'))
    read(done)
    provider.sink!.end()
    await stream.opened
    stream.pipe(sink)
    assert.equal(text(), chunk('a') + done)
    assert.equal(seen.ends, 1)
  })

  it('hands back-pressure on', () => {
    const { provider, stream, sink, read } = open()
    read(chunk('a'))
    stream.pipe(sink)
    stream.pause()
    assert.equal(provider.paused, true)
    stream.resume()
    assert.equal(provider.paused, false)
  })

  it('is not woken by being piped when it was told to pause', () => {
    const { provider, stream, sink, read } = open()
    read(chunk('a'))
    stream.pause()
    stream.pipe(sink)
    assert.equal(provider.paused, true)
  })
})

describe('a stream that breaks', () => {
  it('before anything could be sent is told to whoever opened it', async () => {
    const { provider, stream, seen } = open()
    provider.sink!.fail(reset())
    await assert.rejects(stream.opened, { code: 'upstream_reset' })
    assert.deepEqual(seen.over, ['read_error'])
  })

  it('without a single event is incomplete', async () => {
    const { provider, stream, seen } = open()
    provider.sink!.end()
    await assert.rejects(stream.opened, UpstreamError)
    assert.deepEqual(seen.over, ['incomplete'])
  })

  it('ends with an error event and no [DONE]', () => {
    const { provider, stream, sink, read, seen, text } = open()
    stream.pipe(sink)
    read(chunk('a'))
    provider.sink!.fail(reset())
    assert.equal(text(), `${chunk('a')}data: {"error":"upstream_reset"}\n\n`)
    assert.deepEqual([seen.ends, seen.failures, seen.over], [1, [], ['read_error']])
  })

  it('within an event ends that event first when the client has its beginning', () => {
    const { provider, stream, sink, read, text } = open()
    stream.pipe(sink)
    read(chunk('a').slice(0, 20))
    provider.sink!.fail(reset())
    assert.equal(text(), `${chunk('a').slice(0, 20)}\n\ndata: {"error":"upstream_reset"}\n\n`)
  })

  it('within an event that was held back drops it', () => {
    const { provider, stream, sink, read, text } = open({ hidesUsage: true })
    stream.pipe(sink)
    read(chunk('a') + chunk('b').slice(0, 20))
    provider.sink!.fail(reset())
    assert.equal(text(), `${chunk('a')}data: {"error":"upstream_reset"}\n\n`)
  })

  it('in its orderly end, but without a sign of completeness, ends with an error event', () => {
    const { provider, stream, sink, read, text, seen } = open()
    stream.pipe(sink)
    read(chunk('a'))
    provider.sink!.end()
    assert.match(text(), /upstream_malformed/)
    assert.deepEqual(seen.over, ['incomplete'])
  })

  it('with an event that cannot be understood is broken there, whatever follows', () => {
    const half = chunk('b').slice(0, -8)
    for (const hidesUsage of [false, true]) {
      const { stream, sink, read, text, seen } = open({ hidesUsage })
      stream.pipe(sink)
      read(chunk('a') + half.slice(0, 20))
      read(`${half.slice(20)}\n\n${done}`)
      const sent = hidesUsage ? '' : `${half.slice(0, 20)}\n\n`
      assert.equal(text(), `${chunk('a')}${sent}data: {"error":"upstream_malformed"}\n\n`)
      assert.deepEqual([seen.ends, seen.over], [1, ['read_error']])
    }
  })

  it('behind its end has not broken', () => {
    for (const last of [
      done,
      'data: [DONE]',
      'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    ]) {
      const { provider, stream, sink, read, text, seen } = open({ hidesUsage: true })
      stream.pipe(sink)
      read(chunk('a') + last)
      provider.sink!.fail(reset())
      assert.equal(text(), chunk('a') + last)
      assert.deepEqual([seen.ends, seen.over], [1, [undefined]])
    }
  })

  it('with an error of the provider is left as the provider ends it', () => {
    const { provider, stream, sink, read, text, seen } = open()
    stream.pipe(sink)
    const failure = 'data: {"error":{"message":"overloaded"}}\n\n'
    read(chunk('a') + failure)
    provider.sink!.end()
    assert.equal(text(), chunk('a') + failure)
    assert.deepEqual(seen.over, ['upstream_error'])
  })

  it('while it waits for somebody to send it to still tells how it ended', async () => {
    const { provider, stream, sink, read, text, seen } = open()
    read(chunk('a'))
    await stream.opened
    provider.sink!.fail(reset())
    stream.pipe(sink)
    assert.equal(text(), `${chunk('a')}data: {"error":"upstream_reset"}\n\n`)
    assert.equal(seen.ends, 1)
  })

  it('because the client is gone says nothing more', async () => {
    const { provider, stream, sink, read, seen } = open()
    stream.pipe(sink)
    read(chunk('a'))
    provider.sink!.fail(new ClientGone())
    assert.deepEqual([seen.writes.length, seen.ends, seen.failures.length, seen.over], [1, 0, 1, ['client_disconnect']])
    const early = open()
    early.provider.sink!.fail(new ClientGone())
    await assert.rejects(early.stream.opened, ClientGone)
  })

  it('because it is cancelled cancels the provider and says nothing more', () => {
    const { provider, stream, sink, read, seen } = open()
    stream.pipe(sink)
    read(chunk('a'))
    const reason = new ClientGone()
    stream.cancel(reason)
    stream.cancel(reason)
    assert.equal(provider.cancelled, reason)
    read(chunk('b'))
    provider.sink!.end()
    assert.deepEqual([seen.writes.length, seen.ends, seen.failures.length, seen.over], [1, 0, 0, ['client_disconnect']])
  })

  it('at the limit of its bytes ends with an error event, and the provider is told', async () => {
    const { provider, stream, sink, read, text, seen } = open({ maxBytes: 100 })
    stream.pipe(sink)
    read(chunk('a'))
    read(chunk('b'))
    assert.equal(text(), `${chunk('a')}data: {"error":"upstream_too_large"}\n\n`)
    assert.deepEqual([seen.ends, seen.over], [1, ['max_response_bytes']])
    assert.ok(provider.cancelled)
    const early = open({ maxBytes: 10 })
    early.read(chunk('a'))
    await assert.rejects(early.stream.opened, UpstreamError)
  })

  it('with an endless event breaks only where events are held back', () => {
    const endless = Buffer.alloc(16 * 1024 * 1024 + 1, 'x')
    const held = open({ hidesUsage: true })
    held.stream.pipe(held.sink)
    held.read(chunk('a'))
    held.read(endless)
    assert.match(held.text(), /upstream_malformed/)
    const through = open()
    through.stream.pipe(through.sink)
    through.read(endless)
    through.read(`\n\n${done}`)
    through.provider.sink!.end()
    assert.equal(Buffer.concat(through.seen.writes).length, endless.length + 2 + done.length)
    assert.deepEqual(through.seen.over, [undefined])
  })
})

describe('a stream that is cut anywhere', () => {
  const ends = fc.constantFrom('\n', '\r\n', '\r')
  const piece = fc
    .tuple(
      fc.oneof(
        fc.string({ unit: 'grapheme', maxLength: 8 }).map(text => ({
          lines: [`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: text } }] })}`],
          hidden: false,
        })),
        fc.constantFrom(
          { lines: [': ping'], hidden: false },
          { lines: ['data: {"choices":[],', 'data: "usage":{"prompt_tokens":1}}'], hidden: true },
          { lines: ['data: {"choices":[],"usage":{"completion_tokens":9}}'], hidden: true },
          { lines: [': x', 'data:{"usage" : {"prompt_tokens":5},"choices" : []}'], hidden: true },
          { lines: ['data: {"choices":[],"usage":null}'], hidden: false },
          { lines: ['data: {"choices":[],"prompt_filter_results":[]}'], hidden: false },
          { lines: ['data: nonsense'], hidden: false },
        ),
      ),
      ends,
    )
    .map(([{ lines, hidden }, end]) => ({ bytes: Buffer.from(lines.map(line => line + end).join('') + end), hidden }))

  function pass(bytes: Buffer, hidesUsage: boolean, places: readonly number[]) {
    const { provider, reader, stream, sink, seen } = open({ hidesUsage })
    stream.pipe(sink)
    let from = 0
    for (const to of [...places, bytes.length].map(place => Math.min(place, bytes.length)).sort((a, b) => a - b)) {
      if (to > from) provider.sink!.write(bytes.subarray(from, to))
      from = to
    }
    provider.sink!.end()
    const { usage, contentSeen, complete } = reader
    return { out: Buffer.concat(seen.writes).toString(), usage, contentSeen, complete, content: provider.content }
  }

  it('brings the client the same bytes and us the same usage', () => {
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 12 }),
        fc.constantFrom('data: [DONE]', 'data: [DONE]\n\n', 'data: [DONE]\r\n\r\n', 'data: [DONE]\r\r'),
        fc.array(fc.nat(600), { maxLength: 60 }),
        (pieces, last, places) => {
          const bytes = Buffer.concat([...pieces.map(one => one.bytes), Buffer.from(last)])
          const shown = Buffer.concat([...pieces.filter(one => !one.hidden).map(one => one.bytes), Buffer.from(last)])
          const whole = pass(bytes, true, [])
          assert.equal(whole.out, shown.toString())
          assert.equal(
            whole.usage !== undefined,
            pieces.some(one => one.hidden),
          )
          const everyByte = Array.from(bytes, (_, at) => at)
          for (const cuts of [places, everyByte]) {
            assert.deepEqual(pass(bytes, true, cuts), whole)
            assert.deepEqual(pass(bytes, false, cuts), { ...whole, out: bytes.toString() })
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('a stream in the place of which another may come', () => {
  const role = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'

  it('holds back what comes before the first content, and reads on meanwhile', async () => {
    const { provider, stream, sink, read, seen, text } = open({ holdsStart: true })
    let opened = false
    void stream.opened.then(() => {
      opened = true
    })
    read(': ping\n\n')
    read(role)
    await new Promise(setImmediate)
    assert.deepEqual([opened, provider.paused], [false, false])
    read(chunk('a'))
    await stream.opened
    assert.equal(provider.paused, true)
    stream.pipe(sink)
    read(chunk('b'))
    assert.equal(text(), `: ping\n\n${role}${chunk('a')}${chunk('b')}`)
    assert.equal(seen.writes.length, 2)
  })

  it('has told the client nothing when it breaks there', async () => {
    for (const end of ['fail', 'end', 'malformed'] as const) {
      const { provider, stream, read, seen } = open({ holdsStart: true })
      read(role)
      if (end === 'fail') provider.sink!.fail(reset())
      else if (end === 'end') provider.sink!.end()
      else read('data: {"choices":[\n\n')
      await assert.rejects(stream.opened, UpstreamError)
      assert.equal(seen.over.length, 1)
    }
  })

  it('does not wait for content that never comes behind the end, nor behind very much else', async () => {
    const ended = open({ holdsStart: true })
    ended.read(role)
    ended.read(done)
    ended.provider.sink!.end()
    await ended.stream.opened
    ended.stream.pipe(ended.sink)
    assert.deepEqual([ended.text(), ended.seen.ends], [role + done, 1])
    const chatty = open({ holdsStart: true })
    for (let read = 0; read < 6_000; read++) chatty.read(': this is a ping that says nothing at all\n\n')
    await assert.rejects(Promise.race([chatty.stream.opened, Promise.reject(new Error('held'))]), /held/)
    for (let read = 0; read < 1_000; read++) chatty.read(': this is a ping that says nothing at all\n\n')
    await chatty.stream.opened
  })
})
