// What no snapshot sees any more: taken out, closed, its series forgotten, a few milliseconds at a time.

import type { Edition } from './edition.ts'
import type { Editions } from './editions.ts'
import { RouteEdition } from './served-route.ts'
import { inSlices } from './slices.ts'

/** Labels that name routes, by id or by name. */
const ROUTE_LABELS = ['route', 'route_id']

export class Sweeper {
  readonly #editions: Editions
  #unseen: Edition[] = []
  #sweeping: Promise<void> | undefined
  #finishing = false
  readonly #closing = new Set<Promise<void>>()

  constructor(editions: Editions) {
    this.#editions = editions
  }

  /** The current snapshot has these no more. Series of routes that are gone go now, for whoever looks. */
  replaced(editions: readonly Edition[]): void {
    for (const edition of editions) this.#forgetSeries(edition)
  }

  /** No request is left that could see these. What the last ones have counted on routes that are gone goes with them. */
  sweep(editions: readonly Edition[]): void {
    for (const edition of editions) this.#unseen.push(edition)
    if (this.#unseen.length > 0) this.#sweeping ??= this.#run()
  }

  /** From now on things are only closed: with the worker the rest goes too, but what it has counted stays. */
  finish(): void {
    this.#finishing = true
  }

  /** Resolves when everything there was to sweep is swept and closed. */
  async done(): Promise<void> {
    await this.#sweeping
    await Promise.all(this.#closing)
  }

  async #run(): Promise<void> {
    // Whoever waits for the new configuration comes first.
    await new Promise(resolve => setImmediate(resolve))
    while (this.#unseen.length > 0) {
      await inSlices(this.#steps()).catch(error =>
        this.#editions.env.log.error({ err: error }, 'what is seen no more could not be taken out'),
      )
    }
    this.#sweeping = undefined
  }

  *#steps(): Generator<void> {
    while (this.#unseen.length > 0) {
      const edition = this.#unseen.pop()!
      if (edition.used) this.#close(edition)
      if (!this.#finishing) {
        this.#editions.forget(edition)
        this.#forgetSeries(edition)
      }
      yield
    }
  }

  #close(edition: Edition): void {
    const { log } = this.#editions.env
    const closed = edition.release().then(errors => {
      this.#closing.delete(closed)
      for (const error of errors) log.error({ err: error }, 'plugin could not be closed')
    })
    this.#closing.add(closed)
  }

  #forgetSeries(edition: Edition): void {
    if (!(edition instanceof RouteEdition) || !edition.matched) return
    for (const value of [edition.id, edition.resource.name])
      if (value !== undefined && !this.#editions.hasRoute(value)) this.#editions.env.metrics.forget(ROUTE_LABELS, value)
  }
}
