// The workers as one: started, replaced when they die or stand still, drained. Knows threads, not what they serve.
import type { Books } from '../budgets/books.ts'
import type { Decision } from '../explain/decision.ts'
import type { AskedRequest, Rehearsed } from '../explain/rehearsal.ts'
import { LedgerMemory } from '../ledger/ledger-memory.ts'
import type { Logger } from '../observe/log.ts'
import type { MetricsReader, WriterId } from '../observe/metrics-reader.ts'
import { HealthKeeper } from '../proxy/health/keeper.ts'
import type { ConfigSource, Item, Revision } from '../store/store.ts'
import type { Rejected } from '../sync.ts'
import { Footprint } from './breadcrumb.ts'
import type { WorkerSettings } from './messages.ts'
import { SharedHealth } from './shared-health.ts'
import { MAIN, releaseShared, roomOf, type SharedMemory, sharedMemory } from './shared-memory.ts'
import type { Room } from './shared-table.ts'
import { type Ending, WorkerThread } from './worker-thread.ts'

export interface WorkerPoolOptions {
  count: number
  /** What a thread runs; core/worker.ts by default. */
  entry?: URL
  settings: WorkerSettings
  source: ConfigSource
  reader: MetricsReader
  log: Logger
  /** Milliseconds a worker's loop may stand still before it is ended. */
  stallMs: number
  /** Milliseconds that requests of a worker which is being replaced may take to end. */
  graceMs: number
  /** What a breadcrumb may name: plugins, and the ids of the routes there are now. */
  names: { plugins: Iterable<string>; routes(): Promise<Iterable<string>> }
  /** Prints the Prometheus page, in slices. */
  page(): AsyncIterable<string>
  /** Counts replacements by reason, and by the plugin that held a worker up where that is known. */
  replaced(reason: Reason, plugin: string | undefined): void
}

/** A decision record, and which worker has it. */
export interface Explained extends Decision {
  worker: number
}

/** Why a worker was replaced. */
export type Reason = 'stalled' | 'uncaught_exception' | 'out_of_memory' | 'exited' | 'planned'

const WATCH_MS = 100
// A worker that dies sooner than this after it began is started again more and more slowly.
const SHORT_LIFE_MS = 1_000
const MAX_BACKOFF_MS = 5_000
const RELEASE_AGAIN_MS = 10
// A worker that is asked something and stands still for so long has not answered.
const ANSWER_WITHIN_MS = 1_000
// A rehearsal may have functions of routes asked.
const REHEARSED_WITHIN_MS = 5_000

interface Seat {
  readonly number: number
  worker: WorkerThread
  watch: { footprint: Footprint; beat: number; since: number }
  deaths: number
}

export class WorkerPool {
  /** Probes what the workers send to, each target once. */
  readonly health: HealthKeeper
  /** What the workers have counted, and the tickets they hold. */
  readonly ledger: LedgerMemory
  readonly #options: WorkerPoolOptions
  readonly #shared: SharedMemory
  /** By their numbers, those that are draining too. */
  readonly #living = new Map<number, WorkerThread>()
  readonly #seats: Seat[] = []
  #books: Books | undefined
  #settings: WorkerSettings
  #made = 0
  #saidRejected = new Set<string>()
  #stopping = false
  #watchdog: NodeJS.Timeout | undefined
  #lastWatch = 0
  #replacing: Promise<void> = Promise.resolve()
  /** Whose hook a worker of that seat stood still in. */
  readonly #blamed = new Map<Seat, string>()

  constructor(options: WorkerPoolOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#shared = sharedMemory(options.count)
    this.ledger = new LedgerMemory(this.#shared.ledger, MAIN, { hears: true })
    const cells = new SharedHealth(this.#shared.health, MAIN, Date.now)
    this.health = new HealthKeeper({ cell: name => cells.cell(name), log: options.log })
  }

  /** Who keeps the books of budgets, which are in this pool's memory; to be said before the start. */
  set books(books: Books) {
    this.#books = books
  }

  /** Starts every worker; resolves when all listen. Rejects with CannotListen, or with why a worker could not begin. */
  async start(): Promise<void> {
    for (let number = 0; number < this.#options.count; number++) {
      const worker = this.#make(number)
      this.#seats.push({ number, worker, watch: watchOf(worker), deaths: 0 })
    }
    await Promise.all(this.#seats.map(({ worker }) => worker.listening))
    for (const seat of this.#seats) this.#guard(seat, seat.worker)
    this.#lastWatch = performance.now()
    this.#watchdog = setInterval(() => this.#watch(), WATCH_MS)
  }

  /** The memory that workers share: how much of each there is, and how much is free. */
  room(): Iterable<Room & { name: string }> {
    return roomOf(this.#shared, Date.now())
  }

  /** Per worker: what it serves and what it does not. */
  status(): {
    id: number
    revision: Revision | undefined
    appliedAt: number | undefined
    rejected: WorkerThread['rejected']
  }[] {
    return this.#seats.map(({ number, worker }) => ({
      id: number,
      revision: worker.applied,
      appliedAt: worker.appliedAt,
      rejected: worker.rejected,
    }))
  }

  /** The revision that every worker serves; undefined while one has none. */
  get applied(): Revision | undefined {
    let lowest: Revision | undefined
    for (const { worker } of this.#seats) {
      if (worker.applied === undefined) return undefined
      lowest = Math.min(lowest ?? worker.applied, worker.applied)
    }
    return lowest
  }

  /** Whether the workers serve this version of an item; undefined while one of them has not come to it. */
  isGood({ kind, id, modRevision }: Item): boolean | undefined {
    const workers = this.#seats.map(({ worker }) => worker)
    const bad = (worker: WorkerThread) =>
      worker.rejected.some(each => each.kind === kind && each.id === id && each.revision === modRevision)
    if (workers.some(bad)) return false
    return workers.every(({ applied = -1 }) => applied >= modRevision) ? true : undefined
  }

  /** Resolves when every worker serves `revision` or a later one, or after `withinMs`. */
  async serves(revision: Revision, withinMs: number): Promise<void> {
    await Promise.all(this.#seats.map(({ worker }) => worker.serves(revision, withinMs)))
  }

  /**
   * Replaces every worker, one after the other: the new one listens before the old one is told to end. Requests in flight
   * end on the old ones. `settings` are those of the new ones, by default the same as before. Rejects when a new one does not
   * come to listen; as many as can are then as they were before.
   */
  replaceAll(settings = this.#settings): Promise<void> {
    const before = this.#settings
    this.#settings = settings
    const replaced = this.#replacing.then(async () => {
      const done: Seat[] = []
      try {
        for (const seat of this.#seats) {
          await this.#replace(seat)
          done.push(seat)
        }
      } catch (error) {
        if (this.#settings === settings) this.#settings = before
        for (const seat of done) await this.#replace(seat)
        throw error
      }
    })
    this.#replacing = replaced.catch(() => {})
    return replaced
  }

  /** What the request with that id went through, and which worker knows; `silent` are those that did not answer. */
  async explain(id: string): Promise<{ found: Explained | undefined; silent: number[] }> {
    const told = await Promise.all(
      this.#seats.map(async ({ number, worker }) => ({
        worker: number,
        said: await worker.ask('decision', id, ANSWER_WITHIN_MS),
      })),
    )
    const silent = told.filter(({ said }) => said === undefined).map(({ worker }) => worker)
    // An id may be the client's word: of several requests the last is meant.
    let found: Explained | undefined
    for (const { worker, said } of told) {
      const decision = said?.answer
      if (decision !== undefined && (found === undefined || found.time < decision.time)) found = { worker, ...decision }
    }
    return { found, silent }
  }

  /** What would become of a request, as the first worker says that answers; undefined when none does. */
  async rehearse(asked: AskedRequest): Promise<Rehearsed | undefined> {
    for (const { worker } of this.#seats) {
      const said = await worker.ask('rehearsal', asked, REHEARSED_WITHIN_MS)
      if (said !== undefined) return said.answer
    }
    return undefined
  }

  /** Logs of workers that serve go on in new files of the old names. */
  reopenLogs(): void {
    for (const { worker } of this.#seats) worker.reopenLog()
  }

  /** Has a worker, by its number, withdraw series that have not moved for long. */
  expire(worker: WriterId, series: readonly number[]): void {
    if (typeof worker === 'number') this.#living.get(worker)?.expire(series)
  }

  /** What the workers have, or will have once they are replaced. */
  get settings(): WorkerSettings {
    return this.#settings
  }

  async #replace(seat: Seat): Promise<void> {
    if (this.#stopping) return
    const old = seat.worker
    await this.#seat(seat, 'planned')
    void old.drain({ graceMs: this.#options.graceMs, gently: true })
  }

  /** Ends every worker: nothing new is accepted, requests may end within `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#stopping = true
    clearInterval(this.#watchdog)
    await Promise.all(this.#seats.map(({ worker }) => worker.drain({ graceMs, gently: false })))
    this.health.close()
  }

  /** A worker for the seat of that number. */
  #make(seat: number): WorkerThread {
    const { source, reader, log, entry } = this.#options
    const id = this.#made++
    const worker = new WorkerThread({
      id,
      seat,
      ...(entry && { entry }),
      settings: this.#settings,
      shared: this.#shared,
      health: this.health,
      books: this.#books,
      page: this.#options.page,
      source,
      rejects: items => this.#sayRejected(items),
      noSeries: series => reader.remove(id, series),
      series: definition => {
        try {
          reader.add(id, definition)
        } catch (error) {
          log.error(
            { err: error, family: definition.name },
            'a worker counts what contradicts another; it is not shown',
          )
        }
      },
    })
    this.#living.set(id, worker)
    void worker.gone.then(() => {
      this.#living.delete(id)
      this.health.forget(id)
      releaseShared(this.#shared, id, this.#living.keys())
      this.#releaseLedger(id)
    })
    return worker
  }

  #releaseLedger(gone: number): void {
    if (this.ledger.release(gone, new Set(this.#living.keys()))) this.#books?.lookAtAll()
    // Another has died in the way, of which we have not heard yet.
    else setTimeout(() => this.#releaseLedger(gone), RELEASE_AGAIN_MS)
  }

  /** Each bad version once, whichever worker comes upon it first. */
  #sayRejected(items: readonly Rejected[]): void {
    const nameOf = ({ kind, id, revision }: Rejected) => `${kind}/${id} ${revision}`
    for (const item of items) {
      const name = nameOf(item)
      if (this.#saidRejected.has(name)) continue
      this.#saidRejected.add(name)
      this.#options.log.error({ ...item }, 'configuration item rejected')
    }
    if (this.#saidRejected.size > items.length) {
      const still = this.#seats.flatMap(({ worker }) => worker.rejected.map(nameOf))
      this.#saidRejected = new Set([...still, ...items.map(nameOf)])
    }
  }

  /** Puts a new worker into a seat once it listens. Throws when it does not come to that. */
  async #seat(seat: Seat, reason: Reason): Promise<void> {
    const worker = this.#make(seat.number)
    await worker.listening
    seat.worker = worker
    seat.watch = watchOf(worker)
    this.#guard(seat, worker)
    this.#options.replaced(reason, reason === 'stalled' ? this.#blamed.get(seat) : undefined)
    this.#blamed.delete(seat)
  }

  /** When this worker fails or ends, another takes its seat. */
  #guard(seat: Seat, worker: WorkerThread): void {
    const began = performance.now()
    void worker.failing.then(error => {
      if (seat.worker !== worker || this.#stopping) return
      this.#options.log.error({ worker: worker.id, err: error }, 'uncaught exception in a worker; it is being replaced')
      void this.#restore(seat, 'uncaught_exception', 0).then(() =>
        worker.drain({ graceMs: this.#options.graceMs, gently: true }),
      )
    })
    void worker.gone.then(ending => {
      this.#options.reader.removeWriter(worker.id)
      if (seat.worker !== worker || this.#stopping) return
      const reason = reasonOf(ending)
      this.#options.log.error(
        { worker: worker.id, reason, code: ending.code, err: ending.error },
        'a worker has ended; it is being replaced',
      )
      seat.deaths = performance.now() - began < SHORT_LIFE_MS ? seat.deaths + 1 : 0
      void this.#restore(seat, reason, seat.deaths)
    })
  }

  async #restore(seat: Seat, reason: Reason, failures: number): Promise<void> {
    for (let failed = failures; !this.#stopping; failed++) {
      if (failed > 0) await new Promise(resolve => setTimeout(resolve, Math.min(MAX_BACKOFF_MS, 50 * 2 ** failed)))
      try {
        return await this.#seat(seat, reason)
      } catch (error) {
        this.#options.log.error({ err: error }, 'a worker could not be replaced; trying again')
      }
    }
  }

  #watch(): void {
    const now = performance.now()
    // We stood still ourselves (a suspended machine): nobody's beat says anything.
    const slept = now - this.#lastWatch > 5 * WATCH_MS
    this.#lastWatch = now
    for (const seat of this.#seats) {
      const { watch, worker } = seat
      const { beat } = watch.footprint
      if (slept || beat !== watch.beat) {
        watch.beat = beat
        watch.since = now
      } else if (now - watch.since > this.#options.stallMs) {
        watch.since = Number.POSITIVE_INFINITY
        void this.#endStalled(seat, worker, watch.footprint)
      }
    }
  }

  async #endStalled(seat: Seat, worker: WorkerThread, footprint: Footprint): Promise<void> {
    const { log, names } = this.#options
    const plugin = footprint.plugin(names.plugins)
    if (plugin !== undefined) this.#blamed.set(seat, plugin)
    await worker.terminate('stalled')
    const route = footprint.route(await names.routes().catch(() => []))
    log.error({ worker: worker.id, plugin, route }, 'a worker stood still and was ended')
  }
}

function watchOf(worker: WorkerThread): Seat['watch'] {
  const footprint = new Footprint(worker.breadcrumb)
  return { footprint, beat: footprint.beat, since: performance.now() }
}

function reasonOf({ stalled, error }: Ending): Reason {
  if (stalled) return 'stalled'
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'out_of_memory'
  return error === undefined ? 'exited' : 'uncaught_exception'
}
