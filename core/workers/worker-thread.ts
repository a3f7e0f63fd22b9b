// A worker thread as main sees it: its configuration feed, what it has applied, its metrics, its end.
import { Worker } from 'node:worker_threads'
import type { Books } from '../budgets/books.ts'
import type { SeriesDefinition, WithdrawnSeries } from '../observe/metrics.ts'
import type { HealthKeeper } from '../proxy/health/keeper.ts'
import type { ConfigSource, Revision } from '../store/store.ts'
import type { Rejected } from '../sync.ts'
import { breadcrumbMemory } from './breadcrumb.ts'
import { Feeder } from './feeder.ts'
import { type Answered, Inquiries } from './inquiries.ts'
import type { Birth, DrainOrder, Question, Questions, ToMain, ToWorker, WorkerSettings } from './messages.ts'
import { PageServer } from './metrics-page.ts'
import type { SharedMemory } from './shared-memory.ts'

export interface WorkerThreadOptions {
  id: number
  /** As `Birth` has it. */
  seat: number
  entry?: URL
  settings: WorkerSettings
  shared: SharedMemory
  source: ConfigSource
  series(definition: SeriesDefinition): void
  /** What it does not serve as it stands in the store, whenever it has applied something. */
  rejects(items: readonly Rejected[]): void
  noSeries(series: WithdrawnSeries): void
  health: Pick<HealthKeeper, 'watch' | 'unwatch'>
  /** Of what is spent of budgets. */
  /** Prints the Prometheus page, in slices. */
  page(): AsyncIterable<string>
  books: Pick<Books, 'touched' | 'standings'> | undefined
}

/** How a thread ended. */
export interface Ending {
  code: number
  error: Error | undefined
  /** It was ended because it stood still. */
  stalled: boolean
}

export class WorkerThread {
  readonly id: number
  /** Where it is, see breadcrumb.ts. */
  readonly breadcrumb = breadcrumbMemory()
  /** The revision whose configuration this worker serves; undefined before the first. */
  applied: Revision | undefined
  /** Since when, in milliseconds since the epoch. */
  appliedAt: number | undefined
  rejected: readonly Rejected[] = []
  /** Resolves when it listens; rejects with why it never will. */
  readonly listening: Promise<void>
  /** Resolves when it has caught an exception that nobody handled: it still serves, and should be replaced. */
  readonly failing: Promise<Error>
  /** Resolves when the thread is gone. */
  readonly gone: Promise<Ending>
  readonly #worker: Worker
  readonly #options: WorkerThreadOptions
  readonly #feeder: Feeder
  readonly #pages: PageServer
  readonly #inquiries = new Inquiries<Questions[keyof Questions]['answer']>()
  readonly #waiting = new Set<{ revision: Revision; resolve: () => void }>()
  #drained: (() => void) | undefined
  #failed: (error: Error) => void = () => {}
  #stalled = false

  constructor(options: WorkerThreadOptions) {
    const { id, seat, settings, shared, entry = new URL('../worker.ts', import.meta.url) } = options
    this.#options = options
    this.#feeder = new Feeder(options.source, answer => this.#send(answer))
    this.#pages = new PageServer(options.page, answer => this.#send(answer))
    this.id = id
    const birth: Birth = { id, seat, settings, shared, breadcrumb: this.breadcrumb }
    this.#worker = new Worker(entry, {
      workerData: birth,
      name: `worker ${id}`,
      resourceLimits: { maxOldGenerationSizeMb: settings.heapMb },
    })
    this.failing = new Promise(resolve => {
      this.#failed = resolve
    })
    let error: Error | undefined
    this.#worker.on('error', (thrown: Error) => {
      error = thrown
    })
    // `once` of node:events would reject at the thread's error.
    this.gone = new Promise(resolve => {
      this.#worker.once('exit', code => {
        this.#feeder.close()
        for (const waiter of this.#waiting) waiter.resolve()
        this.#inquiries.close()
        resolve({ code, error, stalled: this.#stalled })
      })
    })
    this.listening = new Promise((resolve, reject) => {
      this.#worker.on('message', (message: ToMain) => {
        if (message.type === 'listening') resolve()
        else this.#receive(message)
      })
      void this.gone.then(({ code }) => reject(error ?? new Error(`worker ended with code ${code}`)))
    })
    this.listening.catch(() => {})
  }

  /** Resolves when this worker serves `revision` or a later one, or after `withinMs`. */
  async serves(revision: Revision, withinMs: number): Promise<void> {
    if (this.applied !== undefined && this.applied >= revision) return
    await new Promise<void>(resolve => {
      const waiter = {
        revision,
        resolve: () => {
          clearTimeout(timer)
          this.#waiting.delete(waiter)
          resolve()
        },
      }
      const timer = setTimeout(waiter.resolve, withinMs)
      this.#waiting.add(waiter)
    })
  }

  /** Ends the thread wherever it is. */
  async terminate(reason: 'stalled'): Promise<void> {
    this.#stalled = reason === 'stalled'
    await this.#worker.terminate()
  }

  /** What it says, if it says anything within that time. */
  ask<Q extends keyof Questions>(
    about: Q,
    asked: Questions[Q]['asked'],
    withinMs: number,
  ): Promise<Answered<Questions[Q]['answer']>> {
    const question = { about, asked } as Question
    const answered = this.#inquiries.ask(number => this.#send({ type: 'ask', number, question }), withinMs)
    // What is answered is what was asked.
    return answered as Promise<Answered<Questions[Q]['answer']>>
  }

  /** Its log goes on in a new file of the old name. */
  reopenLog(): void {
    this.#send({ type: 'reopen_log' })
  }

  /** Withdraws series, by its numbers, that have not moved for long. */
  expire(series: readonly number[]): void {
    this.#send({ type: 'expire', series })
  }

  /** Stops accepting, lets requests end, and ends the thread. */
  async drain(order: DrainOrder): Promise<void> {
    const drained = new Promise<void>(resolve => {
      this.#drained = resolve
    })
    this.#send({ type: 'drain', ...order })
    await Promise.race([drained, this.gone])
    await this.#worker.terminate()
  }

  async #answer({ question, principals }: Extract<ToMain, { type: 'ask_standings' }>): Promise<void> {
    const views = (await this.#options.books?.standings(principals)) ?? []
    this.#send({ type: 'standings', question, views })
  }

  #send(message: ToWorker): void {
    this.#worker.postMessage(message)
  }

  #receive(message: ToMain): void {
    switch (message.type) {
      case 'list':
      case 'watch':
      case 'arrived':
        this.#feeder.receive(message)
        return
      case 'applied':
        this.applied = message.revision
        this.appliedAt = Date.now()
        if (message.rejected !== undefined) {
          this.rejected = message.rejected
          this.#options.rejects(message.rejected)
        }
        for (const waiter of this.#waiting) if (waiter.revision <= message.revision) waiter.resolve()
        return
      case 'answered':
        this.#inquiries.answered(message.number, message.answer)
        return
      case 'watch_health':
        this.#options.health.watch(this.id, message.watch)
        return
      case 'unwatch_health':
        this.#options.health.unwatch(this.id, message.key)
        return
      case 'touched':
        this.#options.books?.touched(message.accounts)
        return
      case 'next_slice':
      case 'leave_page':
        void this.#pages.receive(message)
        return
      case 'ask_standings':
        void this.#answer(message)
        return
      case 'failing': {
        const error = new Error(message.message)
        if (message.stack !== undefined) error.stack = message.stack
        this.#failed(error)
        return
      }
      case 'series':
        this.#options.series(message.series)
        return
      case 'no_series':
        this.#options.noSeries(message.series)
        return
      case 'drained':
        this.#drained?.()
        return
    }
  }
}
