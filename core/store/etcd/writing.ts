// Writes to etcd, each once: guarded transactions, and finding out what became of one whose answer was lost; knows no items.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { status } from '@grpc/grpc-js'
import type { ICompare, IKeyValue, ILeaseGrantResponse, IRequestOp, ITxnRequest, ITxnResponse } from 'etcd3'
import { Conflict, type Revision, StoreUnavailable } from '../store.ts'
import type { Cluster } from './cluster.ts'
import type { Layout } from './layout.ts'
import { type Call, CallFailed } from './link.ts'

/** Seconds; a marker that nobody removes goes by itself. */
const MARKER_TTL = 86_400
/** A lease is used for half its time, so that it does not end under a marker that is still needed. */
const LEASE_USED_MS = (MARKER_TTL * 1000) / 2
const PAUSE_MS = 100

/**
 * Writes one at a time, for each leaves its mark in a key of this process in the same transaction, and goes through only
 * if the mark is still that of the write before. So a write whose answer is lost can be found out: its mark is there, or
 * a mark that is put in its place keeps it from ever happening. Values alone would not tell: others may write the same.
 */
export class Writer {
  readonly #cluster: Cluster
  readonly #key: Buffer
  #written = 0
  /** The mod revision of the mark; 0 when there is none. */
  #mark: Revision = 0
  #lease: { id: string; until: number } | undefined
  #last: Promise<unknown> = Promise.resolve()

  constructor(cluster: Cluster, layout: Layout) {
    this.#cluster = cluster
    this.#key = layout.ownKey(`writers/${randomUUID()}`)
  }

  /** All operations if every comparison holds. Rejects with Conflict or StoreUnavailable. */
  write(operations: readonly IRequestOp[], comparisons: readonly ICompare[]): Promise<Revision> {
    const deadline = this.#cluster.deadline()
    const turn = this.#last.then(() =>
      this.#write(operations, comparisons, deadline).catch((error: unknown) => {
        const deletes = operations.every(operation => operation.request_delete_range !== undefined)
        if (!deletes || !isOutOfSpace(error)) throw error
        return this.#deleteWithoutMark(operations, comparisons, deadline)
      }),
    )
    this.#last = turn.catch(() => {})
    return turn
  }

  /** Removes the mark, if etcd is there to do so. */
  async end(): Promise<void> {
    await this.#last
    if (this.#mark === 0) return
    const request = { key: this.#key }
    const deadline = performance.now() + PAUSE_MS * 5
    await this.#cluster.attempt({ service: 'KV', method: 'deleteRange', request }, deadline).catch(() => {})
  }

  async #write(
    operations: readonly IRequestOp[],
    comparisons: readonly ICompare[],
    deadline: number,
  ): Promise<Revision> {
    for (let renewed = false; ; ) {
      this.#cluster.worthTrying()
      if (performance.now() > deadline) throw new StoreUnavailable('etcd is too slow', 'not_written')
      const name = String(++this.#written)
      const lease = await this.#leaseOfMark()
      const success = [...operations, put(this.#key, name, lease)]
      const reply = await this.#send({ compare: [...comparisons], success }, deadline).catch((error: unknown) => {
        // etcd has lost the lease of the mark, with all its data: once more, under another.
        if (renewed || !isLeaseGone(error as Error)) throw error
        this.#lease = undefined
        renewed = true
        return 'again' as const
      })
      if (reply === 'again') continue
      if (reply === undefined) {
        const revision = await this.#findOut(name, deadline)
        if (revision !== undefined) return revision
        // It has not happened and cannot any more: once more.
      } else if (reply.succeeded) {
        this.#mark = Number(reply.header.revision)
        return this.#mark
      } else {
        const found = markOf(reply)
        if (revisionOf(found) === this.#mark) throw new Conflict()
        // The mark is not the last one: it ran out, or the data was replaced.
        this.#mark = revisionOf(found)
      }
    }
  }

  /** When etcd has no space left it takes nothing but what makes room, and so no mark. */
  async #deleteWithoutMark(
    operations: readonly IRequestOp[],
    comparisons: readonly ICompare[],
    deadline: number,
  ): Promise<Revision> {
    const request: ITxnRequest = { compare: [...comparisons], success: [...operations] }
    try {
      const call: Call = { service: 'KV', method: 'txn', request }
      const { succeeded, header } = await this.#cluster.attempt<ITxnResponse>(call, deadline)
      if (!succeeded) throw new Conflict()
      return Number(header.revision)
    } catch (error) {
      if (error instanceof Conflict) throw error
      const outcome = error instanceof CallFailed && error.refused ? 'not_written' : 'unknown'
      throw new StoreUnavailable(`etcd has no space left: ${(error as Error).message}`, outcome, error)
    }
  }

  /**
   * The revision of a write whose answer was lost; undefined when it has not happened and never will. Rejects with
   * StoreUnavailable when etcd does not say in time.
   */
  async #findOut(name: string, deadline: number): Promise<Revision | undefined> {
    const instead = `${name} not`
    const unknown = (why: string) => new StoreUnavailable(`${why}: whether it was written is not known`, 'unknown')
    for (;;) {
      await delay(PAUSE_MS)
      if (performance.now() > deadline) throw unknown('etcd does not answer')
      const reply = await this.#send({ success: [put(this.#key, instead)] }, deadline).catch((error: Error) => {
        throw unknown(error.message)
      })
      if (reply === undefined) continue
      if (reply.succeeded) {
        this.#mark = Number(reply.header.revision)
        return undefined
      }
      const found = markOf(reply)
      this.#mark = revisionOf(found)
      const text = found?.value.toString()
      if (text === name) return this.#mark
      if (text !== instead) throw unknown('the data of etcd was replaced')
      return undefined
    }
  }

  /** Undefined when the answer was lost. Rejects with StoreUnavailable when etcd refuses. */
  async #send({ compare = [], success }: ITxnRequest, deadline: number): Promise<ITxnResponse | undefined> {
    const request: ITxnRequest = {
      compare: [...compare, { key: this.#key, target: 'Mod', result: 'Equal', mod_revision: this.#mark }],
      success: success!,
      failure: [{ request_range: { key: this.#key } }],
    }
    try {
      return await this.#cluster.attempt<ITxnResponse>({ service: 'KV', method: 'txn', request }, deadline)
    } catch (error) {
      // Only what etcd has refused is known not to have happened. To send the rest again would do it twice (defect 8).
      if (error instanceof CallFailed && !error.refused) return undefined
      throw new StoreUnavailable(`etcd refuses the write: ${(error as Error).message}`, 'not_written', error)
    }
  }

  async #leaseOfMark(): Promise<string> {
    if (this.#lease === undefined || performance.now() > this.#lease.until) {
      const id = await grantLease(this.#cluster, MARKER_TTL)
      this.#lease = { id, until: performance.now() + LEASE_USED_MS }
    }
    return this.#lease.id
  }
}

/** The id of a new lease of so many seconds. One that nobody uses, because the answer was lost, ends by itself. */
export async function grantLease(cluster: Cluster, ttl: number): Promise<string> {
  const call: Call = { service: 'Lease', method: 'leaseGrant', request: { TTL: ttl } }
  const { ID } = await cluster.ask<ILeaseGrantResponse>(call)
  return ID
}

/** Also where that was the answer to something else that the write needs. */
function isOutOfSpace(error: unknown): boolean {
  const { cause } = error as { cause?: unknown }
  return [error, cause].some(each => each instanceof CallFailed && each.code === status.RESOURCE_EXHAUSTED)
}

function isLeaseGone({ cause }: Partial<Error>): boolean {
  return cause instanceof CallFailed && cause.code === status.NOT_FOUND
}

function put(key: Buffer, value: string, lease = '0'): IRequestOp {
  return { request_put: { key, value: Buffer.from(value), lease } }
}

function markOf({ responses }: ITxnResponse): IKeyValue | undefined {
  return responses.at(-1)?.response_range.kvs[0]
}

function revisionOf(mark: IKeyValue | undefined): Revision {
  return Number(mark?.mod_revision ?? 0)
}
