// Series that have not moved for long: they go from the page and from every writer, and nothing that is counted is lost.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MetricsReader, type WriterId } from '../../../core/observe/metrics-reader.ts'
import { MetricsWriter } from '../../../core/observe/metrics-writer.ts'
import { expireSeries } from '../../../core/observe/series-expiry.ts'
import { until } from '../../helpers/until.ts'

const EXPIRY = 100

/** Workers and main, with what they say to each other under way until it is delivered. */
function threads(workers = 2, expiring = ['requests', 'latency', 'live']) {
  const settings = Object.fromEntries(expiring.map(name => [name, { expireMs: EXPIRY }]))
  const reader = new MetricsReader({ expiry: family => settings[family]?.expireMs ?? 0 })
  const toMain: (() => void)[][] = []
  const toWorker: (() => void)[][] = []
  const writers = Array.from({ length: workers }, (_, id) => {
    const said: (() => void)[] = []
    toMain.push(said)
    toWorker.push([])
    return new MetricsWriter({
      publish: series => said.push(() => reader.add(id, series)),
      withdraw: series => said.push(() => reader.remove(id, series)),
      settings,
    })
  })
  /** Brings the oldest message of one queue, or everything. */
  const deliver = (queue: (() => void)[]) => queue.shift()?.()
  const settle = () => {
    for (const queue of [...toWorker, ...toMain]) while (queue.length > 0) deliver(queue)
  }
  const look = (now: number) => {
    const asked: [WriterId, number][] = []
    for (const _ of reader.expire(now, (writer, id) => asked.push([writer, id])));
    for (const [writer, id] of asked) toWorker[Number(writer)]!.push(() => writers[Number(writer)]!.expire(id))
  }
  const value = (series: string) => {
    const line = reader
      .print()
      .split('\n')
      .find(each => each.startsWith(`${series} `))
    return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1))
  }
  return { reader, writers, queues: [...toMain, ...toWorker], deliver, settle, look, value }
}

describe('series that have not moved for as long as their family may keep them', () => {
  it('go, with their room, and begin at zero when they move again', () => {
    const { writers, settle, look, value } = threads()
    const counters = writers.map(writer => writer.counter('requests', 'R', ['route']))
    const kept = counters[0]!.of(['a'])
    kept.add(2)
    counters[1]!.add(['a'], 3)
    settle()
    for (const now of [0, EXPIRY - 1]) {
      look(now)
      settle()
      assert.equal(value('apisix_requests{route="a"}'), 5)
    }
    look(EXPIRY)
    settle()
    assert.equal(value('apisix_requests{route="a"}'), undefined)
    kept.add()
    settle()
    assert.equal(value('apisix_requests{route="a"}'), 1)
  })

  it('stay in all writers while they move in one', () => {
    const { writers, settle, look, value } = threads()
    const [first, second] = writers.map(writer => writer.counter('requests', 'R', ['route']))
    first!.add(['a'], 7)
    for (let now = 0; now < 10 * EXPIRY; now += EXPIRY) {
      second!.add(['a'])
      settle()
      look(now)
    }
    settle()
    assert.equal(value('apisix_requests{route="a"}'), 17)
  })

  it('stay while something is live in them, and in families that do not expire', () => {
    const { writers, settle, look, value } = threads()
    const leave = writers[0]!.liveGauge('live', 'L', ['route']).enter(['a'])
    writers[0]!.counter('others', 'O', []).add([])
    const pass = (from: number) => {
      settle()
      for (const now of [from, from + EXPIRY]) {
        look(now)
        settle()
      }
    }
    pass(0)
    assert.deepEqual([value('apisix_live{route="a"}'), value('apisix_others')], [1, 1])
    leave()
    pass(1_000)
    assert.deepEqual([value('apisix_live{route="a"}'), value('apisix_others')], [undefined, 1])
    writers[0]!.liveGauge('live', 'L', ['route']).enter(['a'])
    settle()
    assert.equal(value('apisix_live{route="a"}'), 1)
  })

  it('go when only writers that are gone have counted them', () => {
    const { reader, writers, settle, look, value } = threads()
    writers[0]!.histogram('latency', 'L', ['route'], [1]).observe(['a'], 0.1)
    settle()
    reader.removeWriter(0)
    look(0)
    assert.equal(value('apisix_latency_count{route="a"}'), 1)
    look(EXPIRY)
    assert.equal(value('apisix_latency_count{route="a"}'), undefined)
  })

  it('lose nothing that is counted while they go, whatever is under way between the threads', () => {
    const operation = (kind: 'add' | 'deliver' | 'look', at: fc.Arbitrary<number>, weight: number) => ({
      weight,
      arbitrary: fc.record({ kind: fc.constant(kind), at }),
    })
    const operations = fc.array(
      fc.oneof(
        operation('add', fc.nat(1), 1),
        operation('deliver', fc.nat(3), 4),
        operation('look', fc.constantFrom(1, EXPIRY), 3),
      ),
      { maxLength: 10 },
    )
    fc.assert(
      fc.property(fc.array(operations, { maxLength: 8 }), rounds => {
        const { writers, queues, deliver, settle, look, value } = threads()
        const counters = writers.map(writer => writer.counter('requests', 'R', []))
        let now = 0
        let last = 0
        const counted = [0, 0]
        /** What may have gone of each: all that it had counted when a look came long after. */
        const gone = [[0], [0]]
        for (const round of rounds) {
          for (const { kind, at } of round) {
            if (kind === 'deliver') deliver(queues[at]!)
            else if (kind === 'add') {
              counters[at]!.add([])
              counted[at]!++
              last = now
            } else {
              now += at
              look(now)
              if (now - last >= EXPIRY) for (const [each, count] of counted.entries()) gone[each]!.push(count)
            }
          }
          settle()
          const shown = value('apisix_requests') ?? 0
          const [first, second] = counted.map((count, each) => gone[each]!.map(before => count - before))
          const may = new Set(first!.flatMap(one => second!.map(other => one + other)))
          assert.ok(may.has(shown), `${shown} of ${counted}, not one of ${[...may]}`)
        }
      }),
      { seed: 11, numRuns: 1_000 },
    )
  })

  it('are looked for every so often, in slices', async () => {
    const { reader, writers, settle, value } = threads(1)
    const requests = writers[0]!.counter('requests', 'R', ['route'])
    for (let route = 0; route < 9_000; route++) requests.add([`r${route}`])
    settle()
    let now = 0
    const stop = expireSeries({
      reader,
      settings: { requests: { expireMs: EXPIRY } },
      withdraw(_, ids) {
        for (const id of ids) writers[0]!.expire(id)
      },
      now: () => {
        now += EXPIRY
        return now
      },
    })
    try {
      await until(() => {
        settle()
        return value('apisix_requests{route="r1"}') === undefined
      }, 'they are gone')
      assert.equal(reader.print(), '')
    } finally {
      stop()
    }
  })
})
