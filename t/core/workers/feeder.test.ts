// The two ends of a feed, with a port between them: all of a list and of each write arrives, in pieces, one at a time.
import assert from 'node:assert/strict'
import type { Change, Item, Kind } from '../../../core/store/store.ts'
import { Feed } from '../../../core/workers/feed.ts'
import { Feeder } from '../../../core/workers/feeder.ts'
import type { FeedAnswer, FeedRequest } from '../../../core/workers/messages.ts'
import { until } from '../../helpers/until.ts'

const item = (at: number, padding = ''): Item => ({
  kind: 'routes',
  id: `${at}`,
  value: { at, padding },
  createRevision: 1,
  modRevision: 1,
})
const change = (at: number, revision: number): Change => {
  const made = item(at)
  return { kind: made.kind as Kind, id: made.id, revision, item: made }
}

describe('a feed', () => {
  let items: Item[]
  let away: Error | undefined
  let changed: (changes: readonly Change[]) => void
  let lost: (error: Error) => void
  let watchedSince: number[]
  let ended: number
  let feed: Feed
  let feeder: Feeder
  /** Pieces in the order in which they came. */
  let pieces: FeedAnswer[]
  /** Requests of the worker that have not come to main yet; they do so by themselves while `held` is false. */
  let requests: FeedRequest[]
  let held: boolean

  beforeEach(() => {
    items = []
    away = undefined
    watchedSince = []
    ended = 0
    pieces = []
    requests = []
    held = false
    feeder = new Feeder(
      {
        async list() {
          if (away !== undefined) throw away
          return { items, revision: 7 }
        },
        watch(since, onChanged, onLost) {
          watchedSince.push(since)
          changed = onChanged
          lost = onLost
          return () => void ended++
        },
      },
      // As a port does it: copied at once, delivered later.
      answer => {
        const copy = structuredClone(answer)
        setImmediate(() => {
          pieces.push(copy)
          feed.receive(copy)
        })
      },
    )
    feed = new Feed(request => {
      requests.push(request)
      if (!held) deliver()
    })
  })

  function deliver(): void {
    for (const request of requests.splice(0)) setImmediate(() => feeder.receive(request))
  }

  /** Watches, and keeps what is told. */
  async function watching() {
    const told: { ids: string; revision: number }[] = []
    const errors: string[] = []
    feed.watch(
      7,
      changes => told.push({ ids: changes.map(({ id }) => id).join(), revision: changes.at(-1)!.revision }),
      error => errors.push(error.message),
    )
    await until(() => watchedSince.length > 0, 'main watches')
    return { told, errors }
  }

  it('brings a list whole, in several pieces that grow', async () => {
    items = Array.from({ length: 2_000 }, (_, at) => item(at))
    assert.deepEqual(await feed.list(), { items, revision: 7 })
    const sizes = pieces.map(piece => (piece.type === 'listed' ? piece.items.length : 0))
    assert.ok(sizes.length > 3 && sizes[0]! < 100 && Math.max(...sizes) <= 1_024, String(sizes))
  })

  it('brings an empty list, and a second one as well as the first', async () => {
    assert.deepEqual(await feed.list(), { items: [], revision: 7 })
    items = [item(1)]
    assert.deepEqual(await feed.list(), { items, revision: 7 })
  })

  it('makes pieces smaller when they take long', async () => {
    items = Array.from({ length: 64 }, (_, at) => item(at, 'x'.repeat(1_000_000)))
    const whole = feed.list()
    await until(() => pieces.length >= 4, 'some pieces have come')
    const sizes = pieces.map(piece => (piece.type === 'listed' ? piece.items.length : 0))
    assert.ok(sizes.at(-1)! < sizes[0]!, String(sizes))
    await whole
  })

  it('has one piece on its way, whatever there is to tell', async () => {
    const { told } = await watching()
    held = true
    changed([change(1, 8)])
    await until(() => pieces.length === 1, 'the first piece has come')
    for (let at = 2; at < 1_000; at++) changed([change(at, at + 7)])
    for (let turn = 0; turn < 10; turn++) await new Promise(resolve => setImmediate(resolve))
    assert.equal(pieces.length, 1)
    held = false
    deliver()
    await until(() => told.at(-1)?.revision === 1_006, 'everything has come')
    assert.equal(told.map(({ ids }) => ids).join(), Array.from({ length: 999 }, (_, at) => at + 1).join())
  })

  it('tells all changes of a write at once, however many pieces they take', async () => {
    const { told } = await watching()
    changed([change(0, 8)])
    changed(Array.from({ length: 5_000 }, (_, at) => change(at, 9)))
    await until(() => told.at(-1)?.revision === 9, 'the write has come')
    assert.equal(told.at(-1)!.ids.split(',').length, 5_000)
    assert.ok(pieces.length > 5)
  })

  it('says that the source is away, and that the watch is lost', async () => {
    away = new Error('no store')
    await assert.rejects(feed.list(), /no store/)
    const { told, errors } = await watching()
    held = true
    changed([change(1, 8)])
    changed([change(2, 9)])
    lost(new Error('compacted'))
    await until(() => errors.length > 0, 'it is told')
    assert.deepEqual([told.map(({ ids }) => ids), errors], [['1'], ['compacted']])
    // What was still to be told is in the list that comes now.
    held = false
    deliver()
    away = undefined
    items = [item(1), item(2)]
    assert.deepEqual((await feed.list()).items, items)
    assert.deepEqual(told.length, 1)
  })

  it('watches once: a new watch ends the one before it', async () => {
    await watching()
    feed.watch(9, () => {}, assert.fail)
    await until(() => watchedSince.length === 2, 'main watches again')
    assert.deepEqual([watchedSince, ended], [[7, 9], 1])
    feeder.close()
    assert.equal(ended, 2)
  })
})
