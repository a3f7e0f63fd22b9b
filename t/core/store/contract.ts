// What every store must do, as tests that any store's test file runs; knows no store and assumes nothing about timing.
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import type { Change, Item, Revision, Store, Write } from '../../../core/store/store.ts'
import { Conflict, StoreUnavailable } from '../../../core/store/store.ts'

/** A store on data of its own, and what a test cannot do through the store. */
export interface StoreBench {
  readonly store: Store
  /** Closes the store and opens one on the same data. */
  reopen(): Promise<Store>
  /** Makes the changes so far too old to be replayed. */
  compact(): Promise<void>
  /** Lets time pass for ttls: a clock that is moved, or real time. */
  pass(seconds: number): Promise<void>
  /** Closes what is open and removes the data. */
  end(): Promise<void>
}

/** `waits: false` leaves out what takes seconds of real time in stores that have no clock to be moved. */
export function storeContract(open: () => Promise<StoreBench>, { waits = true } = {}): void {
  let bench: StoreBench
  let store: Store

  beforeEach(async () => {
    bench = await open()
    store = bench.store
    await store.ready()
  })
  afterEach(() => bench.end())

  describe('reading and writing', () => {
    it('gives back what was written, with its revisions', async () => {
      const first = await store.write([put('routes', '1', { uri: '/a', list: [1, null, { ü: '\u0000"\\' }] })])
      assert.deepEqual(await store.get('routes', '1'), {
        kind: 'routes',
        id: '1',
        value: { uri: '/a', list: [1, null, { ü: '\u0000"\\' }] },
        createRevision: first,
        modRevision: first,
      })
      assert.equal(await store.get('routes', '2'), undefined)
      assert.equal(await store.get('services', '1'), undefined)
    })

    it('lists everything, ordered by kind and then by the bytes of the id', async () => {
      const ids = ['b', 'a/credentials/1', 'a', 'B', '10', '9', 'ü', '\u{1f600}', '\uffee', 'a b', "a'b%"]
      for (const id of ids) await store.write([put('routes', id), put('consumers', id)])
      const { items } = await store.list()
      const sorted = ids.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      assert.deepEqual(
        items.map(({ kind, id }) => `${kind}/${id}`),
        [...sorted.map(id => `consumers/${id}`), ...sorted.map(id => `routes/${id}`)],
      )
    })

    it('keeps the create revision of an item until it is deleted', async () => {
      const first = await store.write([put('routes', '1', { n: 1 })])
      const second = await store.write([put('routes', '1', { n: 2 })])
      assert.deepEqual(revisions(await store.get('routes', '1')), [first, second])
      await store.write([remove('routes', '1')])
      assert.equal(await store.get('routes', '1'), undefined)
      const third = await store.write([put('routes', '1', { n: 3 })])
      assert.deepEqual(revisions(await store.get('routes', '1')), [third, third])
    })

    it('gives a higher revision to every write, and the same one to all changes of a write', async () => {
      const one = await store.write([put('routes', '1'), put('services', '1')])
      const two = await store.write([put('routes', '1'), remove('services', '1'), put('upstreams', '1')])
      assert.ok(two > one)
      assert.deepEqual(revisions(await store.get('routes', '1')), [one, two])
      assert.deepEqual(revisions(await store.get('upstreams', '1')), [two, two])
      assert.ok((await store.list()).revision >= two)
    })

    it('says at which revision it is, with everything that was written before', async () => {
      assert.equal(await store.revision(), (await store.list()).revision)
      const written = await store.write([put('routes', '1')])
      assert.ok((await store.revision()) >= written)
      store = await bench.reopen()
      assert.ok((await store.revision()) >= written)
    })

    it('is not affected by what callers do to the values they gave or got', async () => {
      const value = { list: [1] }
      const written = store.write([put('routes', '1', value)])
      value.list.push(2)
      await written
      for (const read of [() => store.get('routes', '1'), async () => (await store.list()).items[0]]) {
        const got = (await read())?.value as { list: number[] }
        assert.deepEqual(got, { list: [1] })
        try {
          got.list.push(3)
        } catch {
          // A frozen value is as good as a copy.
        }
        assert.deepEqual((await read())?.value, { list: [1] })
      }
    })

    it('lets a key be deleted that is not there, without a change for it', async () => {
      const { revision } = await store.list()
      const seen = record(store, revision)
      await store.write([remove('routes', 'none')])
      const last = await store.write([remove('routes', 'none'), put('routes', '1')])
      await until(() => seen.writes.length > 0)
      assert.deepEqual(keys(seen.writes[0]!), ['routes/1'])
      assert.equal(seen.writes[0]![0]!.revision, last)
    })

    it('deletes what is below an item with it, in one write, however much it is, and nothing beside it', async () => {
      const below = Array.from({ length: 300 }, (_, at) => `jack/credentials/${at}`)
      for (let from = 0; from < below.length; from += 100) {
        await store.write(below.slice(from, from + 100).map(id => put('consumers', id)))
      }
      const beside = ['jac', 'jack-', 'jack.', 'jack0', 'jack0/credentials/1', 'jackson', 'jackson/credentials/1']
      await store.write([put('consumers', 'jack'), ...beside.map(id => put('consumers', id)), put('routes', 'jack/x')])
      const { revision } = await store.list()
      const seen = record(store, revision)
      const gone = await store.write([{ kind: 'consumers', id: 'jack', value: null, below: true }])
      await until(() => seen.writes.length > 0)
      const changes = seen.writes.flat()
      assert.deepEqual(changes.map(({ id }) => id).sort(), ['jack', ...below].sort())
      assert.ok(changes.every(({ item, revision }) => item === undefined && revision === gone))
      const left = (await store.list()).items.map(({ id }) => id)
      assert.deepEqual(left.sort(), [...beside, 'jack/x'].sort())
      await assert.rejects(store.write([{ ...put('consumers', 'jack'), below: true }]), TypeError)
    })

    it('answers a write that changes nothing with a revision from which a watch misses nothing', async () => {
      const before = await store.write([put('routes', '1')])
      const nothing = await store.write([remove('routes', 'none')])
      assert.ok(nothing >= before)
      await store.write([put('routes', '2')])
      const seen = record(store, nothing)
      await until(() => seen.writes.length > 0)
      assert.deepEqual(seen.writes.flatMap(keys), ['routes/2'])
    })

    it('refuses a write that names a key twice, and writes nothing of it', async () => {
      await assert.rejects(store.write([put('routes', '1'), put('routes', '2'), remove('routes', '1')]))
      assert.deepEqual((await store.list()).items, [])
    })
  })

  describe('guards', () => {
    it('let a write through when each guarded key has its revision', async () => {
      const one = await store.write([put('routes', '1')], [{ kind: 'routes', id: '1', modRevision: 0 }])
      const two = await store.write([put('routes', '1', { n: 2 })], [{ kind: 'routes', id: '1', modRevision: one }])
      await store.write(
        [remove('routes', '1'), put('routes', '2')],
        [
          { kind: 'routes', id: '1', modRevision: two },
          { kind: 'services', id: 'none', modRevision: 0 },
        ],
      )
      assert.deepEqual(keys((await store.list()).items), ['routes/2'])
    })

    it('stop the whole write with Conflict when one of them does not hold', async () => {
      const one = await store.write([put('routes', '1', { n: 1 })])
      const two = await store.write([put('routes', '1', { n: 2 })])
      const before = await store.list()
      for (const modRevision of [0, one, two + 1]) {
        const guards = [
          { kind: 'services' as const, id: 'none', modRevision: 0 },
          { kind: 'routes' as const, id: '1', modRevision },
        ]
        await assert.rejects(store.write([put('routes', '2'), remove('routes', '1')], guards), Conflict)
      }
      await assert.rejects(store.write([], [{ kind: 'routes', id: 'none', modRevision: two }]), Conflict)
      assert.deepEqual((await store.list()).items, before.items)
    })

    it('let exactly one of many racing writes through', async () => {
      const guards = [{ kind: 'routes' as const, id: '1', modRevision: 0 }]
      const race = await Promise.allSettled(
        Array.from({ length: 20 }, (_, n) => store.write([put('routes', '1', { n }), put('routes', `r${n}`)], guards)),
      )
      const winners = race.flatMap(({ status }, n) => (status === 'fulfilled' ? [n] : []))
      for (const result of race) if (result.status === 'rejected') assert.ok(result.reason instanceof Conflict)
      assert.equal(winners.length, 1)
      assert.deepEqual(keys((await store.list()).items), ['routes/1', `routes/r${winners[0]}`])
      assert.deepEqual((await store.get('routes', '1'))?.value, { n: winners[0] })
    })

    it('make a counter exact that several count with', async () => {
      const count = async () => {
        for (let done = 0; done < 5; ) {
          const now = await store.get('routes', 'counter')
          const guard = { kind: 'routes' as const, id: 'counter', modRevision: now?.modRevision ?? 0 }
          const n = ((now?.value.n as number | undefined) ?? 0) + 1
          try {
            await store.write([put('routes', 'counter', { n })], [guard])
            done++
          } catch (error) {
            if (!(error instanceof Conflict)) throw error
          }
        }
      }
      await Promise.all([count(), count(), count(), count()])
      assert.deepEqual((await store.get('routes', 'counter'))?.value, { n: 20 })
    })
  })

  describe('watching', () => {
    it('replays what came after a revision, goes on live, and keeps the changes of a write together', async () => {
      const one = await store.write([put('routes', '1', { n: 1 })])
      const two = await store.write([put('services', '2'), put('routes', '1', { n: 2 }), put('consumers', 'c/d')])
      const three = await store.write([remove('services', '2'), put('routes', '3')])
      const seen = record(store, one)
      await until(() => seen.writes.length === 2)
      const four = await store.write([remove('routes', '3')])
      await until(() => seen.writes.length === 3)
      const value = {}
      const created = (kind: Item['kind'], id: string, at: Revision): Change => ({
        kind,
        id,
        item: { kind, id, value, createRevision: at, modRevision: at },
        revision: at,
      })
      assert.deepEqual(seen.writes, [
        [
          created('services', '2', two),
          {
            kind: 'routes',
            id: '1',
            item: { kind: 'routes', id: '1', value: { n: 2 }, createRevision: one, modRevision: two },
            revision: two,
          },
          created('consumers', 'c/d', two),
        ],
        [{ kind: 'services', id: '2', item: undefined, revision: three }, created('routes', '3', three)],
        [{ kind: 'routes', id: '3', item: undefined, revision: four }],
      ])
      assert.deepEqual(seen.lost, [])
    })

    it('turns any earlier list into the present one, whatever was written in between', async () => {
      const change = fc.record({
        id: fc.constantFrom('1', '2', '3', 'x/y'),
        kind: fc.constantFrom<Item['kind']>('routes', 'consumers'),
        value: fc.option(fc.record({ n: fc.integer(), s: fc.string({ unit: 'grapheme' }) })),
      })
      const write = fc.uniqueArray(change, { minLength: 1, maxLength: 4, selector: ({ kind, id }) => `${kind}/${id}` })
      const rounds = fc.array(fc.array(write, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 8 })
      await fc.assert(
        fc.asyncProperty(rounds, async rounds => {
          const own = await open()
          try {
            const followed: { items: Map<string, Item>; seen: Recorded }[] = []
            for (const writes of rounds) {
              const { items, revision } = await own.store.list()
              followed.push({ items: byKey(items), seen: record(own.store, revision) })
              await Promise.all(writes.map(changes => own.store.write(changes)))
            }
            const last = await own.store.write([put('routes', 'last')])
            const present = byKey((await own.store.list()).items)
            for (const { items, seen } of followed) {
              await until(() => seen.writes.at(-1)?.[0]?.revision === last)
              let before = 0
              for (const changes of seen.writes) {
                assert.equal(new Set(changes.map(({ revision }) => revision)).size, 1)
                assert.ok(changes[0]!.revision > before)
                before = changes[0]!.revision
                for (const { kind, id, item } of changes) {
                  if (item === undefined) assert.ok(items.delete(`${kind}/${id}`), 'a delete of what is there')
                  else items.set(`${kind}/${id}`, item)
                }
              }
              assert.deepEqual(items, present)
            }
          } finally {
            await own.end()
          }
        }),
        { numRuns: 20 },
      )
    })

    it('calls nobody before watch has returned', async () => {
      const since = (await store.list()).revision
      await store.write([put('routes', '1')])
      let returned = false
      const early: string[] = []
      const calls: string[] = []
      const note = (call: string) => {
        calls.push(call)
        if (!returned) early.push(call)
      }
      store.watch(
        since,
        () => note('changed'),
        () => note('lost'),
      )
      store.watch(
        since + 1_000_000,
        () => note('changed'),
        () => note('lost'),
      )
      returned = true
      await until(() => calls.length === 2)
      assert.deepEqual([calls.toSorted(), early], [['changed', 'lost'], []])
    })

    it('calls nobody after the watch was stopped, from outside or from within a call', async () => {
      const since = (await store.list()).revision
      const others: string[] = []
      await store.write([put('routes', '1')])
      await store.write([put('routes', '2')])
      store.watch(
        since,
        () => others.push('stopped at once'),
        () => others.push('lost'),
      )()
      store.watch(
        since + 1_000_000,
        () => others.push('stopped at once'),
        () => others.push('lost'),
      )()
      let calls = 0
      const stop = store.watch(
        since,
        () => {
          calls++
          stop()
        },
        () => others.push('lost'),
      )
      await store.write([put('routes', '3')])
      const all = record(store, since)
      await until(() => all.writes.length === 3)
      await store.write([put('routes', '4')])
      await until(() => all.writes.length === 4)
      assert.deepEqual([calls, others], [1, []])
      all.stop()
      all.stop()
    })

    it('goes on for everybody when a listener throws', async () => {
      const since = (await store.list()).revision
      let thrown = 0
      const fail = () => {
        thrown++
        throw new Error('a listener that throws')
      }
      store.watch(since, fail, fail)
      store.watch(since + 1_000_000, fail, fail)
      const seen = record(store, since)
      await store.write([put('routes', '1')])
      await store.write([put('routes', '2')])
      await until(() => seen.writes.length === 2 && thrown === 3)
    })

    it('lets a listener write', async () => {
      const since = (await store.list()).revision
      const seen = record(store, since)
      let echo: Promise<Revision> | undefined
      store.watch(
        since,
        () => {
          echo ??= store.write([put('routes', 'echo')])
        },
        assert.ifError,
      )
      await store.write([put('routes', '1')])
      await until(() => seen.writes.length === 2)
      assert.equal(seen.writes[1]![0]!.revision, await echo)
    })

    it('is lost when the revision is too old to replay, and then ends', async () => {
      const since = (await store.list()).revision
      await store.write([put('routes', '1')])
      await bench.compact()
      const seen = record(store, since)
      await until(() => seen.lost.length > 0)
      assert.match(seen.lost[0]!.message, /compact/)
      const after = record(store, (await store.list()).revision)
      await store.write([put('routes', '2')])
      await until(() => after.writes.length > 0)
      assert.deepEqual([seen.writes, seen.lost.length, after.lost], [[], 1, []])
    })

    it('is lost when the revision is in the future, and then ends', async () => {
      const { revision } = await store.list()
      const seen = record(store, revision + 1_000_000)
      await until(() => seen.lost.length > 0)
      const after = record(store, revision)
      await store.write([put('routes', '1')])
      await until(() => after.writes.length > 0)
      assert.deepEqual([seen.writes, seen.lost.length], [[], 1])
    })
  })

  describe('closing', () => {
    it('keeps items, revisions and changes, also when the newest items are gone', async () => {
      const one = await store.write([put('routes', '1', { n: 1 })])
      await store.write([put('routes', '2')])
      const last = await store.write([remove('routes', '2')])
      const before = await store.list()
      store = await bench.reopen()
      await store.ready()
      const after = await store.list()
      assert.deepEqual(after.items, before.items)
      assert.ok(after.revision >= last)
      const seen = record(store, one)
      const next = await store.write([put('routes', '3')])
      assert.ok(next > last)
      await until(() => seen.writes.length === 3)
      assert.deepEqual(seen.writes.flatMap(keys), ['routes/2', 'routes/2', 'routes/3'])
    })

    it('may be done twice; from then on calls fail as unavailable and nobody is called', async () => {
      const { revision } = await store.list()
      const seen = record(store, revision)
      await store.write([put('routes', '1')])
      await until(() => seen.writes.length === 1)
      await Promise.all([store.close(), store.close()])
      await store.close()
      const closed = (error: unknown) => error instanceof StoreUnavailable && error.outcome === 'not_written'
      await assert.rejects(store.write([put('routes', '2')]), closed)
      await assert.rejects(store.list(), closed)
      await assert.rejects(store.get('routes', '1'), closed)
      await assert.rejects(store.ready(), closed)
      const late = record(store, revision)
      await until(() => late.lost.length > 0)
      assert.ok(closed(late.lost[0]))
      assert.deepEqual([seen.writes.length, seen.lost, late.writes], [1, [], []])
    })
  })

  if (!waits) return
  describe('time to live', () => {
    it('lets an item vanish by itself, which is a change', async () => {
      const revision = await store.write([{ ...put('routes', '1'), ttlSeconds: 2 }, put('routes', 'stays')])
      const seen = record(store, revision)
      assert.ok(await store.get('routes', '1'))
      await bench.pass(3)
      await until(() => seen.writes.length > 0)
      assert.equal(await store.get('routes', '1'), undefined)
      const { items, revision: now } = await store.list()
      assert.deepEqual(keys(items), ['routes/stays'])
      assert.deepEqual(seen.writes, [[{ kind: 'routes', id: '1', item: undefined, revision: now }]])
      assert.ok(now > revision)
    })

    it('is over when the key is written without one, and is replaced when it is written with another', async () => {
      const brief = ['cancelled', 'replaced', 'vanishes'].map(id => ({ ...put('routes', id), ttlSeconds: 2 }))
      await store.write(brief)
      await store.write([put('routes', 'cancelled'), { ...put('routes', 'replaced'), ttlSeconds: 1000 }])
      await bench.pass(3)
      await until(async () => (await store.get('routes', 'vanishes')) === undefined)
      assert.deepEqual(keys((await store.list()).items), ['routes/cancelled', 'routes/replaced'])
    })

    it('also ends while nobody has the store open', async () => {
      const revision = await store.write([{ ...put('routes', '1'), ttlSeconds: 2 }])
      await store.close()
      await bench.pass(3)
      store = await bench.reopen()
      const seen = record(store, revision)
      await until(() => seen.writes.length > 0)
      assert.equal(seen.writes[0]![0]!.item, undefined)
      assert.deepEqual((await store.list()).items, [])
    })

    it('is refused when it is no time', async () => {
      for (const ttlSeconds of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
        await assert.rejects(store.write([{ ...put('routes', '1'), ttlSeconds }]))
      }
      assert.deepEqual((await store.list()).items, [])
    })
  })
}

interface Recorded {
  readonly writes: (readonly Change[])[]
  readonly lost: Error[]
  stop(): void
}

function record(store: Store, since: Revision): Recorded {
  const writes: (readonly Change[])[] = []
  const lost: Error[] = []
  const stop = store.watch(
    since,
    changes => writes.push(changes),
    error => lost.push(error),
  )
  return { writes, lost, stop }
}

/** Waits for a condition; the test's own timeout is the limit. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(2)
}

function put(kind: Write['kind'], id: string, value: Record<string, unknown> = {}): Write {
  return { kind, id, value }
}

function remove(kind: Write['kind'], id: string): Write {
  return { kind, id, value: null }
}

function keys(things: readonly { kind: string; id: string }[]): string[] {
  return things.map(({ kind, id }) => `${kind}/${id}`)
}

function byKey(items: readonly Item[]): Map<string, Item> {
  return new Map(items.map(item => [`${item.kind}/${item.id}`, item]))
}

function revisions(item: Item | undefined): (Revision | undefined)[] {
  return [item?.createRevision, item?.modRevision]
}
