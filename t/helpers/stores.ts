// Every store that the admin API may stand on, opened empty, as the configuration opens it; who adds a store adds it here.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../core/config.ts'
import { silent } from '../../core/observe/log.ts'
import { openBacking } from '../../core/store/backing.ts'
import type { ConfigSource, Store } from '../../core/store/store.ts'
import { type EtcdCluster, etcdOptions, startEtcd } from './etcd.ts'
import { MemoryStore } from './memory-store.ts'

export interface EmptyStore {
  store: Store
  /** What a catalogue follows. */
  source: ConfigSource
  /** Closes what is open, and removes what is left. */
  remove(): Promise<void>
}

export interface StoreUnderTest {
  /** What all that are opened share. */
  begin(): Promise<void>
  open(): Promise<EmptyStore>
  end(): Promise<void>
}

const nothing = async () => {}

/** As the gateway opens it, in a folder of its own. `deployment` is YAML. */
async function openConfigured(deployment: string): Promise<EmptyStore> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-store-'))
  const file = join(folder, 'config.yaml')
  writeFileSync(file, `deployment: {embedded: {path: ${folder}}, ${deployment}}`)
  const plugins = { known: new Map(), enabled: new Map() }
  const backing = await openBacking(loadConfig({ file, env: {} }), {
    log: silent,
    isGood: () => true,
    plugins,
    enabled() {},
  })
  await backing.start()
  return {
    store: backing.store!,
    source: backing.source,
    async remove() {
      await backing.close()
      rmSync(folder, { recursive: true })
    },
  }
}

function inEtcd(): StoreUnderTest {
  let cluster: EtcdCluster
  return {
    async begin() {
      cluster = await startEtcd()
    },
    open() {
      const { hosts, prefix } = etcdOptions(cluster.hosts)
      const etcd = `etcd: {host: ${JSON.stringify(hosts)}, prefix: ${prefix}}`
      return openConfigured(`role_traditional: {config_provider: etcd}, ${etcd}`)
    },
    end: () => cluster.close(),
  }
}

export const stores: Readonly<Record<string, StoreUnderTest>> = {
  memory: {
    begin: nothing,
    async open() {
      const store = new MemoryStore()
      return { store, source: store, remove: () => store.close() }
    },
    end: nothing,
  },
  embedded: {
    begin: nothing,
    open: () => openConfigured('role_traditional: {config_provider: embedded}'),
    end: nothing,
  },
  etcd: inEtcd(),
}
