// Batches on their way to a sink that takes, hangs, refuses or never comes back: what arrives, what waits, what is lost.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Backlog, MAX_WAITING_BYTES, nothingWaits } from '../../../core/observe/backlog.ts'
import { Batches, type BatchOptions, type Sink } from '../../../core/observe/batches.ts'
import { silent } from '../../../core/observe/log.ts'
import type { Loss } from '../../../core/observe/lost-entries.ts'
import { until } from '../../helpers/until.ts'

/** A sink under the test's hand: every send waits until it is answered. */
class HeldSink implements Sink {
  readonly sent: string[] = []
  readonly open: { resolve(refused: number): void; reject(error: Error): void }[] = []
  closed = false
  most = 0

  send(batch: Buffer, signal: AbortSignal): Promise<number> {
    this.sent.push(batch.toString())
    return new Promise<number>((resolve, reject) => {
      this.open.push({ resolve, reject })
      this.most = Math.max(this.most, this.open.length)
      signal.addEventListener('abort', () => reject(new Error('aborted')))
    })
  }

  answer(refused = 0): void {
    this.open.shift()!.resolve(refused)
  }

  fail(): void {
    this.open.shift()!.reject(new Error('no'))
  }

  async close(): Promise<void> {
    this.closed = true
  }
}

describe('batches', () => {
  let sink: HeldSink
  let waiting: ReturnType<typeof nothingWaits>
  let lost: Partial<Record<Loss, number>>
  let said: string[]
  let pending: number

  beforeEach(() => {
    sink = new HeldSink()
    waiting = nothingWaits()
    lost = {}
    said = []
    pending = 0
  })

  function open(options: Partial<BatchOptions> & { most?: number } = {}): Batches {
    const log = { ...silent, error: (_: object, line: string) => said.push(line) }
    const backlog = new Backlog({
      plugin: 'a-logger',
      waiting,
      maxEntries: options.most ?? 8192,
      lost: (entries, why) => {
        lost[why] = (lost[why] ?? 0) + entries
      },
      log,
    })
    return new Batches({
      name: 'a logger',
      plugin: 'a-logger',
      owner: {},
      sink,
      framing: { begin: '[', between: ',', end: ']' },
      maxEntries: 1000,
      enoughBytes: 1 << 20,
      inactiveMs: 60_000,
      durationMs: 60_000,
      retries: 0,
      retryDelayMs: 0,
      backlog,
      log,
      pending: change => {
        pending += change
      },
      ...options,
    })
  }
  const write = (batches: Batches, ...entries: (string | number)[]) => {
    for (const entry of entries) batches.write(line => line.raw(String(entry)))
  }

  it('are sent when they are full, one at a time, in order', async () => {
    const batches = open({ maxEntries: 2 })
    write(batches, 1, 2, 3, 4, 5)
    assert.deepEqual(sink.sent, ['[1,2]'])
    sink.answer()
    await until(() => sink.sent.length === 2, 'the second batch')
    sink.answer()
    const closed = batches.close()
    await until(() => sink.sent.length === 3, 'the last batch')
    sink.answer()
    await closed
    assert.deepEqual(sink.sent, ['[1,2]', '[3,4]', '[5]'])
    assert.deepEqual([sink.most, sink.closed, pending], [1, true, 0])
    assert.deepEqual([waiting.entries, waiting.bytes, lost], [0, 0, {}])
  })

  it('are sent when nothing has come for a while, and when they are old', async () => {
    const inactive = open({ inactiveMs: 20 })
    write(inactive, 1)
    await until(() => sink.sent.length === 1, 'a batch that nothing came to')
    sink.answer()
    const old = open({ durationMs: 60 })
    const more = setInterval(() => write(old, 2), 5)
    await until(() => sink.sent.length === 2, 'a batch that has become old')
    clearInterval(more)
    assert.match(sink.sent[1]!, /^\[2[,\]]/)
    sink.answer()
    const closing = old.close()
    await until(() => sink.closed || sink.open.length > 0, 'the end')
    sink.open.shift()?.resolve(0)
    await closing
    await inactive.close()
  })

  it('go on growing while one is under way', async () => {
    const batches = open({ inactiveMs: 1, maxEntries: 5 })
    // The first leaves a timer behind.
    write(batches, 'a', 'b', 'c', 'd', 'e')
    for (let n = 2; n < 6; n++) {
      write(batches, n)
      await new Promise(resolve => setTimeout(resolve, 3))
    }
    assert.deepEqual(sink.sent, ['[a,b,c,d,e]'])
    sink.answer()
    await until(() => sink.sent.length === 2, 'what has come meanwhile')
    assert.equal(sink.sent[1], '[2,3,4,5]')
    sink.answer()
    await batches.close()
  })

  it('are sent again as often as is said, more and more slowly, and then lost', async () => {
    const batches = open({ maxEntries: 1, retries: 2, retryDelayMs: 10 })
    const began = performance.now()
    write(batches, 1)
    sink.fail()
    await until(() => sink.sent.length === 2, 'the second attempt')
    sink.fail()
    await until(() => sink.sent.length === 3, 'the third attempt')
    // Timers may be a millisecond early.
    assert.ok(performance.now() - began >= 28)
    sink.fail()
    await until(() => lost.failed === 1, 'the loss')
    assert.deepEqual(sink.sent, ['[1]', '[1]', '[1]'])
    assert.deepEqual(said, ['Batch Processor[a logger] exceeded the max_retry_count[2] dropping the entries'])
    await until(() => waiting.entries === 0, 'nothing waits')
    await batches.close()
  })

  it('hold no more than they may while a sink hangs, and never wait for it', async () => {
    const batches = open({ most: 100, maxEntries: 10 })
    write(batches, ...Array.from({ length: 100_000 }, (_, n) => n))
    assert.deepEqual([waiting.entries, lost.queue_full, sink.sent.length], [100, 99_900, 1])
    assert.deepEqual(said, ['max pending entries limit exceeded. discarding entry.'])
    sink.answer()
    await until(() => sink.sent.length === 2, 'the sink is back')
    assert.deepEqual([sink.sent[1], waiting.entries], ['[10,11,12,13,14,15,16,17,18,19]', 90])
    for (let n = 0; n < 9; n++) {
      await until(() => sink.open.length === 1, 'a batch')
      sink.answer()
    }
    await batches.close()
    assert.deepEqual([waiting.entries, waiting.bytes], [0, 0])
  })

  it('share one limit, also of bytes, with the other uses of their plugin', async () => {
    const large = 'x'.repeat(MAX_WAITING_BYTES / 4)
    const [first, second] = [open(), open()]
    write(first, large, large)
    write(second, large, large, large)
    assert.ok(waiting.bytes <= MAX_WAITING_BYTES)
    assert.equal(lost.queue_full, 2)
    const closed = Promise.all([first.close(), second.close()])
    while (waiting.entries > 0) {
      await until(() => sink.open.length > 0 || waiting.entries === 0, 'a batch')
      sink.open.shift()?.resolve(0)
    }
    await closed
  })

  it('hold no more bytes than one use may', async () => {
    const batches = open({ maxWaiting: 6 })
    write(batches, 'aa', 'bb', 'cc')
    assert.deepEqual([lost, waiting.entries], [{ queue_full: 1 }, 2])
    const closed = batches.close()
    sink.answer()
    await closed
    assert.deepEqual(sink.sent, ['[aa,bb]'])
  })

  it('count what a sink says it has refused', async () => {
    const batches = open({ maxEntries: 3 })
    write(batches, 1, 2, 3)
    sink.answer(2)
    await until(() => lost.refused === 2, 'the count')
    await batches.close()
  })

  it('have nothing of an entry that could not be put together', async () => {
    const batches = open({ maxEntries: 2 })
    write(batches, 1)
    const broken = () =>
      batches.write(line => {
        line.raw('half')
        throw new Error('no text')
      })
    assert.throws(broken, /no text/)
    write(batches, 2)
    assert.deepEqual(sink.sent, ['[1,2]'])
    sink.answer()
    await batches.close()
  })

  it('are no larger than a datagram may be, and lose what alone is', async () => {
    const batches = open({ maxBytes: 10 })
    write(batches, 'aaaa', 'bbb', 'c', 'd'.repeat(9), 'e'.repeat(8))
    const closed = batches.close()
    const expected = ['[aaaa,bbb]', '[c]', `[${'e'.repeat(8)}]`]
    for (let n = 0; n < expected.length; n++) {
      await until(() => sink.open.length === 1, `batch ${n}`)
      sink.answer()
    }
    await closed
    assert.deepEqual([sink.sent, lost], [expected, { too_large: 1 }])
  })

  it('end in time with a sink that never answers', async () => {
    const batches = open({ maxEntries: 1, retries: 1_000, retryDelayMs: 3_600_000, flushMs: 50 })
    write(batches, 1, 2)
    sink.fail()
    await batches.close()
    assert.deepEqual([lost.shutdown, waiting.entries, waiting.bytes, sink.closed], [2, 0, 0, true])
    write(batches, 3)
    assert.equal(lost.shutdown, 3)
  })

  it('bring or count every entry, whatever the sink does', async () => {
    const plan = fc.array(fc.constantFrom('write', 'answer', 'fail', 'turn'), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(
        plan,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 0, max: 2 }),
        async (acts, size, again) => {
          sink = new HeldSink()
          waiting = nothingWaits()
          lost = {}
          const batches = open({ maxEntries: size, retries: again, most: 10 })
          let written = 0
          const brought = new Set<string>()
          const take = () => {
            for (const entry of sink.sent.at(-1)!.slice(1, -1).split(',')) brought.add(entry)
            sink.answer()
          }
          for (const act of acts) {
            if (act === 'write') write(batches, written++)
            else if (act === 'turn') await new Promise(resolve => setImmediate(resolve))
            else if (sink.open.length > 0) act === 'answer' ? take() : sink.fail()
          }
          let closed = false
          const closing = batches.close().then(() => {
            closed = true
          })
          while (!closed) {
            if (sink.open.length > 0) take()
            await new Promise(resolve => setImmediate(resolve))
          }
          await closing
          const gone = (lost.queue_full ?? 0) + (lost.failed ?? 0)
          assert.equal(brought.size + gone, written)
          assert.deepEqual([waiting.entries, waiting.bytes, sink.most <= 1], [0, 0, true])
        },
      ),
      { numRuns: 200 },
    )
  })
})
