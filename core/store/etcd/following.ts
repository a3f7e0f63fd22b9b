// The changes of everything below the prefix, on etcd's raw watch stream, for as long as it takes; keeps no items.
import { setTimeout as delay } from 'node:timers/promises'
import type { IRangeResponse, IWatchRequest, IWatchResponse } from 'etcd3'
import { asError } from '../../errors.ts'
import type { Logger } from '../../observe/log.ts'
import type { Change, Revision } from '../store.ts'
import { Assembly, Lost } from './assembly.ts'
import { type Cluster, type Connection, isTokenRefused } from './cluster.ts'
import type { Layout } from './layout.ts'
import { isOutOfRange, rangeCall } from './listing.ts'
import type { Strangers } from './strangers.ts'

export interface Follower {
  /** Everything up to here is known. */
  since: Revision
  /** A write; there are no changes in one that is about no resource. */
  wrote(revision: Revision, changes: readonly Change[]): void
  /** What came after cannot be had: list again. Nothing is called after it. */
  lost(error: Error): void
  /** For each connection: whether etcd has at this revision what is known. By default, that it still has the revision. */
  agrees?(since: Revision, connection: Connection): Promise<boolean>
  /**
   * A stream stands whose member has just been heard of: called when it begins, and every few seconds. What was written up
   * to `confirmed` was on its way long ago.
   */
  current?(confirmed: Revision): void
}

export interface FollowingDeps {
  cluster: Cluster
  layout: Layout
  strangers: Strangers
  log: Logger
  random: () => number
}

/** Milliseconds for a stream to begin. */
const CREATED_WITHIN_MS = 3_000
/** Milliseconds between looks at the member that a stream comes from: keep-alive takes up to 13 s to miss it. */
const LOOK_EVERY_MS = 2_000
/** Milliseconds before another connection, doubled each time, with as much again by chance; the least and the most. */
const PAUSE_MS = [50, 500] as const

/** Follows until it is lost or the returned function is called. Nobody is called before this returns. */
export function follow(follower: Follower, deps: FollowingDeps): () => void {
  const stop = new AbortController()
  void new Following(follower, deps, stop.signal).run()
  return () => stop.abort()
}

class Following {
  readonly #follower: Follower
  readonly #deps: FollowingDeps
  readonly #stop: AbortSignal
  #since: Revision
  /** The cluster whose revisions these are. */
  #clusterId: string | undefined
  #pause: number = PAUSE_MS[0]

  constructor(follower: Follower, deps: FollowingDeps, stop: AbortSignal) {
    this.#follower = follower
    this.#deps = deps
    this.#stop = stop
    this.#since = follower.since
  }

  /** Never rejects. */
  async run(): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    while (!this.#stop.aborted) {
      try {
        await this.#once()
      } catch (thrown) {
        const error = asError(thrown)
        if (this.#stop.aborted) return
        if (error instanceof Lost) return this.#tell(() => this.#follower.lost(error))
        if (isTokenRefused(error)) this.#deps.cluster.forgetToken()
        this.#deps.log.info({ reason: error.message }, 'the watch of etcd broke; it goes on with another connection')
        await delay(this.#pause * (1 + this.#deps.random()), undefined, { signal: this.#stop }).catch(() => {})
        this.#pause = Math.min(2 * this.#pause, PAUSE_MS[1])
      }
    }
  }

  /** One connection, until it ends: always rejects. */
  async #once(): Promise<never> {
    const connection = await this.#deps.cluster.connect()
    let lost = false
    try {
      await this.#check(connection)
      return await this.#listen(connection)
    } catch (error) {
      lost = error instanceof Lost
      throw error
    } finally {
      connection.close(!lost && !this.#stop.aborted)
    }
  }

  /** Whether etcd's history begins where ours ends. Throws Lost. */
  async #check(connection: Connection): Promise<void> {
    await this.#look(connection, this.#since)
    // Data that was wiped or restored from a backup may have come to our revision again, in the same cluster by its id.
    const agreed = await this.#follower.agrees?.(this.#since, connection)
    if (agreed === false) throw new Lost('the data was replaced', { replaced: true })
  }

  /**
   * The newest revision. Asks for nothing, at a revision, or at the newest when it is 0. That tells more than the reply
   * `created`: it waits for a member that is behind, it fails on a revision of the future (which a watch would wait for in
   * silence, defect 10), and on one that was compacted. A watch from the very revision of a compaction is taken, and never
   * sees the deletes of that revision.
   */
  async #look(connection: Connection, revision: Revision): Promise<Revision> {
    const request = { key: this.#deps.layout.ownKey('nothing'), revision, limit: 1 }
    try {
      const { header } = await connection.call<IRangeResponse>(rangeCall(request))
      this.#clusterId ??= header.cluster_id
      if (header.cluster_id !== this.#clusterId) throw new Lost('this is another cluster', { replaced: true })
      return Number(header.revision)
    } catch (error) {
      if (!isOutOfRange(error)) throw error
      const replaced = error.message.includes('future')
      throw new Lost(`revision ${revision} ${replaced ? 'is in the future' : 'has been lost to compaction'}`, {
        replaced,
      })
    }
  }

  /** Always rejects. */
  async #listen(connection: Connection): Promise<never> {
    const stream = connection.watch()
    const over = new AbortController()
    const broken = Promise.withResolvers<never>()
    const created = Promise.withResolvers<Revision>()
    const assembly = new Assembly(this.#since, this.#deps.layout, this.#deps.strangers)
    const end = () => broken.reject(new Error('the watch was stopped'))
    this.#stop.addEventListener('abort', end, { once: true })
    stream.on('data', (reply: IWatchResponse) => {
      if (this.#stop.aborted) return
      try {
        this.#deps.cluster.heard(reply.header)
        if (reply.created) created.resolve(Number(reply.header.revision))
        this.#deliver(assembly.take(reply))
      } catch (error) {
        broken.reject(error)
        stream.pause()
      }
    })
    stream.on('error', error => broken.reject(error))
    stream.on('end', () => broken.reject(new Error('the stream ended')))
    try {
      stream.write(this.#request())
      return await Promise.race([broken.promise, this.#guard(connection, created.promise, over.signal)])
    } finally {
      over.abort()
      this.#stop.removeEventListener('abort', end)
      stream.removeAllListeners('data')
      stream.on('error', () => {})
      stream.cancel()
    }
  }

  #request(): IWatchRequest {
    const { from, to } = this.#deps.layout.all
    return {
      create_request: {
        key: from,
        range_end: to,
        start_revision: this.#since + 1,
        progress_notify: true,
        fragment: true,
      },
    }
  }

  /** State and revision move together. */
  #deliver(writes: ReturnType<Assembly['take']>): void {
    for (const { revision, changes } of writes) {
      if (this.#stop.aborted) return
      this.#since = revision
      this.#tell(() => this.#follower.wrote(revision, changes))
    }
  }

  /** Sees to it that the stream begins, and that its member lives. Always rejects. */
  async #guard(connection: Connection, created: Promise<Revision>, over: AbortSignal): Promise<never> {
    const resumed = this.#since
    const late = delay(CREATED_WITHIN_MS, undefined, { signal: over })
    let newest = await Promise.race([created, late])
    if (newest === undefined) throw new Error('the stream did not begin')
    this.#pause = PAUSE_MS[0]
    // What is replayed comes in a moment: had it been compacted by the end of it, deletes could be missing, see #look.
    let pinned = newest > resumed ? resumed : 0
    for (let confirmed = resumed; ; ) {
      this.#tell(() => this.#follower.current?.(confirmed))
      await delay(LOOK_EVERY_MS, undefined, { signal: over })
      confirmed = newest
      newest = await this.#look(connection, pinned)
      pinned = 0
    }
  }

  #tell(listener: () => void): void {
    try {
      listener()
    } catch (thrown) {
      this.#deps.log.error({ err: thrown }, 'a watcher of the store threw')
    }
  }
}
