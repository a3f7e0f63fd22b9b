// Every store that the admin API may stand on, opened empty; who adds a store adds it here.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silent } from '../../core/observe/log.ts'
import { openEmbedded } from '../../core/store/embedded.ts'
import type { Store } from '../../core/store/store.ts'
import { MemoryStore } from './memory-store.ts'

export interface EmptyStore {
  store: Store
  /** Removes what is left of it when it has been closed. */
  remove(): Promise<void>
}

export const stores: Readonly<Record<string, () => Promise<EmptyStore>>> = {
  memory: async () => ({ store: new MemoryStore(), remove: async () => {} }),
  async embedded() {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-store-'))
    return {
      store: openEmbedded({ path: folder, log: silent }),
      remove: async () => rmSync(folder, { recursive: true }),
    }
  },
}
