// What etcd holds at one revision, read in pages; knows no members and keeps nothing.
import { status } from '@grpc/grpc-js'
import type { IKeyValue, IRangeRequest, IRangeResponse } from 'etcd3'
import type { Revision } from '../store.ts'
import type { Cluster } from './cluster.ts'
import { type Call, CallFailed } from './link.ts'

/** A range of keys: `to` is not in it. */
export interface Range {
  readonly from: Buffer
  readonly to: Buffer
}

export interface ListingOptions {
  /** Without it the newest there is; with it the list may be found to be compacted or in the future: see isOutOfRange. */
  revision?: Revision
  keysOnly?: boolean
}

/** Bytes that a page should have: what takes a few milliseconds to decode, on the loop that everything else waits for. */
const PAGE_BYTES = 512 * 1024
const MOST_ITEMS = 2_000
/** Keys alone, all in all. */
const KEY_BYTES = 100
/** A list that takes longer than history is kept begins again, but not for ever. */
const ATTEMPTS = 5

/**
 * Every pair of the range, in the order of the keys' bytes, as they were at one revision, to `take` in pages. Rejects as
 * Cluster.ask does.
 */
export async function listRange(
  cluster: Cluster,
  range: Range,
  take: (page: readonly IKeyValue[]) => void,
  options: ListingOptions = {},
): Promise<Revision> {
  let revision = options.revision ?? 0
  let limit = 100
  for (let from = range.from; ; ) {
    const request: IRangeRequest = {
      key: from,
      range_end: range.to,
      limit,
      revision,
      keys_only: options.keysOnly ?? false,
    }
    const { header, kvs, more } = await cluster.ask<IRangeResponse>(rangeCall(request))
    revision ||= Number(header.revision)
    take(kvs)
    const last = kvs.at(-1)
    if (!more || last === undefined) return revision
    from = Buffer.concat([last.key, Buffer.of(0)])
    const bytes = kvs.reduce((sum, { key, value }) => sum + key.length + value.length + KEY_BYTES, 0)
    limit = Math.max(1, Math.min(MOST_ITEMS, Math.floor((PAGE_BYTES * kvs.length) / bytes)))
  }
}

/** What `read` makes of every pair of the newest revision; it is called page by page, so that the loop can breathe. */
export async function listAll<T>(
  cluster: Cluster,
  range: Range,
  read: (pair: IKeyValue) => T,
): Promise<{ found: T[]; revision: Revision }> {
  for (let attempt = 1; ; attempt++) {
    const found: T[] = []
    try {
      const revision = await listRange(cluster, range, page => {
        for (const pair of page) found.push(read(pair))
      })
      return { found, revision }
    } catch (error) {
      if (!isOutOfRange(error) || attempt === ATTEMPTS) throw error
    }
  }
}

export function rangeCall(request: IRangeRequest): Call {
  return { service: 'KV', method: 'range', request }
}

/** Whether a revision was asked for that etcd has no longer, or not yet. */
export function isOutOfRange(error: unknown): error is CallFailed {
  return error instanceof CallFailed && error.code === status.OUT_OF_RANGE
}
