// The members of etcd as one: whom it asks when one fails, who it is to them, and how fast it gives up.
import assert from 'node:assert/strict'
import { EtcdStore } from '../../../../core/store/etcd/etcd.ts'
import { StoreUnavailable } from '../../../../core/store/store.ts'
import { type EtcdCluster, etcdOptions, startEtcd } from '../../../helpers/etcd.ts'
import { openJournal } from '../../../helpers/journal.ts'
import { until } from '../../../helpers/until.ts'

describe('a cluster of etcd', function () {
  this.timeout(60_000)
  let cluster: EtcdCluster
  let stores: EtcdStore[]

  before(async function () {
    this.timeout(600_000)
    cluster = await startEtcd({ members: 3 })
  })
  after(() => cluster.close())
  beforeEach(() => {
    stores = []
  })
  afterEach(async () => {
    for (const store of stores) await store.close()
    for (const { proxy } of cluster.members) proxy.heal()
  })

  function open(more: Parameters<typeof etcdOptions>[1] = {}): EtcdStore {
    const store = new EtcdStore(etcdOptions(cluster.hosts, more))
    stores.push(store)
    return store
  }
  const put = (store: EtcdStore, id: string) => store.write([{ kind: 'routes', id, value: {} }])
  const failure = async (promise: Promise<unknown>) => {
    const error = await promise.then(() => undefined).catch((error: unknown) => error)
    assert.ok(error instanceof StoreUnavailable, String(error))
    return error
  }

  it('is asked at another member when one is gone, for reads and for writes', async () => {
    for (const [at, { proxy }] of cluster.members.entries()) {
      proxy.refuse()
      // Each member is asked first by one of them.
      for (let first = 0; first < 3; first++) {
        const store = open({ random: () => first / 3 })
        await put(store, `${at}-${first}`)
        assert.ok(await store.get('routes', `${at}-${first}`))
      }
      proxy.heal()
    }
  })

  it('is asked at another member when one does not answer', async () => {
    const store = open({ random: () => 0 })
    await put(store, '1')
    cluster.members[0]!.proxy.blackhole()
    await put(store, '2')
    assert.ok(await store.get('routes', '2'))
    assert.ok(store.cluster.reachable)
  })

  it('has its watch go on at another member when its own does not answer, long before keep-alive tells', async () => {
    const store = open()
    const seen: string[] = []
    store.watch((await store.list()).revision, changes => seen.push(...changes.map(({ id }) => id)), assert.ifError)
    await put(store, '1')
    await until(() => seen.length === 1, 'it is followed')
    const began = performance.now()
    for (const [at, { proxy }] of cluster.members.entries()) {
      proxy.blackhole()
      await put(store, `dark ${at}`)
      await until(() => seen.length === at + 2, 'it is followed still', 30_000)
      proxy.heal()
    }
    assert.ok(performance.now() - began < 39_000)
  })

  it('that is away fails calls at once, says so once, and is there again soon after', async () => {
    const journal = openJournal()
    const store = open({ healthCheckTimeout: 300, timeout: 1_000, log: journal.log })
    await put(store, '1')
    for (const { proxy } of cluster.members) proxy.refuse()
    await until(async () => {
      await failure(put(store, 'x'))
      return store.cluster.away
    }, 'it is known to be away')
    const began = performance.now()
    for (let n = 0; n < 20; n++) {
      const { outcome } = await failure(n % 2 === 0 ? put(store, 'x') : store.get('routes', 'x'))
      assert.equal(outcome, 'not_written')
    }
    // All but the one that is let through in a second.
    assert.ok(performance.now() - began < 10_000)
    assert.match((await failure(store.list())).message, /etcd/)
    for (const { proxy } of cluster.members) proxy.heal()
    await until(
      () =>
        put(store, '2').then(
          () => true,
          () => false,
        ),
      'it is there again',
    )
    assert.ok(store.cluster.reachable)
    const said = journal.lines.filter(({ message }) => /etcd (cannot be reached|answers again)/.test(message))
    assert.ok(said.length <= 2)
  })

  it('does not wait for a call after it was closed', async () => {
    const store = open()
    for (const { proxy } of cluster.members) proxy.blackhole()
    const waiting = failure(store.list())
    const began = performance.now()
    await store.close()
    await waiting
    assert.ok(performance.now() - began < 20_000)
  })

  describe('that asks who we are', () => {
    const auth = <T = unknown>(method: string, request: object, token?: string) =>
      cluster.members[0]!.call<T>({ service: 'Auth', method, request }, token)
    before(async () => {
      const user = async (name: string, role: string) => {
        await auth('userAdd', { name, password: `${name}'s` })
        await auth('roleAdd', { name: role })
        await auth('userGrantRole', { user: name, role })
      }
      await user('root', 'root')
      await user('gateway', 'readwrite')
      await user('reader', 'readonly')
      const [key, range_end] = [Buffer.from('/mine/'), Buffer.from('/mine0')]
      await auth('roleGrantPermission', { name: 'readwrite', perm: { permType: 'Readwrite', key, range_end } })
      await auth('roleGrantPermission', { name: 'readonly', perm: { permType: 'Read', key, range_end } })
      await auth('authEnable', {})
    })
    after(async () => {
      const { token } = await auth<{ token: string }>('authenticate', { name: 'root', password: "root's" })
      await auth('authDisable', {}, token)
    })

    const as = (user: string, more = {}) =>
      open({ prefix: '/mine', user, password: `${user}'s`, timeout: 2_000, ...more })

    it('lets us in by name and password, to what is ours', async () => {
      const store = as('gateway')
      await put(store, '1')
      assert.ok(await store.get('routes', '1'))
      await failure(as('gateway', { prefix: '/others' }).list())
    })

    it('lets nobody in without, or with the wrong one, and says so', async () => {
      assert.match((await failure(open({ prefix: '/mine', timeout: 1_000 }).list())).message, /user name is empty/)
      const wrong = as('gateway', { password: 'wrong' })
      assert.match((await failure(wrong.list())).message, /authentication failed/)
      assert.ok(!wrong.cluster.reachable)
    })

    it('lets one who may only read list and watch, and is reachable though it refuses writes', async () => {
      const [reader, writer] = [as('reader'), as('gateway')]
      const seen: string[] = []
      reader.watch((await reader.list()).revision, changes => seen.push(...changes.map(({ id }) => id)), assert.ifError)
      await put(writer, '2')
      await until(() => seen.length === 1, 'it follows')
      const refused = await failure(put(reader, '3'))
      assert.deepEqual([refused.outcome, /permission denied/.test(refused.message)], ['not_written', true])
      assert.ok(reader.cluster.reachable)
    })

    it('lets us in again when it has forgotten our token', async () => {
      const [reader, writer] = [as('reader'), as('gateway')]
      const seen: string[] = []
      reader.watch((await reader.list()).revision, changes => seen.push(...changes.map(({ id }) => id)), assert.ifError)
      await put(writer, '4')
      await until(() => seen.length === 1, 'it follows')
      // Tokens are kept in memory.
      await Promise.all(cluster.members.map(member => member.kill()))
      for (const member of cluster.members) member.start()
      await cluster.settled()
      await put(writer, '5')
      await until(() => seen.length === 2, 'it follows again', 20_000)
      assert.deepEqual(seen, ['4', '5'])
    })
  })
})
