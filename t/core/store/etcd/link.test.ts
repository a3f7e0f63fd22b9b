// Connections to etcd over TLS: who is believed, who is let in, and certificates that are renewed while we run.
import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EtcdStore } from '../../../../core/store/etcd/etcd.ts'
import type { TlsFiles } from '../../../../core/store/etcd/link.ts'
import { StoreUnavailable } from '../../../../core/store/store.ts'
import { certificate, type EtcdCluster, etcdOptions, noTls, startEtcd } from '../../../helpers/etcd.ts'
import { until } from '../../../helpers/until.ts'

const ca = certificate('ca.pem')
const client = { cert: certificate('client.pem'), key: certificate('client-key.pem') }

describe('a connection to etcd over TLS', function () {
  this.timeout(60_000)
  let cluster: EtcdCluster
  let stores: EtcdStore[]

  const startOnce = (tls: 'server certificates' | 'client certificates') => {
    before(async function () {
      this.timeout(600_000)
      cluster = await startEtcd({ tls })
    })
    after(() => cluster.close())
  }
  beforeEach(() => {
    stores = []
  })
  afterEach(async () => {
    for (const store of stores) await store.close()
  })

  function open(tls: Partial<TlsFiles>, hosts = cluster.hosts): EtcdStore {
    const store = new EtcdStore(etcdOptions(hosts, { tls: { ...noTls, ...tls }, timeout: 2_500 }))
    stores.push(store)
    return store
  }
  const reads = async (store: EtcdStore) => assert.deepEqual((await store.list()).items, [])
  async function refused(store: EtcdStore, why: RegExp): Promise<void> {
    const error = await store.list().catch((error: unknown) => error)
    assert.ok(error instanceof StoreUnavailable)
    assert.match(error.message, why)
  }

  describe('that has a certificate', () => {
    startOnce('server certificates')

    it('believes a member whose certificate the authority has signed', () => reads(open({ ca })))

    it('believes no other, and says why', async () => {
      await refused(open({}), /unable to verify|self.signed/)
      await refused(open({ ca: client.cert }), /unable to|self.signed|issuer/)
    })

    it('believes anybody where that is asked for', () => reads(open({ verify: false })))

    it('expects the name that is configured', async () => {
      await reads(open({ ca, sni: 'etcd.test' }))
      await refused(open({ ca, sni: 'other.test' }), /altnames/)
    })

    it('says what is wrong with a file, and reads it again for the next attempt', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'sluice-tls-'))
      const file = join(folder, 'ca.pem')
      const store = open({ ca: file })
      await refused(store, /TLS files cannot be used: ENOENT/)
      writeFileSync(file, 'no certificate')
      await refused(store, /TLS files cannot be used|unable to verify/)
      copyFileSync(ca, file)
      await reads(store)
      rmSync(folder, { recursive: true })
    })
  })

  describe('that asks for one', () => {
    startOnce('client certificates')

    it('is let in with it and not without', async () => {
      await reads(open({ ca, ...client }))
      await refused(open({ ca }), /etcd cannot be reached/)
    })

    it('uses a renewed certificate for its next connection, its watch too', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'sluice-tls-'))
      const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
      copyFileSync(client.cert, cert)
      copyFileSync(client.key, key)
      const store = open({ ca, cert, key })
      const seen: string[] = []
      store.watch((await store.list()).revision, changes => seen.push(...changes.map(({ id }) => id)), assert.ifError)
      await store.write([{ kind: 'routes', id: '1', value: {} }])
      await until(() => seen.length === 1, 'the watch has begun')
      // One that this authority has not signed.
      copyFileSync(certificate('../self-signed.pem'), cert)
      copyFileSync(certificate('../self-signed-key.pem'), key)
      cluster.members[0]!.proxy.cut()
      await refused(store, /etcd cannot be reached/)
      copyFileSync(client.cert, cert)
      copyFileSync(client.key, key)
      await store.write([{ kind: 'routes', id: '2', value: {} }])
      await until(() => seen.length === 2, 'the watch goes on')
      assert.deepEqual(seen, ['1', '2'])
      rmSync(folder, { recursive: true })
    })
  })
})
