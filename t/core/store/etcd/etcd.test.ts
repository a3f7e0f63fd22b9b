// The store in etcd: the contract, on one node and on three.
import { setTimeout as delay } from 'node:timers/promises'
import { EtcdStore } from '../../../../core/store/etcd/etcd.ts'
import { type EtcdCluster, etcdOptions, startEtcd } from '../../../helpers/etcd.ts'
import { type StoreBench, storeContract } from '../contract.ts'

for (const members of [1, 3]) {
  describe(`the store in etcd, ${members === 1 ? 'one node' : 'three nodes'}`, function () {
    this.timeout(60_000)
    let cluster: EtcdCluster
    before(async function () {
      this.timeout(600_000)
      cluster = await startEtcd({ members })
    })
    after(() => cluster.close())

    // Tests share the cluster: each has a prefix of its own, as tenants of one etcd do.
    const open = async (): Promise<StoreBench> => {
      const options = etcdOptions(cluster.hosts)
      const openStore = () => new EtcdStore(options)
      const first = openStore()
      let store = first
      return {
        store: first,
        async reopen() {
          await store.close()
          store = openStore()
          return store
        },
        compact: () => cluster.compact(),
        pass: seconds => delay(seconds * 1_000),
        end: () => store.close(),
      }
    }
    storeContract(open, { waits: members === 1 })
  })
}
