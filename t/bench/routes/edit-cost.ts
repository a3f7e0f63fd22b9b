// What a worker's whole configuration costs: to load, to keep, and until one edit is in effect. No thread, no socket.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { noAccounts } from '../../../core/budgets/touched.ts'
import { localUpstreams } from '../../../core/local-upstreams.ts'
import { silent } from '../../../core/observe/log.ts'
import { MetricsWriter } from '../../../core/observe/metrics-writer.ts'
import type { Change } from '../../../core/store/store.ts'
import { Sync } from '../../../core/sync.ts'
import { builtins } from '../../../plugins/index.ts'
import { ledgers } from '../../helpers/ledgers.ts'
import { noAccount } from '../../helpers/no-account.ts'
import { percentile } from '../statistics.ts'
import { heapInUse } from './meter.ts'
import { itemOf } from './population.ts'

export interface EditCost {
  readonly routes: number
  /** From the list to the first snapshot. */
  readonly loadMillis: number
  /** How long the loop stood still at worst while it loaded, with what else the machine did. */
  readonly longestStandMillis: number
  /** Everything: the resources, what finds them, what is made of them. */
  readonly bytesPerRoute: number
  /** From the news of one edit to the snapshot that has it. */
  readonly effectMillis: { readonly p50: number; readonly p99: number }
}

const EDITS = 1_000

/** Routes of a kilobyte, none of which has been asked for. */
export async function editCost(count: number): Promise<EditCost> {
  const before = heapInUse()
  let tell: (changes: readonly Change[]) => void = () => {}
  let applied: () => void = () => {}
  const upstreams = localUpstreams({ log: silent })
  const sync = new Sync({
    env: {
      now: Date.now,
      random: Math.random,
      log: silent,
      metrics: new MetricsWriter({ publish() {} }),
      ledger: ledgers(),
      accounts: noAccounts,
      transport: upstreams.transport,
      gcpTokens: noAccount(),
      upstreams,
      plugins: new Map(builtins.map(builtin => [builtin.name, builtin])),
    },
    source: {
      list: async () => ({ items: Array.from({ length: count }, (_, at) => itemOf(at)), revision: 1 }),
      watch(_since, changed) {
        tell = changed
        return () => {}
      },
    },
    applied(_revision, rejected) {
      if (rejected[0] !== undefined) throw new Error(rejected[0].reason)
      applied()
    },
  })
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const began = performance.now()
  const loaded = sync.start()
  // The list, which is made in one piece here, is not the worker's work.
  await new Promise(resolve => setImmediate(resolve))
  delay.enable()
  await loaded
  delay.disable()
  const loadMillis = performance.now() - began
  const bytesPerRoute = (heapInUse() - before) / count
  const times: number[] = []
  for (let edit = 1; edit <= EDITS; edit++) {
    const item = itemOf((edit * 7_919) % count, edit)
    const done = new Promise<void>(resolve => {
      applied = resolve
    })
    const told = performance.now()
    tell([{ kind: 'routes', id: item.id, revision: item.modRevision, item }])
    await done
    times.push(performance.now() - told)
  }
  await sync.close()
  await upstreams.close()
  const sorted = Float64Array.from(times).sort()
  return {
    routes: count,
    loadMillis,
    longestStandMillis: delay.max / 1e6,
    bytesPerRoute,
    effectMillis: { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) },
  }
}
