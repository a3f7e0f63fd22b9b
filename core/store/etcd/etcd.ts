// The store in an etcd cluster, in APISIX's layout (facts core 4.11): the contract of stores; keeps no items.
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { ICompare, IKeyValue, IRangeRequest, IRangeResponse, IRequestOp, ITxnResponse } from 'etcd3'
import {
  type Change,
  checkWrites,
  type Guards,
  type Item,
  type Kind,
  kinds,
  type Revision,
  type Store,
  StoreUnavailable,
  type Write,
} from '../store.ts'
import type { Connection } from './cluster.ts'
import { Cluster, type ClusterOptions } from './cluster.ts'
import { type Follower, follow } from './following.ts'
import { isStranger, Layout, type Stranger } from './layout.ts'
import { type Call, CallFailed } from './link.ts'
import { listAll, listRange, rangeCall } from './listing.ts'
import { Strangers } from './strangers.ts'
import { grantLease, Writer } from './writing.ts'

export interface EtcdOptions extends ClusterOptions {
  /** What every key begins with, such as /apisix. */
  prefix: string
}

/** What a history hardly has by chance: how many items of each kind, and the one that was written last. */
export interface Mark {
  counts: ReadonlyMap<Kind, number>
  last: Item | undefined
}

const READY_EVERY_MS = 500

/**
 * - Reads are linearizable; every call is repeated at other members while that does no harm, within `timeout`. When etcd
 *   has been away for `healthCheckTimeout` calls fail at once, but for one a second.
 * - A write whose answer was lost is found out (see Writer). StoreUnavailable with the outcome `unknown` says that etcd did
 *   not come back in time to tell.
 */
export class EtcdStore implements Store {
  readonly cluster: Cluster
  readonly layout: Layout
  readonly #options: EtcdOptions
  readonly #strangers: Strangers
  readonly #writer: Writer
  readonly #stops = new Set<() => void>()
  readonly #nothing: Call
  #closing: Promise<void> | undefined

  constructor(options: EtcdOptions) {
    this.#options = options
    this.cluster = new Cluster(options)
    this.layout = new Layout(options.prefix)
    this.#nothing = rangeCall({ key: this.layout.ownKey('nothing'), limit: 1 })
    this.#strangers = new Strangers(options.log)
    this.#writer = new Writer(this.cluster, this.layout)
  }

  /** What stands below the prefix and is no resource. */
  get strangers(): readonly Stranger[] {
    return this.#strangers.all
  }

  /** Whether a member answers that is asked up to `times` times. */
  answers(times: number): Promise<boolean> {
    return this.cluster.answers(this.#nothing, times)
  }

  async ready(): Promise<void> {
    for (;;) {
      this.#mustBeOpen()
      try {
        await this.cluster.ask(this.#nothing)
        return
      } catch {
        await delay(READY_EVERY_MS)
      }
    }
  }

  async revision(): Promise<Revision> {
    const { header } = await this.#called(() => this.cluster.ask<IRangeResponse>(this.#nothing))
    return Number(header.revision)
  }

  async list(): Promise<{ items: readonly Item[]; revision: Revision }> {
    const read = (pair: IKeyValue): Item | Stranger | undefined => {
      const found = this.layout.find(pair.key)
      return found === undefined || isStranger(found) ? found : this.layout.itemAt(found, pair)
    }
    const { found, revision } = await this.#called(() => listAll(this.cluster, this.layout.all, read))
    const items: Item[] = []
    const strangers: Stranger[] = []
    for (const each of found) {
      if (each === undefined) continue
      if ('reason' in each) strangers.push(each)
      else items.push(each)
    }
    this.#strangers.replace(strangers)
    return { items, revision }
  }

  async get(kind: Kind, id: string): Promise<Item | undefined> {
    const key = this.layout.keyOf({ kind, id })
    const { kvs } = await this.#called(() => this.cluster.ask<IRangeResponse>(rangeCall({ key })))
    return kvs[0] && this.layout.itemAt({ kind, id }, kvs[0])
  }

  async write(changes: readonly Write[], guards: Guards = []): Promise<Revision> {
    checkWrites(changes)
    const operations = changes.map(({ kind, id, value, ttlSeconds, below }) => ({
      key: this.layout.keyOf({ kind, id }),
      // One operation whatever it holds: etcd takes 128 in a transaction.
      below: below ? this.layout.below({ kind, id }) : undefined,
      // Before anything is waited for: the caller may change what it gave.
      value: value === null ? null : Buffer.from(JSON.stringify(value)),
      ttl: ttlSeconds === undefined ? undefined : Math.ceil(ttlSeconds),
    }))
    const comparisons = guards.map(
      ({ kind, id, modRevision }): ICompare => ({
        key: this.layout.keyOf({ kind, id }),
        target: 'Mod',
        result: 'Equal',
        mod_revision: modRevision,
      }),
    )
    return this.#called(async () => {
      const requests: IRequestOp[] = []
      for (const { key, below, value, ttl } of operations) {
        if (below) requests.push({ request_delete_range: { key: below.from, range_end: below.to } })
        if (value === null) requests.push({ request_delete_range: { key } })
        else {
          const lease = ttl === undefined ? '0' : await grantLease(this.cluster, ttl)
          requests.push({ request_put: { key, value, lease } })
        }
      }
      return this.#writer.write(requests, comparisons)
    })
  }

  /** The modRevision of every item there was at a revision, by kind/id. */
  async revisionsAt(revision: Revision): Promise<Map<string, Revision>> {
    const revisions = new Map<string, Revision>()
    const take = (page: readonly IKeyValue[]) => {
      for (const { key, mod_revision } of page) {
        const found = this.layout.find(key)
        if (found === undefined || isStranger(found)) continue
        revisions.set(`${found.kind}/${found.id}`, Number(mod_revision))
      }
    }
    await this.#called(() => listRange(this.cluster, this.layout.all, take, { revision, keysOnly: true }))
    return revisions
  }

  /** Whether there were so many items of each kind at a revision, and this one. */
  async agrees({ counts, last }: Mark, revision: Revision, connection: Connection): Promise<boolean> {
    const ranges = this.#counting(revision)
    if (last !== undefined) ranges.push({ key: this.layout.keyOf(last), revision })
    const found = rangesOf(await connection.call<ITxnResponse>(readCall(ranges)))
    const counted = kinds.every((kind, at) => Number(found[at]?.count ?? 0) === (counts.get(kind) ?? 0))
    if (last === undefined || !counted) return counted
    const pair = found.at(-1)?.kvs[0]
    return pair !== undefined && isDeepStrictEqual(this.layout.itemAt(last, pair), last)
  }

  /** Whether there is an item of any kind. */
  async hasItems(): Promise<boolean> {
    const reply = await this.#called(() => this.cluster.ask<ITxnResponse>(readCall(this.#counting(0))))
    return rangesOf(reply).some(({ count }) => Number(count) > 0)
  }

  #counting(revision: Revision): IRangeRequest[] {
    return kinds.map(kind => {
      const { from, to } = this.layout.itemsOf(kind)
      return { key: from, range_end: to, revision, count_only: true }
    })
  }

  watch(since: Revision, changed: (changes: readonly Change[]) => void, lost: (error: Error) => void): () => void {
    const wrote: Follower['wrote'] = (_, changes) => {
      if (changes.length > 0) changed(changes)
    }
    return this.follow({ since, wrote, lost })
  }

  /** A watch that also tells how current it is. */
  follow(follower: Follower): () => void {
    if (this.#closing !== undefined) {
      const timer = setImmediate(() => follower.lost(new StoreUnavailable('the store is closed', 'not_written')))
      return () => clearImmediate(timer)
    }
    const { log, random } = this.#options
    const stop = follow(follower, {
      cluster: this.cluster,
      layout: this.layout,
      strangers: this.#strangers,
      log,
      random,
    })
    this.#stops.add(stop)
    return () => {
      this.#stops.delete(stop)
      stop()
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const stop of this.#stops) stop()
    await this.#writer.end()
    this.cluster.close()
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw new StoreUnavailable('the store is closed', 'not_written')
  }

  async #called<T>(call: () => Promise<T>): Promise<T> {
    this.#mustBeOpen()
    this.cluster.worthTrying()
    try {
      return await call()
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error
      throw new StoreUnavailable(`etcd refuses: ${error.message}`, 'not_written', error)
    }
  }
}

/** Several ranges at once. */
function readCall(ranges: readonly IRangeRequest[]): Call {
  return { service: 'KV', method: 'txn', request: { success: ranges.map(request_range => ({ request_range })) } }
}

function rangesOf({ responses }: ITxnResponse): IRangeResponse[] {
  return responses.map(({ response_range }) => response_range)
}
