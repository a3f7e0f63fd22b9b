// A worker thread as main sees it: its configuration feed, what it has applied, its metrics, its end.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Address } from '../listener.ts'
import type { SeriesDefinition } from '../observe/metrics.ts'
import type { ConfigSource, Revision } from '../store/store.ts'
import type { Rejected } from '../sync.ts'
import type { ToMain, ToWorker, WorkerSettings } from './messages.ts'

/** A worker could not listen on one of its addresses. */
export class CannotListen extends Error {
  readonly address: Address
  readonly code: string
  constructor(address: Address, code: string) {
    super(`cannot listen on ${address.host}:${address.port}: ${code}`)
    this.address = address
    this.code = code
  }
}

export interface WorkerThreadOptions {
  settings: WorkerSettings
  source: ConfigSource
  series(definition: SeriesDefinition): void
}

export class WorkerThread {
  /** The revision whose configuration this worker serves; undefined before the first. */
  applied: Revision | undefined
  rejected: readonly Rejected[] = []
  /** Where it listens. Rejects with CannotListen. */
  readonly listening: Promise<readonly Address[]>
  /** Resolves with the exit code when the thread is gone, and why if it failed. */
  readonly gone: Promise<{ code: number; error: Error | undefined }>
  readonly #worker: Worker
  readonly #options: WorkerThreadOptions
  readonly #waiting = new Set<{ revision: Revision; resolve: () => void }>()
  #unwatch: (() => void) | undefined
  #drained: (() => void) | undefined

  constructor(options: WorkerThreadOptions) {
    this.#options = options
    this.#worker = new Worker(new URL('../worker.ts', import.meta.url), { workerData: options.settings })
    let error: Error | undefined
    this.#worker.on('error', (thrown: Error) => {
      error = thrown
    })
    this.gone = once(this.#worker, 'exit').then(([code]) => {
      this.#unwatch?.()
      for (const { resolve } of this.#waiting) resolve()
      return { code: code as number, error }
    })
    this.listening = new Promise((resolve, reject) => {
      this.#worker.on('message', (message: ToMain) => {
        if (message.type === 'listening') resolve(message.addresses)
        else if (message.type === 'cannot_listen') reject(new CannotListen(message.address, message.code))
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

  /** Stops accepting, lets requests end for at most `graceMs`, and ends the thread. */
  async drain(graceMs: number): Promise<void> {
    const drained = new Promise<void>(resolve => {
      this.#drained = resolve
    })
    this.#send({ type: 'drain', graceMs })
    await Promise.race([drained, this.gone])
    await this.#worker.terminate()
  }

  #send(message: ToWorker): void {
    this.#worker.postMessage(message)
  }

  #receive(message: ToMain): void {
    switch (message.type) {
      case 'list':
        void this.#list()
        return
      case 'watch':
        this.#unwatch?.()
        this.#unwatch = this.#options.source.watch(
          message.since,
          changes => this.#send({ type: 'changed', changes }),
          error => this.#send({ type: 'lost', message: error.message }),
        )
        return
      case 'applied':
        this.applied = message.revision
        this.rejected = message.rejected
        for (const waiter of this.#waiting) if (waiter.revision <= message.revision) waiter.resolve()
        return
      case 'series':
        this.#options.series(message.series)
        return
      case 'drained':
        this.#drained?.()
        return
    }
  }

  async #list(): Promise<void> {
    try {
      const { items, revision } = await this.#options.source.list()
      this.#send({ type: 'listed', items, revision })
    } catch (error) {
      this.#send({ type: 'list_failed', message: (error as Error).message })
    }
  }
}
