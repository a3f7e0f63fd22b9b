// The process's copy of etcd: equal to it after whatever happened, there without it, good where etcd is bad.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EtcdOptions, EtcdStore } from '../../../../core/store/etcd/etcd.ts'
import { LastGood } from '../../../../core/store/etcd/last-good.ts'
import { Mirror, type MirrorOptions } from '../../../../core/store/etcd/mirror.ts'
import type { Change, Item, Kind, Revision } from '../../../../core/store/store.ts'
import { type EtcdCluster, etcdOptions, startEtcd } from '../../../helpers/etcd.ts'
import { openJournal } from '../../../helpers/journal.ts'
import { until } from '../../../helpers/until.ts'

describe('the mirror of etcd', function () {
  this.timeout(60_000)
  let cluster: EtcdCluster
  let folder: string
  let options: EtcdOptions
  let direct: EtcdStore
  let opened: { close(): Promise<void> }[]
  let journal: ReturnType<typeof openJournal>

  before(async function () {
    this.timeout(600_000)
    cluster = await startEtcd()
  })
  after(() => cluster.close())
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-mirror-'))
    options = etcdOptions(cluster.hosts)
    journal = openJournal()
    direct = new EtcdStore({ ...options, hosts: cluster.members.map(({ url }) => url) })
    opened = [direct]
  })
  afterEach(async () => {
    proxy().heal()
    for (const each of opened.splice(0).reverse()) await each.close()
    rmSync(folder, { recursive: true })
  })

  const proxy = () => cluster.members[0]!.proxy
  const file = () => join(folder, 'last-good.jsonl')
  function open(more: Partial<MirrorOptions> = {}): Mirror {
    const store = new EtcdStore(options)
    const lastGood = new LastGood(folder, options.prefix)
    const isGood = ({ value, fault }: Item) => fault === undefined && value.bad !== true
    const { log } = journal
    const mirror = new Mirror({ store, lastGood, startupRetry: 1, isGood, log, now: Date.now, ...more })
    opened.push(store, mirror)
    return mirror
  }
  const put = (id: string, value: Record<string, unknown> = {}, kind: Kind = 'routes') =>
    direct.write([{ kind, id, value }])
  const remove = (id: string) => direct.write([{ kind: 'routes', id, value: null }])
  const equal = (mirror: Mirror) =>
    until(async () => {
      const [own, theirs] = [await mirror.list(), await direct.list()]
      const text = (items: readonly Item[]) => JSON.stringify(items.map(item => JSON.stringify(item)).sort())
      return text(own.items) === text(theirs.items)
    }, 'the mirror is equal to etcd')
  /** What a watch of the mirror has said. */
  function record(mirror: Mirror, since: Revision) {
    const seen = { changes: [] as Change[], lost: [] as Error[] }
    mirror.watch(
      since,
      changes => seen.changes.push(...changes),
      error => seen.lost.push(error),
    )
    return seen
  }
  const said = (text: string) => journal.lines.some(({ message }) => message.includes(text))

  it('has what etcd has, and passes on what changes', async () => {
    await put('1', { n: 1 })
    const mirror = open()
    await mirror.start()
    await equal(mirror)
    const { revision } = await mirror.list()
    const seen = record(mirror, revision)
    const second = await put('2')
    await remove('1')
    await until(() => seen.changes.length === 2, 'both changes')
    assert.deepEqual(
      seen.changes.map(({ id, item }) => [id, item?.modRevision]),
      [
        ['2', second],
        ['1', undefined],
      ],
    )
    // Who comes later gets the same.
    const late = record(mirror, revision)
    await until(() => late.changes.length === 2, 'both changes, later')
    assert.deepEqual([late.changes, late.lost, seen.lost], [seen.changes, [], []])
    assert.equal(mirror.freshness.source, 'etcd')
    assert.ok(Date.now() - mirror.freshness.currentAt! < 10_000)
  })

  it('goes on for a watcher beside one that throws', async () => {
    const mirror = open()
    await mirror.start()
    const { revision } = await mirror.list()
    mirror.watch(
      revision,
      () => {
        throw new Error('a listener that throws')
      },
      assert.ifError,
    )
    const seen = record(mirror, revision)
    await put('1')
    await put('2')
    await until(() => seen.changes.length === 2, 'both changes')
  })

  it('serves from disk while etcd is away, says so, and is equal to etcd when it comes back', async () => {
    await put('stays', { n: 1 })
    await put('goes')
    const first = open()
    await first.start()
    await first.close()
    assert.equal(statSync(file()).mode & 0o777, 0o600)
    proxy().refuse()
    await remove('goes')
    await put('comes')
    const mirror = open()
    await mirror.start()
    assert.deepEqual((await mirror.list()).items.map(({ id }) => id).sort(), ['goes', 'stays'])
    assert.equal(mirror.freshness.source, 'disk')
    assert.ok(said('served from disk'))
    const seen = record(mirror, (await mirror.list()).revision)
    proxy().heal()
    await equal(mirror)
    assert.equal(mirror.freshness.source, 'etcd')
    // What has not changed is no change.
    assert.deepEqual(seen.changes.map(({ id }) => id).sort(), ['comes', 'goes'])
  })

  it('waits for etcd where there is nothing on disk, and says so', async () => {
    await put('1')
    proxy().refuse()
    const mirror = open()
    const started = mirror.start()
    await until(() => said('waiting'), 'it says that it waits')
    assert.equal(mirror.freshness.source, undefined)
    proxy().heal()
    await started
    await equal(mirror)
  })

  it('does not use a file that is damaged, cut off, or of another prefix', async () => {
    await put('1')
    const first = open()
    await first.start()
    await first.close()
    const whole = readFileSync(file(), 'utf8')
    proxy().refuse()
    for (const text of ['', 'x', whole.slice(0, -70), whole.replace('"routes"', '"routez"'), whole.slice(0, 40)]) {
      writeFileSync(file(), text)
      const mirror = open()
      void mirror.start()
      await until(() => said('waiting'), `it does not use ${JSON.stringify(text.slice(0, 60))}`)
      assert.ok(said('cannot be used'))
      await mirror.close()
      assert.equal(readFileSync(file(), 'utf8'), text, 'and leaves it alone')
      journal.lines.length = 0
    }
    writeFileSync(file(), whole)
    options = { ...options, prefix: '/another' }
    void open().start()
    await until(() => said('waiting'), 'it does not use what is of another prefix')
  })

  it('keeps what was good before what is bad, for who comes later and over a restart', async () => {
    await put('1', { n: 1 })
    await put('2', { n: 1 })
    const mirror = open()
    await mirror.start()
    const seen = record(mirror, (await mirror.list()).revision)
    for (const n of [2, 3]) await put('1', { n, bad: true })
    await cluster.put(`${options.prefix}/routes/2`, '{"broken": ')
    await put('3', { bad: true })
    await until(() => seen.changes.length === 4, 'every change')
    const listed = async (of: Mirror) =>
      (await of.list()).items.map(({ id, value, fault }) => [id, value.n ?? fault ?? 'bad']).sort()
    const expected = [
      ['1', 1],
      ['1', 3],
      ['2', 1],
      ['2', 'the value is not JSON'],
      ['3', 'bad'],
    ]
    assert.deepEqual(await listed(mirror), expected)
    await mirror.close()
    const again = open()
    await again.start()
    await until(() => again.freshness.source === 'etcd', 'etcd is read')
    assert.deepEqual(await listed(again), expected)
    await put('1', { n: 4 })
    await put('2', { n: 4 })
    await until(async () => (await listed(again)).length === 3, 'correcting heals')
  })

  it('is equal to etcd again after its history was compacted, and passes on only what is different', async () => {
    await put('stays')
    await put('goes')
    const mirror = open()
    await mirror.start()
    const seen = record(mirror, (await mirror.list()).revision)
    proxy().refuse()
    await remove('goes')
    await put('comes')
    await cluster.compact()
    proxy().heal()
    await equal(mirror)
    await until(() => seen.changes.length === 2, 'the difference')
    assert.deepEqual([seen.changes.map(({ id }) => id).sort(), seen.lost], [['comes', 'goes'], []])
  })

  it('is not fooled by a compaction right at a delete that it has not seen', async () => {
    await put('goes')
    const mirror = open()
    await mirror.start()
    await equal(mirror)
    proxy().refuse()
    // Past the store, which would write a mark of its own.
    await cluster.remove(`${options.prefix}/routes/goes`)
    await cluster.compact()
    proxy().heal()
    await until(async () => (await mirror.list()).items.length === 0, 'the delete is seen')
  })

  it('is equal to etcd when the data was wiped, whether or not it has come to the same revision again', async () => {
    for (const more of [0, 30]) {
      for (let n = 0; n < 10; n++) await put(`${n}`, { n })
      const mirror = open()
      await mirror.start()
      const { revision } = await mirror.list()
      const seen = record(mirror, revision)
      proxy().refuse()
      await cluster.wipe()
      for (let n = 5; n < 5 + more; n++) await cluster.put(`${options.prefix}/routes/${n}`, JSON.stringify({ new: n }))
      proxy().heal()
      await equal(mirror)
      await put('after')
      await equal(mirror)
      if ((await direct.list()).revision < revision) assert.equal(seen.lost.length, 1)
      await mirror.close()
      await cluster.wipe()
    }
  })

  it('finds by itself what it has missed', async () => {
    await put('1', { n: 1 })
    class Forgetful extends EtcdStore {
      override follow(follower: Parameters<EtcdStore['follow']>[0]): () => void {
        const wrote: typeof follower.wrote = (revision, changes) =>
          follower.wrote(
            revision,
            changes.filter(({ id }) => id !== 'missed'),
          )
        return super.follow({ ...follower, wrote })
      }
    }
    const store = new Forgetful(options)
    const mirror = open({ store, auditEvery: 100 })
    await mirror.start()
    const seen = record(mirror, (await mirror.list()).revision)
    await put('missed')
    await equal(mirror)
    assert.ok(said('was not that of etcd'))
    assert.deepEqual(
      seen.changes.map(({ id }) => id),
      ['missed'],
    )
    await mirror.close()
    await store.close()
  })

  it('finds nothing wrong where nothing is, while others write', async () => {
    const mirror = open({ auditEvery: 0 })
    await mirror.start()
    for (let n = 0; n < 300; n++) {
      await put(`${n % 7}`, { n })
      if (n % 3 === 0) await remove(`${n % 7}`)
      if (n % 50 === 0) await cluster.compact()
    }
    await equal(mirror)
    assert.ok(!said('was not that of etcd'))
  })
})
