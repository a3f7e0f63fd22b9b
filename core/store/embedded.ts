// The store in one SQLite file of this process: durable before it answers, no server; knows neither threads nor resources.
import type { DatabaseSync } from 'node:sqlite'
import { asError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { openFile } from './embedded-file.ts'
import { listInSlices } from './embedded-listing.ts'
import { change, encode, item, prepare, type Row } from './embedded-tables.ts'
import {
  type Change,
  Conflict,
  type Guards,
  type Item,
  type Kind,
  type Revision,
  type Store,
  StoreUnavailable,
  type Write,
} from './store.ts'

export interface EmbeddedOptions {
  /** The folder of the store, made when it is missing. It belongs to one process at a time. */
  path: string
  log: Logger
  /** How many revisions back a watch can be replayed, at least 1; 10,000 by default. */
  changesKept?: number
  /** Milliseconds since the epoch, for `ttlSeconds`. */
  now?: () => number
}

/**
 * Opens the store, and throws an Error naming the folder when that cannot be (see openFile).
 * - Every write that changes something gets the revision after the last one. One that changes nothing (it only deletes
 *   what is not there) gets the last one, as in etcd.
 * - Writes that wait at the same time share one transaction and one fsync; each keeps its guards, revision and outcome.
 * - `close` finishes the writes that were called before it and ends the watches without a word.
 */
export function openEmbedded(options: EmbeddedOptions): Store {
  const db = openFile(options.path)
  try {
    return new EmbeddedStore(db, options)
  } catch (error) {
    db.close()
    throw new Error(`the store in ${options.path} cannot be read: ${asError(error).message}`, { cause: error })
  }
}

/** An item may outlive its ttl by this; etcd's leases are looked at as often. */
const expiryEveryMs = 500

/** A watcher that is far behind is replayed in portions of so many revisions, so that the loop can breathe. */
const replayedAtOnce = 256

/** SQLITE_IOERR_FSYNC. Only then may the write be in the file after all: a crash before the next write would show it. */
const fsyncFailed = 1034

interface Pending {
  rows: readonly Row[]
  guards: Guards
  resolve(revision: Revision): void
  reject(error: Error): void
}

/** `seen` is the last revision delivered; everything after it is still in the log of changes. */
interface Watcher {
  seen: Revision
  readonly changed: (changes: readonly Change[]) => void
  readonly lost: (error: Error) => void
}

class EmbeddedStore implements Store {
  readonly #path: string
  readonly #log: Logger
  readonly #changesKept: number
  readonly #now: () => number
  readonly #db: DatabaseSync
  readonly #sql: ReturnType<typeof prepare>
  readonly #expiry: NodeJS.Timeout
  readonly #watchers = new Set<Watcher>()
  #waiting: Pending[] = []
  #revision: Revision
  #closed = false

  constructor(db: DatabaseSync, { path, log, changesKept = 10_000, now = Date.now }: EmbeddedOptions) {
    if (!(changesKept >= 1)) throw new RangeError(`changesKept is ${changesKept}`)
    this.#path = path
    this.#log = log
    this.#changesKept = changesKept
    this.#now = now
    this.#db = db
    this.#sql = prepare(db)
    this.#revision = this.#kept().newest
    this.#expire()
    this.#expiry = setInterval(() => this.#expire(), expiryEveryMs).unref()
  }

  async ready(): Promise<void> {
    this.#mustBeOpen()
  }

  async list(): Promise<{ items: readonly Item[]; revision: Revision }> {
    return listInSlices({
      page: ({ kind, id }, limit) => this.#read(() => this.#sql.page.all(kind, id, limit).map(item)),
      revision: () => this.#revision,
      changes: after =>
        this.#read(() => {
          if (after < this.#kept().oldest - 1) return undefined
          return this.#sql.changes.all(after, after + replayedAtOnce).map(change)
        }),
    })
  }

  async get(kind: Kind, id: string): Promise<Item | undefined> {
    const row = this.#read(() => this.#sql.get.get(kind, id))
    return row && item(row)
  }

  async revision(): Promise<Revision> {
    this.#mustBeOpen()
    return this.#revision
  }

  async write(changes: readonly Write[], guards: Guards = []): Promise<Revision> {
    this.#mustBeOpen()
    const rows = encode(changes, this.#now())
    return new Promise((resolve, reject) => {
      // The turn of the event loop that a write waits gathers those of other connections.
      if (this.#waiting.push({ rows, guards, resolve, reject }) === 1) setImmediate(() => this.#flush())
    })
  }

  watch(since: Revision, changed: Watcher['changed'], lost: Watcher['lost']): () => void {
    const watcher: Watcher = { seen: since, changed, lost }
    this.#watchers.add(watcher)
    setImmediate(() => this.#feed(watcher))
    return () => {
      this.#watchers.delete(watcher)
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#watchers.clear()
    this.#flush()
    this.#closed = true
    clearInterval(this.#expiry)
    this.#db.close()
  }

  #flush(): void {
    const batch = this.#waiting
    this.#waiting = []
    if (batch.length > 0) this.#commit(batch)
  }

  /** One transaction. Guards are checked before the first change of a write, so that a conflict leaves nothing to undo. */
  #commit(batch: readonly Pending[]): void {
    let revision = this.#revision
    const outcomes: (Revision | Conflict)[] = []
    try {
      this.#db.exec('begin')
      for (const { rows, guards } of batch) {
        if (!this.#holds(guards)) outcomes.push(new Conflict())
        else {
          if (this.#apply(rows, revision + 1)) revision++
          outcomes.push(revision)
        }
      }
      if (revision > this.#revision) this.#sql.forget.run(revision - this.#changesKept)
      this.#db.exec('commit')
    } catch (thrown) {
      this.#fail(batch, thrown)
      return
    }
    this.#revision = revision
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome instanceof Conflict) batch[at]!.reject(outcome)
      else batch[at]!.resolve(outcome)
    }
    for (const watcher of this.#watchers) this.#feed(watcher)
  }

  #fail(batch: readonly Pending[], thrown: unknown): void {
    try {
      if (this.#db.isTransaction) this.#db.exec('rollback')
    } catch (error) {
      this.#log.error({ err: error }, 'the store could not roll back')
    }
    const failure = this.#unavailable(thrown)
    // One write that is too large for the disk must not take its neighbours down.
    if (batch.length > 1 && failure.outcome === 'not_written') for (const one of batch) this.#commit([one])
    else for (const { reject } of batch) reject(failure)
  }

  #holds(guards: Guards): boolean {
    return guards.every(({ kind, id, modRevision }) => (this.#sql.get.get(kind, id)?.revision ?? 0) === modRevision)
  }

  /** Whether anything changed. */
  #apply(rows: readonly Row[], revision: Revision): boolean {
    let position = 0
    for (const { kind, id, value, expires } of rows.flatMap(row => this.#spread(row))) {
      if (value === null) {
        if (this.#sql.remove.run(kind, id).changes === 0) continue
        this.#sql.note.run(revision, position++, kind, id, null, null)
      } else {
        const { created } = this.#sql.put.get(kind, id, value, revision, revision, expires)!
        this.#sql.note.run(revision, position++, kind, id, value, created!)
      }
    }
    return position > 0
  }

  /** A row, with a row for each item below it where they go with it. */
  #spread(row: Row): readonly Row[] {
    if (!row.below) return [row]
    // The next byte after the slash.
    const below = this.#sql.below.all(row.kind, `${row.id}/`, `${row.id}0`) as unknown as Pick<Row, 'id'>[]
    return [row, ...below.map(({ id }) => ({ kind: row.kind, id, value: null, expires: null }))]
  }

  /** Between the look and the commit nothing else can write: both are one turn of the event loop. */
  #expire(): void {
    const reject = (error: Error) => this.#log.error({ err: error }, 'items whose ttl has passed cannot be removed yet')
    try {
      const due = this.#sql.due.all(this.#now()) as unknown as Pick<Row, 'kind' | 'id'>[]
      const rows = due.map(({ kind, id }) => ({ kind, id, value: null, expires: null }))
      if (rows.length > 0) this.#commit([{ rows, guards: [], resolve() {}, reject }])
    } catch (thrown) {
      reject(this.#unavailable(thrown))
    }
  }

  /** Delivers what the watcher has not seen. Replay and live are the same thing: reading the log from `seen` on. */
  #feed(watcher: Watcher): void {
    if (!this.#watchers.has(watcher)) return
    try {
      const { oldest, newest } = this.#read(() => this.#kept())
      if (watcher.seen > newest) throw new Error(`revision ${watcher.seen} is in the future: the last one is ${newest}`)
      if (watcher.seen < oldest - 1) throw new Error(`revision ${watcher.seen} has been lost to compaction`)
      const rows = this.#read(() => this.#sql.changes.all(watcher.seen, watcher.seen + replayedAtOnce))
      for (const [revision, group] of Map.groupBy(rows, row => row.revision as Revision)) {
        if (!this.#watchers.has(watcher)) return
        const changes = group.map(change)
        watcher.seen = revision
        this.#tell(() => watcher.changed(changes))
      }
    } catch (thrown) {
      this.#watchers.delete(watcher)
      this.#tell(() => watcher.lost(asError(thrown)))
      return
    }
    if (watcher.seen < this.#revision) setImmediate(() => this.#feed(watcher))
  }

  #tell(listener: () => void): void {
    try {
      listener()
    } catch (thrown) {
      this.#log.error({ err: thrown }, 'a watcher of the store threw')
    }
  }

  /** The revisions in the log. They have no gaps, so that the newest of them is the store's, restarts included. */
  #kept(): { oldest: Revision; newest: Revision } {
    return this.#sql.kept.get() as { oldest: Revision; newest: Revision }
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new StoreUnavailable(`the store in ${this.#path} is closed`, 'not_written')
  }

  #read<T>(query: () => T): T {
    this.#mustBeOpen()
    try {
      return query()
    } catch (thrown) {
      throw this.#unavailable(thrown)
    }
  }

  #unavailable(thrown: unknown): StoreUnavailable {
    const error = asError(thrown)
    const outcome = (error as { errcode?: number }).errcode === fsyncFailed ? 'unknown' : 'not_written'
    return new StoreUnavailable(`the store in ${this.#path} failed: ${error.message}`, outcome, error)
  }
}
