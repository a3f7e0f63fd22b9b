// How current the configuration is, as operators see it: at the control API, in the status and as metrics; asks nobody.
import type { MetricsReader } from '../core/observe/metrics-reader.ts'
import type { Currency } from '../core/store/backing.ts'
import { kinds } from '../core/store/store.ts'
import type { WorkerStatus } from './control-api.ts'

/** `age_seconds` is how long ago the configuration was last known to be what etcd has. */
export interface ShownCurrency {
  source: string | null
  revision: number | null
  age_seconds: number | null
  etcd: { reachable: boolean; revision: number; last_contact: string | null; fault?: string }
}

/** `now` is milliseconds since the epoch. */
export function shownCurrency(currency: Currency, now: number): ShownCurrency {
  const { source, revision, currentAt, reachable, newest, lastContact, fault } = currency
  return {
    source: source ?? null,
    revision: revision ?? null,
    age_seconds: currentAt === undefined ? null : ageOf(currentAt, now),
    etcd: {
      reachable,
      revision: newest,
      last_contact: lastContact === undefined ? null : new Date(lastContact).toISOString(),
      ...(fault !== undefined && { fault }),
    },
  }
}

/** Why the configuration is too old to be served from, if it is; `staleAfter` 0 is any age. */
export function staleness({ currentAt }: Currency, staleAfter: number, now: number): string | undefined {
  if (staleAfter === 0 || currentAt === undefined || now - currentAt <= staleAfter) return undefined
  return `the configuration was last known to be current ${ageOf(currentAt, now)} seconds ago`
}

/** APISIX's families of etcd, and ours, as they are when the page is read. `now` is milliseconds since the epoch. */
export function measureCurrency(
  reader: Pick<MetricsReader, 'measure'>,
  { currency, workers, now }: { currency(): Currency; workers(): readonly WorkerStatus[]; now(): number },
): void {
  const measure = (name: string, help: string, read: () => number | undefined) =>
    reader.measure({
      name,
      help,
      labels: [],
      read: () => {
        const value = read()
        return value === undefined ? [] : [[[], value]]
      },
    })
  measure('etcd_reachable', 'Whether etcd has answered when it was asked last', () => (currency().reachable ? 1 : 0))
  measure('sluice_config_age_seconds', 'How long ago the configuration was last known to be what etcd has', () => {
    const { currentAt } = currency()
    return currentAt === undefined ? undefined : ageOf(currentAt, now())
  })
  measure('sluice_etcd_last_contact_seconds', 'When etcd last answered, since the epoch', () => {
    const { lastContact } = currency()
    return lastContact === undefined ? undefined : lastContact / 1_000
  })
  reader.measure({
    name: 'etcd_modify_indexes',
    help: 'Revision of what was last changed in etcd',
    labels: ['key'],
    read: () => indexesOf(currency()).map(([key, index]) => [[key], index]),
  })
  reader.measure({
    name: 'sluice_config_worker_revision',
    help: 'Revision of the configuration that a worker serves',
    labels: ['worker'],
    read: () => workers().flatMap(({ id, revision }) => (revision === undefined ? [] : [[[String(id)], revision]])),
  })
}

function indexesOf({ modifyIndexes, revision, newest }: Currency): [string, number][] {
  return [
    ...kinds.filter(kind => shownKinds.has(kind)).map((kind): [string, number] => [kind, modifyIndexes.get(kind) ?? 0]),
    ['max_modify_index', Math.max(0, ...modifyIndexes.values())],
    ['prev_index', revision ?? 0],
    ['x_etcd_index', newest],
  ]
}

/** The keys that APISIX's family has (facts core 8.3.13). */
const shownKinds: ReadonlySet<string> = new Set([
  'routes',
  'services',
  'ssls',
  'consumers',
  'global_rules',
  'upstreams',
  'stream_routes',
  'protos',
])

function ageOf(currentAt: number, now: number): number {
  return Math.max(0, Math.round(now - currentAt) / 1_000)
}
