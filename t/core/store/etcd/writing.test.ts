// Writes to etcd whose answers are lost, late or refused: each happens once or not at all, and is said to have.
import assert from 'node:assert/strict'
import type { IRangeResponse } from 'etcd3'
import { EtcdStore } from '../../../../core/store/etcd/etcd.ts'
import { Conflict, type Item, StoreUnavailable } from '../../../../core/store/store.ts'
import { type EtcdCluster, etcdOptions, startEtcd } from '../../../helpers/etcd.ts'
import { until } from '../../../helpers/until.ts'

describe('a write to etcd', function () {
  this.timeout(60_000)
  let cluster: EtcdCluster
  let store: EtcdStore
  /** Of the same data, past the proxy. */
  let direct: EtcdStore
  const stores: EtcdStore[] = []

  before(async function () {
    this.timeout(600_000)
    cluster = await startEtcd()
  })
  after(() => cluster.close())
  beforeEach(() => {
    const options = etcdOptions(cluster.hosts)
    store = open(options)
    direct = open({ ...options, hosts: cluster.members.map(({ url }) => url) })
  })
  afterEach(async () => {
    proxy().heal()
    for (const each of stores.splice(0)) await each.close()
  })

  const proxy = () => cluster.members[0]!.proxy
  function open(options: ReturnType<typeof etcdOptions>): EtcdStore {
    const opened = new EtcdStore(options)
    stores.push(opened)
    return opened
  }
  const put = (n: number) => [{ kind: 'routes' as const, id: '1', value: { n } }]
  /** How often a key was written since it was created. */
  async function versionOf(id: string): Promise<number> {
    const request = { key: direct.layout.keyOf({ kind: 'routes', id }) }
    const { kvs } = await cluster.call<IRangeResponse>({ service: 'KV', method: 'range', request })
    return Number(kvs[0]?.version ?? 0)
  }
  /** Resolves when `condition` holds of the route as it is in etcd. */
  const seen = (condition: (item: Item | undefined) => boolean) =>
    until(async () => condition(await direct.get('routes', '1')), 'it is in etcd')

  it('that happened though its answer was lost is found, with its revision, and not made again', async () => {
    await store.write(put(1))
    proxy().mute()
    const written = store.write(put(2))
    await seen(item => item?.value.n === 2)
    const { modRevision } = (await direct.get('routes', '1'))!
    proxy().heal()
    assert.equal(await written, modRevision)
    assert.equal(await versionOf('1'), 2)
  })

  it('is found though another has written since, the same or something else', async () => {
    await store.write(put(1))
    for (const [own, others] of [
      [2, 2],
      [3, 4],
    ] as const) {
      proxy().mute()
      const written = store.write(put(own))
      await seen(item => item?.value.n === own)
      const { modRevision } = (await direct.get('routes', '1'))!
      await direct.write(put(others))
      proxy().heal()
      assert.equal(await written, modRevision)
    }
    assert.equal(await versionOf('1'), 5)
  })

  it('is found to have deleted what another has put there again', async () => {
    const first = await store.write(put(1))
    proxy().mute()
    const guard = { kind: 'routes' as const, id: '1', modRevision: first }
    const written = store.write([{ kind: 'routes', id: '1', value: null }], [guard])
    await seen(item => item === undefined)
    const again = await direct.write(put(2))
    proxy().heal()
    assert.ok((await written) < again)
    assert.equal((await direct.get('routes', '1'))?.modRevision, again)
  })

  it('that never arrived is made when etcd can be reached again', async () => {
    await store.write(put(1))
    proxy().blackhole()
    const written = store.write(put(2))
    await new Promise(resolve => setTimeout(resolve, 100))
    assert.equal((await direct.get('routes', '1'))?.value.n, 1)
    proxy().heal()
    assert.equal(await written, (await direct.get('routes', '1'))?.modRevision)
    assert.equal(await versionOf('1'), 2)
  })

  it('that arrives when it was given up does nothing: it would undo what came after', async () => {
    await store.write(put(1))
    const held = proxy().hold()
    const written = store.write(put(2))
    const release = await held
    const revision = await written
    assert.equal(await versionOf('1'), 2)
    release()
    await direct.write([{ kind: 'routes', id: 'later', value: {} }])
    assert.equal((await direct.get('routes', '1'))?.modRevision, revision)
  })

  it('is a conflict when another write came first, also where its first answer was lost', async () => {
    const first = await store.write(put(1))
    const guard = [{ kind: 'routes' as const, id: '1', modRevision: first }]
    proxy().blackhole()
    const written = assert.rejects(store.write(put(2), guard), Conflict)
    await direct.write(put(3))
    proxy().heal()
    await written
    assert.equal((await direct.get('routes', '1'))?.value.n, 3)
  })

  it('is counted exactly by several who lose answers all the time', async () => {
    const count = async (counter: EtcdStore) => {
      for (let done = 0; done < 12; ) {
        const now = await counter.get('routes', 'counter')
        const guard = { kind: 'routes' as const, id: 'counter', modRevision: now?.modRevision ?? 0 }
        const n = ((now?.value.n as number | undefined) ?? 0) + 1
        try {
          await counter.write([{ kind: 'routes', id: 'counter', value: { n } }], [guard])
          done++
        } catch (error) {
          if (!(error instanceof Conflict)) throw error
        }
      }
    }
    let over = false
    const trouble = (async () => {
      while (!over) {
        await new Promise(resolve => setTimeout(resolve, 20))
        proxy().mute()
        await new Promise(resolve => setTimeout(resolve, 5))
        proxy().heal()
      }
    })()
    const others = [0, 1].map(() => open(etcdOptions(cluster.hosts, { prefix: store.layout.prefix })))
    await Promise.all([store, ...others].map(count))
    over = true
    await trouble
    assert.deepEqual((await direct.get('routes', 'counter'))?.value, { n: 36 })
  })

  it('of unknown outcome says so when etcd does not come back, and the next one finds its way', async () => {
    const hasty = open(etcdOptions(cluster.hosts, { prefix: store.layout.prefix, timeout: 800 }))
    await hasty.write(put(1))
    proxy().mute()
    const lost = await hasty.write(put(2)).catch((error: unknown) => error)
    assert.ok(lost instanceof StoreUnavailable)
    assert.equal(lost.outcome, 'unknown')
    await seen(item => item?.value.n === 2)
    proxy().heal()
    const revision = await hasty.write(put(3))
    assert.equal((await direct.get('routes', '1'))?.modRevision, revision)
    assert.equal(await versionOf('1'), 3)
  })

  it('that etcd refuses was not made, and does not keep the next one from being made', async () => {
    const huge = { kind: 'routes' as const, id: 'huge', value: { text: 'x'.repeat(1_700_000) } }
    const refused = await store.write([huge]).catch((error: unknown) => error)
    assert.ok(refused instanceof StoreUnavailable)
    assert.deepEqual([refused.outcome, /too large/.test(refused.message)], ['not_written', true])
    assert.equal(await store.write(put(1)), (await store.get('routes', '1'))?.modRevision)
  })

  it('may still delete when etcd has no space left, and is refused otherwise', async function () {
    this.timeout(120_000)
    const small = await startEtcd({ args: ['--quota-backend-bytes', '6000000'] })
    const full = open(etcdOptions(small.hosts))
    try {
      const fill = async () => {
        for (let n = 0; n < 200; n++) {
          const value = { text: 'x'.repeat(200_000) }
          await full.write([{ kind: 'routes', id: `${n % 2}`, value }])
        }
      }
      const refused = await fill().catch((error: unknown) => error)
      assert.ok(refused instanceof StoreUnavailable)
      assert.deepEqual([refused.outcome, /space exceeded/.test(refused.message)], ['not_written', true])
      for (const fresh of [full, open(etcdOptions(small.hosts, { prefix: full.layout.prefix }))]) {
        const [item] = (await fresh.list()).items
        const guard = { kind: 'routes' as const, id: item!.id, modRevision: 1 }
        await assert.rejects(fresh.write([{ kind: 'routes', id: item!.id, value: null }], [guard]), Conflict)
        const revision = await fresh.write([{ kind: 'routes', id: item!.id, value: null }])
        assert.ok(revision > item!.modRevision)
        assert.equal(await fresh.get('routes', item!.id), undefined)
      }
    } finally {
      await small.close()
    }
  })

  it('goes on when the data was wiped, marks and leases with it', async () => {
    await store.write(put(1))
    await cluster.wipe()
    const revision = await store.write(put(2))
    assert.equal((await direct.get('routes', '1'))?.modRevision, revision)
  })

  it('leaves nothing but what was written when the store is closed', async () => {
    await store.write(put(1))
    await store.close()
    const { from, to } = direct.layout.all
    const request = { key: from, range_end: to }
    const { kvs } = await cluster.call<IRangeResponse>({ service: 'KV', method: 'range', request })
    assert.deepEqual(
      kvs.map(({ key }) => key.toString()),
      [`${direct.layout.prefix}/routes/1`],
    )
  })
})
